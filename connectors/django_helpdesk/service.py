"""The questions that are asked of django-helpdesk, and how its one list is read without passing anything over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from pydantic import SecretStr

from sync.connector import PassContext
from sync.errors import ConfigError
from sync.kit.rest import Auth, BasicAuth, RestClient, StaticAuth

from .config import DjangoHelpdeskConfig
from .shapes import FollowUp, Page, Ticket

NAME = "django_helpdesk"
PAGE = 100
MAX_READS = 4
"""How often the end of the list is read again because rows went while it was read."""
STAFF = "staff status (is_staff), which the API asks for"


class Service:
    """One helpdesk, by the eyes of the user that reads."""

    def __init__(self, config: DjangoHelpdeskConfig) -> None:
        self.client = RestClient(f"{config.url}/api", name=NAME, auth=_auth(config))
        self._near = 1
        """The page that was the last one, a moment ago."""

    async def followups(self, ctx: PassContext, since: datetime | None) -> AsyncIterator[Sequence[FollowUp]]:
        """Follow-ups of `since` or later, the oldest first, a page at a time (the first page has some from before, too).

        There is no filter, only numbers of pages: the first page that matters is looked for from the end. Rows that go
        while pages are turned move others to pages that were read, so then it is read again. Rows of one moment may stand
        on another page each time they are asked for; that is noticed by their number.
        """
        for _read in range(MAX_READS):
            ids: set[int] = set()
            first, page = await self._first_page(ctx, since)
            number, most, shrunk = first, page.count, False
            while True:
                ids |= {row.id for row in page.results}
                shrunk = shrunk or page.count < most
                most = max(most, page.count)
                yield page.results
                following = await self._page(ctx, number + 1) if page.next else None
                if following is None:
                    break
                number, page = number + 1, following
            self._near = number
            if not shrunk and len(ids) >= page.count - (first - 1) * PAGE:
                return

    async def _first_page(self, ctx: PassContext, since: datetime | None) -> tuple[int, Page[FollowUp]]:
        """The last page that begins before `since`, or the first page of all."""
        number = 1 if since is None else self._near
        page = await self._page(ctx, number)
        while page is None:  # there is less than there was
            number = max(1, number // 2)
            page = await self._page(ctx, number)
        if since is None:
            return number, page
        last = max(1, -(-page.count // PAGE))
        if last > number:
            number, page = last, await self._page(ctx, last) or page
        later, step = number + 1, 1
        while number > 1 and not _begins_before(page, since):
            later, number, step = number, max(1, number - step), step * 2
            page = await self._page(ctx, number) or page
        while later - number > 1:
            middle = (number + later) // 2
            tried = await self._page(ctx, middle)
            if tried is not None and _begins_before(tried, since):
                number, page = middle, tried
            else:
                later = middle
        return number, page

    async def _page(self, ctx: PassContext, number: int) -> Page[FollowUp] | None:
        """None for a page beyond the end."""
        try:
            return (await self.client.get(ctx, "followups/", Page[FollowUp], _numbered(number), needs=STAFF)).value
        except ConfigError as error:
            if error.code == f"{NAME}.not_found" and number > 1:
                return None
            raise

    async def followup(self, ctx: PassContext, number: int) -> FollowUp | None:
        """One follow-up; None when it is not there (any more), or not to be seen."""
        got = await self.client.find(ctx, f"followups/{number}/", FollowUp, needs=STAFF)
        return None if got is None else got.value

    async def ticket(self, ctx: PassContext, number: int) -> Ticket | None:
        """One ticket; None when it is not there (any more), or not to be seen."""
        got = await self.client.find(ctx, f"tickets/{number}/", Ticket, needs=STAFF)
        return None if got is None else got.value

    async def counts(self, ctx: PassContext) -> tuple[int, int]:
        """How many tickets and follow-ups the user sees."""
        one: dict[str, str | int] = {"page_size": 1}
        tickets = await self.client.get(ctx, "tickets/", Page[Ticket], one, needs=STAFF)
        followups = await self.client.get(ctx, "followups/", Page[FollowUp], one, needs=STAFF)
        return tickets.value.count, followups.value.count


def _auth(config: DjangoHelpdeskConfig) -> Auth:
    if config.token is not None:
        return StaticAuth(config.token, form="Token {}")
    return BasicAuth(config.username or "", config.password or SecretStr(""))


def _numbered(number: int) -> dict[str, str | int]:
    return {"page": number, "page_size": PAGE}


def _begins_before(page: Page[FollowUp], since: datetime) -> bool:
    return bool(page.results) and page.results[0].date < since
