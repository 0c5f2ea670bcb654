"""mbox files: mails one after the other, each behind a line "From sender date" (RFC 4155, appendix A)."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from sync.mail import recognise

from .store import HEADER_READ_BYTES, Entry, Scan, digest, sane, unsettled

MAX_LINE_BYTES = 1024 * 1024
"""Longer lines are read in pieces of this size."""

_FROM_LINE = re.compile(
    rb"From (?:.*? )??(?:[A-Z][a-z]{2},? )?\s*(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) +"
    rb"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))? (?:[A-Z]{2,5} |[+-]\d{4} )?(?P<year>\d{4})"
    rb"(?: (?P<zone>[+-]\d{4}))?\b"
)
"""The line between mails, as asctime writes its date, in UTC unless it says otherwise."""
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_KEPT_BY_READERS = (
    b"status:", b"x-status:", b"x-keywords:", b"x-uid:", b"x-imap:", b"x-imapbase:", b"x-mozilla-status:",
    b"x-mozilla-status2:", b"x-mozilla-keys:", b"x-evolution:", b"content-length:", b"lines:",
)  # fmt: skip
"""Headers in which mail programs keep a mail's state: they change when it is read, so the hash leaves them out."""


@dataclass(slots=True)
class _Mail:
    """The mail that is being read."""

    start: int
    came: float | None
    hash: blake2b = field(default_factory=lambda: blake2b(digest_size=16))
    head: bytearray = field(default_factory=bytearray)
    in_header: bool = True
    skipping: bool = False
    blank_bytes: int = 0

    def take(self, line: bytes) -> None:
        """One more line of it. Blank lines at the end belong to the mbox, not to the mail."""
        if self.in_header:
            if not line.strip(b"\r\n"):
                self.in_header = False
            elif line[:1] not in b" \t":
                self.skipping = line.lower().startswith(_KEPT_BY_READERS)
            if self.skipping and self.in_header:
                return
            if len(self.head) < HEADER_READ_BYTES:
                self.head += line
        if line in {b"\n", b"\r\n"}:
            self.blank_bytes += len(line)
            return
        if self.blank_bytes:
            self.hash.update(b"\n" * self.blank_bytes)
            self.blank_bytes = 0
        self.hash.update(line)


class MboxFile:
    """One mbox file. A mail's id is a hash of its content and its number among equal ones."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def signature(self) -> str:
        """From the file's size and time."""
        found = self._path.stat()
        return digest((found.st_ino, found.st_size, found.st_mtime_ns))

    def scan(self, now: float, settle_seconds: float) -> Scan:
        """All mail; the last one waits if the file has just been written, it may be half there."""
        before = self.signature()
        found = self._path.stat()
        scan = Scan()
        counts: dict[str, int] = {}
        with self._path.open("rb") as file:
            for ordinal, (mail, end) in enumerate(_mails(file)):
                content = mail.hash.hexdigest()
                counts[content] = counts.get(content, 0) + 1
                date = recognise(bytes(mail.head)).written_at
                own = sane(date.timestamp(), now) if date else None
                came = sane(mail.came, now)
                scan.entries.append(
                    Entry(
                        external_id=f"{content}.{counts[content]}",
                        path=self._path,
                        size=end - mail.start,
                        arrived=came if came is not None else own if own is not None else found.st_mtime,
                        start=mail.start,
                        ordinal=ordinal,
                    )
                )
        settled = before == self.signature() and not unsettled(found.st_mtime, now, settle_seconds)
        if settled:
            scan.signature = before
        elif scan.entries:
            scan.unsettled = scan.entries.pop().arrived
        return scan

    def read(self, entry: Entry, limit_bytes: int) -> bytes:
        """The mail, its quoted "From " lines restored."""
        with self._path.open("rb") as file:
            file.seek(entry.start)
            raw = file.read(min(entry.size, limit_bytes))
        return _QUOTED_FROM.sub(rb"\1", raw)


def looks_like_mbox(path: Path) -> bool:
    """Whether the file begins as an mbox does (an empty one is one)."""
    with path.open("rb") as file:
        start = file.read(5)
    return start in {b"", b"From "}


def from_line_time(line: bytes) -> float | None:
    """When the mail came, from the line before it, in seconds; None if the line says no time."""
    match = _FROM_LINE.match(line)
    if match is None or match["month"] not in _MONTHS:
        return None
    numbers = (int(match[name] or 0) for name in ("year", "day", "hour", "minute", "second"))
    year, day, hour, minute, second = numbers
    try:
        seconds = timegm((year, _MONTHS.index(match["month"]) + 1, day, hour, minute, second, 0, 0, 0))
    except (ValueError, OverflowError):
        return None
    if zone := match["zone"]:
        offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * 60
        seconds += offset if zone.startswith(b"-") else -offset
    return float(seconds)


def _mails(file: BinaryIO) -> Iterator[tuple[_Mail, int]]:
    """(mail, where it ends) in the order of the file."""
    mail: _Mail | None = None
    position = 0
    blank = whole = True
    while line := file.readline(MAX_LINE_BYTES):
        begins = whole and blank and line.startswith(b"From ") and (mail is None or from_line_time(line) is not None)
        if begins:
            if mail is not None:
                yield mail, position - mail.blank_bytes
            mail = _Mail(start=position + len(line), came=from_line_time(line))
        elif mail is not None:
            mail.take(line)
        blank = whole and line in {b"\n", b"\r\n"}
        whole = line.endswith(b"\n")
        position += len(line)
    if mail is not None:
        yield mail, position - mail.blank_bytes
