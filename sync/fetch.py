"""Loading contents: of what a pass just found, and of rows that were recorded as `found` without content.

Rows are fetched in groups. A message in whose company a fetch failed is a suspect: it is fetched alone, after everything
else, so that one bad message costs one message. What hangs ends before the pass does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from sync.addressing import address_message
from sync.clock import Clock
from sync.connector import Aborts, Connector, Fetches, PassContext, Stream
from sync.decide import (
    HOLDS_NO_CLAIM,
    Dead,
    Loaded,
    Seen,
    Skip,
    SourceRules,
    Vanished,
    Verdict,
    backoff_seconds,
    see,
)
from sync.errors import InboxSyncError, MessageError, Scope, TemporaryError
from sync.ledger import FoundRow, Ledger, SourceRow, StreamRow
from sync.mail.address import normalise_address, split_addresses
from sync.message import Content, Found, Gone, LeftOut, Message, Unreadable
from sync.passes import MAX_BACKOFF_SECONDS, PassReport, PassTerms
from sync.settings import SourceSettings
from sync.spool import SPOOL_FULL, Room, Spooler
from sync.states import Reason
from sync.text.quotes import applied

log = structlog.get_logger()

FETCH_AT_ONCE = 50
FETCH_RETRY_SECONDS = 30.0
FETCH_SHARE = 0.5
"""The part of a pass's time that one fetch may take: what hangs at a message must end before the pass does, or it would
hang there in every pass."""
FETCH_HUNG = "source.fetch_hung"
FAILURES_IN_A_ROW = 3
"""After so many fetches of single messages failed in a row, it is the source that fails."""


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A message in whose company a fetch failed: how often, and when (by the elapsed clock) it is tried again."""

    failures: int = 0
    not_before: float = 0.0


class Fetcher:
    """Loads one source's contents, and knows which messages are suspects."""

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        *,
        connector: Connector,
        terms: PassTerms,
        ledger: Ledger,
        spool_max_bytes: int,
        clock: Clock,
    ) -> None:
        self._name = name
        self._settings = settings
        self._connector = connector
        self._terms = terms
        self._ledger = ledger
        self._spool_max_bytes = spool_max_bytes
        self._clock = clock
        self.spooler = Spooler(
            name,
            settings,
            connector=connector,
            terms=terms,
            ledger=ledger,
            spool_max_bytes=spool_max_bytes,
            clock=clock,
        )
        self._suspects: dict[int, _Suspect] = {}
        self._any_due = True
        """Whether rows waited for their content when the pass began."""
        self.loads = False
        """Whether the pass could load what was found before, as far as there was room."""

    @property
    def put_off(self) -> frozenset[int]:
        """Messages that could not be loaded and are not tried again at once."""
        return frozenset(message_id for message_id, one in self._suspects.items() if one.failures)

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """Contents by id, within a part of the pass's time. Raises TemporaryError (`FETCH_HUNG`) when that is over, and
        what the connector raises."""
        if not ids or not isinstance(self._connector, Fetches):
            return {}
        seconds = self._settings.pass_timeout_seconds * FETCH_SHARE
        try:
            async with asyncio.timeout(seconds):
                return await self._connector.fetch(stream, epoch, ids, ctx)
        except TimeoutError:
            abort(self._connector)
            raise TemporaryError(
                f"loading {len(ids)} messages took longer than {seconds:g} s",
                code=FETCH_HUNG,
                next_step="nothing: they are loaded one by one; if it stays, raise pass_timeout_seconds",
                source=self._name,
            ) from None

    async def with_files(self, stream: Stream, epoch: str, one: Seen, ctx: PassContext, room: Room) -> Seen:
        """The message with its files if it is to be delivered. Raises what `Spooler.spool` does."""
        if not isinstance(one.content, Loaded):
            return one
        return replace(one, content=await self.spooler.spool(stream, epoch, one.external_id, one.content, ctx, room))

    async def load_found(
        self, source: SourceRow, streams: Mapping[str, Stream], rows: Mapping[str, StreamRow], report: PassReport
    ) -> None:
        """Rows that are due, together as far as they can be, up to the first that finds no room: what comes after it would
        wait for it in the spool. Those with which a fetch failed are left for later."""
        self.loads = False
        if not isinstance(self._connector, Fetches):
            return
        due = await self._due_fetches()
        self._any_due = bool(due)
        for group in _fetch_groups([row for row in due if not self._is_suspect(row)]):
            left: Sequence[FoundRow] = group
            while left and not report.spool_full:
                try:
                    left = await self._load_some(source, streams, rows, left, report)
                except (TemporaryError, MessageError) as error:
                    self.suspect([one.message_id for one in left])
                    if not is_about_messages(error):
                        raise
                    break
        self.loads = not self._suspects

    async def load_suspects(
        self, source: SourceRow, streams: Mapping[str, Stream], rows: Mapping[str, StreamRow], report: PassReport
    ) -> None:
        """Messages with which a fetch failed, one by one and after everything else. A failure that may be the source's
        counts against a message only when another one could be loaded: an outage must make nothing `gone`."""
        if not isinstance(self._connector, Fetches):
            return
        self.loads = not self._suspects
        if not (self._any_due or self._suspects):
            return
        due = [row for row in await self._due_fetches() if self._is_suspect(row)]
        self._suspects = {row.message_id: self._suspects.get(row.message_id, _Suspect()) for row in due}
        failed: list[FoundRow] = []
        failures_in_a_row = 0
        failure: InboxSyncError | None = None
        gave_up = False
        for row in sorted(due, key=lambda row: (row.fetch_attempts, self._suspects[row.message_id].failures)):
            if self._suspects[row.message_id].not_before > self._clock.elapsed_seconds():
                continue
            gave_up = gave_up or failures_in_a_row == FAILURES_IN_A_ROW
            if gave_up:
                break
            try:
                if await self._load_some(source, streams, rows, [row], report):
                    break  # the spool is full
                failures_in_a_row = 0
            except (TemporaryError, MessageError) as error:
                log.warning("message.not_fetched", source=self._name, message=row.message_id, code=error.code)
                if is_about_messages(error):
                    await self._fetch_failed([row])
                    continue
                self._put_off(row)
                failed.append(row)
                failure = error
                failures_in_a_row += 1
                gave_up = error.code == FETCH_HUNG  # two of them would use up the pass
        if report.fetched:
            await self._fetch_failed(failed)
        elif failure is not None:
            raise failure
        self.loads = not gave_up

    async def _due_fetches(self) -> Sequence[FoundRow]:
        return await self._ledger.call(
            self._ledger.messages.to_fetch, self._name, self._clock.now(), FETCH_AT_ONCE * 20
        )

    async def has_room(self) -> bool:
        """Whether the next pass would find room for the first message that waits for its content."""
        if await self._ledger.call(self._ledger.messages.spooled_bytes) < self._spool_max_bytes:
            return True
        first = await self._ledger.call(self._ledger.messages.to_fetch, self._name, self._clock.now(), 1)
        return bool(first) and await self.spooler.room_ahead(first[0]) is not None

    async def _load_some(
        self,
        source: SourceRow,
        streams: Mapping[str, Stream],
        rows: Mapping[str, StreamRow],
        group: Sequence[FoundRow],
        report: PassReport,
    ) -> Sequence[FoundRow]:
        """Loads the first rows of a group, as many as find room: at least the first one, if it must not wait for room.
        Returns those that are left; the report says when it is for want of room."""
        room = await self.spooler.room()
        free = self._spool_max_bytes - room.waiting_bytes
        if free > 0:
            count = _that_fit(group, free, self._settings.size_limit_bytes)
            unplaced = await self._load_group(source, streams, rows, group[:count], room, report)
            if len(unplaced) < count:
                return [*unplaced, *group[count:]]
        ahead = await self.spooler.room_ahead(group[0])
        if ahead is not None and not await self._load_group(source, streams, rows, group[:1], ahead, report):
            return group[1:]
        report.spool_full = True
        return group

    def _is_suspect(self, row: FoundRow) -> bool:
        return row.fetch_attempts > 0 or row.message_id in self._suspects

    def suspect(self, message_ids: Collection[int]) -> None:
        """A fetch of these failed: from now on they are fetched one by one."""
        self.loads = False
        for message_id in message_ids:
            self._suspects.setdefault(message_id, _Suspect())

    def _put_off(self, row: FoundRow) -> None:
        failures = self._suspects[row.message_id].failures + 1
        wait = backoff_seconds(failures, min(FETCH_RETRY_SECONDS, self._settings.every), MAX_BACKOFF_SECONDS)
        self._suspects[row.message_id] = _Suspect(failures, self._clock.elapsed_seconds() + wait)

    async def _load_group(
        self,
        source: SourceRow,
        streams: Mapping[str, Stream],
        rows: Mapping[str, StreamRow],
        group: Sequence[FoundRow],
        room: Room,
        report: PassReport,
    ) -> Sequence[FoundRow]:
        """Loads what finds room, up to the first message that does not. Returns those that have to wait for it."""
        stream = streams.get(group[0].stream)
        generation, _, epoch = group[0].epoch.partition(":")
        if stream is None or generation != str(source.generation):
            await self._fetch_failed(group)
            return ()
        row = rows[stream.key]
        rules = self._terms.rules(source, stream, row, epoch)
        ids = [one.external_id for one in group]
        ctx = self._terms.context(source, row)
        contents = await self.fetch(stream, epoch, ids, ctx)
        report.fetched += len(contents)
        missing: list[FoundRow] = []
        unplaced: list[FoundRow] = []
        verdicts: dict[int, Verdict] = {}
        for one in group:
            content = contents.get(one.external_id)
            if content is None:
                missing.append(one)
                continue
            asked = replace(rules, overruled=True) if one.late else rules
            verdict = Vanished(content.why) if isinstance(content, Gone) else verdict_on(content, asked)
            if isinstance(verdict, Loaded):
                if unplaced:
                    unplaced.append(one)
                    continue
                try:
                    verdict = await self.spooler.spool(stream, epoch, one.external_id, verdict, ctx, room)
                except TemporaryError as error:
                    if error.code != SPOOL_FULL:
                        raise
                    unplaced.append(one)
                    continue
            verdicts[one.message_id] = verdict
        now = self._clock.now()
        report.deliveries += await self._ledger.call(
            self._ledger.messages.load_contents,
            verdicts,
            now,
            self._terms.release_at(row, now),
            self._settings.participant_messages_per_hour,
            self._terms.lease,
        )
        await self._fetch_failed(missing)
        return unplaced

    async def _fetch_failed(self, rows: Sequence[FoundRow]) -> None:
        if not rows:
            return
        now = self._clock.now()
        tries = max(row.fetch_attempts for row in rows) + 1
        wait = backoff_seconds(tries, min(FETCH_RETRY_SECONDS, self._settings.every), MAX_BACKOFF_SECONDS)
        gone = await self._ledger.call(
            self._ledger.messages.fetch_failed,
            [row.message_id for row in rows],
            now,
            now + timedelta(seconds=wait),
            self._settings.max_fetch_attempts,
            self._terms.lease,
        )
        for message_id in gone:
            log.warning("message.gone", source=self._name, message=message_id)


def verdict_on(content: Message | Unreadable | LeftOut, rules: SourceRules) -> Loaded | Skip | Dead:
    """What is to be done with a message, now that its content is known."""
    if isinstance(content, Unreadable):
        return Dead(content.raw, content.why)
    if isinstance(content, LeftOut):
        return Skip(Reason(content.reason.value), content.why)
    return address_message(applied(content, rules.replies), rules, content.text)


def see_found(found: Found, rules: SourceRules, now: datetime) -> Seen:
    """A found message as the ledger will record it."""
    authors = () if found.fingerprint is None else split_addresses(found.fingerprint.author)
    author = next((normalise_address(address) for _name, address in authors), "")
    return with_content(see(found, author, rules, now), found.content, rules)


def with_content(one: Seen, content: Content | None, rules: SourceRules) -> Seen:
    """The message with what its content leads to."""
    if one.skip is not None or content is None or isinstance(content, Gone):
        return one
    verdict = verdict_on(content, rules)
    if isinstance(verdict, Skip) and verdict.reason in HOLDS_NO_CLAIM:
        return replace(one, claim_scope=None, content=verdict)
    return replace(one, content=verdict)


def has_files(one: Seen) -> bool:
    """Whether it is to be delivered with files."""
    return isinstance(one.content, Loaded) and bool(one.content.message.attachments)


def is_about_messages(error: InboxSyncError) -> bool:
    """Whether an error of a fetch is about the messages asked for, and not about the source."""
    return isinstance(error, MessageError) or (isinstance(error, TemporaryError) and error.scope is Scope.MESSAGE)


def abort(connector: Connector) -> None:
    """Closes a connector's sockets without waiting, where it knows how."""
    if isinstance(connector, Aborts):
        connector.abort()


def _that_fit(rows: Sequence[FoundRow], free_bytes: int, size_limit_bytes: int) -> int:
    """How many of the first rows there is room for, by their sizes; at least one."""
    for count, row in enumerate(rows):
        if free_bytes <= 0:
            return count
        free_bytes -= min(row.size or 0, size_limit_bytes)
    return len(rows)


def _fetch_groups(rows: Sequence[FoundRow]) -> list[list[FoundRow]]:
    """Rows to fetch together: of one stream and epoch."""
    groups: list[list[FoundRow]] = []
    for row in rows:
        last = groups[-1] if groups else None
        joins = (
            last is not None
            and (last[0].stream, last[0].epoch) == (row.stream, row.epoch)
            and len(last) < FETCH_AT_ONCE
        )
        if joins and last is not None:
            last.append(row)
        else:
            groups.append([row])
    return groups
