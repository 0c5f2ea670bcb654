"""The `django_helpdesk` connector: the follow-ups of tickets, by their dates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Severity, Stream, StreamRole
from sync.kit.cursors import TimeMark
from sync.kit.tickets import Entry, Look, TicketConnector
from sync.message import Attachment, Gone, Json, LeaveOut, LeftOut

from .config import DjangoHelpdeskConfig
from .mapping import is_opening, is_said, merged_from, said_of, version
from .service import NAME, PAGE, STAFF, Service
from .shapes import FollowUp, Ticket

ROWS_KEPT = 5 * PAGE
"""Follow-ups that a look has just seen, so that loading them asks for their tickets only."""


class DjangoHelpdeskConnector(TicketConnector):
    """Tickets of a django-helpdesk. Only reads."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name=NAME,
        summary="Tickets of a django-helpdesk",
        permissions=(STAFF, "the queues, where the site grants them one by one"),
    )
    Config: ClassVar[type[ConnectorConfig]] = DjangoHelpdeskConfig

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__(config)
        if not isinstance(config, DjangoHelpdeskConfig):
            raise TypeError("DjangoHelpdeskConnector takes a DjangoHelpdeskConfig")
        self._config = config
        self._service = Service(config)
        self._rows: OrderedDict[int, FollowUp] = OrderedDict()

    @property
    def account(self) -> str:
        """Where this helpdesk is."""
        return self._config.url.partition("://")[2].lower()

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """One, in which the helpdesk says who is an agent."""
        del ctx
        return [Stream(self.stream_key, StreamRole.BOTH, self._config.overlap_seconds)]

    async def look(self, mark: Json, ctx: PassContext) -> AsyncIterator[Look]:
        """By date, which is the helpdesk's own clock. Everything within the overlap is given each time: the ledger knows
        it, and notices by its version what was edited."""
        at = TimeMark.read(mark, ctx.now())
        since = at.look_from(timedelta(seconds=self._config.overlap_seconds), ctx.since)
        async for rows in self._service.followups(ctx, since):
            said = [row for row in rows if is_said(row, self._config)]
            self._keep(said)
            newest = max([*(row.date for row in rows), *([at.at] if at.at is not None else [])], default=None)
            at = TimeMark(at=newest)
            yield Look([Entry(str(row.id), row.date, version=version(row)) for row in said], at.dump())

    def _keep(self, rows: Sequence[FollowUp]) -> None:
        for row in rows:
            self._rows[row.id] = row
            self._rows.move_to_end(row.id)
        while len(self._rows) > ROWS_KEPT:
            self._rows.popitem(last=False)

    async def load(self, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Entry | Gone]:
        """The content of these follow-ups, each with its ticket."""
        tickets: dict[int, Ticket | None] = {}
        return {one: await self._load(one, tickets, ctx) for one in ids}

    async def _load(self, external_id: str, tickets: dict[int, Ticket | None], ctx: PassContext) -> Entry | Gone:
        number = int(external_id) if external_id.isascii() and external_id.isdigit() else 0
        row = self._rows.get(number) or (await self._service.followup(ctx, number) if number else None)
        if row is None:
            return Gone("the helpdesk has it no more")
        ticket = await self._ticket(row.ticket, tickets, ctx)
        before = merged_from(row)
        if before is not None and ticket is not None:
            # What was written in a merged ticket belongs to its customer, and not to the one of the other.
            merged = await self._ticket(before, tickets, ctx)
            ticket = merged if merged is not None and merged.merged_to == ticket.id else ticket
        if ticket is None:
            return Gone("its ticket was deleted")
        said = self._left_out(row, ticket) or said_of(row, ticket, self._config)
        return Entry(external_id, row.date, said, version=version(row))

    def _left_out(self, row: FollowUp, ticket: Ticket) -> LeftOut | None:
        if self._config.queues and ticket.queue not in self._config.queues:
            return LeftOut(LeaveOut.POLICY, "its ticket is in another queue (queues)")
        if self._config.opened_by_agents == "skip" and row.public and is_opening(row, ticket):
            return LeftOut(LeaveOut.POLICY, "a signed-in user opened the ticket (opened_by_agents)")
        return None

    async def _ticket(self, number: int, tickets: dict[int, Ticket | None], ctx: PassContext) -> Ticket | None:
        if number not in tickets:
            tickets[number] = await self._service.ticket(ctx, number)
        return tickets[number]

    def open_file(self, external_id: str, attachment: Attachment, ctx: PassContext) -> AsyncIterator[bytes]:
        """By the address that the helpdesk gives, which may lie on another host."""
        del external_id
        return self._service.client.download(ctx, attachment.ref, follow_redirects=False)

    async def aclose(self) -> None:
        """There is no connection of its own."""
        self._rows.clear()

    async def check_access(self, ctx: PassContext) -> Sequence[Finding]:
        """The sign-in, and what the user sees."""
        tickets, followups = await self._service.counts(ctx)
        host = self._service.client.host
        sentence = f"Signed in at {host}: {tickets} tickets with {followups} entries."
        findings = [Finding(Severity.OK, sentence, code=f"{NAME}.signed_in")]
        if not tickets:
            findings.append(
                Finding(
                    Severity.NOTE,
                    "No ticket is to be seen.",
                    next_step="If there are some, the site grants queues one by one"
                    " (HELPDESK_ENABLE_PER_QUEUE_STAFF_PERMISSION): grant the user each queue's permission.",
                    code=f"{NAME}.no_tickets",
                )
            )
        return findings
