"""One pass of one source: what is new is judged, loaded, and recorded together with the cursor.

    connector.poll ─batch─▶ headers judged ▶ new to the ledger? ▶ content fetched, addressed ▶ rows + deliveries + cursor

A crash can neither lose nor skip: rows and cursor commit together. A batch whose contents could not be fetched is
recorded as `found`; such rows are fetched one by one in later passes, so that one bad message costs one message.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from sync.clock import Clock
from sync.connector import Aborts, Connector, Fetches, Http, PassContext, Stream
from sync.decide import (
    HOLDS_NO_CLAIM,
    Dead,
    Loaded,
    Seen,
    Skip,
    SourceRules,
    Vanished,
    address_message,
    backoff_seconds,
    see,
)
from sync.errors import AuthError, ConfigError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.ledger import FoundRow, Ledger, Mark, PassEnd, SourceRow, StreamRow, View
from sync.mail.address import OwnAddresses, normalise_address, split_addresses
from sync.mail.machine import is_loop
from sync.message import Batch, Content, Found, Gone, Message, Unreadable
from sync.settings import SourceSettings
from sync.states import Reason

log = structlog.get_logger()

FIRST_LOAD_WAIT_SECONDS = 600.0
"""While a source is loaded for the first time its rows wait for its other streams, at most so long; the end of the pass
lets them go."""
CLOCK_GRAIN = timedelta(seconds=1)
"""Services tell arrival in whole seconds. What arrived in the second of the horizon was there before if the first look
saw it, and came after if a later look did."""
FETCH_AT_ONCE = 50
MAX_BACKOFF_SECONDS = 900.0
FETCH_RETRY_SECONDS = 30.0
FETCH_SHARE = 0.5
"""The part of a pass's time that one fetch may take: what hangs at a message must end before the pass does, or it would
hang there in every pass."""
FETCH_HUNG = "source.fetch_hung"
FAILURES_IN_A_ROW = 3
"""After so many fetches of single messages failed in a row, it is the source that fails."""


@dataclass(slots=True)
class PassReport:
    """What one pass did. `error` is why it ended early or which stream failed; `spool_full`: there is more to load when
    there is room."""

    source: str
    found: int = 0
    repeated: int = 0
    new: int = 0
    before_horizon: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0
    error: InboxSyncError | None = None
    spool_full: bool = False
    abandoned: bool = False
    fetched: int = 0
    good_streams: int = 0
    next_wait_seconds: float = 0.0
    seconds: float = 0.0

    def plus(self, later: PassReport) -> PassReport:
        """This pass and a later one, told as one."""
        return replace(
            later,
            found=self.found + later.found,
            repeated=self.repeated + later.repeated,
            new=self.new + later.new,
            before_horizon=self.before_horizon + later.before_horizon,
            skipped=self.skipped + later.skipped,
            dead=self.dead + later.dead,
            deliveries=self.deliveries + later.deliveries,
            seconds=self.seconds + later.seconds,
        )


class Poller:
    """Polls one source. One pass at a time."""

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        *,
        inbox: str,
        connector: Connector,
        own_addresses: OwnAddresses,
        ledger: Ledger,
        spool_max_bytes: int,
        http: Http | None,
        clock: Clock,
    ) -> None:
        self.name = name
        self.settings = settings
        self.inbox = inbox
        self.connector = connector
        self._own = own_addresses
        self._ledger = ledger
        self._spool_max_bytes = spool_max_bytes
        self.http = http
        self._clock = clock
        self._running = asyncio.Lock()
        self._failed_streams: set[str] = set()
        self._suspects: dict[int, _Suspect] = {}

    async def load(self) -> SourceRow:
        """Makes the source known to the ledger; its start is fixed the first time."""
        now = self._clock.now()
        return await self._ledger.call(
            self._ledger.sources.load,
            self.name,
            inbox=self.inbox,
            connector=self.connector.info.name,
            account=self.connector.account,
            horizon=self._horizon(now),
            now=now,
        )

    async def run_pass(self) -> PassReport:
        """One pass, bounded by `pass_timeout_seconds`. Its outcome is in the ledger and in the report; it raises only
        what concerns the ledger."""
        async with self._running:
            began = self._clock.elapsed_seconds()
            source = await self.load()
            report = PassReport(self.name)
            await self._ledger.call(self._ledger.sources.pass_started, self.name, self._clock.now())
            try:
                async with asyncio.timeout(self.settings.pass_timeout_seconds):
                    await self._streams(source, report)
            except TimeoutError:
                report.abandoned = True
                report.error = TemporaryError(
                    f"the pass took longer than {self.settings.pass_timeout_seconds:g} s and was abandoned",
                    code="source.pass_abandoned",
                    next_step="see whether the service hangs; pass_timeout_seconds is the limit",
                    source=self.name,
                )
                self.abort()
            except InboxSyncError as error:
                report.error = error
            except Exception:
                log.exception("pass.bug", source=self.name)
                report.error = TemporaryError(
                    "the connector or the program failed in a way that was not foreseen",
                    code="internal.error",
                    next_step="see the log, and report it to the connector's author; the source is tried again",
                    source=self.name,
                )
            report.seconds = self._clock.elapsed_seconds() - began
            await self._end(source, report)
            return report

    def abort(self) -> None:
        """Closes the connector's sockets without waiting."""
        if isinstance(self.connector, Aborts):
            self.connector.abort()

    # ------------------------------------------------------------------ the pass

    async def _streams(self, source: SourceRow, report: PassReport) -> None:
        ctx = self.context(source)
        streams = await self.connector.streams(ctx)
        keys = [(stream.key, stream.role.value, rank) for rank, stream in enumerate(streams)]
        rows = await self._ledger.call(self._ledger.streams.load, self.name, keys, self._clock.now())
        by_key = {row.key: row for row in rows}
        named = {stream.key: stream for stream in streams}
        await self._load_found(source, named, by_key, report)
        # One that failed in the last pass goes last: if it ends this pass, too, the others were looked at.
        for stream in sorted(streams, key=lambda stream: stream.key in self._failed_streams):
            self._failed_streams.add(stream.key)
            try:
                await self._stream(source, stream, by_key[stream.key], report)
            except (ConfigError, MessageError) as error:
                # One stream's fault (a folder that is gone) does not keep the others from being looked at.
                log.warning("stream.failed", source=self.name, stream=stream.key, code=error.code)
                report.error = error
                continue
            self._failed_streams.discard(stream.key)
            report.good_streams += 1
        await self._load_suspects(source, named, by_key, report)

    async def _stream(self, source: SourceRow, stream: Stream, row: StreamRow, report: PassReport) -> None:
        ctx = self.context(source, row)
        batches = self.connector.poll(stream, row.cursor, ctx)
        try:
            async for batch in batches:
                await self._take(source, stream, row, ctx, batch, report)
        finally:
            if isinstance(batches, AsyncGenerator):  # not whenever the garbage is collected: perhaps in the next pass
                await batches.aclose()

    async def _take(
        self,
        source: SourceRow,
        stream: Stream,
        row: StreamRow,
        ctx: PassContext,
        batch: Batch,
        report: PassReport,
    ) -> None:
        now = self._clock.now()
        rules = self._rules(source, stream, row, batch.epoch)
        view = self._view(source, row, batch.epoch)
        seen = [self._see(found, rules, now) for found in batch.found]
        failure: InboxSyncError | None = None
        if seen and isinstance(self.connector, Fetches):
            wanted = await self._new_without_content(view, seen, report)
            contents: Mapping[str, Content] = {}
            try:
                contents = await self._fetch(stream, batch.epoch, [one.external_id for one in wanted], ctx)
            except (TemporaryError, MessageError) as error:
                failure = error
            report.fetched += len(contents)
            seen = [self._with_content(one, contents.get(one.external_id), rules) for one in seen]
        mark = Mark(
            batch.cursor, batch.epoch, batch.complete_until, batch.before_horizon, batch.complete_until is not None
        )
        recorded = await self._ledger.call(
            self._ledger.messages.record, view, seen, mark, now, self._release_at(row, now)
        )
        report.found += len(seen) + batch.before_horizon
        report.repeated += recorded.repeated
        report.new += len(recorded.new_message_ids)
        report.before_horizon += batch.before_horizon
        report.skipped.update(recorded.skipped)
        report.dead.update(recorded.dead)
        report.deliveries += recorded.deliveries
        if failure is not None:
            self._suspect(recorded.new_message_ids)
            if not _is_about_messages(failure):
                raise failure

    def _see(self, found: Found, rules: SourceRules, now: datetime) -> Seen:
        authors = () if found.fingerprint is None else split_addresses(found.fingerprint.author)
        author = next((normalise_address(address) for _name, address in authors), "")
        return self._with_content(see(found, author, rules, now), found.content, rules)

    def _with_content(self, one: Seen, content: Content | None, rules: SourceRules) -> Seen:
        if one.skip is not None or content is None or isinstance(content, Gone):
            return one
        verdict = self._verdict(content, rules)
        if isinstance(verdict, Skip) and verdict.reason in HOLDS_NO_CLAIM:
            return replace(one, claim_scope=None, content=verdict)
        return replace(one, content=verdict)

    def _verdict(self, content: Message | Unreadable, rules: SourceRules) -> Loaded | Skip | Dead:
        if isinstance(content, Unreadable):
            return Dead(content.raw, content.why)
        if is_loop(content):
            return Skip(Reason.LOOP, "it carries the mark of a message this program made")
        return address_message(content, rules)

    async def _new_without_content(self, view: View, seen: Sequence[Seen], report: PassReport) -> list[Seen]:
        """Those whose content is wanted now: new, not skipped, and with room in the spool."""
        verdicts = await self._ledger.call(self._ledger.messages.judge, view, seen)
        new = [
            one
            for one, verdict in zip(seen, verdicts, strict=True)
            if verdict == "new" and one.content is None and one.skip is None
        ]
        room = self._spool_max_bytes - await self._ledger.call(self._ledger.messages.spooled_bytes)
        wanted = []
        for one in new:
            if room <= 0:
                report.spool_full = True
                break
            room -= min(one.size or 0, self.settings.size_limit_bytes)
            wanted.append(one)
        return wanted

    async def _fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        if not ids or not isinstance(self.connector, Fetches):
            return {}
        seconds = self.settings.pass_timeout_seconds * FETCH_SHARE
        try:
            async with asyncio.timeout(seconds):
                return await self.connector.fetch(stream, epoch, ids, ctx)
        except TimeoutError:
            self.abort()
            raise TemporaryError(
                f"loading {len(ids)} messages took longer than {seconds:g} s",
                code=FETCH_HUNG,
                next_step="nothing: they are loaded one by one; if it stays, raise pass_timeout_seconds",
                source=self.name,
            ) from None

    # ------------------------------------------------------------------ rows that were found without content

    async def _load_found(
        self, source: SourceRow, streams: Mapping[str, Stream], rows: Mapping[str, StreamRow], report: PassReport
    ) -> None:
        if not isinstance(self.connector, Fetches):
            return
        due = await self._due_fetches()
        for group in _fetch_groups([row for row in due if not self._is_suspect(row)]):
            if await self._is_spool_full(report):
                return
            try:
                await self._load_group(source, streams, rows, group, report)
            except (TemporaryError, MessageError) as error:
                self._suspect([one.message_id for one in group])
                if not _is_about_messages(error):
                    raise

    async def _load_suspects(
        self, source: SourceRow, streams: Mapping[str, Stream], rows: Mapping[str, StreamRow], report: PassReport
    ) -> None:
        """Messages with which a fetch failed, one by one and after everything else. A failure that may be the source's
        counts against a message only when another one could be loaded: an outage must make nothing `gone`."""
        if not isinstance(self.connector, Fetches):
            return
        due = [row for row in await self._due_fetches() if self._is_suspect(row)]
        self._suspects = {row.message_id: self._suspects.get(row.message_id, _Suspect()) for row in due}
        failed: list[FoundRow] = []
        failures_in_a_row = 0
        failure: InboxSyncError | None = None
        for row in sorted(due, key=lambda row: (row.fetch_attempts, self._suspects[row.message_id].failures)):
            if self._suspects[row.message_id].not_before > self._clock.elapsed_seconds():
                continue
            if failures_in_a_row == FAILURES_IN_A_ROW or await self._is_spool_full(report):
                break
            try:
                await self._load_group(source, streams, rows, [row], report)
                failures_in_a_row = 0
            except (TemporaryError, MessageError) as error:
                log.warning("message.not_fetched", source=self.name, message=row.message_id, code=error.code)
                if _is_about_messages(error):
                    await self._fetch_failed([row])
                    continue
                self._put_off(row)
                failed.append(row)
                failure = error
                failures_in_a_row += 1
                if error.code == FETCH_HUNG:
                    break  # two of them would use up the pass
        if report.fetched:
            await self._fetch_failed(failed)
        elif failure is not None:
            raise failure

    async def _due_fetches(self) -> Sequence[FoundRow]:
        return await self._ledger.call(self._ledger.messages.to_fetch, self.name, self._clock.now(), FETCH_AT_ONCE * 20)

    async def _is_spool_full(self, report: PassReport) -> bool:
        full = await self._ledger.call(self._ledger.messages.spooled_bytes) >= self._spool_max_bytes
        report.spool_full = report.spool_full or full
        return full

    def _is_suspect(self, row: FoundRow) -> bool:
        return row.fetch_attempts > 0 or row.message_id in self._suspects

    def _suspect(self, message_ids: Collection[int]) -> None:
        for message_id in message_ids:
            self._suspects.setdefault(message_id, _Suspect())

    def _put_off(self, row: FoundRow) -> None:
        failures = self._suspects[row.message_id].failures + 1
        wait = backoff_seconds(failures, min(FETCH_RETRY_SECONDS, self.settings.every), MAX_BACKOFF_SECONDS)
        self._suspects[row.message_id] = _Suspect(failures, self._clock.elapsed_seconds() + wait)

    async def _load_group(
        self,
        source: SourceRow,
        streams: Mapping[str, Stream],
        rows: Mapping[str, StreamRow],
        group: Sequence[FoundRow],
        report: PassReport,
    ) -> None:
        stream = streams.get(group[0].stream)
        generation, _, epoch = group[0].epoch.partition(":")
        if stream is None or generation != str(source.generation):
            await self._fetch_failed(group)
            return
        row = rows[stream.key]
        rules = self._rules(source, stream, row, epoch)
        ids = [one.external_id for one in group]
        contents = await self._fetch(stream, epoch, ids, self.context(source, row))
        report.fetched += len(contents)
        missing, verdicts = [], {}
        for one in group:
            content = contents.get(one.external_id)
            if content is None:
                missing.append(one)
                continue
            verdict = Vanished(content.why) if isinstance(content, Gone) else self._verdict(content, rules)
            verdicts[one.message_id] = verdict
        now = self._clock.now()
        report.deliveries += await self._ledger.call(
            self._ledger.messages.load_contents, verdicts, now, self._release_at(row, now)
        )
        await self._fetch_failed(missing)

    async def _fetch_failed(self, rows: Sequence[FoundRow]) -> None:
        if not rows:
            return
        now = self._clock.now()
        tries = max(row.fetch_attempts for row in rows) + 1
        wait = backoff_seconds(tries, min(FETCH_RETRY_SECONDS, self.settings.every), MAX_BACKOFF_SECONDS)
        gone = await self._ledger.call(
            self._ledger.messages.fetch_failed,
            [row.message_id for row in rows],
            now,
            now + timedelta(seconds=wait),
            self.settings.max_fetch_attempts,
        )
        for message_id in gone:
            log.warning("message.gone", source=self.name, message=message_id)

    # ------------------------------------------------------------------ looking only

    async def look(self) -> AsyncIterator[tuple[Stream, Sequence[Seen], Sequence[str], int]]:
        """What a pass would see, batch by batch: the stream, the messages, what the ledger would make of each, and how
        many were left out as before the horizon. Writes nothing; contents are not fetched."""
        source = await self._ledger.call(self._ledger.sources.get, self.name) or self._unrecorded()
        ctx = self.context(source)
        rows = {row.key: row for row in await self._ledger.call(self._ledger.streams.of_source, self.name)}
        for rank, stream in enumerate(await self.connector.streams(ctx)):
            row = rows.get(stream.key) or StreamRow(
                0, source.id, stream.key, stream.role, rank, None, None, None, None, 0
            )
            async for batch in self.connector.poll(stream, row.cursor, self.context(source, row)):
                now = self._clock.now()
                rules = self._rules(source, stream, row, batch.epoch)
                seen = [self._see(found, rules, now) for found in batch.found]
                verdicts = await self._ledger.call(
                    self._ledger.messages.judge, self._view(source, row, batch.epoch), seen
                )
                yield stream, seen, verdicts, batch.before_horizon

    def _unrecorded(self) -> SourceRow:
        """This source as `load` would record it."""
        now = self._clock.now()
        return SourceRow(
            id=0,
            name=self.name,
            inbox=self.inbox,
            connector=self.connector.info.name,
            account=self.connector.account,
            generation=0,
            horizon=self._horizon(now),
            paused=False,
            state="ok",
            code="",
            sentence="",
            next_step="",
            failures=0,
            last_pass_at=None,
            last_good_pass_at=None,
            next_pass_at=None,
            counts={},
            created_at=now,
        )

    def _horizon(self, now: datetime) -> datetime | None:
        start = self.settings.start
        return None if start == "all" else now if start == "now" else start

    # ------------------------------------------------------------------ small parts

    def context(self, source: SourceRow, row: StreamRow | None = None) -> PassContext:
        """What the connector is given for this pass."""

        async def known(epoch: str, ids: Sequence[str]) -> frozenset[str]:
            if row is None:
                return frozenset()
            return await self._ledger.call(self._ledger.messages.known, row.id, _place_epoch(source, epoch), list(ids))

        now = self._clock.now()
        return PassContext(
            log=log.bind(source=self.name),
            now=self._clock.now,
            deadline_at=now + timedelta(seconds=self.settings.pass_timeout_seconds),
            size_limit_bytes=self.settings.size_limit_bytes,
            since=source.horizon,
            known=known,
            http=self.http,
        )

    def _rules(self, source: SourceRow, stream: Stream, row: StreamRow, epoch: str) -> SourceRules:
        live = row.first_loaded_at is not None
        return SourceRules(
            inbox=self.inbox,
            source=self.name,
            role=stream.role,
            horizon=source.horizon,
            horizon_slack=CLOCK_GRAIN if live and row.epoch == epoch else timedelta(0),
            known_until=row.complete_until if live else None,
            max_age=timedelta(days=self.settings.max_age_days),
            duplicates=self.settings.duplicates,
            is_own=self._own.matches,
        )

    def _view(self, source: SourceRow, row: StreamRow, epoch: str) -> View:
        return View(
            source=self.name,
            source_id=source.id,
            stream_id=row.id,
            stream_rank=row.rank,
            inbox=self.inbox,
            epoch=_place_epoch(source, epoch),
        )

    def _release_at(self, row: StreamRow, now: datetime) -> datetime:
        first_load = row.first_loaded_at is None
        wait = self.settings.order_wait_seconds
        return now + timedelta(seconds=max(wait, FIRST_LOAD_WAIT_SECONDS) if first_load and wait else wait)

    async def _end(self, source: SourceRow, report: PassReport) -> None:
        now = self._clock.now()
        error = report.error
        # Where only some streams fail, the others are polled as often as ever.
        failures = 0 if error is None else 1 if report.good_streams else source.failures + 1
        report.next_wait_seconds = self.next_wait_seconds(error, failures)
        end = PassEnd(
            ok=error is None,
            state="ok" if error is None else "parked" if isinstance(error, AuthError) else "failing",
            code="" if error is None else error.code,
            sentence="" if error is None else error.sentence,
            next_step="" if error is None else error.next_step,
            next_pass_at=now + timedelta(seconds=report.next_wait_seconds),
            counts={"found": report.found, "new": report.new, "deliveries": report.deliveries},
        )
        # A first load that broke off goes on in the next pass: its rows wait for the streams that were not looked at yet.
        broke_off = isinstance(error, TemporaryError) and source.last_good_pass_at is None
        wait = FIRST_LOAD_WAIT_SECONDS if broke_off else self.settings.order_wait_seconds
        release_by = now + timedelta(seconds=wait)
        await self._ledger.call(self._ledger.sources.pass_ended, self.name, now, end, release_by)
        if error is None:
            tell = log.info if report.new or report.deliveries else log.debug
            tell("pass.ended", source=self.name, found=report.found, new=report.new, deliveries=report.deliveries)
        else:
            log.warning("pass.failed", source=self.name, code=error.code, reason=error.sentence, failures=failures)

    def next_wait_seconds(self, error: InboxSyncError | None, failures: int) -> float:
        """How long until the next pass: the interval; longer the more passes failed in a row; what the service asked
        for; long when it refused the sign-in."""
        if error is None:
            return self.settings.every
        if isinstance(error, AuthError):
            return max(self.settings.every, self.settings.park_probe_seconds)
        wait = backoff_seconds(failures, self.settings.every, max(self.settings.every, MAX_BACKOFF_SECONDS))
        asked = error.retry_after_seconds if isinstance(error, TemporaryError) else None
        return max(wait, asked or 0.0)


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A message in whose company a fetch failed: how often, and when (by the elapsed clock) it is tried again."""

    failures: int = 0
    not_before: float = 0.0


def _is_about_messages(error: InboxSyncError) -> bool:
    """Whether an error of a fetch is about the messages asked for, and not about the source."""
    return isinstance(error, MessageError) or (isinstance(error, TemporaryError) and error.scope is Scope.MESSAGE)


def _place_epoch(source: SourceRow, epoch: str) -> str:
    """The epoch as the ledger keeps it: another account under the same source name is another numbering."""
    return f"{source.generation}:{epoch}"


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
