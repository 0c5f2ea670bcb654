"""What a test needs from the machine: found, or a skip that says how to get it. In CI (`CI=true`) nothing is skipped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_MORE_PLACES = (Path("/usr/sbin"), Path("/usr/local/sbin"))
_POSTGRES = Path("/usr/lib/postgresql")


def in_ci() -> bool:
    """Whether a missing program is a failure instead of a skip."""
    return os.environ.get("CI") == "true"


def find(*programs: str) -> Path | None:
    """The first of `programs` that is installed, also outside PATH where Debian puts servers. None: none is."""
    newest_first = sorted(_POSTGRES.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, _MORE_PLACES), *map(str, newest_first)])
    for program in programs:
        found = shutil.which(program, path=path)
        if found is not None:
            return Path(found)
    return None


def require(*programs: str, package: str) -> Path:
    """The first of `programs` that is installed; otherwise the test is skipped (in CI: fails), saying which Debian
    package brings it."""
    found = find(*programs)
    if found is None:
        _do_without(f"needs {programs[0]}: make servers (Debian package {package})")
    return found


def require_file(path: Path, origin: str) -> None:
    """The same for something that is no program; `origin` says where it comes from."""
    if not path.exists():
        _do_without(f"needs {path.name}: make servers ({origin})")


def _do_without(sentence: str) -> NoReturn:
    if in_ci():
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
