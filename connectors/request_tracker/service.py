"""The questions that are asked of RT, and how its lists are read without passing anything over.

RT answers slowly (a quarter of a second and more), so whatever can be asked for many at once is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from sync.connector import PassContext
from sync.errors import AuthError
from sync.kit.rest import RestClient, StaticAuth
from sync.message import Json

from .config import RequestTrackerConfig
from .shapes import Account, Numbered, Page, Part, PartContent, Queue, Ticket, Transaction, User, Version

NAME = "request_tracker"
PAGE = 100
"""Rows of a page: more is silently taken for this many."""
MAX_TIES = 5
"""Tickets that changed in the newest second and are looked into for the newest transaction."""
HISTORY_PAGES = 20
"""Of the history of a ticket with several requestors, in which merges are looked for."""
MAX_USERS = 10_000
"""Users of whom it is remembered whether they are agents, for `USERS_KEPT`."""
USERS_KEPT = timedelta(hours=1)
TEXT_AT_ONCE_BYTES = 4 * 1024 * 1024
"""Of texts asked for in one call."""
TIME_MARGIN = timedelta(days=2)
"""Times in queries are read in the zone of the token's user, which is no business of ours: days apart are certain."""
SYSTEM_USERS = frozenset({"RT_System", "Nobody"})
"""Whose words nobody said."""
_TYPES = "(Type = 'Create' OR Type = 'Correspond' OR Type = 'Comment')"
_PEOPLE = "EmailAddress,RealName"


class Service:
    """One RT, by the eyes of the token's user."""

    def __init__(self, config: RequestTrackerConfig) -> None:
        self._config = config
        auth = StaticAuth(config.token, form="token {}")
        self.client = RestClient(f"{config.url}/REST/2.0", name=NAME, auth=auth)
        self._agents: dict[str, bool] = {}
        self._agents_since: datetime | None = None

    def forget(self) -> None:
        """Who is an agent is asked for again."""
        self._agents.clear()
        self._agents_since = None

    # -- transactions

    async def messages(self, ctx: PassContext, after: int) -> AsyncIterator[tuple[int, Sequence[Transaction]]]:
        """What was said in transactions with higher numbers, by number, a page at a time: up to which number, and what.

        Where the user may see everything, each page goes on behind the last one's row. Elsewhere RT hides rows after it
        has cut the page: a short or empty page says nothing. Then windows of as many numbers as fit on a page are asked
        for, up to the newest transaction that the user can see.
        """
        while True:
            page = await self._page(ctx, f"id > {after}")
            if page.total is None and len(page.items) < PAGE:
                break
            if page.items:
                after = page.items[-1].id
                yield after, page.items
            if len(page.items) < PAGE:
                return
        top = await self._top(ctx)
        while after < top:
            page = await self._page(ctx, f"id > {after} AND id <= {after + PAGE}")
            after += PAGE
            yield min(after, top), page.items

    async def these(self, ctx: PassContext, ids: Iterable[int]) -> dict[int, Transaction]:
        """The transactions with these numbers, of those that can be seen."""
        found: dict[int, Transaction] = {}
        for some in _portions(list(ids)):
            page = await self._page(ctx, _any("id", some))
            found |= {one.id: one for one in page.items}
        return found

    async def history(self, ctx: PassContext, ticket: int) -> list[Transaction]:
        """Everything that happened in a ticket and in those that were merged into it."""
        rows: dict[int, Transaction] = {}
        for number in range(1, HISTORY_PAGES + 1):
            params: dict[str, str | int] = {
                "orderby": "id",
                "order": "ASC",
                "per_page": PAGE,
                "page": number,
                "fields": "Type,Field,NewValue,ObjectId,Created,Creator",
                "fields[Creator]": _PEOPLE,
            }
            got = await self.client.find(ctx, f"ticket/{ticket}/history", Page[Transaction], params)
            if got is None or not got.value.items:
                break
            rows |= {one.id: one for one in got.value.items}
            if got.value.total is not None and number * PAGE >= got.value.total:
                break
        return list(rows.values())

    async def _page(self, ctx: PassContext, condition: str) -> Page[Transaction]:
        queues = self._queues("TicketQueue")
        params: dict[str, str | int] = {
            "query": f"ObjectType = 'RT::Ticket' AND {condition} AND {_TYPES}" + (f" AND {queues}" if queues else ""),
            "orderby": "id",
            "order": "ASC",
            "per_page": PAGE,
            "fields": "Type,ObjectId,Created,Creator",
            "fields[Creator]": _PEOPLE,
        }
        got = await self.client.get(ctx, "transactions", Page[Transaction], params)
        return got.value

    async def _top(self, ctx: PassContext) -> int:
        """The newest transaction that the user can see: of tickets, unlike of transactions, RT counts only those that
        the user may see, so the ticket that changed last is told. 0: none."""
        newest = await self.newest_tickets(ctx)
        ties = [one for one in newest if one.updated == newest[0].updated][:MAX_TIES]
        ids = [0]
        for ticket in ties:
            params: dict[str, str | int] = {"orderby": "id", "order": "DESC", "per_page": PAGE}
            got = await self.client.find(ctx, f"ticket/{ticket.id}/history", Page[Numbered], params)
            ids += [one.id for one in got.value.items] if got is not None else []
        return max(ids)

    async def before(self, ctx: PassContext, moment: datetime) -> int:
        """A transaction that is surely older, and not by much: the first one of the newest ticket that is. 0: none."""
        day = (moment - TIME_MARGIN).strftime("%Y-%m-%d 00:00:00")
        query = self._tickets_query(f"Created < '{day}'")
        params: dict[str, str | int] = {"query": query, "orderby": "id", "order": "DESC", "per_page": 1}
        tickets = (await self.client.get(ctx, "tickets", Page[Numbered], params)).value.items
        if not tickets:
            return 0
        first: dict[str, str | int] = {"orderby": "id", "order": "ASC", "per_page": PAGE}
        got = await self.client.find(ctx, f"ticket/{tickets[0].id}/history", Page[Numbered], first)
        return min((one.id for one in got.value.items), default=0) if got is not None else 0

    # -- tickets

    async def newest_tickets(self, ctx: PassContext, queue: str = "") -> Sequence[Ticket]:
        """The tickets that changed last, the newest first."""
        query = self._tickets_query(f"Queue = '{queue}'" if queue else "id > 0")
        params: dict[str, str | int] = {
            "query": query,
            "orderby": "LastUpdated",
            "order": "DESC",
            "per_page": 20,
            "fields": "LastUpdated",
        }
        return (await self.client.get(ctx, "tickets", Page[Ticket], params)).value.items

    async def tickets(self, ctx: PassContext, ids: Iterable[int]) -> dict[int, Ticket]:
        """These tickets. A merged one is asked for alone, and is told as the one that it was merged into; a deleted one
        has that status."""
        wanted = sorted(set(ids))
        found: dict[int, Ticket] = {}
        for some in _portions(wanted):
            params: dict[str, str | int] = {
                "query": f"({_any('id', some)})",
                "per_page": PAGE,
                "fields": "Subject,Status,Type,Requestor",
                "fields[Requestor]": _PEOPLE,
            }
            got = await self.client.get(ctx, "tickets", Page[Ticket], params)
            found |= {one.id: one for one in got.value.items}
        for ticket in wanted:
            if ticket not in found:
                alone = await self.client.find(ctx, f"ticket/{ticket}", Ticket, {"fields[Requestor]": _PEOPLE})
                if alone is not None:
                    found[ticket] = alone.value
        return found

    def _tickets_query(self, condition: str) -> str:
        queues = self._queues("Queue")
        return condition + (f" AND {queues}" if queues else "")

    def _queues(self, field: str) -> str:
        names = " OR ".join(f"{field} = '{name}'" for name in self._config.queues)
        return f"({names})" if names else ""

    # -- content

    async def parts(self, ctx: PassContext, transactions: Sequence[int]) -> dict[int, list[Part]]:
        """The parts of these messages without their content, by transaction, each message's in its order."""
        found: dict[int, dict[int, Part]] = {}
        fields = {"fields": "TransactionId,ContentType,Filename,Headers", "orderby": "id", "order": "ASC"}
        for some in _portions(transactions):
            for number in range(1, PAGE):  # a message has some parts; what has a hundred times as many is none
                params: dict[str, str | int] = {**fields, "per_page": PAGE, "page": number}
                got = await self.client.search(ctx, "attachments", Page[Part], _one_of("TransactionId", some), params)
                for part in got.value.items:
                    found.setdefault(part.transaction, {})[part.id] = part
                total = got.value.total
                if not got.value.items or (total is not None and number * PAGE >= total):
                    break
        return {name: [by_id[key] for key in sorted(by_id)] for name, by_id in found.items()}

    async def texts(self, ctx: PassContext, parts: Sequence[Part]) -> dict[int, str]:
        """The content of these parts, which are texts."""
        found: dict[int, str] = {}
        for some in _portions_by_size(parts):
            params: dict[str, str | int] = {"fields": "Content", "per_page": PAGE}
            body = _one_of("id", [part.id for part in some])
            got = await self.client.search(ctx, "attachments", Page[PartContent], body, params)
            found |= {one.id: one.content or "" for one in got.value.items}
        return found

    # -- people, and what may be seen

    async def is_agent(self, ctx: PassContext, user: User) -> bool:
        """Whether RT calls the user privileged. It tells of one user at a time, so it is remembered for a while."""
        now = ctx.now()
        if self._agents_since is None or now - self._agents_since > USERS_KEPT or len(self._agents) >= MAX_USERS:
            self._agents, self._agents_since = {}, now
        known = self._agents.get(user.id)
        if known is None:
            needs = "a privileged user's token, who may see other users"
            got = await self.client.find(ctx, f"user/{_quoted(user.id)}", Account, needs=needs)
            known = self._agents[user.id] = got is not None and got.value.privileged
        return known

    async def is_privileged(self, ctx: PassContext) -> bool | None:
        """Whether the token's own user is; None where the token does not say whose it is."""
        words = self._config.token.get_secret_value().split("-")
        if len(words) != 3 or not words[1].isdigit():
            return None
        try:
            got = await self.client.find(ctx, f"user/{words[1]}", Account)
        except AuthError as error:
            if error.code == f"{NAME}.forbidden":
                return False
            raise
        return None if got is None else got.value.privileged

    async def version(self, ctx: PassContext) -> str:
        """RT's version."""
        return (await self.client.get(ctx, "rt", Version)).value.version

    async def visible_queues(self, ctx: PassContext) -> list[str]:
        """The names of queues that the user may see."""
        params: dict[str, str | int] = {"fields": "Name", "per_page": PAGE}
        got = await self.client.get(ctx, "queues/all", Page[Queue], params)
        return [one.name for one in got.value.items]


def _any(field: str, ids: Sequence[int]) -> str:
    return "(" + " OR ".join(f"{field} = {one}" for one in ids) + ")"


def _one_of(field: str, ids: Sequence[int]) -> list[Json]:
    return [{"field": field, "operator": "=", "value": one, "entry_aggregator": "OR"} for one in ids]


def _portions(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + PAGE] for start in range(0, len(ids), PAGE)]


def _portions_by_size(parts: Sequence[Part]) -> list[list[Part]]:
    portions: list[list[Part]] = []
    held = 0
    for part in parts:
        size = part.size or 0
        if not portions or len(portions[-1]) == PAGE or held + size > TEXT_AT_ONCE_BYTES:
            portions.append([])
            held = 0
        portions[-1].append(part)
        held += size
    return portions


def _quoted(name: str) -> str:
    return quote(name, safe="@")
