"""The lists of a Zammad: tickets by their time of change, and all articles.

A search without a query and with a condition asks the database, in every version and with or without Elasticsearch; a query
would ask an index that lags, or be taken for text. Where conditions do not work after all, which shows when what is there is
not found, all tickets are walked through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sync.connector import Finding, PassContext, Severity
from sync.kit.rest import RestClient, moving_window
from sync.message import Json

from .shapes import Article, Searched, TicketRow

SEARCH_ROWS = 200
LIST_ROWS = 100
ARTICLE_ROWS = 200
MAX_PAGES = 100_000
MAX_WALKS = 4
"""How often a list is walked through because it changed meanwhile. The union of all is taken."""
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
OVERLAP_IDS = 200
"""Ids are given before they are committed."""
MAX_STEPS_BACK = 5
"""Pages gone back from where the last look ended, before the place is looked for anew."""


class ArticleMark(BaseModel):
    """The bookmark in the list of articles: the highest id seen, and the page on which it was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    kind: Literal["articles"] = "articles"
    top: int = Field(0, ge=0)
    page: int = Field(0, ge=0)

    @classmethod
    def read(cls, cursor: Json) -> ArticleMark:
        """The bookmark in a cursor; a fresh one for what this version cannot read."""
        try:
            return cls.model_validate(cursor if isinstance(cursor, dict) and "kind" in cursor else {})
        except ValidationError:
            return cls()

    def dump(self) -> Json:
        """The bookmark as a cursor."""
        return {"v": 1, "kind": "articles", "top": self.top, "page": self.page}


class Lists:
    """What there is to list."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def changed(self, since: datetime | None, ctx: PassContext) -> AsyncIterator[Sequence[TicketRow]]:
        """Tickets that changed at `since` or later, the longest unchanged first."""

        async def load(since: datetime | None, page: int) -> Sequence[TicketRow]:
            return await self._search(since or BEGINNING, ctx, page=page)

        window = moving_window(
            load,
            since,
            key=lambda row: str(row.id),
            stamp=lambda row: row.updated_at,
            page_rows=SEARCH_ROWS,
            what="Zammad's tickets",
        )
        found = False
        async for rows in window:
            found = True
            yield rows
        if not found and not await self._conditions_work(ctx):
            ctx.log.warning("zammad.conditions_do_not_work")
            rows = [row for row in await self._walk(ctx) if since is None or row.updated_at >= since]
            yield sorted(rows, key=lambda row: (row.updated_at, row.id))

    async def examine(self, ctx: PassContext, *, needs: str) -> Finding:
        """For `check`: whether tickets can be found by their time of change."""
        rows = await self._page(1, 1, ctx, needs=needs)
        if not rows:
            sentence = "The token sees no ticket yet."
            return Finding(
                Severity.NOTE, sentence, "If there are some, give its user access to their groups.", "zammad.empty"
            )
        if await self._conditions_work(ctx):
            return Finding(Severity.OK, "Tickets can be read.", code="zammad.tickets")
        return Finding(
            Severity.WARNING,
            "This Zammad does not find tickets by their time of change: each pass walks through all of them.",
            next_step="Use a longer interval (every), or update Zammad.",
            code="zammad.conditions",
        )

    async def _conditions_work(self, ctx: PassContext) -> bool:
        """Whether a search finds what is there."""
        return bool(await self._search(BEGINNING, ctx, rows=1)) or not await self._page(1, 1, ctx)

    async def _search(
        self, since: datetime, ctx: PassContext, *, page: int = 1, rows: int = SEARCH_ROWS
    ) -> Sequence[TicketRow]:
        params: dict[str, str | int] = {
            "condition[ticket.updated_at][operator]": "after (absolute)",
            "condition[ticket.updated_at][value]": since.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z",
            "sort_by": "updated_at,id",
            "order_by": "asc,asc",
            "expand": "true",
            "per_page": rows,
            "page": page,
        }
        return (await self._client.get(ctx, "tickets/search", Searched, params)).value.rows

    async def _page(self, page: int, rows: int, ctx: PassContext, *, needs: str = "") -> Sequence[TicketRow]:
        params: dict[str, str | int] = {"expand": "true", "per_page": rows, "page": page}
        return (await self._client.get(ctx, "tickets", list[TicketRow], params, needs=needs)).value

    async def _walk(self, ctx: PassContext) -> Sequence[TicketRow]:
        """All tickets. A list by number skips some when one is deleted meanwhile: it is walked again until it stands."""
        found: dict[int, TicketRow] = {}
        for _walk in range(MAX_WALKS):
            before = set(found)
            for page in range(1, MAX_PAGES):
                rows = await self._page(page, LIST_ROWS, ctx)
                found |= {row.id: row for row in rows}
                if len(rows) < LIST_ROWS:
                    break
            if before == set(found):
                break
        return list(found.values())

    async def articles(
        self, mark: Json, since: datetime | None, ctx: PassContext, *, needs: str
    ) -> AsyncIterator[tuple[Sequence[Article], Json]]:
        """Articles whose ids are new (at first sight: written at `since` or later), the lowest first, each page with the
        bookmark after it. The list goes by id and has no filter: where to begin is remembered, or found by halves. Articles
        that are deleted meanwhile move others to a page that was read: what is more than the next look repeats is read
        again until it stands."""
        newest = await self._articles(1, 1, ctx, needs=needs, order="desc")
        if not newest:
            return
        at = ArticleMark.read(mark)
        at = ArticleMark() if at.top > newest[0].id else at
        after = max(0, at.top - OVERLAP_IDS)

        def is_old(row: Article) -> bool:
            return row.id <= after or (since is not None and row.created_at < since)

        first = await self._first_page(is_old, at.page, newest[0].id, ctx)
        given: set[int] = set()
        for _walk in range(MAX_WALKS):
            before, number = len(given), first
            while True:
                rows = await self._articles(number, ARTICLE_ROWS, ctx)
                fresh = [row for row in rows if not is_old(row) and row.id not in given]
                given |= {row.id for row in fresh}
                reached = ArticleMark(top=max(at.top, *given, 0), page=number)
                yield fresh, reached.dump()
                if len(rows) < ARTICLE_ROWS:
                    break
                number += 1
            next_look_repeats = max(given, default=0) - at.top <= OVERLAP_IDS
            if next_look_repeats or number == first or len(given) == before:
                return

    async def _first_page(self, is_old: Callable[[Article], bool], hint: int, top: int, ctx: PassContext) -> int:
        """The last page that begins with an old article; 1 where there is none."""
        low, high = 1, top // ARTICLE_ROWS + 2
        for page in range(hint, max(0, hint - MAX_STEPS_BACK), -1):
            if await self._begins(page, is_old, ctx):
                return page
            high = page
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._begins(middle, is_old, ctx) else (low, middle)
        return low

    async def _begins(self, page: int, is_old: Callable[[Article], bool], ctx: PassContext) -> bool:
        rows = await self._articles((page - 1) * ARTICLE_ROWS + 1, 1, ctx)
        return bool(rows) and is_old(rows[0])

    async def _articles(
        self, page: int, rows: int, ctx: PassContext, *, needs: str = "", order: str = "asc"
    ) -> Sequence[Article]:
        params: dict[str, str | int] = {
            "sort_by": "id",
            "order_by": order,
            "expand": "true",
            "per_page": rows,
            "page": page,
        }
        return (await self._client.get(ctx, "ticket_articles", list[Article], params, needs=needs)).value
