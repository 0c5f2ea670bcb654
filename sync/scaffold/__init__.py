"""A new connector as an installable package: the files of `template/`, with its name filled in.

What stands there works: its tests pass, and it syncs from the service that its own world plays. An author exchanges the
endpoints and the mapping for those of a real service.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template

from sync import __version__
from sync.errors import ConfigError

NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
MAX_NAME_CHARS = 40
_SUFFIX = ".txt"
_FOLDER = "package"
"""Stands for the name of the Python package in the paths of the template."""


def files_for(name: str) -> dict[Path, str]:
    """The files of a package for the connector `name`, by their path in it. Raises ConfigError (`connector.bad_name`)."""
    if not NAME.fullmatch(name) or len(name) > MAX_NAME_CHARS:
        raise ConfigError(
            f'"{name}" is no name for a connector',
            code="connector.bad_name",
            next_step='use small letters, digits and hyphens, beginning with a letter, as in "help-scout"',
            connector=name,
        )
    module = f"inbox_sync_{name.replace('-', '_')}"
    words = {
        "name": name,
        "package": module,
        "distribution": f"inbox-sync-{name.replace('_', '-')}",
        "Name": "".join(part.capitalize() for part in re.split("[-_]", name)),
        "version": __version__,
    }
    made: dict[Path, str] = {}
    for path, text in _template():
        parts = [module if part == _FOLDER else part for part in path.parts]
        made[Path(*parts).with_suffix("")] = Template(text).substitute(words)
    return made


def write(name: str, folder: Path) -> list[Path]:
    """Writes the package into `folder`, which must be empty or not exist. Returns the files, with their folder. Raises
    ConfigError (`connector.folder_in_use`, `connector.bad_name`), OSError."""
    made = files_for(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is there already and is not empty",
            code="connector.folder_in_use",
            next_step="name another folder with --into, or empty this one",
            connector=name,
        )
    written = []
    for path, text in sorted(made.items()):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return written


def _template() -> list[tuple[Path, str]]:
    root = resources.files("sync.scaffold") / "template"
    with resources.as_file(root) as folder:
        return [
            (path.relative_to(folder), path.read_text(encoding="utf-8")) for path in sorted(folder.rglob(f"*{_SUFFIX}"))
        ]
