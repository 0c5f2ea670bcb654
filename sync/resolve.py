"""Resolving a participant: which contact and conversation of the Inbox are its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog

from sync.board import Board
from sync.book import Book
from sync.clock import Clock
from sync.conversations import Conversations
from sync.decide import backoff_seconds
from sync.delivery import Waiting
from sync.errors import AuthError, MessageError, Scope, TemporaryError
from sync.group import Group
from sync.health import InboxHealth
from sync.inbox import InboxClient, Mapping
from sync.ledger import Ledger, Mapped
from sync.settings import InboxSettings

log = structlog.get_logger()

RESOLVERS = 16
"""Participants resolved at the same time."""
FAILURES_BEFORE_ASIDE = 3
"""Failures in a row to resolve one participant, after which the others do not wait for it any more."""


class Resolver:
    """One inbox's. Many participants at once."""

    def __init__(
        self,
        inbox: str,
        settings: InboxSettings,
        *,
        client: InboxClient,
        ledger: Ledger,
        health: InboxHealth,
        board: Board,
        conversations: Conversations,
        book: Book,
        clock: Clock,
    ) -> None:
        self._inbox = inbox
        self._settings = settings
        self._client = client
        self._ledger = ledger
        self._health = health
        self._board = board
        self._conversations = conversations
        self._book = book
        self._clock = clock
        self._failures: dict[int, int] = {}
        self._found: Group[Mapped, None] = Group(self._remember, most=RESOLVERS)

    async def resolve(self, row: Waiting) -> None:
        """Asks for this row's participant, remembers the answer and tells the board."""
        contact_id = conversation_id = None
        try:
            mapping = await self._ask_for_mapping(row)
            if mapping is not None:
                await self._found.ask(Mapped(row.participant_id, mapping.contact_id, mapping.conversation_id))
                contact_id, conversation_id = mapping.contact_id, mapping.conversation_id
        finally:
            self._board.finish_resolve(row, contact_id, conversation_id, self._clock.now())

    async def _remember(self, mapped: Sequence[Mapped]) -> Sequence[None]:
        await self._ledger.call(self._ledger.participants.remember, list(mapped), self._clock.now())
        await self._conversations.learn({one.conversation_id for one in mapped})
        return [None] * len(mapped)

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
                await self._book.refuse_unsent(row, error)
                return None
            self._postpone(row)
            await self._health.failed(error, retry_after_seconds=error.retry_after_seconds)
        except MessageError as error:
            await self._book.refuse_unsent(row, error)
        except Exception:
            log.exception("deliver.bug", inbox=self._inbox, delivery=row.delivery_id)
            bug = MessageError("the program failed while it looked for the participant", code="internal.error")
            await self._book.refuse_unsent(row, bug)
        else:
            self._health.worked()
            self._failures.pop(row.participant_id, None)
            return mapping
        return None

    def _postpone(self, row: Waiting) -> None:
        """The Inbox failed at this participant. It is not counted, for the whole Inbox may be down; but if it fails at
        this one only, the others must not wait for it."""
        failures = self._failures.get(row.participant_id, 0) + 1
        self._failures[row.participant_id] = failures
        wait = backoff_seconds(failures, self._settings.first_look_seconds, self._settings.probe_max_seconds)
        now = self._clock.now()
        until = now + timedelta(seconds=wait)
        self._board.postpone_resolve(row.participant_id, now, until, aside=failures >= FAILURES_BEFORE_ASIDE)
