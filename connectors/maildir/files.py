"""Folders where each mail is a file of its own: Maildir and folders of .eml files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

from sync.mail import recognise

from .store import HEADER_READ_BYTES, PIECE_BYTES, Entry, Scan, as_id, digest, is_regular, reason, sane, unsettled

_INFO = re.compile(r"[:;!]2,[A-Za-z]*$")
"""Flags behind the unique name; `;` and `!` where the file system takes no colon."""
_NAME_TIME = re.compile(r"(\d{9,10})\.(?:[^.]*?M(\d{1,6})(?!\d))?")
_RECENT_SECONDS = 2.0
"""A folder changed this recently may change again without its time telling (time stamps are coarse)."""


def unique_name(name: str) -> str:
    """What stays of a Maildir file's name when its flags change."""
    return _INFO.sub("", name)


def name_time(name: str) -> float | None:
    """The delivery time in a Maildir name (`1700000000.M123456P1.host`), in seconds."""
    match = _NAME_TIME.match(name)
    return int(match[1]) + int(match[2] or 0) / 1e6 if match else None


class MaildirFolder:
    """One Maildir: `new` and `cur`. Nothing is moved from one to the other."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def signature(self) -> str:
        """From the times of both directories: they change with every delivery, removal and change of flags."""
        return digest((name, (self._place / name).stat().st_mtime_ns) for name in self._parts())

    def _parts(self) -> list[str]:
        # `new` first: what moves to `cur` meanwhile is then seen twice instead of never.
        return [name for name in ("new", "cur") if (self._place / name).is_dir()]

    def scan(self, now: float, settle_seconds: float) -> Scan:
        """All mail. Deliveries are renamed into place whole, so nothing here needs to settle."""
        del settle_seconds
        scan = Scan()
        before = self.signature()
        changed = max(((self._place / name).stat().st_mtime for name in self._parts()), default=0.0)
        seen: set[str] = set()
        for part in self._parts():
            for entry in self._entries(self._place / part, now, scan):
                if entry.external_id not in seen:
                    seen.add(entry.external_id)
                    scan.entries.append(entry)
        if not scan.problems and now - changed > _RECENT_SECONDS and before == self.signature():
            scan.signature = before
        return scan

    @staticmethod
    def _entries(folder: Path, now: float, scan: Scan) -> Iterator[Entry]:
        with os.scandir(folder) as names:
            for item in names:
                if item.name.startswith("."):
                    continue
                try:
                    found = item.stat()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    scan.problems.append((Path(item.path), reason(error)))
                    continue
                if is_regular(found):
                    name = unique_name(item.name)
                    yield Entry(
                        external_id=as_id(name),
                        path=Path(item.path),
                        size=found.st_size,
                        arrived=found.st_mtime,
                        own=sane(name_time(name), now),
                        changed=found.st_ctime,
                    )

    def read(self, entry: Entry, limit_bytes: int) -> bytes:
        """The mail, also when its flags have changed since the scan."""
        try:
            return _read(entry.path, limit_bytes)
        except FileNotFoundError:
            wanted = unique_name(entry.path.name)
            for part in ("cur", "new"):
                for path in (self._place / part).glob("*"):
                    if unique_name(path.name) == wanted:
                        return _read(path, limit_bytes)
            raise


class EmlFolder:
    """A folder of .eml files, with its sub-folders but those named in `leave_out`. A file's id is a hash of its
    content: it may be renamed or moved; a copy is one more mail."""

    def __init__(self, place: Path, leave_out: frozenset[Path] = frozenset()) -> None:
        self._place = place
        self._leave_out = leave_out
        self._hashed: dict[Path, tuple[int, int, str, datetime | None]] = {}

    def signature(self) -> str:
        """A tree has no cheap one."""
        return ""

    def scan(self, now: float, settle_seconds: float) -> Scan:
        """Every .eml file; those seen before are not read again."""
        scan = Scan()
        counts: dict[str, int] = {}
        hashed: dict[Path, tuple[int, int, str, datetime | None]] = {}
        for path in sorted(self._paths(scan)):
            try:
                found = path.stat()
                if not is_regular(found):
                    continue
                if unsettled(found.st_mtime, now, settle_seconds):
                    scan.unsettled = min(found.st_mtime, scan.unsettled or found.st_mtime)
                    continue
                before = self._hashed.get(path)
                if before is None or before[:2] != (found.st_size, found.st_mtime_ns):
                    before = (found.st_size, found.st_mtime_ns, *_hash_and_date(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                scan.problems.append((path, reason(error)))
                continue
            hashed[path] = before
            content, date = before[2:]
            counts[content] = counts.get(content, 0) + 1
            scan.entries.append(
                Entry(
                    external_id=f"{content}.{counts[content]}",
                    path=path,
                    size=found.st_size,
                    arrived=found.st_mtime,
                    own=sane(date.timestamp(), now) if date else None,
                    changed=found.st_ctime,
                    ordinal=len(scan.entries),
                )
            )
        self._hashed = hashed
        if not scan.problems and scan.unsettled is None:
            scan.signature = digest((str(path), *state[:2]) for path, state in hashed.items())
        return scan

    def _paths(self, scan: Scan) -> Iterator[Path]:
        if self._place.is_file():
            yield self._place
            return
        folders = [self._place]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as names:
                    for item in names:
                        path = Path(item.path)
                        if item.name.startswith("."):
                            continue
                        if item.is_dir(follow_symlinks=False):
                            if path not in self._leave_out:
                                folders.append(path)
                        elif item.name.lower().endswith(".eml"):
                            yield path
            except OSError as error:
                if folder == self._place:
                    raise
                scan.problems.append((folder, reason(error)))

    def read(self, entry: Entry, limit_bytes: int) -> bytes:
        """The mail."""
        return _read(entry.path, limit_bytes)


def _read(path: Path, limit_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit_bytes)


def _hash_and_date(path: Path) -> tuple[str, datetime | None]:
    made = blake2b(digest_size=16)
    with path.open("rb") as file:
        head = file.read(HEADER_READ_BYTES)
        made.update(head)
        while piece := file.read(PIECE_BYTES):
            made.update(piece)
    return made.hexdigest(), recognise(head).written_at
