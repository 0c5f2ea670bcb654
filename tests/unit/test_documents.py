"""The documents say what is true: links lead somewhere, shown files load, shown commands exist, named tests exist."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.config import load
from tests.needs import require

ROOT = Path(__file__).resolve().parents[2]
MOST_EXPOSURE = 15
"""Tenths of what `systemd-analyze security` calls exposure; a unit without hardening has 96."""
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"^(?:\$ +)?(?:sudo +)?(?:ExecStart=)?(?:/[\w/.-]+/)?inbox-sync((?: +[^\s#;|&`]+)+)")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
_TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def without_fences(text: str) -> str:
    return _FENCE.sub("", text)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (named(document), block)
        for document in DOCUMENTS
        for kind, block in _FENCE.findall(document.read_text(encoding="utf-8"))
        if kind == language
    ]


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    text = without_fences(document.read_text(encoding="utf-8"))
    kept = (re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in _HEADING.findall(text))
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    broken = []
    for link in _LINK.findall(without_fences(document.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


CONFIGURATIONS = [
    (name, block)
    for name, block in blocks("toml")
    if "[inbox." in block
    and "[sources." in block
    and name != "docs/connectors/tutorial.md"  # of a connector that is not installed: tests/acceptance/test_tutorial.py
]


def test_the_readme_shows_a_configuration() -> None:
    assert "README.md" in {name for name, _ in CONFIGURATIONS}


@pytest.mark.parametrize(("document", "block"), CONFIGURATIONS)
def test_configurations_shown_in_documents_load(document: str, block: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(block, encoding="utf-8")
    loaded = load(file, secrets=False, environ={})
    assert loaded.sources
    assert not loaded.failed_sources


def test_every_toml_block_is_toml() -> None:
    for _, block in blocks("toml"):
        tomllib.loads(block)


def documented_commands() -> dict[tuple[str, ...], set[str]]:
    """Every command of the program with its options, from the page made of its own help."""
    page = (ROOT / "docs/operate/commands.md").read_text(encoding="utf-8")
    found = {}
    for section in page.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        words = tuple(title.strip().strip("`").split()[1:])
        found[words] = set(_OPTION.findall(body))
    return found


def shown_commands() -> Iterator[tuple[str, str]]:
    """Calls of inbox-sync in the documents: in shell blocks and in code spans."""
    for document in DOCUMENTS:
        if document.name == "commands.md":
            continue
        text = document.read_text(encoding="utf-8")
        code = [block for kind, block in _FENCE.findall(text) if kind in ("sh", "console", "ini")]
        code += _SPAN.findall(without_fences(text))
        for line in "\n".join(code).splitlines():
            if call := _COMMAND.match(line):
                yield named(document), call[1].strip()


def complaint(call: str, commands: dict[tuple[str, ...], set[str]]) -> str:
    """What is wrong with a shown call, or nothing."""
    words = call.split()
    while words and words[0].startswith("-"):
        if words[0].partition("=")[0] not in commands[()]:
            return f"no option {words[0]}"
        words = words[2:] if words[0] == "--config" else words[1:]
    if not words:
        return ""
    name = max((name for name in commands if tuple(words[: len(name)]) == name), key=len, default=())
    if not name:
        return f"no command {words[0]}"
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in commands[name]]
    return f"{' '.join(name)} has no {', '.join(unknown)}" if unknown else ""


def test_commands_shown_in_documents_exist() -> None:
    commands = documented_commands()
    assert ("run",) in commands
    wrong = [
        f"{document}: inbox-sync {call}: {why}"
        for document, call in shown_commands()
        if (why := complaint(call, commands))
    ]
    assert not wrong


def test_make_targets_shown_in_documents_exist() -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    shown = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"(?:`|^)make ([a-z]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"demo", "test", "check"} <= shown
    assert shown <= targets


def test_every_design_note_is_in_the_index() -> None:
    index = (ROOT / "docs/design/0000-index.md").read_text(encoding="utf-8")
    missing = [note.name for note in (ROOT / "docs/design").glob("*.md") if note.name not in index]
    assert missing == ["0000-index.md"]


def test_tests_named_in_documents_exist() -> None:
    missing = []
    for document in DOCUMENTS:
        for path, function in _TEST.findall(document.read_text(encoding="utf-8")):
            file = ROOT / path
            if not file.is_file() or (function and f"def {function}(" not in file.read_text(encoding="utf-8")):
                missing.append(f"{named(document)}: {path}::{function}")
    assert not missing


def test_locked_requirements_name_no_registry() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        text = file.read_text(encoding="utf-8")
        assert "://" not in text
        assert all("--hash=" in entry for entry in re.split(r"\n(?=\S)", text.strip()) if not entry.startswith("#"))


def test_the_systemd_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    program = require("systemd-analyze", package="systemd")
    unit = (ROOT / "deploy/inbox-sync.service").read_text(encoding="utf-8")
    secrets = (ROOT / "deploy/credentials.conf").read_text(encoding="utf-8")
    file = tmp_path / "inbox-sync.service"
    file.write_text(unit.replace("/opt/inbox-sync/bin/inbox-sync", "/bin/true") + secrets, encoding="utf-8")
    for command in (["verify"], ["security", "--offline=true", f"--threshold={MOST_EXPOSURE}"]):
        done = subprocess.run([program, *command, file], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        # An unknown setting is only a warning, and has no effect. Units that other packages installed are theirs.
        assert [line for line in done.stderr.splitlines() if not line.startswith(("/lib/", "/usr/lib/"))] == []
