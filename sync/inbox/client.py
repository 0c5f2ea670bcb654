"""The client of one inbox: what the loops call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sync.budget import Budget
from sync.clock import Clock
from sync.connector import Finding
from sync.errors import AuthError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.http import HttpClient
from sync.inbox import contacts, conversations, media, messages
from sync.inbox.body import check_request
from sync.inbox.calls import Calls
from sync.inbox.check import check
from sync.inbox.errors import Fault, refusal
from sync.inbox.messages import InboxMessage
from sync.inbox.outcome import Accepted, NotWritten, SendOutcome, Unauthorised, read_send
from sync.message import Json, Participant
from sync.settings import InboxSettings


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where a participant's messages go."""

    contact_id: str
    conversation_id: str


class InboxClient:
    """One site's Inbox. Every call but `send` takes its token from `budget` itself; before a `send` the caller takes it."""

    def __init__(self, name: str, settings: InboxSettings, *, http: HttpClient, budget: Budget, clock: Clock) -> None:
        self.name = name
        self.budget = budget
        self._base_url = settings.base_url
        self._calls = Calls(name, settings, http, budget, clock)
        self.app_id = ""
        """Our app's id as the Inbox writes it into messages, learnt from the answers to sends; "" as long as it is unknown.
        The id in the settings is for signing in: that both are written alike is documented nowhere, and where they are
        not, reading back would never find a message of ours, and each would be sent again."""

    async def resolve(self, participant: Participant, known: Mapping | None = None) -> Mapping:
        """The participant's contact and conversation, made when there are none.

        `known` is what was remembered: it is renewed, so that merged and deleted contacts are noticed. Raises AuthError,
        MessageError (this participant cannot be had), TemporaryError (scope inbox; scope message when only this
        participant has to wait).
        """
        contact_id = await contacts.current(self._calls, known.contact_id) if known else None
        if contact_id is None:
            contact_id = await contacts.find_or_create(self._calls, participant)
        opened = await conversations.get_or_create(self._calls, contact_id)
        if isinstance(opened, Fault):
            opened, contact_id = await self._open_otherwise(participant, contact_id, opened)
        return Mapping(opened.contact_id or contact_id, opened.id)

    async def _open_otherwise(
        self, participant: Participant, contact_id: str, fault: Fault
    ) -> tuple[conversations.Conversation, str]:
        """The Inbox does not take the contact: it may have been merged or deleted since it was found."""
        other = await contacts.current(self._calls, contact_id)
        if other is None:
            other = await contacts.find_or_create(self._calls, participant)
        if other != contact_id:
            opened = await conversations.get_or_create(self._calls, other)
            if not isinstance(opened, Fault):
                return opened, other
            fault = opened
        error = refusal(fault, "open a conversation")
        if fault.status == 400 or not isinstance(error, MessageError):
            raise error
        raise TemporaryError(error.sentence, code=error.code, scope=Scope.MESSAGE)

    async def send(self, body: Json, *, recorded: str, may_write: Callable[[], bool]) -> SendOutcome:
        """Sends once. `body` is the whole Send Message request, `recorded` its JSON as the ledger has it: that is what is
        written. `may_write` is asked as the last step before the first byte. The token of the budget has been taken by
        the caller, who also tells the budget of a `Throttled`.

        Raises ValueError for a body with anything that is not allowed, and CancelledError: then it is not known what
        was written, and the row stays as it is until it is taken over.
        """
        check_request(body)
        octets = recorded.encode()
        try:
            signature, seconds = await self._calls.sign_for_one()
        except AuthError as error:
            return Unauthorised(error.code, error.sentence, error.next_step)
        except InboxSyncError as error:
            return NotWritten(error.code, f"nothing was sent: {error.sentence}")
        exchange = await self._calls.post_once("send a message", messages.PATH, octets, signature, seconds, may_write)
        outcome = read_send(exchange, body, self._calls.clock.now())
        renewed = False
        try:
            renewed = await self._calls.renew(exchange, signature)
        except InboxSyncError as error:
            if isinstance(outcome, Unauthorised):
                return replace(outcome, code=error.code, sentence=error.sentence, next_step=error.next_step)
        if isinstance(outcome, Unauthorised):
            return replace(outcome, renewed=renewed)
        if isinstance(outcome, Accepted) and outcome.app_id:
            self.app_id = outcome.app_id
        return outcome

    async def upload(
        self, filename: str, mime_type: str, size: int, content: bytes | AsyncIterator[bytes]
    ) -> str | media.NotTaken:
        """Uploads a file; returns its id, or why the Inbox does not take it: see `sync.inbox.media.upload`."""
        return await media.upload(self._calls, filename, mime_type, size, content)

    async def look(self, conversation_id: str, *, after_sequence: int, not_before: datetime) -> list[InboxMessage]:
        """Reads a conversation back to the mark: see `sync.inbox.messages.look`."""
        return await messages.look(self._calls, conversation_id, after_sequence=after_sequence, not_before=not_before)

    async def probe(self) -> None:
        """A read that tells whether the Inbox works for us. Raises AuthError, TemporaryError."""
        await messages.probe(self._calls)

    async def check(self) -> list[Finding]:
        """What an operator should know or mend. Changes nothing and raises nothing."""
        return await check(self._calls, self._base_url)

    async def aclose(self) -> None:
        """Ends what runs on the client's own account. The HttpClient belongs to the caller."""
        await self._calls.aclose()
