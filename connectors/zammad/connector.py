"""The `zammad` connector: news by tickets that changed, or by the list of all articles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar
from urllib.parse import urlsplit

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Severity
from sync.errors import MessageError
from sync.kit.rest import Budget, RestClient, StaticAuth
from sync.kit.tickets import HORIZON_MARGIN, ByTickets, Entry, Look, Ticket, taken_back
from sync.message import Attachment, Gone, Json

from .config import ZammadConfig
from .listing import Lists
from .people import People, files_of, said_of
from .shapes import MERGED, Article, TicketRow, User

INTERNAL = "-internal"
"""Ends the ids of internal articles."""
PUBLIC = "public"
"""The version of the others: nothing else about an article can be changed."""
READS = "the permission ticket.agent, and read access to the groups"
ADMIN = 'the permission admin, or set read_by = "tickets"'


class ZammadConnector(ByTickets[TicketRow]):
    """The tickets that one token may see. Only reads. An article keeps its id when its ticket is merged into another, so
    an id names the article alone."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="zammad",
        summary="Tickets of a Zammad, by article id",
        experimental=True,
        permissions=("ticket.agent, with read access to the groups", 'admin, for read_by = "articles"'),
    )
    Config: ClassVar[type[ConnectorConfig]] = ZammadConfig

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, ZammadConfig):
            raise TypeError("ZammadConnector takes a ZammadConfig")
        super().__init__(config)
        self._config = config
        self._host = urlsplit(config.url).netloc.lower()
        self.client = RestClient(
            f"{config.url}/api/v1",
            name="zammad",
            auth=StaticAuth(config.token, form="Token token={}"),
            budget=Budget(config.requests_per_minute),
        )
        self._lists = Lists(self.client)
        self._people = People(self.client)

    @property
    def account(self) -> str:
        """The server."""
        return self._host

    # -- which tickets, or which articles

    async def changed(self, since: datetime | None, ctx: PassContext) -> AsyncIterator[Sequence[Ticket[TicketRow]]]:
        """Tickets by their time of change. Those of groups that the token does not see are not told."""
        async for rows in self._lists.changed(since, ctx):
            yield [_ticket(row) for row in rows]

    async def look(self, mark: Json, ctx: PassContext) -> AsyncIterator[Look]:
        """By tickets, or by articles."""
        if self._config.read_by == "tickets":
            async for look in super().look(mark, ctx):
                yield look
            return
        since = None if ctx.since is None else ctx.since - HORIZON_MARGIN
        async for articles, after in self._lists.articles(mark, since, ctx, needs=ADMIN):
            yield Look(await self._entries_of(articles, ctx), after)

    async def _entries_of(self, articles: Sequence[Article], ctx: PassContext) -> Sequence[Entry]:
        """Articles as entries, those that are new with what they say. Of tickets that the token may not see there are
        none."""
        tickets: dict[int, TicketRow | None] = {}
        known = await ctx.known("", [_name(one) for one in articles])
        entries: list[Entry] = []
        for one in articles:
            is_new = _name(one) not in known
            if is_new and one.ticket_id not in tickets:
                try:
                    found = await self.ticket(str(one.ticket_id), ctx)
                except MessageError as error:
                    ctx.log.debug("ticket.not_shown", ticket=one.ticket_id, code=error.code)
                    found = None
                tickets[one.ticket_id] = None if found is None else found.data
            ticket = tickets.get(one.ticket_id)
            if ticket is not None or not is_new:
                entries += await self._entry(ticket, one, ctx)
        return [*entries, *await taken_back(_public_places(articles), ctx)]

    async def ticket(self, ticket_id: str, ctx: PassContext) -> Ticket[TicketRow] | None:
        """One ticket."""
        got = await self.client.find(ctx, f"tickets/{ticket_id}", TicketRow, {"expand": "true"}, needs=READS)
        return None if got is None else _ticket(got.value)

    # -- what was said

    async def entries(self, ticket: Ticket[TicketRow], ctx: PassContext) -> Sequence[Entry]:
        """The articles. A ticket that was deleted meanwhile has none."""
        path = f"ticket_articles/by_ticket/{ticket.id}"
        got = await self.client.find(ctx, path, list[Article], {"expand": "true"}, needs=READS)
        articles = [] if got is None else got.value
        entries: list[Entry] = []
        for one in articles:
            entries += await self._entry(ticket.data, one, ctx)
        return [*entries, *await taken_back(_public_places(articles), ctx)]

    async def _entry(self, ticket: TicketRow | None, one: Article, ctx: PassContext) -> list[Entry]:
        """The entry, if somebody said it."""
        left_by_merge = ticket is not None and ticket.state == MERGED and (one.body or "").strip() == MERGED
        if one.sender == "System" or left_by_merge:
            return []
        said = None if ticket is None else await said_of(ticket, one, self._people, ctx)
        return [Entry(_name(one), one.created_at, said, version="" if one.internal else PUBLIC)]

    async def load(self, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Entry | Gone]:
        """These articles, wherever they are now."""
        found: dict[str, Entry | Gone] = {}
        for name in ids:
            article = await self._article(name, ctx)
            ticket = None if article is None else await self.ticket(str(article.ticket_id), ctx)
            entries = [] if article is None or ticket is None else await self._entry(ticket.data, article, ctx)
            stands = [entry for entry in entries if entry.id == name]
            found[name] = stands[0] if stands else Gone("Zammad has it no more, or shows it no more")
        return found

    async def _article(self, name: str, ctx: PassContext) -> Article | None:
        number = name.removesuffix(INTERNAL)
        if not number.isdigit():
            return None
        got = await self.client.find(ctx, f"ticket_articles/{number}", Article, {"expand": "true"}, needs=READS)
        return None if got is None else got.value

    async def open_file(self, external_id: str, attachment: Attachment, ctx: PassContext) -> AsyncIterator[bytes]:
        """A file, at the ticket in which its article is now."""
        article = await self._article(external_id, ctx)
        if article is None or attachment.ref not in {one.ref for one in files_of(article)}:
            raise MessageError("Zammad has the file no more.", code="zammad.file_gone")
        url = f"ticket_attachment/{article.ticket_id}/{article.id}/{attachment.ref}"
        async for piece in self.client.download(ctx, url):
            yield piece

    # -- check

    async def check_access(self, ctx: PassContext) -> Sequence[Finding]:
        """Whose token it is, the groups they see, and the way that news are found."""
        me = (await self.client.get(ctx, "users/me", User, {"expand": "true"}, needs=READS)).value
        findings = [Finding(Severity.OK, f"Signed in at {self._host}.", code="zammad.signed_in")]
        if me.group_ids is not None and not me.group_ids:
            findings.append(
                Finding(
                    Severity.ERROR,
                    "The token's user has access to no group, and so sees no ticket but their own.",
                    next_step="Give them the role Agent, and read access to the groups whose tickets are wanted.",
                    code="zammad.no_group",
                )
            )
        if self._config.read_by == "articles":
            await self.client.get(ctx, "ticket_articles", list[Article], {"per_page": 1, "expand": "true"}, needs=ADMIN)
        return [*findings, await self._lists.examine(ctx, needs=READS)]

    async def aclose(self) -> None:
        """Forgets names; there is no connection of its own."""
        self._people.forget()


def _name(one: Article) -> str:
    """The id of a message: an internal article has another than the same one after it was made visible, which is all that
    can be changed about an article, and makes it a message."""
    return f"{one.id}{INTERNAL if one.internal else ''}"


def _public_places(articles: Sequence[Article]) -> dict[str, datetime]:
    return {str(one.id): one.created_at for one in articles if one.internal}


def _ticket(row: TicketRow) -> Ticket[TicketRow]:
    return Ticket(str(row.id), row.updated_at, row)
