"""Delivering into one inbox: resolve participants, commit the intent, send, record the result.

    window of pending rows ─▶ board ─next_send─▶ budget token ▶ content ▶ intent committed ▶ POST ▶ result committed
                                └─next_resolve─▶ contact and conversation ▶ remembered

Only the holder of the inbox's lease runs this. Many lanes at once, one delivery of a lane at a time. What became of a
send is never guessed: `OutcomeUnknown` rows go to `sync.reconcile`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from sync.board import Board
from sync.clock import Clock
from sync.decide import RetryRules, backoff_seconds, retry_after_refusal
from sync.delivery import Accepted, Change, Conversation, Intent, NotWritten, OnTheWire, Refused, Unclear, Waiting
from sync.errors import AuthError, InboxSyncError, LedgerError, MessageError, Scope, TemporaryError
from sync.group import Group
from sync.health import InboxHealth
from sync.inbox import InboxClient, Mapping, outcome
from sync.lease import HeldLease
from sync.ledger import LeaseLost, Ledger
from sync.message import Direction, Json, Message
from sync.render import RenderContext, canonical_hash, render
from sync.settings import InboxSettings
from sync.states import DeliveryState, Reason

log = structlog.get_logger()

WINDOW_ROWS = 2000
"""Pending deliveries held in memory; rows in lanes that cannot move come on top."""
MAX_WINDOW_ROWS = 50_000
"""…but never more than this."""
RESOLVERS = 16
"""Participants resolved at the same time."""
FAILURES_BEFORE_ASIDE = 3
"""Failures in a row to resolve one participant, after which the others do not wait for it any more."""
GROUP_ROWS = 512
"""Changes recorded in one transaction at most."""
CONTENTS_AT_ONCE = 64
CONVERSATIONS_KEPT = 20_000
"""Conversations whose newest sequence and subject are remembered in memory; beyond that they are read again."""
ANSWER_MARGIN_SECONDS = 2.0
"""Added to the time-outs of a send: after that its answer is not coming any more."""
IDLE_SECONDS = 5.0
"""How often an idle deliverer looks into the ledger although nobody woke it (another process may have written)."""
QUIET_AFTER_SECONDS = 60.0
"""A try that lies further ahead than this is not waited for by `sync`."""
BUSY_TICK_SECONDS = 0.5
"""How often lanes that wait for time are looked at while others are at work."""
LEDGER_PAUSE_SECONDS = 1.0
"""Pause before the next try when the database did not answer."""


class Deliverer:
    """One inbox's. `wake()` tells it that the ledger has news."""

    def __init__(
        self,
        inbox: str,
        settings: InboxSettings,
        *,
        client: InboxClient,
        ledger: Ledger,
        lease: HeldLease,
        health: InboxHealth,
        badges: dict[str, str],
        clock: Clock,
    ) -> None:
        self.inbox = inbox
        self._settings = settings
        self._client = client
        self._ledger = ledger
        self._lease = lease
        self._health = health
        self._badges = badges
        self._clock = clock
        self._known_until: dict[str, datetime | None] = {}
        self.board = Board(timedelta(hours=settings.mapping_ttl_hours), self._known_until.get)
        self._conversations: dict[str, Conversation] = {}
        self._recorder: Group[Change, bool] = Group(self._commit, most=GROUP_ROWS)
        self._contents: Group[int, Message | None] = Group(self._load_contents, most=CONTENTS_AT_ONCE)
        self._sending: set[asyncio.Task[None]] = set()
        self._resolving: set[asyncio.Task[None]] = set()
        self._waiting_for_token: set[asyncio.Task[None]] = set()
        self._to_renew: set[int] = set()
        self._resolve_failures: dict[int, int] = {}
        self._at_work: set[int] = set()
        self._ended_since_refresh: set[int] = set()
        self._uncertain = False
        """A delivery left the board without being final: nothing starts before the ledger was read again, or what comes
        behind it in its lane could pass it."""
        self._told_that_texts_change = False
        self._app_id = ""
        self._stale = True
        self._refreshing = False
        self._window_full = False
        self._stopping = False
        self._wake = asyncio.Event()
        self.news_for_reconcile = asyncio.Event()

    # ------------------------------------------------------------------ life

    def wake(self) -> None:
        """The ledger has news: look soon."""
        self._stale = True
        self._wake.set()

    async def run(self) -> None:
        """Delivers until cancelled or until the lease is lost (raises LeaseLost). Requests on the wire come back first:
        whoever delivers next must not find them half done."""
        try:
            await self._run()
        finally:
            await self.stop(self._answer_seconds())

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            if self._lease.lost.is_set():
                raise LeaseLost(self.inbox)
            try:
                await self._step()
            except (LedgerError, TemporaryError) as error:
                log.warning("deliver.ledger_unavailable", inbox=self.inbox, code=error.code)
                self._stale = True
                await self._clock.sleep(LEDGER_PAUSE_SECONDS)
                continue
            await self._wait()

    async def stop(self, grace_seconds: float) -> None:
        """Starts nothing more, lets requests on the wire come back for at most `grace_seconds`."""
        self._stopping = True
        self._wake.set()
        for task in self._resolving | self._waiting_for_token:
            task.cancel()
        tasks = self._sending | self._resolving
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        await self._recorder.drain()

    def is_at_work(self, delivery_id: int) -> bool:
        """Whether a task of this deliverer sends it now and will record what came of it."""
        return delivery_id in self._at_work

    @property
    def quiet(self) -> bool:
        """Nothing is at work, and all that was read from the ledger waits for a try that lies far ahead."""
        if self._sending or self._resolving or self._stale or self._uncertain or self._refreshing or self._window_full:
            return False
        now = self._clock.now()
        wake_at = self.board.next_wake_at(now)
        soon = wake_at is not None and wake_at - now < timedelta(seconds=QUIET_AFTER_SECONDS)
        return self.board.all_wait_for_retry(now) and not soon

    async def _step(self) -> None:
        if self._health.parked is not None:
            return
        if self._stale or self._uncertain or (self._window_full and len(self.board) < WINDOW_ROWS // 2):
            self._refreshing = True
            try:
                await self._refresh()
            finally:
                self._refreshing = False
        if not self._uncertain:
            self._start()

    async def _wait(self) -> None:
        now = self._clock.now()
        timeout = BUSY_TICK_SECONDS
        if not self._sending and not self._resolving:
            wake_at = self.board.next_wake_at(now)
            timeout = IDLE_SECONDS if wake_at is None else (wake_at - now).total_seconds()
            timeout = min(IDLE_SECONDS, max(0.005, timeout))
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            self._stale = self._stale or not self._sending
            self.board.reoffer()

    async def _refresh(self) -> None:
        self._stale = self._uncertain = False
        ended = self._ended_since_refresh
        ended.clear()
        now = self._clock.now()
        limit = min(MAX_WINDOW_ROWS, WINDOW_ROWS + self.board.blocked(now))
        deliveries = self._ledger.deliveries
        # The wire is read before the window: a delivery that is settled in between then still blocks its lane for this
        # round, instead of being in neither and letting a later one pass.
        wire = await self._ledger.call(deliveries.on_the_wire, self.inbox)
        releases = await self._ledger.call(deliveries.releases, self.inbox)
        rows = await self._ledger.call(deliveries.window, self.inbox, limit, now)
        self._known_until.clear()
        self._known_until.update(releases)
        self._window_full = len(rows) >= limit
        if not self._window_full:
            self.board.forget_missing({row.delivery_id for row in rows} | ended)
        freed = self.board.set_on_the_wire(row.conversation_id for row in wire if self._blocks(row))
        for conversation_id in freed:  # what was read back has moved it on in the ledger only: read it again
            self._conversations.pop(conversation_id, None)
        self.board.forget_resolved(now)
        # Of a delivery whose task ended while the ledger was read, the board knows more than these rows do.
        self.board.load([row for row in rows if row.delivery_id not in ended], now)
        await self._learn_conversations({row.conversation_id for row in rows if row.conversation_id is not None})
        self.board.reoffer()

    def _blocks(self, row: OnTheWire) -> bool:
        """Whether a row that was on the wire a moment ago keeps its conversation from being offered. One of our own that
        is neither at work nor ended since then was left behind: reading back will find out."""
        ours = row.delivery_id in self._at_work or row.delivery_id in self._ended_since_refresh
        return row.state is DeliveryState.UNKNOWN or not ours

    async def _conversation(self, conversation_id: str) -> Conversation:
        await self._learn_conversations({conversation_id})
        return self._conversations.setdefault(conversation_id, Conversation(self.inbox, conversation_id))

    async def _learn_conversations(self, wanted: set[str]) -> None:
        if len(self._conversations) > CONVERSATIONS_KEPT:
            self._conversations.clear()
        unknown = wanted - self._conversations.keys()
        if unknown:
            found = await self._ledger.call(self._ledger.deliveries.conversations, self.inbox, sorted(unknown))
            self._conversations.update(found)

    def _start(self) -> None:
        if self._stopping or not self._lease.valid():
            return
        now = self._clock.now()
        lanes = 1 if self._health.on_trial else self._settings.lanes
        while len(self._resolving) < RESOLVERS and (row := self.board.next_resolve(now)) is not None:
            self._spawn(self._resolving, self._resolve(row), str(row.participant_id))
        while len(self._sending) < lanes and (row := self.board.next_send(now)) is not None:
            self._waiting_for_token.add(self._spawn(self._sending, self._send(row), str(row.delivery_id)))

    def _spawn(
        self, group: set[asyncio.Task[None]], work: Coroutine[object, object, None], name: str
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        group.add(task)
        task.add_done_callback(lambda done: self._ended(group, done))
        return task

    def _ended(self, group: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        group.discard(task)
        self._waiting_for_token.discard(task)
        self._wake.set()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._uncertain = True
            self.news_for_reconcile.set()  # its row may have been left in `sending`
            if isinstance(error, LedgerError | TemporaryError):
                log.warning("deliver.not_recorded", inbox=self.inbox, code=error.code, reason=str(error))
            else:
                log.error("deliver.bug", inbox=self.inbox, exc_info=error)

    # ------------------------------------------------------------------ resolving

    async def _resolve(self, row: Waiting) -> None:
        contact_id = conversation_id = None
        try:
            mapping = await self._ask_for_mapping(row)
            if mapping is not None:
                remember = self._ledger.participants.remember
                now = self._clock.now()
                await self._ledger.call(remember, row.participant_id, mapping.contact_id, mapping.conversation_id, now)
                await self._learn_conversations({mapping.conversation_id})
                contact_id, conversation_id = mapping.contact_id, mapping.conversation_id
        finally:
            self.board.finish_resolve(row, contact_id, conversation_id, self._clock.now())

    async def _ask_for_mapping(self, row: Waiting) -> Mapping | None:
        """The participant's contact and conversation; None when they cannot be had now, which is booked."""
        known = None
        if row.contact_id is not None and row.conversation_id is not None:
            known = Mapping(row.contact_id, row.conversation_id)
        try:
            mapping = await self._client.resolve(row.participant, known)
        except AuthError as error:
            await self._health.failed(error)
        except TemporaryError as error:
            if error.scope is not Scope.INBOX:
                await self._refuse_unsent(row, error)
                return None
            self._postpone_resolve(row)
            await self._health.failed(error, retry_after_seconds=error.retry_after_seconds)
        except MessageError as error:
            await self._refuse_unsent(row, error)
        except Exception:
            log.exception("deliver.bug", inbox=self.inbox, delivery=row.delivery_id)
            bug = MessageError("the program failed while it looked for the participant", code="internal.error")
            await self._refuse_unsent(row, bug)
        else:
            self._health.worked()
            self._resolve_failures.pop(row.participant_id, None)
            return mapping
        return None

    def _postpone_resolve(self, row: Waiting) -> None:
        """The Inbox failed at this participant. It is not counted, for the whole Inbox may be down; but if it fails at
        this one only, the others must not wait for it."""
        failures = self._resolve_failures.get(row.participant_id, 0) + 1
        self._resolve_failures[row.participant_id] = failures
        wait = backoff_seconds(failures, self._settings.first_look_seconds, self._settings.probe_max_seconds)
        until = self._clock.now() + timedelta(seconds=wait)
        self.board.postpone_resolve(row.participant_id, until, aside=failures >= FAILURES_BEFORE_ASIDE)

    async def _refuse_unsent(self, row: Waiting, error: InboxSyncError) -> None:
        change = self._refusal(row, error.code, error.sentence, attempt=row.attempt)
        await self._recorder.ask(change)
        self._uncertain = True
        log.warning("delivery.refused", delivery=row.delivery_id, message=row.message_id, code=error.code)

    # ------------------------------------------------------------------ sending

    async def _send(self, row: Waiting) -> None:
        kept: Waiting | None = row
        try:
            await self._client.budget.take()
            self._waiting_for_token -= {asyncio.current_task()}
            if self._stopping or self._health.parked is not None or not self._lease.valid():
                return
            self._at_work.add(row.delivery_id)
            kept = await self._attempt(row)
        finally:
            self._at_work.discard(row.delivery_id)
            self._ended_since_refresh.add(row.delivery_id)
            self.board.finish_send(row, kept)
            if row.participant_id in self._to_renew:
                self._to_renew.discard(row.participant_id)
                self.board.forget_mapping(row.participant_id, self._clock.now())

    async def _attempt(self, row: Waiting) -> Waiting | None:
        """One attempt. Returns the row as it waits on, None when it is not pending any more."""
        try:
            prepared = await self._prepare(row)
        except (LedgerError, TemporaryError):
            raise
        except Exception:
            log.exception("deliver.bug", inbox=self.inbox, delivery=row.delivery_id)
            prepared = MessageError("the program failed while it prepared this message", code="internal.error")
        if isinstance(prepared, MessageError):
            await self._refuse_unsent(row, prepared)
            return None
        intent, body = prepared
        if not await self._recorder.ask(intent):
            self._uncertain = True
            return None
        try:
            answer: outcome.SendOutcome = await self._client.send(body, may_write=self._lease.valid)
        except ValueError as error:
            # The client refuses a body it does not know before it writes anything: ours is the bug.
            log.exception("deliver.bug", inbox=self.inbox, delivery=row.delivery_id)
            answer = outcome.Refused(0, "internal.request", str(error), "", conversation_gone=False)
        except Exception:
            log.exception("deliver.bug", inbox=self.inbox, delivery=row.delivery_id)
            answer = outcome.Unclear(None, "internal.error", "the program failed while it was sending")
        return await self._book(row, intent, answer)

    async def _prepare(self, row: Waiting) -> tuple[Intent, dict[str, Json]] | MessageError:
        conversation_id = row.conversation_id
        if conversation_id is None:
            raise RuntimeError(f"delivery {row.delivery_id} has no conversation")
        conversation = await self._conversation(conversation_id)
        now = self._clock.now()
        subject_key = conversation.last_subject_key or ""
        body: dict[str, Json]
        if row.request is not None:
            body = {**json.loads(row.request), "conversationId": conversation_id}
        else:
            message = await self._contents.ask(row.message_id)
            if message is None:
                return MessageError("its content is not in the ledger any more", code="ledger.content_missing")
            rendered = render(message, self._render_context(row, message, conversation, now))
            body = {"conversationId": conversation_id, **_fields(rendered.body)}
            subject_key = rendered.subject_key
        newest = conversation.last_arrived_at
        return Intent(
            delivery_id=row.delivery_id,
            attempt=row.attempt + 1,
            at=now,
            conversation_id=conversation_id,
            request=json.dumps(body, ensure_ascii=False, separators=(",", ":")),
            request_hash=canonical_hash(body),
            sequence_mark=conversation.last_sequence,
            answer_due_at=now + timedelta(seconds=self._answer_seconds()),
            subject_key=subject_key,
            late=row.late or (newest is not None and row.order.arrived_at < newest),
        ), body

    def _answer_seconds(self) -> float:
        settings = self._settings
        return settings.connect_timeout_seconds + settings.answer_timeout_seconds + ANSWER_MARGIN_SECONDS

    def _render_context(
        self, row: Waiting, message: Message, conversation: Conversation, now: datetime
    ) -> RenderContext:
        settings = self._settings
        return RenderContext(
            direction=message.direction or Direction.PARTICIPANT_TO_BUSINESS,
            badge_text=self._badges.get(row.source, row.source) if settings.badge else "",
            delivered_at=now,
            arrived_at=row.order.arrived_at,
            previous_subject=conversation.last_subject_key,
            time_zone=settings.time_zone,
            backfill=row.backfill,
            send_notifications=settings.send_notifications,
            reference=f"{row.source}-{row.message_id}" if settings.reference_line else "",
            late_note_after_seconds=settings.late_note_after_seconds,
            silent_after_seconds=settings.silent_after_hours * 3600,
            max_text_items=settings.max_text_items,
            mailbox=row.source,
            customers=tuple(one.name or one.value for one in message.recipients),
        )

    # ------------------------------------------------------------------ what came of it

    async def _book(self, row: Waiting, intent: Intent, answer: outcome.SendOutcome) -> Waiting | None:
        now = self._clock.now()
        tried = replace(row, attempt=intent.attempt, retry_at=None)
        match answer:
            case outcome.Accepted():
                return await self._accepted(row, intent, answer, now)
            case outcome.NotWritten():
                await self._record(NotWritten(row.delivery_id, intent.attempt, now, answer.code, answer.sentence))
                if self._lease.valid():  # else it was ours to hold back, and says nothing about the Inbox
                    failure = TemporaryError(answer.sentence, code=answer.code, scope=Scope.INBOX)
                    await self._health.failed(failure, sending=True)
                return tried
            case outcome.Throttled():
                self._client.budget.throttled(answer.retry_after_seconds)
                await self._record(
                    NotWritten(row.delivery_id, intent.attempt, now, "inbox.throttled", "the Inbox asked to slow down")
                )
                return tried
            case outcome.Unauthorised():
                await self._record(NotWritten(row.delivery_id, intent.attempt, now, answer.code, answer.sentence))
                if not answer.renewed:
                    await self._health.failed(AuthError(answer.sentence, code=answer.code, next_step=answer.next_step))
                return tried
            case outcome.Refused():
                return await self._refused(tried, answer)
            case outcome.Unclear():
                await self._unclear(row, intent, answer, now)
                return None

    async def _accepted(self, row: Waiting, intent: Intent, answer: outcome.Accepted, now: datetime) -> Waiting | None:
        self._health.sent()
        change = Accepted(
            row.delivery_id, intent.attempt, now, answer.message_id, answer.sequence, request_id=answer.request_id
        )
        self._remember_sent(row, intent, answer.sequence)
        if not await self._record(change):
            log.error("delivery.result_not_recorded", delivery=row.delivery_id, inbox_message=answer.message_id)
            self._uncertain = True
        if answer.app_id and answer.app_id != self._app_id:
            self._app_id = answer.app_id
            await self._ledger.call(self._ledger.inboxes.note_app_id, self.inbox, answer.app_id)
        if answer.text_changed:
            await self._text_was_changed(row, now)
        log.info("delivery.sent", delivery=row.delivery_id, message=row.message_id, request_id=answer.request_id)
        return None

    def _remember_sent(self, row: Waiting, intent: Intent, sequence: int) -> None:
        known = self._conversations.get(intent.conversation_id)
        newest = row.order.arrived_at
        if known is not None and known.last_arrived_at is not None:
            newest = max(newest, known.last_arrived_at)
        self._conversations[intent.conversation_id] = Conversation(
            self.inbox,
            intent.conversation_id,
            max(sequence, known.last_sequence if known else 0),
            newest,
            intent.subject_key,
        )

    async def _text_was_changed(self, row: Waiting, now: datetime) -> None:
        if self._told_that_texts_change:
            return
        self._told_that_texts_change = True
        sentence = (
            "the Inbox changed the text of a message it accepted; a send whose answer is lost cannot be recognised "
            "by reading back"
        )
        await self._ledger.call(self._ledger.inboxes.set_fault, self.inbox, "inbox.text_changed", sentence, now)
        log.error("inbox.text_changed", inbox=self.inbox, delivery=row.delivery_id)

    async def _refused(self, tried: Waiting, answer: outcome.Refused) -> Waiting | None:
        """A 4xx of ours: the mapping is renewed before the next try, since it may be what was wrong."""
        self._health.sent()
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
            first_failed_at=row.first_failed_at or change.at,
            retry_at=change.retry_at,
            resolved_at=None,
        )

    def _refusal(self, row: Waiting, code: str, sentence: str, *, attempt: int, request_id: str = "") -> Refused:
        now = self._clock.now()
        rules = RetryRules(
            self._settings.retry_first_seconds, self._settings.lane_hold_seconds, self._settings.max_attempts
        )
        retry_at = retry_after_refusal(row.failures + 1, now, rules)
        held_out = retry_at is None and row.failures + 1 < self._settings.max_attempts
        reason = Reason.HELD_TOO_LONG if held_out else Reason.REFUSED
        return Refused(row.delivery_id, attempt, now, code, sentence, retry_at, reason, request_id)

    async def _unclear(self, row: Waiting, intent: Intent, answer: outcome.Unclear, now: datetime) -> None:
        look_at = now + timedelta(seconds=self._settings.first_look_seconds)
        await self._record(Unclear(row.delivery_id, intent.attempt, now, answer.code, answer.sentence, look_at))
        # What reading back finds moves the conversation on in the ledger only: read it again after that.
        self._conversations.pop(intent.conversation_id, None)
        self._uncertain = True
        self.news_for_reconcile.set()
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
                log.warning("deliver.ledger_unavailable", inbox=self.inbox, code=error.code)
                await self._clock.sleep(LEDGER_PAUSE_SECONDS)

    async def _commit(self, changes: Sequence[Change]) -> Sequence[bool]:
        try:
            return await self._ledger.call(
                self._ledger.deliveries.commit, self._lease.ref, list(changes), self._clock.now()
            )
        except LeaseLost as lost:
            # Intents were refused; answers to sends of ours are recorded all the same.
            self._lease.lost.set()
            self._wake.set()
            return lost.applied or [False] * len(changes)

    async def _load_contents(self, message_ids: Sequence[int]) -> Sequence[Message | None]:
        wanted = set(message_ids)
        try:
            found = await self._ledger.call(self._ledger.messages.contents, wanted)
        except ValueError:  # one of them cannot be understood (pydantic): it must not take the others with it
            found = {}
            for message_id in wanted:
                with suppress(ValueError):
                    found |= await self._ledger.call(self._ledger.messages.contents, [message_id])
        return [found.get(message_id) for message_id in message_ids]


def _fields(body: Json) -> dict[str, Json]:
    if not isinstance(body, dict):
        raise TypeError("a request body is a JSON object")
    return body


async def probe_when_parked(client: InboxClient, health: InboxHealth, clock: Clock, wake: Callable[[], None]) -> None:
    """Asks a parked inbox with a read, never with a send, until it answers. Runs for ever."""
    while True:
        parked = health.parked
        if parked is None:
            await clock.sleep(BUSY_TICK_SECONDS)
            continue
        await clock.sleep(max(0.0, (parked.probe_at - clock.now()).total_seconds()))
        error: InboxSyncError | None = None
        try:
            await client.probe()
        except InboxSyncError as caught:
            error = caught
        with suppress(LedgerError, TemporaryError):
            await health.probed(error)
        if health.parked is None:
            wake()
