"""The `maildir` connector: what `sync.connector` asks for, on mail in files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sync.connector import LISTED_MAX, ConnectorConfig, ConnectorInfo, Finding, PassContext, Severity, Stream
from sync.errors import ConfigError, MessageError
from sync.kit.recent import pieces
from sync.mail import open_file, recognise, understand
from sync.message import Attachment, Batch, Content, Found, Gone, Json, Listed

from .config import MaildirConfig, MailFormat
from .layout import Place, detect, missing, open_folder, places, unreadable
from .store import HEADER_READ_BYTES, OVERSIZE_READ_BYTES, Entry, Folder, Scan, reason

KNOWN_AT_ONCE = 1000
"""Ids that the ledger is asked about in one question."""
BATCH_BYTES = 8 * 1024 * 1024
"""A batch ends when it has read this much, however few messages it holds."""


class Bookmark(BaseModel):
    """The cursor. `signature` is the folder's state when it was last read to its end; while it is the same, nothing
    is new. `first_at` (seconds) and `first_count` are when the first look was finished and over how many mails it
    went: what it left out as older than the horizon is not brought up again. None: it is not finished."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    v: Literal[1] = 1
    signature: str = ""
    first_at: float | None = None
    first_count: int = 0

    @classmethod
    def read(cls, cursor: Json) -> Bookmark:
        """What `write` made; for anything else a folder never looked at."""
        try:
            return cls.model_validate(cursor) if isinstance(cursor, dict) else cls()
        except ValidationError:
            return cls()

    def write(self) -> Json:
        """As JSON, without what is at its default."""
        made: Json = {"v": 1, **self.model_dump(mode="json", exclude_defaults=True)}
        return made


@dataclass(slots=True)
class _Index:
    """A folder's mails by id, for the state that `signature` names."""

    signature: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Open:
    """A stream's folder with its place, and where its mails were when it was last looked through."""

    place: Place
    folder: Folder
    index: _Index = field(default_factory=_Index)


class MaildirConnector:
    """A Maildir, an mbox file, or a folder of .eml files. Changes nothing: no flag, no file, no move to `cur`."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="maildir",
        summary="Mail in files: a Maildir, an mbox, or a folder of .eml files",
        permissions=("read the files",),
    )
    Config: ClassVar[type[ConnectorConfig]] = MaildirConfig

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, MaildirConfig):
            raise TypeError("MaildirConnector takes a MaildirConfig")
        self._config = config
        self._open: dict[str, _Open] = {}
        self._format = MailFormat.AUTO
        self._complained: set[Path] = set()

    @property
    def account(self) -> str:
        """The path."""
        return str(self._config.path)

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """The configured folders, those that do not exist last: their `poll` raises ConfigError."""
        del ctx
        return await asyncio.to_thread(self._streams)

    def _streams(self) -> Sequence[Stream]:
        config = self._config
        mail_format = detect(config)
        try:
            found = places(config, mail_format)
        except OSError as error:
            raise unreadable(config.path, error) from error
        kept = {key: one for key, one in self._open.items() if one.place in found and mail_format is self._format}
        for place in found:
            if place.path is not None and place.name not in kept:
                kept[place.name] = _Open(place, open_folder(place, mail_format, found))
        self._open, self._format = kept, mail_format
        return [Stream(place.name, place.role) for place in found]

    def _folder(self, key: str) -> Folder:
        if key not in self._open:
            self._streams()
        one = self._open.get(key)
        if one is None:
            raise missing(self._config, key, self._format)
        return one.folder

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        """What the ledger does not know yet, oldest first, with its content."""
        mark = Bookmark.read(cursor)
        looked_at = ctx.now()
        scan = await asyncio.to_thread(self._look, stream.key, mark, looked_at.timestamp())
        if scan is None:
            yield Batch((), cursor=mark.write(), complete_until=looked_at)
            return
        self._complain(scan.problems, ctx)
        first = mark.first_at is None
        entries = await self._unknown(_candidates(scan.entries, mark, ctx.since, first=first), ctx)
        end = Bookmark(
            signature=scan.signature,
            first_at=looked_at.timestamp() if mark.first_at is None else mark.first_at,
            first_count=len(scan.entries) if first else mark.first_count,
        )
        complete_until = looked_at
        if scan.unsettled is not None:
            complete_until = min(looked_at, datetime.fromtimestamp(scan.unsettled, UTC))
        since = ctx.since if first else None
        start = before_horizon = 0
        while True:
            some, start = await asyncio.to_thread(self._read, stream.key, entries, start, since, ctx)
            self._complain(some.problems, ctx)
            if some.problems:
                end = end.model_copy(update={"signature": ""})
            before_horizon += some.before_horizon
            done = start >= len(entries)
            yield Batch(
                tuple(some.found),
                cursor=(end if done else mark).write(),
                complete_until=complete_until if done else None,
                before_horizon=before_horizon if done else 0,
            )
            if done:
                return

    def _look(self, key: str, mark: Bookmark, now: float) -> Scan | None:
        folder = self._folder(key)
        path = self._open[key].place.path or self._config.path
        try:
            if mark.signature and folder.signature() == mark.signature:
                return None
            scan = folder.scan(now, self._config.settle_seconds)
        except FileNotFoundError as error:
            self._open.pop(key, None)
            raise missing(self._config, key, self._format) from error
        except OSError as error:
            raise unreadable(path, error) from error
        return None if mark.signature and scan.signature == mark.signature else scan

    def _complain(self, problems: Sequence[tuple[Path, str]], ctx: PassContext) -> None:
        for path, why in problems:
            if path not in self._complained:
                self._complained.add(path)
                ctx.log.warning("maildir.file_unreadable", path=str(path), why=why)

    @staticmethod
    async def _unknown(entries: Sequence[Entry], ctx: PassContext) -> Sequence[Entry]:
        unknown: list[Entry] = []
        for start in range(0, len(entries), KNOWN_AT_ONCE):
            some = entries[start : start + KNOWN_AT_ONCE]
            known = await ctx.known("", [entry.external_id for entry in some])
            unknown += [entry for entry in some if entry.external_id not in known]
        return unknown

    def _read(
        self,
        key: str,
        entries: Sequence[Entry],
        start: int,
        since: datetime | None,
        ctx: PassContext,
    ) -> tuple[_Some, int]:
        """The next batch, and where the one after it starts."""
        folder = self._folder(key)
        some = _Some([], [])
        limit_bytes = min(self._config.max_message_bytes or ctx.size_limit_bytes, ctx.size_limit_bytes)
        read_bytes, position = 0, start
        while position < len(entries) and position - start < self._config.batch_messages and read_bytes < BATCH_BYTES:
            entry = entries[position]
            position += 1
            try:
                found = self._found(folder, entry, limit_bytes, since)
            except FileNotFoundError:
                continue  # removed meanwhile
            except OSError as error:
                some.problems.append((entry.path, reason(error)))
                continue
            if found is None:
                some.before_horizon += 1
            else:
                some.found.append(found)
                read_bytes += min(entry.size, limit_bytes)
        return some, position

    @staticmethod
    def _found(folder: Folder, entry: Entry, limit_bytes: int, since: datetime | None) -> Found | None:
        arrived_at = datetime.fromtimestamp(entry.arrived, UTC)
        whole = entry.size <= limit_bytes
        head = folder.read(entry, HEADER_READ_BYTES)
        headers = recognise(head)
        if since is not None and arrived_at < since and (headers.written_at is None or headers.written_at < since):
            return None
        if entry.size <= len(head):
            raw = head
        else:
            raw = folder.read(entry, limit_bytes if whole else min(OVERSIZE_READ_BYTES, limit_bytes))
        return Found(
            external_id=entry.external_id,
            arrived_at=arrived_at,
            written_at=headers.written_at,
            size=entry.size,
            fingerprint=headers.fingerprint,
            content=understand(raw, limit_bytes=limit_bytes, full_size=None if whole else entry.size),
        )

    # -- what is there, and single mails

    async def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        """What the folder holds, by arrival as a first look would tell it."""
        scan = await asyncio.to_thread(self._look, stream.key, Bookmark(), ctx.now().timestamp())
        self._complain(scan.problems if scan else (), ctx)
        entries = _candidates(scan.entries if scan else (), Bookmark(), ctx.since, first=True)
        listed_any = False
        for start in range(0, len(entries), LISTED_MAX):
            some = entries[start : start + LISTED_MAX]
            known = await ctx.known("", [entry.external_id for entry in some])
            unknown = [one for one in some if one.external_id not in known and _is_since(one, since)]
            found = await asyncio.to_thread(self._headers, stream.key, unknown, ctx)
            yield Listed(tuple(found), tuple(one.external_id for one in some if one.external_id in known))
            listed_any = True
        if not listed_any:
            yield Listed(())

    def _headers(self, key: str, entries: Sequence[Entry], ctx: PassContext) -> Sequence[Found]:
        folder = self._folder(key)
        found: list[Found] = []
        for entry in entries:
            try:
                headers = recognise(folder.read(entry, HEADER_READ_BYTES))
            except FileNotFoundError:
                continue  # removed meanwhile
            except OSError as error:
                self._complain([(entry.path, reason(error))], ctx)
                continue
            arrived_at = datetime.fromtimestamp(entry.arrived, UTC)
            found.append(
                Found(entry.external_id, arrived_at, headers.written_at, entry.size, fingerprint=headers.fingerprint)
            )
        return found

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """The content of these mails. Left out: those whose files cannot be read."""
        del epoch
        return await asyncio.to_thread(lambda: dict(self._contents(stream.key, ids, ctx)))

    def _contents(self, key: str, ids: Sequence[str], ctx: PassContext) -> Iterator[tuple[str, Content]]:
        folder = self._folder(key)
        index = self._index(key, ctx)
        limit_bytes = min(self._config.max_message_bytes or ctx.size_limit_bytes, ctx.size_limit_bytes)
        for external_id in ids:
            entry = index.get(external_id)
            if entry is None:
                yield external_id, Gone("it is no longer in the folder")
                continue
            whole = entry.size <= limit_bytes
            try:
                raw = folder.read(entry, limit_bytes if whole else min(OVERSIZE_READ_BYTES, limit_bytes))
            except FileNotFoundError:
                yield external_id, Gone("it is no longer in the folder")
            except OSError as error:
                self._complain([(entry.path, reason(error))], ctx)
            else:
                yield external_id, understand(raw, limit_bytes=limit_bytes, full_size=None if whole else entry.size)

    async def open_attachment(
        self, stream: Stream, epoch: str, external_id: str, attachment: Attachment, ctx: PassContext
    ) -> AsyncIterator[bytes]:
        """A file of a mail, out of the mail's own file."""
        del epoch
        data = await asyncio.to_thread(self._file, stream.key, external_id, attachment, ctx)
        for piece in pieces(data):
            yield piece

    def _file(self, key: str, external_id: str, attachment: Attachment, ctx: PassContext) -> bytes:
        folder = self._folder(key)
        limit_bytes = min(self._config.max_message_bytes or ctx.size_limit_bytes, ctx.size_limit_bytes)
        entry = self._index(key, ctx).get(external_id)
        data = None
        if entry is not None and entry.size > limit_bytes:
            raise MessageError("its mail is larger than size_limit_bytes", code="maildir.too_large")
        if entry is not None:
            try:
                data = open_file(folder.read(entry, limit_bytes), attachment.ref)
            except OSError as error:
                raise MessageError(
                    f"its mail cannot be read: {reason(error)}", code="maildir.file_unreadable"
                ) from error
        if data is None:
            raise MessageError("its mail does not hold it any more", code="maildir.attachment_gone")
        return data

    def _index(self, key: str, ctx: PassContext) -> Mapping[str, Entry]:
        """The folder's mails by id. It is looked through again only when it has changed."""
        index = self._open[key].index
        if index.signature and self._open[key].folder.signature() == index.signature:
            return index.entries
        scan = self._look(key, Bookmark(), ctx.now().timestamp())
        index.signature = scan.signature if scan else ""
        index.entries = {entry.external_id: entry for entry in scan.entries} if scan else {}
        return index.entries

    async def aclose(self) -> None:
        """Nothing stays open between calls."""
        self._open = {}

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        """The path, its format, and every folder with what it holds and what of it cannot be read."""
        try:
            streams = await self.streams(ctx)
        except ConfigError as error:
            return [_finding(error)]
        findings = [Finding(Severity.OK, f"{self._config.path} is read as {self._format}.", code="maildir.format")]
        for stream in streams:
            findings += await asyncio.to_thread(self._check_folder, stream.key, ctx)
        return findings

    def _check_folder(self, key: str, ctx: PassContext) -> Sequence[Finding]:
        try:
            scan = self._look(key, Bookmark(), ctx.now().timestamp())
        except ConfigError as error:
            return [_finding(error)]
        entries = scan.entries if scan else []
        problems = list(scan.problems) if scan else []
        folder = self._folder(key)
        for entry in entries:
            try:
                folder.read(entry, 1)
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append((entry.path, reason(error)))
        good = Finding(Severity.OK, f'Folder "{key}": {len(entries)} messages.', code="maildir.folder")
        return [good, _unreadable_files(problems)] if problems else [good]


@dataclass(slots=True)
class _Some:
    """One batch as it is read."""

    found: list[Found]
    problems: list[tuple[Path, str]]
    before_horizon: int = 0


def _candidates(entries: Sequence[Entry], mark: Bookmark, since: datetime | None, *, first: bool) -> list[Entry]:
    """What may be new, by arrival. At the first look an archive that was copied here goes by the mails' own times,
    since those of the file system are the copy's; whatever came after the horizon keeps its arrival. Later, what the
    first look left out as older than the horizon is passed over."""
    horizon = since.timestamp() if since is not None else None
    chosen: list[Entry] = []
    for entry in entries:
        arrived = entry.arrived
        if first:
            if entry.own is not None and (horizon is None or arrived < horizon):
                arrived = min(arrived, entry.own)
        elif horizon is not None and arrived < horizon and _was_there(entry, mark):
            continue
        chosen.append(replace(entry, arrived=arrived))
    chosen.sort(key=lambda entry: (entry.arrived, entry.ordinal or 0, entry.external_id))
    return chosen


def _is_since(entry: Entry, since: datetime | None) -> bool:
    return since is None or datetime.fromtimestamp(entry.arrived, UTC) >= since


def _was_there(entry: Entry, mark: Bookmark) -> bool:
    if entry.changed is not None and mark.first_at is not None:
        return entry.changed < mark.first_at
    return entry.ordinal is not None and entry.ordinal < mark.first_count


def _finding(error: ConfigError) -> Finding:
    return Finding(Severity.ERROR, str(error), next_step=error.next_step, code=error.code)


def _unreadable_files(problems: Sequence[tuple[Path, str]]) -> Finding:
    path, why = problems[0]
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Finding(
        Severity.ERROR,
        f"{path}{more} cannot be read: {why}.",
        next_step="Let the user that runs inbox-sync read the files (group or setfacl).",
        code="maildir.file_unreadable",
    )
