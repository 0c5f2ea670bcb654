"""Who wrote an article, and to whom it belongs."""

from __future__ import annotations

from sync.connector import PassContext
from sync.kit.rest import RestClient
from sync.kit.tickets import Person, Said
from sync.mail.address import split_addresses
from sync.message import Attachment

from .shapes import Article, TicketRow, User

PEOPLE_MAX = 5_000
"""People remembered, so that their names are asked for once."""
NOBODY = 1
"""The user who stands for none."""
CUSTOMER = "Customer"
"""The sender of what a customer said, and the role of customers."""


class People:
    """The users of a Zammad, as they are asked for."""

    def __init__(self, client: RestClient) -> None:
        self._client = client
        self._people: dict[int, tuple[Person, bool]] = {}

    def forget(self) -> None:
        """Names are asked for again."""
        self._people.clear()

    async def customer(self, number: int, ctx: PassContext) -> tuple[Person, bool]:
        """A person as a customer, and whether that is their role."""
        if number <= NOBODY:
            return Person(), False
        if number not in self._people:
            got = await self._client.find(ctx, f"users/{number}", User, {"expand": "true"})
            if len(self._people) >= PEOPLE_MAX:
                self._people.clear()
            self._people[number] = (Person(str(number)), False) if got is None else _person(got.value)
        return self._people[number]


async def said_of(ticket: TicketRow, one: Article, people: People, ctx: PassContext) -> Said:
    """What an article says."""
    customer, _ = await people.customer(ticket.customer_id or 0, ctx)
    if one.sender == CUSTOMER:
        author = await _customer(ticket, one, customer, people, ctx)
    else:
        name = next((name or address for name, address in split_addresses(one.author or "")), one.author or "")
        author = Person(str(one.created_by_id or ""), name, is_agent=True)
    is_html = "html" in (one.content_type or "").lower()
    return Said(
        author,
        (customer,),
        html=(one.body or "") if is_html else "",
        text="" if is_html else one.body or "",
        is_internal=one.internal,
        subject=one.subject or ticket.title or "",
        files=files_of(one),
    )


async def _customer(ticket: TicketRow, one: Article, customer: Person, people: People, ctx: PassContext) -> Person:
    """Who said it: by mail, whose address it shows; else in whose name it was written down, or who wrote it; else the
    ticket's customer, when that was an agent."""
    number = one.origin_by_id or one.created_by_id
    if one.type == "email":
        for name, address in split_addresses(one.author or ""):
            return Person(str(number or ""), name, address)
    if number is None or number == ticket.customer_id:
        return customer
    person, is_customer = await people.customer(number, ctx)
    return person if is_customer else customer


def files_of(one: Article) -> tuple[Attachment, ...]:
    """The files of an article, by their ids."""
    return tuple(
        Attachment(
            file.filename,
            file.preferences.content_type or file.preferences.mime_type or "application/octet-stream",
            file.size,
            ref=str(file.id),
        )
        for file in one.attachments
    )


def _person(user: User) -> tuple[Person, bool]:
    name = f"{user.firstname or ''} {user.lastname or ''}".strip()
    made = Person(str(user.id), name, user.email or "", user.mobile or user.phone or "")
    return made, CUSTOMER in user.roles
