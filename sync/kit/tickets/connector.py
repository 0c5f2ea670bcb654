"""The part that all ticket connectors share: `TicketConnector`. What is left to write are endpoints and the mapping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from sync.connector import (
    LISTED_MAX,
    ConnectorConfig,
    ConnectorInfo,
    Finding,
    PassContext,
    Severity,
    Stream,
    StreamRole,
)
from sync.errors import InboxSyncError, MessageError, TemporaryError
from sync.message import (
    Attachment,
    Batch,
    Content,
    FingerprintParts,
    Found,
    Gone,
    Json,
    LeaveOut,
    LeftOut,
    Listed,
    Message,
)

from .said import Said, TicketSettings, message_of

BATCH_MAX = 500
"""Messages in one batch at most."""
QUIET_LOOKS = 25
"""Looks without news after which the bookmark is put down all the same."""
MAX_PAUSES = 10
"""In a row, in a listing, without anything new between them."""
TAKEN_BACK = "internal"
"""The version of a public message that was made internal."""
KNOWN_AT_ONCE = 1000
"""Ids that the ledger is asked about in one question."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message at its place. `id` never changes and is enough for `load` to find it; `at` is the service's time of
    *this message* (UTC), whatever happened to its ticket since; entries of one moment come in the service's order.
    `said` None: `load` gives it; LeftOut: why it is not wanted. `version` changes when the message is edited, "" where
    the service does not tell. `fingerprint` for mail whose headers the service shows."""

    id: str
    at: datetime
    said: Said | LeftOut | None = None
    version: str = ""
    size: int | None = None
    fingerprint: FingerprintParts | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look brought, and the bookmark after it (a whole JSON cursor: `TimeMark.dump()`, `IdMark.dump()`)."""

    entries: Sequence[Entry]
    mark: Json


async def taken_back(places: Mapping[str, datetime], ctx: PassContext) -> list[Entry]:
    """For services in which a message gets another id when it is made internal: `places` are the ids under which internal
    messages would be public, with their times. Those that the ledger has were public; what of them waits to be delivered
    is left out."""
    known = await ctx.known("", list(places)) if places else frozenset[str]()
    why = LeftOut(LeaveOut.INTERNAL, "it was made internal at its service")
    return [Entry(one, at, why, version=TAKEN_BACK) for one, at in places.items() if one in known]


class TicketConnector(ABC):
    """A helpdesk as one stream. A subclass sets `info` and `Config` (derived from `TicketSettings`) and writes `account`,
    `look`, `load`, `check_access` and, for files, `open_file`. Where the service only tells which tickets changed, it
    derives from `ByTickets` instead."""

    info: ClassVar[ConnectorInfo]
    Config: ClassVar[type[ConnectorConfig]] = TicketSettings
    stream_key: ClassVar[str] = "tickets"
    overlap_seconds: ClassVar[float] = 300.0
    """How far looks reach back: what the service commits or indexes late."""
    hidden_seconds: ClassVar[float] = 0.0
    """What came so shortly ago the service does not show yet; so much less is known when a pass ends."""

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, TicketSettings):
            raise TypeError(f"{type(self).__name__} takes settings derived from TicketSettings")
        self._tickets = config

    # -- what a service has to say

    @property
    @abstractmethod
    def account(self) -> str:
        """Which account this is, without a secret."""

    @abstractmethod
    def look(self, mark: Json, ctx: PassContext) -> AsyncIterator[Look]:
        """What is new since `mark` (None or unreadable: since `ctx.since`, by the time of the messages), with overlap:
        repeats are dropped. Asked with None, it gives everything since `ctx.since`."""

    @abstractmethod
    async def load(self, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Entry | Gone]:
        """These messages, with `said`. One that is missing in the answer is asked for again later."""

    @abstractmethod
    async def check_access(self, ctx: PassContext) -> Sequence[Finding]:
        """Whether everything that is needed can be read; names a permission that is missing. What it raises becomes a
        finding."""

    def open_file(self, external_id: str, attachment: Attachment, ctx: PassContext) -> AsyncIterator[bytes]:
        """The bytes of one file: usually `self.client.download(ctx, attachment.ref)`."""
        del external_id, attachment, ctx
        raise MessageError("this service gives no files", code="connector.no_files")

    # -- the contract (`sync.connector`)

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        """What `check_access` found, errors as findings."""
        try:
            return await self.check_access(ctx)
        except InboxSyncError as error:
            return [Finding(Severity.ERROR, str(error), next_step=error.next_step, code=error.code)]

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """One, in which the service says who is an agent."""
        del ctx
        return [Stream(self.stream_key, StreamRole.BOTH, self.overlap_seconds)]

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        """What is new, and what was edited, in batches in ascending order."""
        del stream
        known_until = ctx.now() - timedelta(seconds=self.hidden_seconds)
        mark, held, quiet = cursor, tuple[Found, ...](), 0
        try:
            async for look in self.look(cursor, ctx):
                if held or quiet >= QUIET_LOOKS:
                    yield Batch(held, mark)
                    quiet = 0
                found = await self._news(look.entries, ctx)
                while len(found) > BATCH_MAX:
                    yield Batch(tuple(found[:BATCH_MAX]), mark)
                    found = found[BATCH_MAX:]
                held, mark, quiet = tuple(found), look.mark, quiet + 1
        except TemporaryError:
            if held or mark != cursor:  # the next pass goes on here, also where there was nothing to find
                yield Batch(held, mark)
            raise
        yield Batch(held, mark, complete_until=known_until)

    async def _news(self, entries: Sequence[Entry], ctx: PassContext) -> list[Found]:
        """What the ledger has not, or has in another version."""
        by_id = {entry.id: entry for entry in entries}
        ids, known, versions = list(by_id), set[str](), dict[str, str]()
        for start in range(0, len(ids), KNOWN_AT_ONCE):
            some = ids[start : start + KNOWN_AT_ONCE]
            known |= await ctx.known("", some)
            told = [one for one in some if by_id[one].version and one in known]
            versions |= await ctx.versions("", told) if told else {}
        wanted = [
            one for one in by_id.values() if one.id not in known or versions.get(one.id, one.version) != one.version
        ]
        return [self._found(entry, ctx) for entry in sorted(wanted, key=lambda one: one.at)]

    def _found(self, entry: Entry, ctx: PassContext) -> Found:
        content = None if entry.said is None else self._content(entry, ctx)
        return Found(
            entry.id,
            entry.at,
            written_at=entry.at,
            size=entry.size,
            fingerprint=entry.fingerprint,
            content=content,
            version=entry.version,
        )

    def _content(self, entry: Entry, ctx: PassContext) -> Message | LeftOut:
        if entry.said is None:
            raise TypeError("`load` gives entries with what was said")
        if isinstance(entry.said, LeftOut):
            return entry.said
        limit = ctx.size_limit_bytes
        return message_of(entry.said, entry.at, self._tickets, self.info.name, limit_bytes=limit)

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """The content of these messages."""
        del stream, epoch
        loaded = await self.load(ids, ctx)
        return {name: one if isinstance(one, Gone) else self._content(one, ctx) for name, one in loaded.items()}

    async def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        """Everything that was said since then. Where the service wants to be left alone, it pauses, and goes on."""
        del stream
        given: set[str] = set()
        mark, pauses = None, 0
        while True:
            try:
                async for look in self.look(mark, replace(ctx, since=since, is_listing=True)):
                    mark, pauses = look.mark, 0
                    async for piece in self._pieces(look.entries, given, since, ctx):
                        yield piece
                break
            except TemporaryError as error:
                pauses += 1
                if error.retry_after_seconds is None or pauses > MAX_PAUSES:
                    raise
                pause = error.retry_after_seconds
            yield Listed((), pause_seconds=pause)
        if not given:
            yield Listed(())

    async def _pieces(
        self, entries: Sequence[Entry], given: set[str], since: datetime | None, ctx: PassContext
    ) -> AsyncIterator[Listed]:
        """What was not listed yet."""
        fresh = {one.id: one for one in entries if one.id not in given}
        given.update(fresh)
        ids = list(fresh)
        for start in range(0, len(ids), LISTED_MAX):
            some = ids[start : start + LISTED_MAX]
            known = await ctx.known("", some)
            found = [
                replace(self._found(replace(fresh[one], said=None), ctx), version="")
                for one in some
                if one not in known and (since is None or fresh[one].at >= since)
            ]
            yield Listed(tuple(found), tuple(one for one in some if one in known))

    async def open_attachment(
        self, stream: Stream, epoch: str, external_id: str, attachment: Attachment, ctx: PassContext
    ) -> AsyncIterator[bytes]:
        """The bytes of one file of a message."""
        del stream, epoch
        async for piece in self.open_file(external_id, attachment, ctx):
            yield piece

    async def aclose(self) -> None:  # noqa: B027  a subclass may have something to close
        """There is no connection of its own."""
