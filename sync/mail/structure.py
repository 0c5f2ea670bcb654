"""The tree of MIME parts of one mail (RFC 2046 §5), by places in the raw bytes: nothing is copied or decoded here.

Delimiter lines are found in one go over the bytes with a table of the boundaries that are open, so that the time is
linear whatever the nesting. Missing ends, repeated ends, missing and unknown boundaries are put up with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sync.mail.header import HeaderFields, parse_parameters, read_header

MAX_PARTS = 1_000
"""Parts that are looked at; the others are left out, and a note says so."""

MAX_DEPTH = 120
"""Multiparts within multiparts; deeper ones are taken for a file. Readers of the tree recurse, a few frames a level."""

MAX_BOUNDARY_BYTES = 200
"""RFC 2046 §5.1.1 allows 70."""

MAX_FALSE_DELIMITERS = 500_000
"""Lines that begin like a delimiter and are none. What comes behind so many belongs to the part that they are in."""

_MIME_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,70}/[a-z0-9!#$&^_.+-]{1,99}")
_GUESS_WINDOW_BYTES = 65_536


@dataclass(slots=True)
class Part:
    """One part. `start` and `stop` bound its body in the raw bytes; `path` is its IMAP section (RFC 3501 §6.4.5)."""

    header: HeaderFields
    start: int
    stop: int
    path: str
    mime_type: str
    parameters: dict[str, str]
    children: list[Part] = field(default_factory=list)
    is_multipart: bool = False
    too_deep: bool = False
    _disposition: tuple[str, dict[str, str]] | None = None

    @property
    def disposition(self) -> str:
        """`inline`, `attachment`, … or empty."""
        return self._parsed_disposition()[0]

    @property
    def disposition_parameters(self) -> dict[str, str]:
        """The parameters of Content-Disposition."""
        return self._parsed_disposition()[1]

    @property
    def transfer_encoding(self) -> str:
        """The lower-cased Content-Transfer-Encoding."""
        return self.header.ascii("content-transfer-encoding").lower().partition(";")[0].strip()

    def _parsed_disposition(self) -> tuple[str, dict[str, str]]:
        if self._disposition is None:
            self._disposition = parse_parameters(self.header.ascii("content-disposition"))
        return self._disposition


@dataclass(slots=True)
class Tree:
    """All parts of a mail. `faults` says in words what was wrong with the structure."""

    root: Part
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    """A multipart whose parts are being read."""

    part: Part
    boundary: bytes


class _Splitter:
    def __init__(self, raw: bytes, end: int, most_depth: int) -> None:
        self.raw = raw
        self.end = end
        self.most_depth = most_depth
        self.stack: list[_Open] = []
        self.places: dict[bytes, list[int]] = {}
        self.faults: list[str] = []
        self.count = 1

    def split(self, root: Part) -> None:
        self._enter(root)
        if not self.stack:
            return
        raw, end = self.raw, self.end
        leaf: Part | None = None
        false_ones = 0
        position = root.start - 1 if root.start else 0
        if root.start == 0 and raw.startswith(b"--"):
            position = -1
        while True:
            newline = position if position == -1 else raw.find(b"\n--", position, end)
            if newline == -1 and position != -1:
                break
            line_start = newline + 1
            line_stop = raw.find(b"\n", line_start, end)
            line_stop = end if line_stop == -1 else line_stop
            place = self._place_of(line_start, line_stop)
            position = max(line_stop, 0) if line_stop < end else end
            if place is None:
                false_ones += 1
                if false_ones > MAX_FALSE_DELIMITERS:
                    self.faults.append("too many lines of it look like the end of a part")
                    break
                continue
            depth, closing = place
            self._close_down_to(depth, newline, leaf)
            leaf = None
            if closing:
                continue
            if self.count >= MAX_PARTS:
                self.faults.append(f"only the first {MAX_PARTS} parts were looked at")
                break
            leaf = self._new_part(min(line_stop + 1, end))
            position = max(leaf.start - 1, position)
        self._close_down_to(0, end, leaf)

    def _place_of(self, line_start: int, line_stop: int) -> tuple[int, bool] | None:
        if line_stop - line_start > MAX_BOUNDARY_BYTES + 8:
            return None
        token = self.raw[line_start + 2 : line_stop].rstrip(b" \t\r")
        depths = self.places.get(token)
        if depths:
            return depths[-1], False
        if token.endswith(b"--"):
            depths = self.places.get(token[:-2])
            if depths:
                return depths[-1], True
        return None

    def _close_down_to(self, depth: int, newline: int, leaf: Part | None) -> None:
        """Everything that is open below stack place `depth` ends before the line end at `newline`."""
        stop = newline
        if stop > 0 and self.raw[stop - 1 : stop] == b"\r":
            stop -= 1
        if leaf is not None:
            leaf.stop = max(leaf.start, stop)
        while len(self.stack) > depth + 1:
            opened = self.stack.pop()
            self.places[opened.boundary].pop()
            opened.part.stop = max(opened.part.start, stop)

    def _new_part(self, start: int) -> Part:
        parent = self.stack[-1].part
        header = read_header(self.raw, start, self.end)
        number = str(len(parent.children) + 1)
        path = f"{parent.path}.{number}" if parent.path else number
        default = "message/rfc822" if parent.mime_type == "multipart/digest" else "text/plain"
        part = part_of(header, self.end, path, default)
        parent.children.append(part)
        self.count += 1
        self._enter(part)
        return part

    def _enter(self, part: Part) -> None:
        """Opens a multipart, so that its delimiters count from here on."""
        if not part.mime_type.startswith("multipart/"):
            return
        if len(self.stack) >= self.most_depth:
            part.too_deep = True
            self.faults.append(f"parts nested more than {self.most_depth} deep were not opened")
            return
        boundary = part.parameters.get("boundary", "").encode("utf-8", "replace").strip()[:MAX_BOUNDARY_BYTES]
        if not boundary or (not self.stack and not self._occurs(boundary, part)):
            guessed = self._guess(part)
            self.faults.append("the boundary between its parts is missing" if not boundary else "its parts are cut off")
            boundary = guessed
        if not boundary:
            return
        part.is_multipart = True
        self.places.setdefault(boundary, []).append(len(self.stack))
        self.stack.append(_Open(part, boundary))

    def _occurs(self, boundary: bytes, part: Part) -> bool:
        return self.raw.find(b"--" + boundary, max(part.start - 1, 0), self.end) != -1

    def _guess(self, part: Part) -> bytes:
        """The first line of the body that looks like a delimiter and is followed by a header."""
        window = self.raw[part.start : min(self.end, part.start + _GUESS_WINDOW_BYTES)]
        for match in _DELIMITER.finditer(window):
            candidate = match.group(1).rstrip(b" \t")
            if candidate not in self.places:
                return candidate
        return b""


_DELIMITER = re.compile(rb"(?:\A|\n)--([^\s][^\r\n]{0,120})\r?\n(?=content-[a-z-]{1,40}:)", re.IGNORECASE)


def read_structure(raw: bytes, header: HeaderFields, end: int, *, path: str = "", most_depth: int = MAX_DEPTH) -> Tree:
    """The parts of the mail whose header was read; its body ends at `end`. `path` is the section of the part that
    holds the mail, when it is a forwarded one; `most_depth` how many multiparts within multiparts are opened."""
    root = part_of(header, end, path, "text/plain")
    splitter = _Splitter(raw, end, most_depth)
    splitter.split(root)
    if not root.is_multipart:
        root.path = f"{path}.1" if path else "1"
    return Tree(root, splitter.faults)


def part_of(header: HeaderFields, end: int, path: str, default_type: str) -> Part:
    """The part that a header describes; its body goes from there to `end`."""
    value = header.ascii("content-type")
    mime_type, parameters = parse_parameters(value) if value else (default_type, {})
    mime_type = "".join(mime_type.split())
    if _MIME_TYPE.fullmatch(mime_type) is None:
        mime_type = _repaired(mime_type, default_type)
    return Part(header, header.offset, end, path, mime_type, parameters)


def _repaired(mime_type: str, default_type: str) -> str:
    """A type that is none: `text` alone is text/plain, `multipart/*` is multipart/mixed, anything after a comma or a
    comment is dropped."""
    match = _MIME_TYPE.match(mime_type)
    if match is not None:
        return match.group()
    if mime_type.startswith("html"):
        return "text/html"
    if mime_type.startswith("multipart"):
        return "multipart/mixed"
    if mime_type in {"", "plain", "txt"} or mime_type.startswith("text"):
        return default_type if mime_type == "" else "text/plain"
    return "application/octet-stream" if "/" in mime_type else "text/plain"


def part_at(root: Part, path: str) -> Part | None:
    """The part with this section number, as far as it is a part of this very mail."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.path == path:
            return part
        waiting += part.children
    return None
