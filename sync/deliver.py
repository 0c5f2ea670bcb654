"""Delivering into one inbox: resolve participants, commit the intent, send, record the result.

    window of pending rows ─▶ board ─next_send─▶ budget token ▶ content, files ▶ intent committed ▶ POST ▶ result committed
                                └─next_resolve─▶ contact and conversation ▶ remembered

Only the holder of the inbox's lease runs this. Many lanes at once, one delivery of a lane at a time. What became of a
send is never guessed: `OutcomeUnknown` rows go to `sync.reconcile`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from sync.board import Board
from sync.book import LEDGER_PAUSE_SECONDS, Book, Signals
from sync.clock import Clock
from sync.conversations import Conversations
from sync.delivery import Conversation, Intent, OnTheWire, Release, Waiting
from sync.errors import AuthError, InboxSyncError, LedgerError, MessageError, Scope, TemporaryError
from sync.group import Group
from sync.health import InboxHealth
from sync.inbox import InboxClient, outcome
from sync.lease import HeldLease
from sync.ledger import LeaseLost, Ledger, ToSend
from sync.message import Direction, Json, Message
from sync.render import RenderContext, canonical_hash, media_items, render, renew_files
from sync.resolve import RESOLVERS, Resolver
from sync.settings import InboxSettings
from sync.states import DeliveryState
from sync.upload import UNKNOWN_MEDIA, Uploader, Uploads

log = structlog.get_logger()

WINDOW_ROWS = 2000
"""Pending deliveries held in memory; rows in lanes that cannot move come on top."""
MAX_WINDOW_ROWS = 50_000
"""…but never more than this."""
BACKFILL_SHARE = 4
"""Of lanes and resolvers, this part is used for backfill at most: the requests of a live delivery wait for the budget
behind so many others, not behind all."""
GROUP_ROWS = 512
"""Changes recorded in one transaction at most."""
CONTENTS_AT_ONCE = 64
ANSWER_MARGIN_SECONDS = 2.0
"""Added to the time-outs of a send: after that its answer is not coming any more."""
IDLE_SECONDS = 5.0
"""How often an idle deliverer looks into the ledger although nobody woke it (another process may have written)."""
QUIET_AFTER_SECONDS = 60.0
"""A try that lies further ahead than this is not waited for by `sync`."""
BUSY_TICK_SECONDS = 0.5
"""How often lanes that wait for time are looked at while others are at work."""


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
        self._releases: dict[str, Release] = {}
        self.board = Board(timedelta(hours=settings.mapping_ttl_hours), self._releases.get)
        self._signals = Signals()
        self._conversations = Conversations(inbox, ledger)
        self._book = Book(
            inbox,
            settings,
            budget=client.budget,
            ledger=ledger,
            lease=lease,
            health=health,
            conversations=self._conversations,
            signals=self._signals,
            group_rows=GROUP_ROWS,
            clock=clock,
        )
        self._resolver = Resolver(
            inbox,
            settings,
            client=client,
            ledger=ledger,
            health=health,
            board=self.board,
            conversations=self._conversations,
            book=self._book,
            clock=clock,
        )
        self._uploader = Uploader(
            inbox,
            client=client,
            ledger=ledger,
            remember=self._book.remember,
            max_attempts=settings.max_upload_attempts,
            clock=clock,
        )
        self._contents: Group[int, ToSend | None] = Group(self._load_contents, most=CONTENTS_AT_ONCE)
        self._sending: set[asyncio.Task[None]] = set()
        self._resolving: set[asyncio.Task[None]] = set()
        self._waiting_for_token: set[asyncio.Task[None]] = set()
        self._for_backfill: set[asyncio.Task[None]] = set()
        self._at_work: set[int] = set()
        self._ended_since_refresh: set[int] = set()
        self._stale = True
        self._refreshing = False
        self._window_full = False
        self._only_live = False
        """Whether the window held nothing but live rows, so that there may be more of them."""
        self._stopping = False

    # ------------------------------------------------------------------ life

    def wake(self) -> None:
        """The ledger has news: look soon."""
        self._stale = True
        self._signals.wake.set()

    async def run(self) -> None:
        """Delivers until cancelled or until the lease is lost (raises LeaseLost). Requests on the wire come back first:
        whoever delivers next must not find them half done."""
        try:
            await self._run()
        finally:
            await self.stop(self._answer_seconds())

    async def _run(self) -> None:
        while not self._stopping:
            self._signals.wake.clear()
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
        self._signals.wake.set()
        for task in self._resolving | self._waiting_for_token:
            task.cancel()
        tasks = self._sending | self._resolving
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        await self._book.drain()

    @property
    def news_for_reconcile(self) -> asyncio.Event:
        """Set when there may be something on the wire that nobody waits for."""
        return self._signals.news_for_reconcile

    def is_at_work(self, delivery_id: int) -> bool:
        """Whether a task of this deliverer sends it now and will record what came of it."""
        return delivery_id in self._at_work

    def is_quiet(self, *, with_backfill: bool = True) -> bool:
        """Nothing is at work, and all that was read from the ledger waits for a try that lies far ahead. Without
        `with_backfill`: nothing live, and nothing that something live waits for."""
        at_work = self._sending | self._resolving
        if self._refreshing or (at_work if with_backfill else at_work - self._for_backfill):
            return False
        if self._stale or self._signals.uncertain or (self._window_full and (with_backfill or self._only_live)):
            return False
        now = self._clock.now()
        wake_at = self.board.next_wake_at(now, with_backfill=with_backfill)
        soon = wake_at is not None and wake_at - now < timedelta(seconds=QUIET_AFTER_SECONDS)
        return self.board.all_wait(now, with_backfill=with_backfill) and not soon

    async def _step(self) -> None:
        if self._health.parked is not None:
            return
        if self._stale or self._signals.uncertain or (self._window_full and len(self.board) < WINDOW_ROWS // 2):
            self._refreshing = True
            try:
                await self._refresh()
            finally:
                self._refreshing = False
        if not self._signals.uncertain:
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
                await self._signals.wake.wait()
        except TimeoutError:
            self._stale = self._stale or not self._sending
            self.board.reoffer()

    async def _refresh(self) -> None:
        self._stale = self._signals.uncertain = False
        ended = self._ended_since_refresh
        ended.clear()
        now = self._clock.now()
        limit = min(MAX_WINDOW_ROWS, WINDOW_ROWS + self.board.blocked(now, alone=len(self._releases) <= 1))
        deliveries = self._ledger.deliveries
        # The wire is read before the window: a delivery that is settled in between then still blocks its lane for this
        # round, instead of being in neither and letting a later one pass.
        wire = await self._ledger.call(deliveries.on_the_wire, self.inbox)
        releases = await self._ledger.call(deliveries.releases, self.inbox)
        rows = await self._ledger.call(deliveries.window, self.inbox, limit, now)
        # A message that was loaded meanwhile is not in the window, one that was found meanwhile was not known before it.
        since = await self._ledger.call(deliveries.releases, self.inbox)
        self._releases.clear()
        self._releases.update({name: since[name].both(known) for name, known in releases.items() if name in since})
        self._window_full = len(rows) >= limit
        self._only_live = not any(row.backfill for row in rows[:limit])  # live comes first
        if not self._window_full:
            self.board.forget_missing({row.delivery_id for row in rows} | ended)
        blocking = [row for row in wire if self._blocks(row)]
        freed = self.board.set_on_the_wire(
            (row.conversation_id for row in blocking), (row.participant_id for row in blocking)
        )
        for conversation_id in freed:  # what was read back has moved it on in the ledger only: read it again
            self._conversations.forget(conversation_id)
        self.board.forget_resolved(now)
        # Of a delivery whose task ended while the ledger was read, the board knows more than these rows do.
        self.board.load([row for row in rows if row.delivery_id not in ended], now)
        await self._conversations.learn({row.conversation_id for row in rows if row.conversation_id is not None})
        self.board.reoffer()

    def _blocks(self, row: OnTheWire) -> bool:
        """Whether a row that was on the wire a moment ago keeps its conversation from being offered. One of our own that
        is neither at work nor ended since then was left behind: reading back will find out."""
        ours = row.delivery_id in self._at_work or row.delivery_id in self._ended_since_refresh
        return row.state is DeliveryState.UNKNOWN or not ours

    def _start(self) -> None:
        if self._stopping or not self._lease.valid():
            return
        now = self._clock.now()
        lanes = 1 if self._health.on_trial else self._settings.lanes
        while len(self._resolving) < RESOLVERS:
            behind = self._backfilling(self._resolving) < max(1, RESOLVERS // BACKFILL_SHARE)
            row = self.board.next_resolve(now, with_backfill=behind)
            if row is None:
                break
            self._spawn(self._resolving, self._resolver.resolve(row), row)
        while len(self._sending) < lanes:
            behind = self._backfilling(self._sending) < max(1, lanes // BACKFILL_SHARE)
            row = self.board.next_send(now, with_backfill=behind)
            if row is None:
                break
            self._waiting_for_token.add(self._spawn(self._sending, self._send(row), row))

    def _backfilling(self, group: set[asyncio.Task[None]]) -> int:
        """How many of these work on a delivery of a backfill."""
        return len(group & self._for_backfill)

    def _spawn(
        self, group: set[asyncio.Task[None]], work: Coroutine[object, object, None], row: Waiting
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        group.add(task)
        if row.backfill:
            self._for_backfill.add(task)
        task.add_done_callback(lambda done: self._ended(group, done))
        return task

    def _ended(self, group: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        group.discard(task)
        self._for_backfill.discard(task)
        self._waiting_for_token.discard(task)
        self._signals.wake.set()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._signals.uncertain = True
            self._signals.news_for_reconcile.set()  # its row may have been left in `sending`
            if isinstance(error, LedgerError | TemporaryError):
                log.warning("deliver.not_recorded", inbox=self.inbox, code=error.code, reason=str(error))
            else:
                log.error("deliver.bug", inbox=self.inbox, exc_info=error)

    # ------------------------------------------------------------------ sending

    async def _send(self, row: Waiting) -> None:
        kept: Waiting | None = row
        try:
            await self._client.budget.take()
            self._waiting_for_token -= {asyncio.current_task()}
            if not self._may_go_on():
                return
            self._at_work.add(row.delivery_id)
            kept = await self._attempt(row)
        finally:
            self._at_work.discard(row.delivery_id)
            self._ended_since_refresh.add(row.delivery_id)
            self.board.finish_send(row, kept)
            if self._book.take_renewal(row.participant_id):
                self.board.forget_mapping(row.participant_id, self._clock.now())

    def _may_go_on(self) -> bool:
        return not self._stopping and self._health.parked is None and self._lease.valid()

    async def _content(self, row: Waiting) -> ToSend | None:
        """The message, as far as it is needed and still there: a frozen request without files needs none."""
        if row.request is not None and not media_items(json.loads(row.request)):
            return None
        return await self._contents.ask(row.message_id)

    async def _upload(self, row: Waiting, content: ToSend | None) -> Uploads | MessageError | None:
        """The message's files, uploaded; None when that cannot be now, which concerns the whole inbox."""
        if content is None:
            return Uploads()
        try:
            uploads = await self._uploader.ready(
                row.message_id, content.message, content.files, last_try=self._book.is_last_try(row)
            )
        except AuthError as error:
            await self._health.failed(error)
            return None
        except TemporaryError as error:
            if error.scope is Scope.MESSAGE:
                return MessageError(error.sentence, code=error.code)
            await self._health.failed(error, retry_after_seconds=error.retry_after_seconds)
            return None
        if uploads.fresh:  # the token was taken long ago
            await self._client.budget.take()
        return uploads

    async def _attempt(self, row: Waiting) -> Waiting | None:
        """One attempt. Returns the row as it waits on, None when it is not pending any more."""
        try:
            content = await self._content(row)
            uploads = await self._upload(row, content)
            if uploads is None or not self._may_go_on():
                return row
            prepared = await self._prepare(row, None if content is None else content.message, uploads)
        except (LedgerError, TemporaryError):
            raise
        except Exception:
            log.exception("deliver.bug", inbox=self.inbox, delivery=row.delivery_id)
            prepared = MessageError("the program failed while it prepared this message", code="internal.error")
        if isinstance(prepared, MessageError):
            await self._book.refuse_unsent(row, prepared)
            return None
        intent, body = prepared
        if not await self._book.intend(intent):
            self._signals.uncertain = True
            return None
        try:
            answer: outcome.SendOutcome = await self._client.send(
                body, recorded=intent.request, may_write=self._lease.valid
            )
        except ValueError as error:
            # The client refuses a body it does not know before it writes anything: ours is the bug.
            log.exception("deliver.bug", inbox=self.inbox, delivery=row.delivery_id)
            answer = outcome.Refused(0, "internal.request", str(error), "", conversation_gone=False)
        except Exception:
            log.exception("deliver.bug", inbox=self.inbox, delivery=row.delivery_id)
            answer = outcome.Unclear(None, "internal.error", "the program failed while it was sending")
        if isinstance(answer, outcome.Refused) and answer.code == UNKNOWN_MEDIA:
            await self._uploader.not_known(row.message_id)
        return await self._book.enter(row, intent, answer)

    async def _prepare(
        self, row: Waiting, message: Message | None, uploads: Uploads | MessageError
    ) -> tuple[Intent, dict[str, Json]] | MessageError:
        if isinstance(uploads, MessageError):
            return uploads
        conversation_id = row.conversation_id
        if conversation_id is None:
            raise RuntimeError(f"delivery {row.delivery_id} has no conversation")
        conversation = await self._conversations.get(conversation_id)
        now = self._clock.now()
        subject_key = conversation.last_subject_key or ""
        body: dict[str, Json]
        if row.request is not None:
            body = {**json.loads(row.request), "conversationId": conversation_id}
            if message is not None:
                renew_files(body, message, uploads.file_ids)
        else:
            if message is None:
                return MessageError("its content is not in the ledger any more", code="ledger.content_missing")
            rendered = render(message, self._render_context(row, message, conversation, now, uploads))
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
        self, row: Waiting, message: Message, conversation: Conversation, now: datetime, uploads: Uploads
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
            uploads=uploads.file_ids,
            refused_files=uploads.refused,
        )

    async def _load_contents(self, message_ids: Sequence[int]) -> Sequence[ToSend | None]:
        wanted = set(message_ids)
        try:
            found = await self._ledger.call(self._ledger.messages.to_send, wanted)
        except ValueError:  # one of them cannot be understood (pydantic): it must not take the others with it
            found = {}
            for message_id in wanted:
                with suppress(ValueError):
                    found |= await self._ledger.call(self._ledger.messages.to_send, [message_id])
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
