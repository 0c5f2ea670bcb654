"""Services that tell which tickets changed, and then what was said in each: `ByTickets`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from sync.connector import PassContext
from sync.errors import MessageError
from sync.kit.cursors import TimeMark
from sync.message import Gone, Json

from .connector import Entry, Look, TicketConnector

T = TypeVar("T")

HORIZON_MARGIN = timedelta(minutes=10)
"""The first look asks for tickets from a little before the horizon. By the service's own clock a ticket changes no earlier
than its last message is written; some stamp the ticket a moment before. The core decides by message."""

SETTLED_AFTER = timedelta(seconds=10)
"""Services count in seconds: a ticket that changed so shortly before it was looked into may have changed again since, under
the same time. The next pass looks once more."""


@dataclass(frozen=True, slots=True)
class Ticket(Generic[T]):
    """A ticket in a list: its id, when it changed last by the service's clock, and whatever the connector needs of it."""

    id: str
    updated_at: datetime
    data: T


class ByTickets(TicketConnector, Generic[T]):
    """A subclass writes `changed`, `ticket` and `entries` in place of `look` and `load`.

    A ticket's time of change is a hint to look and nothing more: each message counts by its own id and time. Ids of
    messages are `TICKET/MESSAGE` (`place`), so that one can be loaded alone, for services in which a message stays with
    its ticket; where messages move, override `load`.
    """

    @abstractmethod
    def changed(self, since: datetime | None, ctx: PassContext) -> AsyncIterator[Sequence[Ticket[T]]]:
        """Tickets that changed at `since` or later (None: all), the longest unchanged first (`moving_window`)."""

    @abstractmethod
    async def ticket(self, ticket_id: str, ctx: PassContext) -> Ticket[T] | None:
        """One ticket; None when it is not there any more."""

    @abstractmethod
    async def entries(self, ticket: Ticket[T], ctx: PassContext) -> Sequence[Entry]:
        """Everything said in a ticket, with `said`. MessageError costs this ticket only; it is tried again later."""

    @staticmethod
    def place(ticket_id: str | int, message_id: str | int) -> str:
        """The id of a message in a ticket."""
        return f"{ticket_id}/{message_id}"

    async def look(self, mark: Json, ctx: PassContext) -> AsyncIterator[Look]:
        """What was said in tickets that changed."""
        overlap = timedelta(seconds=self.overlap_seconds)
        looked_at = ctx.now()
        at = TimeMark.read(mark, looked_at)
        since = at.look_from(overlap, None if ctx.since is None else ctx.since - HORIZON_MARGIN)
        at = at.under_way(partial=True)
        for ticket_id in list(at.owed):
            ticket = await self.ticket(ticket_id, ctx)
            entries, at = ([], at.paid(ticket_id)) if ticket is None else await self._entries(ticket, at, ctx)
            yield Look(entries, at.dump())
        async for page in self.changed(since, ctx):
            for ticket in page:
                if not at.is_new(ticket.id, ticket.updated_at):
                    continue
                entries, at = await self._entries(ticket, at, ctx)
                settled = looked_at - ticket.updated_at > SETTLED_AFTER
                at = at.plus([(ticket.id, ticket.updated_at)], overlap) if settled else at.reached(ticket.updated_at)
                if entries:
                    yield Look(entries, at.dump())
            yield Look((), at.dump())
        yield Look((), at.under_way(partial=False).dump())

    async def _entries(self, ticket: Ticket[T], at: TimeMark, ctx: PassContext) -> tuple[Sequence[Entry], TimeMark]:
        try:
            return await self.entries(ticket, ctx), at.paid(ticket.id)
        except MessageError as error:
            ctx.log.warning("ticket.not_loaded", ticket=ticket.id, code=error.code)
            return (), at.owing(ticket.id)

    async def load(self, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Entry | Gone]:
        """These messages, ticket by ticket."""
        found: dict[str, Entry | Gone] = {}
        for ticket_id in dict.fromkeys(one.partition("/")[0] for one in ids):
            ticket = await self.ticket(ticket_id, ctx)
            said = {} if ticket is None else {one.id: one for one in await self.entries(ticket, ctx)}
            wanted = [one for one in ids if one.partition("/")[0] == ticket_id]
            found |= {one: said.get(one) or Gone("the service has it no more") for one in wanted}
        return found
