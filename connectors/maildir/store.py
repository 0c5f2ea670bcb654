"""What the three formats have in common: entries found by a scan, and reading their octets in bounded pieces."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

OVERSIZE_READ_BYTES = 256 * 1024
"""How much of a message over the size limit is read: its headers and the start of its text."""
HEADER_READ_BYTES = 64 * 1024
"""How much is read where only the headers are wanted."""
PIECE_BYTES = 1024 * 1024
"""Files are read and hashed in pieces of this size."""
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
"""Times before it are no times of mail."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One mail at its place. `arrived` is the file system's (or the mbox's) word for when it came, in seconds;
    `own` what the mail or its name itself tells, which orders an archive that was copied. `changed` is when the file
    last changed its place, `ordinal` its position in a file of many. `start` and `size` are in bytes."""

    external_id: str
    path: Path
    size: int
    arrived: float
    own: float | None = None
    start: int = 0
    changed: float | None = None
    ordinal: int | None = None


@dataclass(slots=True)
class Scan:
    """What looking through a folder gave. `signature` names its state, "" when it may still be changing;
    `unsettled` is the arrival of the oldest file that is perhaps still being written; `problems` are files that could
    not be looked at, with the reason."""

    entries: list[Entry] = field(default_factory=list)
    signature: str = ""
    unsettled: float | None = None
    problems: list[tuple[Path, str]] = field(default_factory=list)


class Folder(Protocol):
    """A stream's mail on disk."""

    def scan(self, now: float, settle_seconds: float) -> Scan:
        """Everything in it. Raises OSError when the place itself cannot be read."""
        ...

    def signature(self) -> str:
        """Its state, cheaply; "" where that takes a scan."""
        ...

    def read(self, entry: Entry, limit_bytes: int) -> bytes:
        """The first `limit_bytes` of a mail. Raises OSError; FileNotFoundError when it is there no more."""
        ...


def sane(seconds: float | None, now: float) -> float | None:
    """A time, unless it lies before there was mail or more than a day ahead."""
    return seconds if seconds is not None and EARLIEST <= seconds <= now + 86_400 else None


def unsettled(modified: float, now: float, settle_seconds: float) -> bool:
    """Whether a file was written so recently that its writer may not be done. A time ahead of the clock is settled:
    else a wrong clock would hold it back for ever."""
    return 0 <= now - modified < settle_seconds


def as_id(name: str) -> str:
    """A file name as an id that any database takes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def digest(values: Iterable[object]) -> str:
    """A short name for a state made of these values."""
    made = blake2b(digest_size=16)
    for value in values:
        made.update(repr(value).encode("utf-8", "backslashreplace"))
        made.update(b"\0")
    return made.hexdigest()


def reason(error: OSError) -> str:
    """Why a file could not be read, without its name."""
    return error.strerror or type(error).__name__


def is_regular(found: os.stat_result) -> bool:
    """Whether it is a file: not a pipe that would block a reader, nor a device."""
    return stat.S_ISREG(found.st_mode)
