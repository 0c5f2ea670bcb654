"""One pass of one source: what is new is judged, loaded, and recorded together with the cursor.

    connector.poll ─batch─▶ headers judged ▶ new to the ledger? ▶ content fetched, addressed ▶ rows + deliveries + cursor

A crash can neither lose nor skip: rows and cursor commit together. A batch whose contents could not be fetched is
recorded as `found`; `sync.fetch` loads such rows later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from sync.clock import Clock
from sync.connector import Connector, Fetches, Http, PassContext, Stream
from sync.decide import Loaded, Seen, backoff_seconds
from sync.errors import AuthError, ConfigError, InboxSyncError, MessageError, TemporaryError
from sync.fetch import Fetcher, abort, has_files, is_about_messages, see_found, with_content
from sync.ledger import EditedIds, LeaseLost, LeaseRef, Ledger, Mark, PassEnd, SourceRow, StreamRow, View
from sync.mail.address import OwnAddresses
from sync.message import Batch, Content, Found
from sync.passes import FIRST_LOAD_WAIT_SECONDS, MAX_BACKOFF_SECONDS, PassReport, PassTerms
from sync.settings import SourceSettings
from sync.spool import SPOOL_FULL

log = structlog.get_logger()

MAX_PAUSE_SECONDS = 3600.0
"""For which a listing leaves a service alone at its word; then it is asked again."""


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
        self.ledger = ledger
        self._spool_max_bytes = spool_max_bytes
        self.http = http
        self._clock = clock
        self._running = asyncio.Lock()
        self._failed_streams: set[str] = set()
        self.terms = PassTerms(
            name, settings, inbox=inbox, own_addresses=own_addresses, ledger=ledger, http=http, clock=clock
        )
        self.fetcher = Fetcher(
            name,
            settings,
            connector=connector,
            terms=self.terms,
            ledger=ledger,
            spool_max_bytes=spool_max_bytes,
            clock=clock,
        )

    async def load(self, *, starts_pass: bool = False) -> SourceRow:
        """Makes the source known to the ledger; its start is fixed the first time."""
        now = self._clock.now()
        return await self.ledger.call(
            self.ledger.sources.load,
            self.name,
            inbox=self.inbox,
            connector=self.connector.info.name,
            account=self.connector.account,
            horizon=self._horizon(now),
            now=now,
            starts_pass=starts_pass,
            lease=self.terms.lease if starts_pass else None,
        )

    async def run_pass(self, lease: LeaseRef | None = None) -> PassReport:
        """One pass, bounded by `pass_timeout_seconds`. Its outcome is in the ledger and in the report; it raises only
        what concerns the ledger: LeaseLost when another process has taken `lease` over, and nothing was recorded
        since."""
        async with self._running:
            self.terms.lease = lease
            try:
                return await self._run_pass()
            finally:
                self.terms.lease = None

    async def _run_pass(self) -> PassReport:
        began = self._clock.elapsed_seconds()
        source = await self.load(starts_pass=True)
        report = PassReport(self.name)
        self.fetcher.loads = False
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
        except LeaseLost:
            raise
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

    @contextlib.asynccontextmanager
    async def turn(self, lease: LeaseRef | None = None) -> AsyncIterator[None]:
        """The connector to oneself, between passes, for as long as a pass may take. `lease`: without it nothing is
        recorded, as in a pass. Raises TemporaryError after that time."""
        async with self._running:
            self.terms.lease = lease
            try:
                async with asyncio.timeout(self.settings.pass_timeout_seconds):
                    yield
            except TimeoutError:
                self.abort()
                raise TemporaryError(
                    f"{self.name} did not answer within {self.settings.pass_timeout_seconds:g} s",
                    code="source.hung",
                    next_step="nothing: it is tried again; pass_timeout_seconds is the limit",
                    source=self.name,
                ) from None
            finally:
                self.terms.lease = None

    async def pause(self, seconds: float) -> None:
        """Leaves the service alone, between two pieces of a listing. Passes go on."""
        await self._clock.sleep(min(seconds, MAX_PAUSE_SECONDS))

    def abort(self) -> None:
        """Closes the connector's sockets without waiting."""
        abort(self.connector)

    async def waiting_context(self) -> PassContext:
        """What the connector is given to wait with."""
        known = await self.ledger.call(self.ledger.sources.get, self.name)
        return self.terms.context(self._unrecorded() if known is None else known)

    # ------------------------------------------------------------------ the pass

    async def _streams(self, source: SourceRow, report: PassReport) -> None:
        ctx = self.terms.context(source)
        streams = await self.connector.streams(ctx)
        keys = [(stream.key, stream.role.value, rank) for rank, stream in enumerate(streams)]
        rows = await self.ledger.call(self.ledger.streams.load, self.name, keys, self._clock.now(), self.terms.lease)
        by_key = {row.key: row for row in rows}
        named = {stream.key: stream for stream in streams}
        await self.fetcher.load_found(source, named, by_key, report)
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
        await self.fetcher.load_suspects(source, named, by_key, report)

    async def _stream(self, source: SourceRow, stream: Stream, row: StreamRow, report: PassReport) -> None:
        ctx = self.terms.context(source, row)
        batches = self.connector.poll(stream, row.cursor, ctx)
        try:
            async for batch in batches:
                if not await self._take(source, stream, row, ctx, batch, report):
                    break
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
    ) -> bool:
        mark = Mark(
            batch.cursor, batch.epoch, batch.complete_until, batch.before_horizon, batch.complete_until is not None
        )
        report.found += len(batch.found) + batch.before_horizon
        report.before_horizon += batch.before_horizon
        return await self.bring_in(source, stream, row, ctx, (batch.epoch, batch.found), mark, report)

    async def bring_in(
        self,
        source: SourceRow,
        stream: Stream,
        row: StreamRow,
        ctx: PassContext,
        numbered: tuple[str, Sequence[Found]],
        mark: Mark | None,
        report: PassReport,
    ) -> bool:
        """Judges messages (with their epoch), loads what is new, and records it. `mark` None: the cursor stays. False
        when there was no room for all of them: those are found again, since the cursor stays then, too."""
        epoch, found = numbered
        now = self._clock.now()
        rules = self.terms.rules(source, stream, row, epoch)
        view = self.terms.view(source, row, epoch)
        seen = [see_found(one, rules, now) for one in found]
        edited = await self._edited(view, seen)
        failure: InboxSyncError | None = None
        verdicts: Sequence[str] | None = None
        if seen and isinstance(self.connector, Fetches):
            verdicts = await self.ledger.call(self.ledger.messages.judge, view, seen)
            wanted = await self._new_without_content(seen, verdicts, edited.all, report)
            contents: Mapping[str, Content] = {}
            try:
                contents = await self.fetcher.fetch(stream, epoch, [one.external_id for one in wanted], ctx)
            except (TemporaryError, MessageError) as error:
                failure = error
            report.fetched += len(contents)
            missed = {one.external_id for one in seen if one.content is None} & edited.all - contents.keys()
            seen = [with_content(one, contents.get(one.external_id), rules) for one in seen]
            seen = [_unedited(one) if one.external_id in missed else one for one in seen]
        count = len(seen)
        if any(has_files(one) for one in seen):
            if verdicts is None:
                verdicts = await self.ledger.call(self.ledger.messages.judge, view, seen)
            loading = (epoch, ctx)
            judged = zip(seen, verdicts, strict=True)
            seen = await self._with_files(stream, judged, edited.exchangeable, loading, report)
        if mark is not None and len(seen) < count:
            mark = replace(mark, partial=True)
        recorded = await self.ledger.call(
            self.ledger.messages.record,
            view,
            seen,
            mark,
            now,
            self.terms.release_at(row, now),
            lease=self.terms.lease,
        )
        report.repeated += recorded.repeated
        report.new += len(recorded.new_message_ids)
        report.skipped.update(recorded.skipped)
        report.dead.update(recorded.dead)
        report.deliveries += recorded.deliveries
        for participant_id in recorded.limited:
            log.warning("participant.rate_limited", source=self.name, participant=participant_id)
        if failure is not None:
            self.fetcher.suspect(recorded.new_message_ids)
            if not is_about_messages(failure):
                raise failure
        return len(seen) == count

    async def _edited(self, view: View, seen: Sequence[Seen]) -> EditedIds:
        """The known ones that were edited at their service, as far as their new content is wanted."""
        versioned = [one for one in seen if one.version]
        if not versioned:
            return EditedIds()
        return await self.ledger.call(self.ledger.messages.edited, view, versioned)

    async def _with_files(
        self,
        stream: Stream,
        judged: Iterable[tuple[Seen, str]],
        edited: frozenset[str],
        loading: tuple[str, PassContext],
        report: PassReport,
    ) -> list[Seen]:
        """The files of new messages are loaded before their messages are recorded. A message whose files cannot
        be had now is recorded without content, where it can be loaded again; else without these files. Once there is no
        room for some, those after it are recorded without content, too: they would wait for it in the spool. Where they
        cannot be loaded again, it is left for the next pass with all that come after it."""
        room = await self.fetcher.spooler.room()
        done: list[Seen] = []
        for one, verdict in judged:
            if report.spool_full and verdict == "new" and isinstance(one.content, Loaded) and self._can_load_later:
                done.append(replace(one, content=None))
                continue
            if not has_files(one) or (verdict != "new" and one.external_id not in edited):
                done.append(one)
                continue
            try:
                done.append(await self.fetcher.with_files(stream, loading[0], one, loading[1], room))
            except TemporaryError as error:
                report.spool_full = report.spool_full or error.code == SPOOL_FULL
                if error.code == SPOOL_FULL and not self._can_load_later:
                    break
                without = replace(one, content=None)
                done.append(_unedited(without) if one.external_id in edited else without)
                if error.code != SPOOL_FULL:
                    log.warning("message.files_not_loaded", source=self.name, id=one.external_id, code=error.code)
        return done

    @property
    def _can_load_later(self) -> bool:
        return isinstance(self.connector, Fetches)

    async def _new_without_content(
        self, seen: Sequence[Seen], verdicts: Sequence[str], edited: frozenset[str], report: PassReport
    ) -> list[Seen]:
        """Those whose content is wanted now: new (or edited), not skipped, and with room in the spool. None once something
        earlier found no room in this pass: they come after it."""
        new = [
            one
            for one, verdict in zip(seen, verdicts, strict=True)
            if (verdict == "new" or one.external_id in edited) and one.content is None and one.skip is None
        ]
        room = self._spool_max_bytes - await self.ledger.call(self.ledger.messages.spooled_bytes)
        wanted = []
        for one in new:
            if room <= 0 or report.spool_full:
                report.spool_full = True
                break
            room -= min(one.size or 0, self.settings.size_limit_bytes)
            wanted.append(one)
        return wanted

    # ------------------------------------------------------------------ looking only

    async def look(self) -> AsyncIterator[tuple[Stream, Sequence[Seen], Sequence[str], int]]:
        """What a pass would see, batch by batch: the stream, the messages, what the ledger would make of each, and how
        many were left out as before the horizon. Writes nothing; contents are not fetched."""
        source = await self.ledger.call(self.ledger.sources.get, self.name) or self._unrecorded()
        ctx = self.terms.context(source)
        rows = {row.key: row for row in await self.ledger.call(self.ledger.streams.of_source, self.name)}
        for rank, stream in enumerate(await self.connector.streams(ctx)):
            row = rows.get(stream.key) or StreamRow(
                0, source.id, stream.key, stream.role, rank, None, None, None, None, 0
            )
            async for batch in self.connector.poll(stream, row.cursor, self.terms.context(source, row)):
                now = self._clock.now()
                rules = self.terms.rules(source, stream, row, batch.epoch)
                seen = [see_found(found, rules, now) for found in batch.found]
                verdicts = await self.ledger.call(
                    self.ledger.messages.judge, self.terms.view(source, row, batch.epoch), seen
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

    # ------------------------------------------------------------------ its end

    async def _end(self, source: SourceRow, report: PassReport) -> None:
        now = self._clock.now()
        error = report.error
        # Where only some streams fail, the others are polled as often as ever; and a pass that got on until the service's
        # budget was used up goes on as soon as there is a new one.
        failures = 0 if error is None else 1 if report.good_streams or report.new else source.failures + 1
        report.next_wait_seconds = self.next_wait_seconds(error, failures)
        end = PassEnd(
            ok=error is None,
            state="ok" if error is None else "parked" if isinstance(error, AuthError) else "failing",
            code="" if error is None else error.code,
            sentence="" if error is None else error.sentence,
            next_step="" if error is None else error.next_step,
            next_pass_at=now + timedelta(seconds=report.next_wait_seconds),
            counts={"found": report.found, "new": report.new, "deliveries": report.deliveries},
            loads=self.fetcher.loads,
            put_off=self.fetcher.put_off,
        )
        # A first load that broke off goes on in the next pass: its rows wait for the streams that were not looked at yet.
        broke_off = error is not None and not isinstance(error, ConfigError) and source.last_good_pass_at is None
        wait = FIRST_LOAD_WAIT_SECONDS if broke_off else self.settings.order_wait_seconds
        release_by = now + timedelta(seconds=wait)
        await self.ledger.call(self.ledger.sources.pass_ended, self.name, now, end, release_by, self.terms.lease)
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


def _unedited(one: Seen) -> Seen:
    """An edited message whose new content could not be had now, as if its edit had not been seen: the next look sees it
    again."""
    return replace(one, version="")
