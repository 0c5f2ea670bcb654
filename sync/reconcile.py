"""Finding out what became of sends without a clear answer, by reading the conversation back.

A row in `unknown` is looked for with growing delays. Found: its id is adopted. Not found by a look that began after
`unknown_settle_seconds`: it is sent again, or held, by setting. After a second send the conversation is read once more
later; a second copy is recorded as doubled, with both ids (reference: Inbox API, "An ambiguous send").
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from sync.clock import Clock
from sync.decide import GiveUp, after_look
from sync.delivery import Accepted, Change, Looked, OnTheWire, Settled
from sync.errors import AuthError, LedgerError, MessageError, Scope, TemporaryError
from sync.health import InboxHealth
from sync.inbox import InboxClient, InboxMessage, Mapping, match
from sync.lease import HeldLease
from sync.ledger import Ledger
from sync.settings import InboxSettings
from sync.states import DeliveryState

log = structlog.get_logger()

LOOKS_AT_ONCE = 4
MAX_IDLE_SECONDS = 30.0
"""How often the ledger is asked for unknown rows when nobody announced any: a quarter of the settle time, at most so
long."""
LONG_AGO = timedelta(minutes=10)
"""How far before the intent a message may have been created by the Inbox's clock and still be ours."""


def _nobody() -> None:
    """Nobody to tell."""


class Reconciler:
    """One inbox's. `news` is set by the deliverer when a send became unknown; `on_moved` is called when a lane may go
    on."""

    def __init__(
        self,
        inbox: str,
        settings: InboxSettings,
        *,
        client: InboxClient,
        ledger: Ledger,
        lease: HeldLease,
        health: InboxHealth,
        news: asyncio.Event,
        clock: Clock,
        alone: bool,
    ) -> None:
        self.inbox = inbox
        self._settings = settings
        self._client = client
        self._ledger = ledger
        self._lease = lease
        self._health = health
        self._news = news
        self._clock = clock
        self._alone = alone
        self.on_moved: Callable[[], None] = _nobody
        self.busy = False

    async def take_over(self) -> None:
        """What an earlier holder left in `sending` becomes `unknown`: at once when a kernel lock proves that holder
        dead, else when its answer was due."""
        moved = await self._ledger.call(
            self._ledger.deliveries.take_over, self.inbox, self._lease.ref, self._clock.now(), at_once=self._alone
        )
        if moved:
            log.warning("delivery.taken_over", inbox=self.inbox, count=moved)
            self.on_moved()

    async def run(self) -> None:
        """Reads back whatever is due, for ever."""
        while True:
            self._news.clear()
            try:
                next_at = await self._round()
            except (LedgerError, TemporaryError) as error:
                log.warning("reconcile.postponed", inbox=self.inbox, code=error.code)
                next_at = None
            wait = min(MAX_IDLE_SECONDS, max(0.05, self._settings.unknown_settle_seconds / 4))
            if next_at is not None:
                wait = min(wait, max(0.01, (next_at - self._clock.now()).total_seconds()))
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _round(self) -> datetime | None:
        """One round over everything due. Returns when the next row is due."""
        if self._health.parked is not None:
            return None
        if not self._alone:
            await self.take_over()
        now = self._clock.now()
        rows = await self._ledger.call(self._ledger.deliveries.on_the_wire, self.inbox)
        unknown = [row for row in rows if row.state is DeliveryState.UNKNOWN]
        due = [row for row in unknown if row.look_at is None or row.look_at <= now]
        rechecks = await self._ledger.call(self._ledger.deliveries.rechecks, self.inbox, now)
        self.busy = bool(due or rechecks)
        limit = asyncio.Semaphore(LOOKS_AT_ONCE)
        await asyncio.gather(
            *(self._guarded(limit, row, again=False) for row in due),
            *(self._guarded(limit, row, again=True) for row in rechecks),
        )
        self.busy = False
        if due:
            return now
        return min((row.look_at for row in unknown if row.look_at is not None), default=None)

    async def _guarded(self, limit: asyncio.Semaphore, row: OnTheWire, *, again: bool) -> None:
        async with limit:
            try:
                await (self._recheck(row) if again else self._look(row))
            except TemporaryError as error:
                if error.scope is Scope.INBOX:
                    await self._health.failed(error, retry_after_seconds=error.retry_after_seconds)
                await self._postpone(row, again=again)
            except AuthError as error:
                await self._health.failed(error)
                await self._postpone(row, again=again)
            except MessageError as error:
                log.warning("reconcile.refused", delivery=row.delivery_id, code=error.code)
                await self._postpone(row, again=again)

    async def _look(self, row: OnTheWire) -> None:
        began_at = self._clock.now()
        verdict = after_look(
            row,
            began_at,
            settle_seconds=self._settings.unknown_settle_seconds,
            first_look_seconds=self._settings.first_look_seconds,
        )
        settled = isinstance(verdict, GiveUp)
        try:
            matches = await self._matches(row, row.conversation_id, row.sequence_mark)
        except MessageError:
            # The conversation is not there (any more): it may have been merged into another one.
            matches = await self._matches_after_merge(row)
        except TemporaryError as error:
            if not settled or error.scope is not Scope.MESSAGE:
                raise
            # The conversation cannot be read back far enough: nobody may guess.
            await self._settle(row, hold=True)
            return
        if not matches and settled:
            matches = await self._matches_after_merge(row)
        self._health.worked()
        if matches:
            await self._adopt(row, matches)
        elif isinstance(verdict, GiveUp):
            used_up = row.resends >= self._settings.max_resends
            await self._settle(row, hold=used_up or self._settings.after_settle == "hold")
        else:
            await self._commit(Looked(row.delivery_id, row.attempt, self._clock.now(), verdict.at))

    async def _matches(self, row: OnTheWire, conversation_id: str, mark: int) -> list[InboxMessage]:
        candidates = await self._client.look(conversation_id, after_sequence=mark, not_before=row.intent_at - LONG_AGO)
        held = await self._ledger.call(
            self._ledger.deliveries.held_ids, self.inbox, [candidate.id for candidate in candidates]
        )
        return match(
            candidates,
            request_body=json.loads(row.request),
            request_hash=row.request_hash,
            app_id=await self._app_id(),
            not_before=row.intent_at - LONG_AGO,
            held_ids=held,
        )

    async def _matches_after_merge(self, row: OnTheWire) -> list[InboxMessage]:
        """The conversation may have been merged into another one meanwhile: ask again, and search there."""
        known = None if row.contact_id is None else Mapping(row.contact_id, row.conversation_id)
        try:
            mapping = await self._client.resolve(row.participant, known)
        except MessageError as error:
            log.warning("reconcile.not_resolved", delivery=row.delivery_id, code=error.code)
            return []
        if mapping.conversation_id == row.conversation_id:
            return []
        now = self._clock.now()
        await self._ledger.call(
            self._ledger.participants.remember, row.participant_id, mapping.contact_id, mapping.conversation_id, now
        )
        self.on_moved()
        return await self._matches(row, mapping.conversation_id, 0)

    async def _adopt(self, row: OnTheWire, matches: list[InboxMessage]) -> None:
        first = min(matches, key=lambda message: message.sequence)
        accepted = Accepted(row.delivery_id, row.attempt, self._clock.now(), first.id, first.sequence, read_back=True)
        if not await self._commit(accepted):
            return
        log.info("delivery.read_back", delivery=row.delivery_id, message=row.message_id)
        others = [message for message in matches if message.id != first.id]
        if others and row.resends:
            await self._doubled(row, others[0].id)

    async def _settle(self, row: OnTheWire, *, hold: bool) -> None:
        now = self._clock.now()
        recheck_at = None if hold else now + timedelta(seconds=self._settings.unknown_settle_seconds)
        await self._commit(Settled(row.delivery_id, row.attempt, now, hold, recheck_at))
        log.warning("delivery.settled", delivery=row.delivery_id, message=row.message_id, held=hold)

    async def _recheck(self, row: OnTheWire) -> None:
        matches = await self._matches(row, row.conversation_id, row.sequence_mark)
        if matches:
            await self._doubled(row, matches[0].id)
        else:
            await self._ledger.call(self._ledger.deliveries.record_recheck, row.delivery_id, None, self._clock.now())

    async def _doubled(self, row: OnTheWire, other_id: str) -> None:
        now = self._clock.now()
        await self._ledger.call(self._ledger.deliveries.record_recheck, row.delivery_id, other_id, now)
        log.error("delivery.doubled", delivery=row.delivery_id, message=row.message_id, other=other_id)

    async def _postpone(self, row: OnTheWire, *, again: bool) -> None:
        if again:
            return
        now = self._clock.now()
        delay = timedelta(seconds=self._settings.first_look_seconds * 2 ** min(row.looks, 10))
        await self._commit(Looked(row.delivery_id, row.attempt, now, now + delay))

    async def _commit(self, change: Change) -> bool:
        results = await self._ledger.call(self._ledger.deliveries.commit, self._lease.ref, [change], self._clock.now())
        self.on_moved()
        return bool(results[0])

    async def _app_id(self) -> str:
        if self._client.app_id:
            return self._client.app_id
        row = await self._ledger.call(self._ledger.inboxes.get, self.inbox)
        return row.app_id if row is not None else ""
