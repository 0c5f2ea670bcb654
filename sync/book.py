"""Booking deliveries: the intent before a send, and what came of it.

Changes of many lanes are recorded in one transaction. What became of a send is never guessed: one whose answer was lost
is booked as unclear, and goes to `sync.reconcile`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from sync.budget import Budget
from sync.clock import Clock
from sync.conversations import Conversations
from sync.decide import RetryRules, retry_after_refusal
from sync.delivery import Accepted, Change, Intent, NotWritten, Refused, Unclear, Uploaded, Waiting
from sync.errors import AuthError, InboxSyncError, LedgerError, Scope, TemporaryError
from sync.group import Group
from sync.health import InboxHealth
from sync.inbox import outcome
from sync.lease import HeldLease
from sync.ledger import LeaseLost, Ledger
from sync.meter import DELIVERY_LAG, meter
from sync.settings import InboxSettings
from sync.states import Reason

log = structlog.get_logger()

TEXT_CHANGED = "inbox.text_changed"
"""The fault of an Inbox that shows something else than was sent: reading back is blind."""
UNCHANGED_AGAIN = 200
"""Answers in a row with the text as it was sent, after which that fault is taken back."""
LEDGER_PAUSE_SECONDS = 1.0
"""Pause before the next try when the database did not answer."""


@dataclass(slots=True)
class Signals:
    """What a deliverer has to be told besides a row's outcome."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    news_for_reconcile: asyncio.Event = field(default_factory=asyncio.Event)
    uncertain: bool = False
    """A delivery left the board without being final: nothing starts before the ledger was read again, or what comes
    behind it in its lane could pass it."""


class Book:
    """One inbox's, while its lease is held. `group_rows`: changes recorded in one transaction at most."""

    def __init__(
        self,
        inbox: str,
        settings: InboxSettings,
        *,
        budget: Budget,
        ledger: Ledger,
        lease: HeldLease,
        health: InboxHealth,
        conversations: Conversations,
        signals: Signals,
        group_rows: int,
        clock: Clock,
    ) -> None:
        self._inbox = inbox
        self._settings = settings
        self._budget = budget
        self._ledger = ledger
        self._lease = lease
        self._health = health
        self._conversations = conversations
        self._signals = signals
        self._clock = clock
        self._recorder: Group[Change | Uploaded, bool] = Group(self._commit, most=group_rows)
        self._rules = RetryRules(settings.retry_first_seconds, settings.lane_hold_seconds, settings.max_attempts)
        self._to_renew: set[int] = set()
        self._unchanged_in_a_row = 0
        self._told_that_texts_change = False
        self._app_id = ""

    async def intend(self, intent: Intent) -> bool:
        """Commits the intent to send. False when the ledger does not allow it."""
        return await self._recorder.ask(intent)

    async def remember(self, uploaded: Uploaded) -> None:
        """Commits what the Inbox calls files, with whatever else is to be recorded now."""
        await self._recorder.ask(uploaded)

    async def drain(self) -> None:
        """Waits until everything asked for is recorded."""
        await self._recorder.drain()

    def take_renewal(self, participant_id: int) -> bool:
        """Whether a refusal left a participant to be resolved anew. Says so once."""
        if participant_id not in self._to_renew:
            return False
        self._to_renew.discard(participant_id)
        return True

    def is_last_try(self, row: Waiting) -> bool:
        """Whether one more refusal would be the end of this delivery."""
        return retry_after_refusal(row.failures + 1, self._clock.now(), self._rules) is None

    async def refuse_unsent(self, row: Waiting, error: InboxSyncError) -> None:
        """This delivery cannot even be tried now: the try counts as refused."""
        change = self._refusal(row, error.code, error.sentence, attempt=row.attempt)
        await self._recorder.ask(change)
        self._signals.uncertain = True
        log.warning("delivery.refused", delivery=row.delivery_id, message=row.message_id, code=error.code)

    async def enter(self, row: Waiting, intent: Intent, answer: outcome.SendOutcome) -> Waiting | None:
        """Books the answer to a send. Returns the row as it waits on, None when it is not pending any more."""
        now = self._clock.now()
        if isinstance(answer, outcome.Accepted):
            return await self._accepted(row, intent, answer, now)
        tried = replace(row, attempt=intent.attempt, retry_at=None)
        match answer:
            case outcome.NotWritten():
                await self._record(NotWritten(row.delivery_id, intent.attempt, now, answer.code, answer.sentence))
                if self._lease.valid():  # else it was ours to hold back, and says nothing about the Inbox
                    failure = TemporaryError(answer.sentence, code=answer.code, scope=Scope.INBOX)
                    await self._health.failed(failure, sending=True)
                return tried
            case outcome.Throttled():
                self._budget.throttled(answer.retry_after_seconds)
                await self._record(
                    NotWritten(row.delivery_id, intent.attempt, now, "inbox.throttled", "the Inbox asked to slow down")
                )
                return tried
            case outcome.Unauthorised():
                await self._record(NotWritten(row.delivery_id, intent.attempt, now, answer.code, answer.sentence))
                if not answer.renewed:
                    refused = AuthError(answer.sentence, code=answer.code, next_step=answer.next_step)
                    await self._health.failed(refused, sending=True)
                return tried
            case outcome.Refused():
                return await self._refused(tried, answer)
            case outcome.Unclear():
                await self._unclear(row, intent, answer, now)
                return None

    async def _accepted(self, row: Waiting, intent: Intent, answer: outcome.Accepted, now: datetime) -> Waiting | None:
        await self._health.sent()
        change = Accepted(
            row.delivery_id, intent.attempt, now, answer.message_id, answer.sequence, request_id=answer.request_id
        )
        self._conversations.note_sent(row, intent, answer.sequence)
        if not await self._record(change):
            await self._answered_late(row, answer, now)
        if answer.app_id and answer.app_id != self._app_id:
            self._app_id = answer.app_id
            await self._ledger.call(self._ledger.inboxes.note_app_id, self._inbox, answer.app_id)
        await self._note_text(row, now, changed=answer.text_changed)
        if not row.backfill:
            meter.observe(DELIVERY_LAG, (now - row.order.arrived_at).total_seconds(), self._inbox)
        log.info("delivery.sent", delivery=row.delivery_id, message=row.message_id, request_id=answer.request_id)
        return None

    async def _answered_late(self, row: Waiting, answer: outcome.Accepted, now: datetime) -> None:
        """Another process has taken this send over meanwhile, and may have found it, or sent it again."""
        self._signals.uncertain = True
        note = self._ledger.deliveries.note_late_answer
        doubled = await self._ledger.call(note, row.delivery_id, answer.message_id, now)
        tell = log.error if doubled else log.warning
        tell("delivery.answered_late", delivery=row.delivery_id, message=row.message_id, doubled=doubled)

    async def _note_text(self, row: Waiting, now: datetime, *, changed: bool) -> None:
        """A text that the Inbox changed is a fault to be shown, until many in a row have come back as they were."""
        if not changed:
            self._unchanged_in_a_row += 1
            if self._unchanged_in_a_row == UNCHANGED_AGAIN:
                self._told_that_texts_change = False
                await self._ledger.call(self._ledger.inboxes.take_back_fault, self._inbox, TEXT_CHANGED)
            return
        self._unchanged_in_a_row = 0
        if self._told_that_texts_change:
            return
        self._told_that_texts_change = True
        sentence = (
            "the Inbox changed the text of a message it accepted; a send whose answer is lost cannot be recognised "
            "by reading back"
        )
        await self._ledger.call(self._ledger.inboxes.set_fault, self._inbox, TEXT_CHANGED, sentence, now)
        log.error("inbox.text_changed", inbox=self._inbox, delivery=row.delivery_id)

    async def _refused(self, tried: Waiting, answer: outcome.Refused) -> Waiting | None:
        """A 4xx of ours: the mapping is renewed before the next try, since it may be what was wrong."""
        await self._health.sent()
        change = self._refusal(tried, answer.code, answer.sentence, attempt=tried.attempt, request_id=answer.request_id)
        await self._record(change)
        await self._ledger.call(self._ledger.participants.forget, tried.participant_id)
        self._to_renew.add(tried.participant_id)
        log.warning("delivery.refused", delivery=tried.delivery_id, message=tried.message_id, code=answer.code)
        return self._after_refusal(tried, change)

    def _after_refusal(self, row: Waiting, change: Refused) -> Waiting | None:
        if change.retry_at is None:
            return None
        return replace(
            row,
            failures=row.failures + 1,
            retry_at=change.retry_at,
            resolved_at=None,
        )

    def _refusal(self, row: Waiting, code: str, sentence: str, *, attempt: int, request_id: str = "") -> Refused:
        now = self._clock.now()
        retry_at = retry_after_refusal(row.failures + 1, now, self._rules)
        held_out = retry_at is None and row.failures + 1 < self._settings.max_attempts
        reason = Reason.HELD_TOO_LONG if held_out else Reason.REFUSED
        return Refused(row.delivery_id, attempt, now, code, sentence, retry_at, reason, request_id)

    async def _unclear(self, row: Waiting, intent: Intent, answer: outcome.Unclear, now: datetime) -> None:
        look_at = now + timedelta(seconds=self._settings.first_look_seconds)
        await self._record(Unclear(row.delivery_id, intent.attempt, now, answer.code, answer.sentence, look_at))
        # What reading back finds moves the conversation on in the ledger only: read it again after that.
        self._conversations.forget(intent.conversation_id)
        self._signals.uncertain = True
        self._signals.news_for_reconcile.set()
        log.warning("delivery.unknown", delivery=row.delivery_id, message=row.message_id, code=answer.code)
        failure = TemporaryError(answer.sentence, code=answer.code, scope=Scope.INBOX)
        await self._health.failed(failure, sending=True, retry_after_seconds=answer.retry_after_seconds)

    async def _record(self, change: Change) -> bool:
        """Records what is known of a send, however long the database takes to answer: the fact must not be lost while
        this process lives. (If it dies, the row is still `sending`, and is read back.)"""
        while True:
            try:
                return await self._recorder.ask(change)
            except (LedgerError, TemporaryError) as error:
                log.warning("deliver.ledger_unavailable", inbox=self._inbox, code=error.code)
                await self._clock.sleep(LEDGER_PAUSE_SECONDS)

    async def _commit(self, changes: Sequence[Change | Uploaded]) -> Sequence[bool]:
        try:
            return await self._ledger.call(
                self._ledger.deliveries.commit, self._lease.ref, list(changes), self._clock.now()
            )
        except LeaseLost as lost:
            # Intents were refused; answers to sends of ours are recorded all the same.
            self._lease.lost.set()
            self._signals.wake.set()
            return lost.applied or [False] * len(changes)
