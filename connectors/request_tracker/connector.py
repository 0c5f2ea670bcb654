"""The `request_tracker` connector: what was said in tickets, by the numbers of RT's transactions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import ClassVar

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Severity, Stream, StreamRole
from sync.errors import ConfigError, TemporaryError
from sync.kit.cursors import IdMark
from sync.kit.tickets import Entry, Look, Person, Said, TicketConnector
from sync.message import Attachment, Batch, Gone, Json, LeaveOut, LeftOut

from .config import RequestTrackerConfig
from .mapping import INTERNAL, OPENING, readable, said_of, writers_then
from .service import NAME, PAGE, SYSTEM_USERS, Service
from .shapes import Part, Ticket, Transaction

MAX_NAMES = 5
"""Of queues that a sentence names."""
NOT_THERE = "RT has it no more, or hides it"
ROWS_KEPT = 10 * PAGE
"""Transactions that a look has just seen, so that loading them asks for their content only."""


class RequestTrackerConnector(TicketConnector):
    """Tickets of a Request Tracker 5. Only reads."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name=NAME,
        summary="Tickets of a Request Tracker 5",
        permissions=(
            "a privileged user with an authentication token",
            "SeeQueue and ShowTicket in each queue",
            "ShowTicketComments, for internal notes",
        ),
    )
    Config: ClassVar[type[ConnectorConfig]] = RequestTrackerConfig

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__(config)
        if not isinstance(config, RequestTrackerConfig):
            raise TypeError("RequestTrackerConnector takes a RequestTrackerConfig")
        self._config = config
        self._service = Service(config)
        self._rows: OrderedDict[int, Transaction] = OrderedDict()
        self._missing: tuple[str, ...] | None = None

    @property
    def account(self) -> str:
        """Where this RT is."""
        return self._config.url.partition("://")[2].lower()

    # -- what is new

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """One; and one for each configured queue that is not to be seen, whose `poll` says so."""
        if self._missing is None:
            visible = {one.lower() for one in await self._service.visible_queues(ctx)} if self._config.queues else set()
            self._missing = tuple(one for one in self._config.queues if one.lower() not in visible)
        return [*await super().streams(ctx), *(Stream(one, StreamRole.BOTH) for one in self._missing)]

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        """What is new."""
        if stream.key != self.stream_key:
            self._missing = None
            finding = _no_queue(stream.key, await self._service.visible_queues(ctx))
            raise ConfigError(finding.sentence, code=finding.code, next_step=finding.next_step, queue=stream.key)
        async for batch in super().poll(stream, cursor, ctx):
            yield batch

    async def look(self, mark: Json, ctx: PassContext) -> AsyncIterator[Look]:
        """By number, from some before the highest seen. Numbers are given before they are committed."""
        at = IdMark.read(mark)
        seen_any = False
        if at.top:
            async for look in self._look(at, at.look_after(self._config.overlap_transactions), ctx):
                seen_any = True
                yield look
        if seen_any:
            return
        # First sight; or the newest that was seen is not there any more: RT's database is an older one.
        start = 0 if ctx.since is None else await self._service.before(ctx, ctx.since)
        async for look in self._look(IdMark(), max(0, start - 1), ctx):
            seen_any = True
            yield look
        if not seen_any:
            yield Look((), IdMark(top=start).dump())

    async def _look(self, at: IdMark, after: int, ctx: PassContext) -> AsyncIterator[Look]:
        async for reached, rows in self._service.messages(ctx, after):
            said = [row for row in rows if row.creator.id not in SYSTEM_USERS]
            self._keep(said)
            at = at.plus((reached, *(row.id for row in rows)))
            yield Look([Entry(str(row.id), row.created) for row in said], at.dump())

    def _keep(self, rows: Sequence[Transaction]) -> None:
        self._rows.update({row.id: row for row in rows})
        while len(self._rows) > ROWS_KEPT:
            self._rows.popitem(last=False)

    # -- content

    async def load(self, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Entry | Gone]:
        """The content of these transactions, a hundred at a time."""
        numbers = {one: int(one) for one in ids if one.isascii() and one.isdigit()}
        found: dict[str, Entry | Gone] = {one: Gone(NOT_THERE) for one in ids if one not in numbers}
        portions = list(numbers.values())
        for start in range(0, len(portions), PAGE):
            some = portions[start : start + PAGE]
            try:
                found |= await self._load(some, ctx)
            except TemporaryError as error:
                if error.code != f"{NAME}.unavailable":
                    raise
                await self._service.version(ctx)  # raises where RT is down
                found |= await self._load_halves(some, ctx)
        return found

    async def _load_halves(self, ids: Sequence[int], ctx: PassContext) -> dict[str, Entry | Gone]:
        """RT answers, but not for these: a damaged record among them costs itself only. What is missing is asked for
        again."""
        found: dict[str, Entry | Gone] = {}
        middle = len(ids) // 2
        for some in (ids[:middle], ids[middle:]) if middle else ():
            try:
                found |= await self._load(some, ctx)
            except TemporaryError as error:
                if error.code != f"{NAME}.unavailable":
                    raise
                found |= await self._load_halves(some, ctx)
        return found

    async def _load(self, ids: Sequence[int], ctx: PassContext) -> dict[str, Entry | Gone]:
        rows = {one: self._rows[one] for one in ids if one in self._rows}
        missing = [one for one in ids if one not in rows]
        rows |= await self._service.these(ctx, missing) if missing else {}
        tickets = await self._service.tickets(ctx, (row.ticket for row in rows.values()))
        found: dict[str, Entry | Gone] = {str(one): Gone(NOT_THERE) for one in ids if one not in rows}
        wanted: list[Transaction] = []
        for row in rows.values():
            why = _why_gone(tickets.get(row.ticket))
            if why:
                found[str(row.id)] = Gone(why)
            elif self._is_left_out(row):
                note = LeftOut(LeaveOut.INTERNAL, "it is an internal note (internal_notes)")
                found[str(row.id)] = Entry(str(row.id), row.created, note)
            else:
                wanted.append(row)
        parts = await self._service.parts(ctx, [row.id for row in wanted]) if wanted else {}
        to_read = [part for some in parts.values() for part in readable(some, ctx.size_limit_bytes)]
        texts = await self._service.texts(ctx, to_read) if to_read else {}
        for row in wanted:
            said = await self._said(row, tickets[row.ticket], parts.get(row.id, []), texts, ctx)
            found[str(row.id)] = Entry(str(row.id), row.created, said)
        return found

    def _is_left_out(self, row: Transaction) -> bool:
        return row.type == INTERNAL and self._config.internal_notes == "skip"

    async def _said(
        self, row: Transaction, ticket: Ticket, parts: Sequence[Part], texts: Mapping[int, str], ctx: PassContext
    ) -> Said | LeftOut:
        customers = await self._customers(row, ticket, ctx)
        own = next((one for one in customers if one.id == row.creator.id), None)
        author = own or row.creator.person(is_agent=await self._service.is_agent(ctx, row.creator))
        opened = self._config.opened_by_agents
        if opened == "skip" and row.type == OPENING and author.is_agent:
            return LeftOut(LeaveOut.POLICY, "an agent opened the ticket (opened_by_agents)")
        return said_of(row, ticket, author, customers, parts, texts, opened)

    async def _customers(self, row: Transaction, ticket: Ticket, ctx: PassContext) -> list[Person]:
        """Whose ticket it is. Who alone has asked for something is a customer there, whatever else they are.

        A merged ticket has the requestors of both: what was said in one of them before belongs to those who wrote in
        that one, and to nobody else."""
        people = {one.id: one for one in ticket.requestors}
        if len(people) == 1 and ticket.id == row.ticket:
            return [one.person(is_agent=False) for one in people.values()]
        writers = writers_then(row, await self._service.history(ctx, ticket.id))
        if writers is not None:
            people = {one.id: one for one in writers if one.id not in SYSTEM_USERS}
        told = [one.person(is_agent=await self._service.is_agent(ctx, one)) for one in people.values()]
        return [one for one in told if not one.is_agent]

    def open_file(self, external_id: str, attachment: Attachment, ctx: PassContext) -> AsyncIterator[bytes]:
        """By the address of RT's pages, which gives bytes as they are; its API would wrap them in JSON."""
        del external_id
        url = f"{self._config.url}/Ticket/Attachment/{attachment.ref}"
        return self._service.client.download(ctx, url, follow_redirects=False)

    async def aclose(self) -> None:
        """There is no connection of its own."""
        self._service.forget()
        self._rows.clear()
        self._missing = None

    # -- check

    async def check_access(self, ctx: PassContext) -> Sequence[Finding]:
        """The sign-in, the token's user, and each queue with the rights it needs."""
        version = await self._service.version(ctx)
        host = self._service.client.host
        findings = [Finding(Severity.OK, f"Signed in at {host} (RT {version}).", code=f"{NAME}.signed_in")]
        if await self._service.is_privileged(ctx) is False:
            findings.append(
                Finding(
                    Severity.ERROR,
                    "The token's user is not privileged, and may not see who is an agent.",
                    next_step='In RT: Admin, Users, the user: tick "Let this user be granted rights (Privileged)".',
                    code=f"{NAME}.not_privileged",
                )
            )
        visible = await self._service.visible_queues(ctx)
        wanted = self._config.queues or tuple(visible)
        findings += [await self._queue(queue, visible, ctx) for queue in wanted]
        if not wanted:
            findings.append(
                _cannot_see("The token's user sees no queue.", "SeeQueue and ShowTicket", f"{NAME}.no_queue")
            )
        return findings

    async def _queue(self, queue: str, visible: Sequence[str], ctx: PassContext) -> Finding:
        if queue.lower() not in {one.lower() for one in visible}:
            return _no_queue(queue, visible)
        if not await self._service.newest_tickets(ctx, queue):
            return Finding(
                Severity.NOTE,
                f'No ticket is to be seen in queue "{queue}".',
                next_step=f'If there are some: grant the token\'s user the right ShowTicket in "{queue}".',
                code=f"{NAME}.no_tickets",
            )
        return Finding(Severity.OK, f'Queue "{queue}" can be read.', code=f"{NAME}.queue")


def _cannot_see(sentence: str, right: str, code: str) -> Finding:
    step = f"In RT: Admin, Queues, the queue, Group or User Rights: grant the token's user {right}."
    return Finding(Severity.ERROR, sentence, next_step=step, code=code)


def _no_queue(queue: str, visible: Sequence[str]) -> Finding:
    there = ", ".join(f'"{one}"' for one in sorted(visible)[:MAX_NAMES]) or "none"
    sentence = f'The token\'s user sees no queue "{queue}"; it sees {there}.'
    return _cannot_see(sentence, f'SeeQueue in "{queue}", if the name is right', f"{NAME}.queue_missing")


def _why_gone(ticket: Ticket | None) -> str:
    if ticket is None:
        return "RT hides its ticket"
    if ticket.status == "deleted":
        return "its ticket was deleted"
    return "" if ticket.type == "ticket" else f"it belongs to a {ticket.type}, not to a ticket"
