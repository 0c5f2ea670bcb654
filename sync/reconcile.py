"""Finding out what became of sends without a clear answer, by reading the conversation back.

A row in `unknown` is looked for with growing delays. Found: its id is adopted. Not found by a look that began after
`unknown_settle_seconds`: it is sent again, or held, by setting. After a second send the conversation is read again and
again, at growing distances until `doubled_look_seconds`; a second copy is recorded as doubled, with both ids (reference:
Inbox API, "An ambiguous send").
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from sync.book import TEXT_CHANGED
from sync.clock import Clock
from sync.decide import GiveUp, LookAgain, after_look, next_recheck, was_set_back
from sync.delivery import Accepted, Change, Looked, OnTheWire, Settled, Unclear
from sync.errors import AuthError, InboxSyncError, LedgerError, MessageError, Scope, TemporaryError
from sync.health import InboxHealth
from sync.inbox import InboxClient, InboxMessage, Mapping, match
from sync.lease import HeldLease
from sync.ledger import Ledger, Mapped
from sync.settings import InboxSettings
from sync.states import DeliveryState

log = structlog.get_logger()

LOOKS_AT_ONCE = 4
MAX_IDLE_SECONDS = 30.0
"""How often the ledger is asked for unknown rows when nobody announced any: a quarter of the settle time, at most so
long."""
UNREADABLE_PATIENCE = 2.0
"""A conversation that cannot be read back for this many settle times is given up: its delivery is held."""
LONG_AGO = timedelta(minutes=10)
"""How far before the intent a message may have been created by the Inbox's clock and still be ours."""
SINCE_WHENEVER = timedelta(days=30)
"""Where the clock was set back since the intent, so far back: only the conversation's sequence tells what is new."""


def _nobody() -> None:
    """Nobody to tell."""


def _always(_delivery_id: int) -> bool:
    return True


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
        self.is_at_work: Callable[[int], bool] = _always
        """Whether the deliverer is sending a delivery and will record what came of it."""
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
        rows = await self._on_the_wire()
        now = self._clock.now()
        unknown = [row for row in rows if row.state is DeliveryState.UNKNOWN]
        due = [row for row in unknown if _is_due(row, now)]
        busy_lanes = {row.conversation_id for row in rows}
        rechecks = [
            row
            for row in await self._ledger.call(self._ledger.deliveries.rechecks, self.inbox, now)
            if row.conversation_id not in busy_lanes
        ]
        self.busy = bool(due or rechecks)
        try:
            await self._look_at_all(due, rechecks)
        finally:
            self.busy = False
        next_looks = [row.look_at for row in unknown if row.look_at is not None and not _is_due(row, now)]
        if due:
            next_looks.append(now + timedelta(seconds=self._settings.first_look_seconds))
        return min(next_looks, default=None)

    async def _on_the_wire(self) -> list[OnTheWire]:
        """What is on the wire. Our own rows in `sending` that nobody sends (a commit whose answer was lost, a bug in the
        middle of a send) have become `unknown` before."""
        rows = await self._ledger.call(self._ledger.deliveries.on_the_wire, self.inbox)
        mine = (self._lease.ref.holder, self._lease.ref.fence)
        now = self._clock.now()
        left = [
            Unclear(row.delivery_id, row.attempt, now, "delivery.left_behind", "nobody recorded what became of it", now)
            for row in rows
            if row.state is DeliveryState.SENDING
            and (row.holder, row.fence) == mine
            and not self.is_at_work(row.delivery_id)
        ]
        if not left:
            return rows
        moved = await self._ledger.call(self._ledger.deliveries.commit, self._lease.ref, left, now)
        if any(moved):
            log.warning("delivery.left_behind", inbox=self.inbox, count=sum(moved))
            self.on_moved()
        return await self._ledger.call(self._ledger.deliveries.on_the_wire, self.inbox)

    async def _look_at_all(self, due: Sequence[OnTheWire], rechecks: Sequence[OnTheWire]) -> None:
        limit = asyncio.Semaphore(LOOKS_AT_ONCE)
        results = await asyncio.gather(
            *(self._guarded(limit, row, again=False) for row in due),
            *(self._guarded(limit, row, again=True) for row in rechecks),
            return_exceptions=True,  # all end before the next round begins
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _guarded(self, limit: asyncio.Semaphore, row: OnTheWire, *, again: bool) -> None:
        """Around one message: what fails at it costs no other one. Raises what concerns the ledger."""
        async with limit:
            try:
                await (self._recheck(row) if again else self._look(row))
            except (AuthError, TemporaryError) as error:
                if isinstance(error, TemporaryError) and error.scope is Scope.SOURCE:
                    raise  # the ledger's
                if isinstance(error, AuthError) or error.scope is Scope.INBOX:
                    asked = error.retry_after_seconds if isinstance(error, TemporaryError) else None
                    await self._health.failed(error, retry_after_seconds=asked)
                    if again:
                        return
                await self._postpone(row, error.code, again=again)
            except MessageError as error:
                await self._postpone(row, error.code, again=again)
            except InboxSyncError:
                raise
            except Exception:
                log.exception("reconcile.bug", inbox=self.inbox, delivery=row.delivery_id)
                await self._postpone(row, "internal.error", again=again)

    async def _look(self, row: OnTheWire) -> None:
        began_at = self._clock.now()
        verdict = self._after_look(row, began_at, self._settings.unknown_settle_seconds)
        settled = isinstance(verdict, GiveUp)
        try:
            matches = await self._search(row, everywhere=settled)
        except (MessageError, TemporaryError) as error:
            about_it = isinstance(error, MessageError) or error.scope is Scope.MESSAGE
            patience = self._settings.unknown_settle_seconds * UNREADABLE_PATIENCE
            if not about_it or isinstance(self._after_look(row, began_at, patience), LookAgain):
                raise
            # The conversation cannot be read back far enough: nobody may guess.
            await self._settle(row, "its conversation cannot be read back")
            return
        self._health.worked()
        if matches:
            await self._adopt(row, matches)
        elif isinstance(verdict, GiveUp):
            await self._settle(row, await self._why_not_again(row))
        else:
            await self._commit(Looked(row.delivery_id, row.attempt, self._clock.now(), verdict.at))

    def _after_look(self, row: OnTheWire, began_at: datetime, settle_seconds: float) -> LookAgain | GiveUp:
        first = self._settings.first_look_seconds
        return after_look(row, began_at, settle_seconds=settle_seconds, first_look_seconds=first)

    async def _why_not_again(self, row: OnTheWire) -> str:
        """Why a send that was not found must not be sent again; "" when it may."""
        if self._settings.after_settle == "hold":
            return 'after_settle = "hold"'
        if self._is_used_up(row):
            return f"it was sent again {row.resends} times (max_resends)"
        inbox = await self._ledger.call(self._ledger.inboxes.get, self.inbox)
        if inbox is not None and inbox.fault is not None and inbox.fault.code == TEXT_CHANGED:
            return "the Inbox changes texts, so that it may be there without being recognised"
        return ""

    def _is_used_up(self, row: OnTheWire) -> bool:
        """Whether this delivery was sent again often enough, an outage of the Inbox not counted."""
        most = self._settings.max_resends
        return row.resends >= most and (most == 0 or self._health.blames_message(row.unknown_at or row.intent_at))

    async def _search(self, row: OnTheWire, *, everywhere: bool) -> list[InboxMessage]:
        """What may be this send, in its conversation; `everywhere`: and in the one it may have been merged into. Raises
        what keeps it from being looked for: that is never the same as "not found"."""
        refused: MessageError | None = None
        try:
            matches = await self._matches(row, row.conversation_id, row.sequence_mark)
        except MessageError as error:  # perhaps the conversation is not there any more
            matches, refused = [], error
        if matches or not (everywhere or refused):
            return matches
        conversation_id = await self._merged_into(row)
        if conversation_id is not None:
            return await self._matches(row, conversation_id, 0)
        if refused is not None:
            raise refused
        return []

    async def _matches(self, row: OnTheWire, conversation_id: str, mark: int) -> list[InboxMessage]:
        not_before = self._not_before(row)
        candidates = await self._client.look(conversation_id, after_sequence=mark, not_before=not_before)
        return await self._matching(row, candidates)

    def _not_before(self, row: OnTheWire) -> datetime:
        """When our message can have been created at the earliest, by our clock as it is now."""
        now = self._clock.now()
        return (now - SINCE_WHENEVER if was_set_back(row.intent_at, now) else row.intent_at) - LONG_AGO

    async def _matching(self, row: OnTheWire, candidates: Sequence[InboxMessage]) -> list[InboxMessage]:
        held = await self._ledger.call(
            self._ledger.deliveries.held_ids, self.inbox, [candidate.id for candidate in candidates]
        )
        return match(
            candidates,
            request_body=json.loads(row.request),
            request_hash=row.request_hash,
            app_id=await self._app_id(),
            not_before=self._not_before(row),
            held_ids=held,
        )

    async def _merged_into(self, row: OnTheWire) -> str | None:
        """The conversation that the participant's messages go to now, which is remembered; None when it is the same, or
        when there is none to be had."""
        known = None if row.contact_id is None else Mapping(row.contact_id, row.conversation_id)
        try:
            mapping = await self._client.resolve(row.participant, known)
        except MessageError as error:
            log.warning("reconcile.not_resolved", delivery=row.delivery_id, code=error.code)
            return None
        if mapping.conversation_id == row.conversation_id:
            return None
        now = self._clock.now()
        mapped = Mapped(row.participant_id, mapping.contact_id, mapping.conversation_id)
        await self._ledger.call(self._ledger.participants.remember, [mapped], now)
        self.on_moved()
        return mapping.conversation_id

    async def _adopt(self, row: OnTheWire, matches: list[InboxMessage]) -> None:
        first = min(matches, key=lambda message: message.sequence)
        accepted = Accepted(row.delivery_id, row.attempt, self._clock.now(), first.id, first.sequence, read_back=True)
        if not await self._commit(accepted):
            return
        log.info("delivery.read_back", delivery=row.delivery_id, message=row.message_id)
        others = [message for message in matches if message.id != first.id]
        if others and row.resends:
            await self._doubled(row, others[0].id)

    async def _settle(self, row: OnTheWire, why_held: str) -> None:
        now = self._clock.now()
        hold = bool(why_held)
        recheck_at = None if hold else now + timedelta(seconds=self._settings.unknown_settle_seconds)
        await self._commit(Settled(row.delivery_id, row.attempt, now, hold, recheck_at, why_held))
        log.warning("delivery.settled", delivery=row.delivery_id, message=row.message_id, held=hold)

    async def _recheck(self, row: OnTheWire) -> None:
        """Looks for a second copy of what was sent again. It is where the copy is that we know of."""
        candidates = await self._after_mark(row)
        wire = await self._ledger.call(self._ledger.deliveries.on_the_wire, self.inbox)
        if any(other.conversation_id == row.conversation_id for other in wire):
            return  # one of the candidates may be that other message, which may say the same: later
        matches = await self._matching(row, candidates)
        if matches:
            await self._doubled(row, matches[0].id)
        else:
            await self._recheck_later(row)

    async def _after_mark(self, row: OnTheWire) -> list[InboxMessage]:
        """What was sent into the conversation of a delivery since it was sent last."""
        not_before = self._not_before(row)
        candidates = await self._client.look(
            row.conversation_id, after_sequence=row.sequence_mark, not_before=not_before
        )
        if any(one.id == row.inbox_message_id for one in candidates):
            return candidates
        conversation_id = await self._merged_into(row)
        if conversation_id is None:
            return candidates
        return await self._client.look(conversation_id, after_sequence=0, not_before=not_before)

    async def _recheck_later(self, row: OnTheWire) -> None:
        now = self._clock.now()
        at = next_recheck(
            row.intent_at,
            now,
            first_seconds=max(self._settings.unknown_settle_seconds, self._settings.first_look_seconds),
            until_seconds=self._settings.doubled_look_seconds,
        )
        if at is None:
            await self._ledger.call(self._ledger.deliveries.record_recheck, row.delivery_id, None, now)
        else:
            await self._ledger.call(self._ledger.deliveries.look_again, row.delivery_id, at)

    async def _doubled(self, row: OnTheWire, other_id: str) -> None:
        now = self._clock.now()
        await self._ledger.call(self._ledger.deliveries.record_recheck, row.delivery_id, other_id, now)
        log.error("delivery.doubled", delivery=row.delivery_id, message=row.message_id, other=other_id)

    async def _postpone(self, row: OnTheWire, code: str, *, again: bool) -> None:
        log.warning("reconcile.not_read", delivery=row.delivery_id, code=code)
        if again:
            await self._recheck_later(row)
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


def _is_due(row: OnTheWire, now: datetime) -> bool:
    """Whether it is time to look for a row, or its time lies ahead only because the clock was set back."""
    return row.look_at is None or row.look_at <= now or was_set_back(row.changed_at, now)
