"""Where in a TOML file a key stands. tomllib forgets lines, so the file is also read statement by statement.

A statement (a `[header]` or one `key = value`, which may span lines) is the smallest run of lines that tomllib accepts
by itself. Reading it this way also lets several faulty statements be reported at once, and the rest be checked.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and array positions from the top of the file: `("sources", "support", "folders", 0)`."""

TomlTable: TypeAlias = dict[str, object]

FAULTS_MAX = 20
"""Faulty statements that are reported; a file with more is no TOML at all."""

_POSITION = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")
_STATEMENT_START = re.compile(r"""\s*(\[|[A-Za-z0-9_."'-]+\s*=)""")


@dataclass(frozen=True, slots=True)
class Fault:
    """A statement that is no TOML, or that says something a second time."""

    line: int
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class _Statement:
    line: int
    """Number of its first line, from 1."""
    length: int
    kind: Literal["table", "array", "pair"]
    path: Path
    value: object


@dataclass(slots=True)
class Document:
    """A TOML file as far as it could be understood.

    `data` is what tomllib makes of it without the faulty statements; `lines` the line of every key, of every section
    header, and of every key within an inline table (where its statement begins). `incomplete` are the sections in which
    a faulty statement was left out (`()`: a whole section was): what seems to be missing there may be in it.
    """

    data: TomlTable = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    incomplete: set[Path] = field(default_factory=set)

    def line_of(self, path: Path) -> int | None:
        """The line of `path`, or of the innermost thing around it that has one."""
        for end in range(len(path), 0, -1):
            line = self.lines.get(path[:end])
            if line is not None:
                return line
        return None


def read(text: str) -> Document:
    """Parses `text`. Raises nothing: what is wrong is in `Document.faults`."""
    text = text.replace("\r\n", "\n")
    reader = _Reader(text.split("\n"))
    document = reader.read()
    try:
        document.data = tomllib.loads(text)
        document.faults.clear()
        document.incomplete.clear()
    except tomllib.TOMLDecodeError as error:
        try:
            document.data = tomllib.loads(reader.without_faults())
        except tomllib.TOMLDecodeError as still:
            document.faults.append(_fault(still, 1, ()))
            document.incomplete.add(())
        if not document.faults:
            document.faults.append(_fault(error, 1, ()))
    return document


class _Reader:
    """Reads statements one after another, and keeps which lines were of no use."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._document = Document()
        self._section: Path = ()
        self._dropped: set[int] = set()
        self._headers: dict[Path, int] = {}
        self._pairs: dict[Path, int] = {}
        self._array_lengths: dict[Path, int] = {}

    def read(self) -> Document:
        at = 0
        skipping_section = False
        while at < len(self._lines) and len(self._document.faults) < FAULTS_MAX:
            if not self._lines[at].strip() or self._lines[at].lstrip().startswith("#"):
                at += 1
                continue
            is_header = self._lines[at].lstrip().startswith("[")
            if skipping_section and not is_header:
                self._dropped.add(at)
                at += 1
                continue
            statement = self._statement(at)
            if isinstance(statement, Fault):
                self._document.faults.append(statement)
                self._document.incomplete.add(() if is_header else self._section)
                skipping_section = is_header
                at = self._drop_until_next(at)
                continue
            kept = self._note_header(statement) if is_header else self._note_pair(statement)
            skipping_section = is_header and not kept
            if not kept:
                self._dropped.update(range(at, at + statement.length))
            at += statement.length
        return self._document

    def without_faults(self) -> str:
        return "\n".join("" if number in self._dropped else line for number, line in enumerate(self._lines))

    def _drop_until_next(self, at: int) -> int:
        self._dropped.add(at)
        at += 1
        while at < len(self._lines) and not _STATEMENT_START.match(self._lines[at]):
            self._dropped.add(at)
            at += 1
        return at

    def _statement(self, at: int) -> _Statement | Fault:
        end = at + 1
        while True:
            try:
                value = tomllib.loads("\n".join(self._lines[at:end]) + "\n")
            except tomllib.TOMLDecodeError as error:
                unfinished = str(error).endswith("(at end of document)")
                if unfinished and end < len(self._lines):
                    end += 1
                    continue
                if end > at + 1 and _STATEMENT_START.match(self._lines[end - 1]):
                    return Fault(at + 1, self._section, "the list or text that begins here is not closed")
                return _fault(error, at + 1, self._section)
            return self._understood(at, end - at, value)

    def _understood(self, at: int, length: int, value: TomlTable) -> _Statement:
        stripped = self._lines[at].lstrip()
        kind: Literal["table", "array", "pair"] = "pair"
        if stripped.startswith("["):
            kind = "array" if stripped.startswith("[[") else "table"
        path: list[str | int] = []
        inner: object = value
        while isinstance(inner, dict) and len(inner) == 1 and not (kind == "pair" and _is_inline(path, stripped)):
            key = next(iter(inner))
            path.append(key)
            inner = inner[key]
        if kind == "array":
            inner = {}
        return _Statement(at + 1, length, kind, tuple(path), inner)

    def _note_header(self, statement: _Statement) -> bool:
        path = self._in_arrays(statement.path)
        if statement.kind == "array":
            self._array_lengths[path] = self._array_lengths.get(path, 0) + 1
            path = (*path, self._array_lengths[path] - 1)
        first = self._headers.get(path)
        if first is not None:
            self._document.faults.append(Fault(statement.line, path, _twice(path, first)))
            return False
        self._headers[path] = statement.line
        self._section = path
        self._note(path, statement.line)
        return True

    def _note_pair(self, statement: _Statement) -> bool:
        path = (*self._section, *statement.path)
        first = self._pairs.get(path)
        if first is not None:
            self._document.faults.append(
                Fault(statement.line, path, f"this key stands already in line {first}; keep one of them")
            )
            return False
        self._pairs[path] = statement.line
        self._note(path, statement.line)
        self._note_inside(path, statement.value, statement.line)
        return True

    def _note(self, path: Path, line: int) -> None:
        for end in range(1, len(path)):
            self._document.lines.setdefault(path[:end], line)
        self._document.lines[path] = line

    def _note_inside(self, path: Path, value: object, line: int) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                self._document.lines[*path, key] = line
                self._note_inside((*path, key), inner, line)

    def _in_arrays(self, path: Path) -> Path:
        """`path` with the position of the last element after each array of tables on its way."""
        placed: Path = ()
        for index, key in enumerate(path):
            placed = (*placed, key)
            length = self._array_lengths.get(placed)
            if length and index < len(path) - 1:
                placed = (*placed, length - 1)
        return placed


def _is_inline(path: list[str | int], line: str) -> bool:
    """Whether all keys left of the equals sign have been taken, so that the rest is an inline table's."""
    if not path:
        return False
    key = _STATEMENT_START.match(line)
    if key is None:
        return False
    dotted: object = tomllib.loads(f"{key.group(1).rstrip('= ' + chr(9))} = 0")
    depth = 0
    while isinstance(dotted, dict):
        depth += 1
        dotted = next(iter(dotted.values()))
    return len(path) >= depth


def _twice(path: Path, first: int) -> str:
    name = ".".join(str(key) for key in path)
    what = {"sources": "source", "inbox": "inbox"}.get(str(path[0])) if len(path) > 1 else None
    if what:
        return f"there is a [{name}] already in line {first}: two of them cannot have one name; rename one {what}"
    return f"there is a [{name}] already in line {first}; put its keys together"


_WORDS = (
    ("Invalid value", 'there is no value here that TOML knows: a text needs quotes, as in host = "imap.example.com"'),
    ("Illegal character '\\n'", "the closing quote of the text is missing"),
    ("Unescaped '\\'", r'a backslash in "…" is written twice, as in "\\Sent"; in single quotes once'),
    ("Expected newline or end of document", "there is something after the value: one key a line, and texts in quotes"),
    ("Expected '=' after a key", "there is no = after the key"),
    ("Unclosed array", "the closing ] of the list is missing"),
    ("Expected ']' at the end of a table declaration", "the closing ] of the section's name is missing"),
    ('Expected \'"""\'', 'the closing """ of the text is missing'),
    ("Expected \"'''\"", "the closing ''' of the text is missing"),
)


def _fault(error: tomllib.TOMLDecodeError, first_line: int, section: Path) -> Fault:
    text = str(error)
    position = _POSITION.search(text)
    line = first_line + (int(position[1]) - 1 if position and position[1] else 0)
    bare = _POSITION.sub("", text)
    reason = next((words for start, words in _WORDS if bare.startswith(start)), f"no valid TOML: {bare}")
    return Fault(line, section, reason)
