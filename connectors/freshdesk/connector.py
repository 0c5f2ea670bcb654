"""The `freshdesk` connector: which tickets changed, then what was said in each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Severity
from sync.errors import AuthError, MessageError
from sync.kit.rest import BasicAuth, Budget, RestClient, by_link, moving_window
from sync.kit.tickets import ByTickets, Entry, Person, Said, Ticket, taken_back, version_of
from sync.mail.address import split_addresses
from sync.message import Attachment

from .config import FreshdeskConfig
from .shapes import FORWARDED, OUTBOUND_EMAIL, Agent, Contact, Conversation, File, TicketRow

PAGE_ROWS = 100
LAST_PAGE = 300
"""No list goes further; `moving_window` comes near it only when 30,000 tickets changed in one second."""
BEGINNING = datetime(2010, 1, 1, tzinfo=UTC)
"""There was no Freshdesk before. Without any time only tickets of the last 30 days would be listed."""
FIRST = "0"
"""The place of a ticket's description, which is its first message and no conversation."""
INTERNAL = "-internal"
"""Ends the ids of internal notes: one that is made public becomes a message."""
PEOPLE_MAX = 5_000
"""People remembered, so that their names are asked for once."""
SEES = "a role that may view tickets, with the scope of all tickets"


class FreshdeskConnector(ByTickets[TicketRow]):
    """The tickets of one account. Only reads."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="freshdesk",
        summary="Tickets of a Freshdesk account, by conversation id",
        experimental=True,
        permissions=("an agent's API key, with the scope of all tickets",),
    )
    Config: ClassVar[type[ConnectorConfig]] = FreshdeskConfig

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, FreshdeskConfig):
            raise TypeError("FreshdeskConnector takes a FreshdeskConfig")
        super().__init__(config)
        self._host = urlsplit(config.url).netloc.lower()
        self.client = RestClient(
            f"{config.url}/api/v2",
            name="freshdesk",
            auth=BasicAuth(config.api_key, SecretStr("X")),
            budget=Budget(config.requests_per_minute),
        )
        self._people: dict[int, Person] = {}

    @property
    def account(self) -> str:
        """The account's host."""
        return self._host

    # -- which tickets

    async def changed(self, since: datetime | None, ctx: PassContext) -> AsyncIterator[Sequence[Ticket[TicketRow]]]:
        """Tickets by their time of change. Deleted ones and spam are not listed."""

        async def load(since: datetime | None, page: int) -> Sequence[TicketRow]:
            params: dict[str, str | int] = {
                "updated_since": f"{since or BEGINNING:%Y-%m-%dT%H:%M:%SZ}",
                "order_by": "updated_at",
                "order_type": "asc",
                "include": "requester,description",
                "per_page": PAGE_ROWS,
                "page": page,
            }
            return (await self.client.get(ctx, "tickets", list[TicketRow], params, needs=SEES)).value

        window = moving_window(
            load,
            since,
            key=lambda row: str(row.id),
            stamp=lambda row: row.updated_at,
            page_rows=PAGE_ROWS,
            max_pages=LAST_PAGE,
            what="Freshdesk's tickets",
        )
        async for rows in window:
            yield [_ticket(row) for row in rows]

    async def ticket(self, ticket_id: str, ctx: PassContext) -> Ticket[TicketRow] | None:
        """One ticket, with its files."""
        got = await self.client.find(ctx, f"tickets/{ticket_id}", TicketRow, {"include": "requester"}, needs=SEES)
        return None if got is None or got.value.spam else _ticket(got.value)

    # -- what was said

    async def entries(self, ticket: Ticket[TicketRow], ctx: PassContext) -> Sequence[Entry]:
        """The description, then the conversations."""
        row = ticket.data
        if row.attachments is None and not await ctx.known("", [self.place(row.id, FIRST)]):
            whole = await self.ticket(ticket.id, ctx)
            if whole is None:
                return ()
            row = whole.data
        entries = [self._first(row)]
        internal: dict[str, datetime] = {}
        async for one in self._conversations(ticket.id, ctx):
            said = await self._said(row, one, ctx)
            # Of the text alone: addresses of pictures in `body` change by themselves.
            version = version_of(one.body_text)
            place = self.place(row.id, one.id)
            if said.is_internal:
                internal[place] = one.created_at
                place += INTERNAL
            entries.append(Entry(place, one.created_at, said, version))
        return [*entries, *await taken_back(internal, ctx)]

    async def _conversations(self, ticket_id: str, ctx: PassContext) -> AsyncIterator[Conversation]:
        path, params = f"tickets/{ticket_id}/conversations", {"per_page": PAGE_ROWS}
        async for got in by_link(self.client, ctx, path, list[Conversation], params, about_message=True):
            for one in got.value:
                yield one

    def _first(self, row: TicketRow) -> Entry:
        """The ticket's description; its files are told only when the ticket is asked for by itself."""
        told = row.description_text or row.description
        made = Entry(self.place(row.id, FIRST), row.created_at, version="" if told is None else version_of(told))
        if row.attachments is None:
            return made
        requester = _person(row.requester or Contact(id=row.requester_id))
        agent = Person(id=str(row.responder_id or ""), is_agent=True)
        said = Said(
            agent if row.source == OUTBOUND_EMAIL else requester,
            (requester,),
            html=row.description or "",
            text=row.description_text or "",
            subject=row.subject or "",
            files=_files(row.attachments),
        )
        return replace(made, said=said)

    async def _said(self, row: TicketRow, one: Conversation, ctx: PassContext) -> Said:
        requester = _person(row.requester or Contact(id=row.requester_id))
        is_internal = one.private or one.source == FORWARDED
        if one.incoming and not is_internal:
            author = requester if one.user_id in {row.requester_id, None} else await self._customer(one, ctx)
        else:
            author = (
                await self._agent(one.user_id or 0, ctx) if is_internal else Person(str(one.user_id), is_agent=True)
            )
        return Said(
            author,
            (requester,),
            html=one.body or "",
            text=one.body_text or "",
            is_internal=is_internal,
            subject=row.subject or "",
            files=_files(one.attachments),
        )

    async def _customer(self, one: Conversation, ctx: PassContext) -> Person:
        """Somebody who wrote into another's ticket."""
        number = one.user_id or 0
        address = next((address for _name, address in split_addresses(one.from_email or "")), "")
        if address:
            return Person(str(number), email=address)
        if number not in self._people:
            got = await self.client.find(ctx, f"contacts/{number}", Contact)
            self._remember(number, Person(str(number)) if got is None else _person(got.value))
        return self._people[number]

    async def _agent(self, number: int, ctx: PassContext) -> Person:
        """An agent's name, for notes that are shown. Not every key may read it."""
        if self._tickets.internal_notes == "skip":
            return Person(str(number), is_agent=True)
        if number not in self._people:
            try:
                got = await self.client.find(ctx, f"agents/{number}", Agent)
            except (AuthError, MessageError):
                got = None
            name = got.value.contact.name if got is not None else None
            self._remember(number, Person(str(number), name or "an agent", is_agent=True))
        return self._people[number]

    def _remember(self, number: int, person: Person) -> None:
        if len(self._people) >= PEOPLE_MAX:
            self._people.clear()
        self._people[number] = person

    # -- files

    async def open_file(self, external_id: str, attachment: Attachment, ctx: PassContext) -> AsyncIterator[bytes]:
        """A file, by an address that is asked for anew: the one that came with the message may be over."""
        ticket_id, _, message_id = external_id.partition("/")
        for one in await self._files_now(ticket_id, message_id, ctx):
            if str(one.id) == attachment.ref:
                async for piece in self.client.download(ctx, one.attachment_url):
                    yield piece
                return
        raise MessageError("Freshdesk has the file no more.", code="freshdesk.file_gone")

    async def _files_now(self, ticket_id: str, message_id: str, ctx: PassContext) -> Sequence[File]:
        if message_id == FIRST:
            ticket = await self.ticket(ticket_id, ctx)
            return () if ticket is None else ticket.data.attachments or ()
        async for one in self._conversations(ticket_id, ctx):
            if str(one.id) == message_id.removesuffix(INTERNAL):
                return one.attachments
        return ()

    # -- check

    async def check_access(self, ctx: PassContext) -> Sequence[Finding]:
        """The key, its scope, the tickets, and the names of people."""
        me = (await self.client.get(ctx, "agents/me", Agent, needs="an agent's API key")).value
        findings = [Finding(Severity.OK, f"Signed in at {self._host}.", code="freshdesk.signed_in")]
        if me.ticket_scope not in {None, 1}:
            findings.append(
                Finding(
                    Severity.WARNING,
                    "This agent sees only tickets of their groups, or their own.",
                    next_step="Give the agent the ticket scope Global Access, or expect those tickets only.",
                    code="freshdesk.scope",
                )
            )
        await self.client.get(ctx, "tickets", list[TicketRow], {"per_page": 1}, needs=SEES)
        findings.append(Finding(Severity.OK, "Tickets can be read.", code="freshdesk.tickets"))
        try:
            await self.client.get(ctx, "contacts", list[Contact], {"per_page": 1})
        except AuthError:
            findings.append(
                Finding(
                    Severity.WARNING,
                    "This agent may not read contacts: who writes into another's ticket is known by number only.",
                    next_step="Give the agent's role the permission to view contacts.",
                    code="freshdesk.contacts",
                )
            )
        return findings

    async def aclose(self) -> None:
        """Forgets names; there is no connection of its own."""
        self._people.clear()


def _ticket(row: TicketRow) -> Ticket[TicketRow]:
    return Ticket(str(row.id), row.updated_at, row)


def _person(one: Contact) -> Person:
    return Person(str(one.id or ""), one.name or "", one.email or "", one.mobile or one.phone or "")


def _files(files: Sequence[File]) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(one.name, one.content_type or "application/octet-stream", one.size, ref=str(one.id)) for one in files
    )
