"""Going through lists that come in pages, whatever changes meanwhile. Each gives one `Got` per page; none sleeps.

Which one: a `Link` header → `by_link`; an address in the body → `by_url`; an opaque cursor → `by_cursor`; numbers over a
list that only grows at its end → `by_number`; numbers over a list sorted by time of change → `moving_window`, because
there rows move while one pages; rows by ids that grow → `growing_ids`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from urllib.parse import urljoin

from sync.connector import PassContext
from sync.errors import TemporaryError
from sync.kit.cursors import IdMark

from .client import Got, RestClient

T = TypeVar("T")
Row = TypeVar("Row")

MAX_PAGES = 100_000
"""A list that is longer than this has no end."""
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[a-zA-Z*-]+\s*=\s*(?:"[^"]*"|[^",;\s]*))*)')
_NEXT = re.compile(r'rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next\b)', re.IGNORECASE)

Params = Mapping[str, str | int]


def next_link(headers: Mapping[str, str]) -> str | None:
    """The address in a `Link` header whose relation is "next" (RFC 8288)."""
    for target, attributes in _LINK.findall(headers.get("link", "")):
        if _NEXT.search(attributes):
            return str(target)
    return None


async def by_url(
    client: RestClient,
    ctx: PassContext,
    path: str,
    shape: type[T],
    params: Params | None = None,
    *,
    next_url: Callable[[Got[T]], str | None],
    group: str = "",
    needs: str = "",
    about_message: bool = False,
) -> AsyncIterator[Got[T]]:
    """Each page names the address of the next one. One that was asked before ends it: some services never stop."""
    asked: set[str] = set()
    target, given = path, params
    for _page in range(MAX_PAGES):
        got = await client.get(ctx, target, shape, given, group=group, needs=needs, about_message=about_message)
        yield got
        following = next_url(got)
        if not following:
            return
        target, given = client.inside(urljoin(got.url, following)), None
        if target in asked:
            return
        asked.add(target)
    raise _endless(client, path)


def by_link(
    client: RestClient,
    ctx: PassContext,
    path: str,
    shape: type[T],
    params: Params | None = None,
    *,
    group: str = "",
    needs: str = "",
    about_message: bool = False,
) -> AsyncIterator[Got[T]]:
    """The `Link` header names the next page."""
    return by_url(
        client,
        ctx,
        path,
        shape,
        params,
        next_url=lambda got: next_link(got.headers),
        group=group,
        needs=needs,
        about_message=about_message,
    )


async def by_cursor(
    client: RestClient,
    ctx: PassContext,
    path: str,
    shape: type[T],
    params: Params | None = None,
    *,
    name: str,
    cursor: Callable[[T], str | None],
    first: str = "",
    group: str = "",
    needs: str = "",
    about_message: bool = False,
) -> AsyncIterator[Got[T]]:
    """Each page holds a cursor, which goes into the parameter `name` of the next. `first`: one to begin with."""
    last = first
    for _page in range(MAX_PAGES):
        asked = {**(params or {}), **({name: last} if last else {})}
        got = await client.get(ctx, path, shape, asked, group=group, needs=needs, about_message=about_message)
        yield got
        following = cursor(got.value)
        if not following or following == last:
            return
        last = following
    raise _endless(client, path)


async def by_number(
    client: RestClient,
    ctx: PassContext,
    path: str,
    shape: type[T],
    params: Params | None = None,
    *,
    is_last: Callable[[T, int], bool],
    name: str = "page",
    first: int = 1,
    group: str = "",
    needs: str = "",
    about_message: bool = False,
) -> AsyncIterator[Got[T]]:
    """Pages by number, until `is_last(page, its number)`. For lists in which nothing moves to an earlier page."""
    for number in range(first, first + MAX_PAGES):
        got = await client.get(
            ctx, path, shape, {**(params or {}), name: number}, group=group, needs=needs, about_message=about_message
        )
        yield got
        if is_last(got.value, number):
            return
    raise _endless(client, path)


async def moving_window(
    load: Callable[[datetime | None, int], Awaitable[Sequence[Row]]],
    since: datetime | None,
    *,
    key: Callable[[Row], str],
    stamp: Callable[[Row], datetime],
    page_rows: int,
    max_pages: int = 100,
    what: str = "this list",
) -> AsyncIterator[list[Row]]:
    """A list sorted by time of change, oldest first, without gaps while rows change.

    `load(since, page)` gives page `page` (from 1) of the rows that changed at `since` or later. After each page the
    window moves to the last row's time and begins at page 1 again; only where a whole page has one and the same time,
    the next page is asked for. Rows come once for each of their times; a page with fewer than `page_rows` is the last.
    """
    page = 1
    given: set[tuple[str, datetime]] = set()
    while True:
        rows = await load(since, page)
        fresh = [row for row in rows if (key(row), stamp(row)) not in given]
        if fresh:
            yield fresh
        if len(rows) < page_rows:
            return
        given |= {(key(row), stamp(row)) for row in fresh}
        newest = max(stamp(row) for row in rows)
        if since is None or newest > since:
            since, page = newest, 1
            given = {pair for pair in given if pair[1] >= newest}
        else:
            page += 1
        if page > max_pages:
            raise TemporaryError(
                f"More than {max_pages * page_rows} entries of {what} changed at the same moment ({since}).",
                code="connector.too_many_at_once",
                next_step="Backfill the source from before that moment; then set its start behind it.",
            )


async def growing_ids(
    load: Callable[[int], Awaitable[Sequence[Row]]],
    mark: IdMark,
    *,
    number: Callable[[Row], int],
    page_rows: int,
    overlap: int = 100,
) -> AsyncIterator[tuple[Sequence[Row], IdMark]]:
    """A list by ids that grow, lowest first, each page with the bookmark after it. `load(after)` gives the first rows above
    an id; fewer than `page_rows` are the last.

    It begins `overlap` ids before the bookmark, because ids are given before they are committed. Where there is nothing at
    all above that, the bookmark is not from this list (the service was restored, or begun anew): it begins at the first.
    """
    after = mark.look_after(overlap)
    rows = await load(after)
    if not rows and after:
        mark, after = IdMark(), 0
        rows = await load(after)
    while True:
        mark = mark.plus(map(number, rows))
        yield rows, mark
        following = max([after, *map(number, rows)])
        if len(rows) < page_rows or following == after:
            return
        after = following
        rows = await load(after)


def _endless(client: RestClient, path: str) -> TemporaryError:
    return TemporaryError(
        f"The list {path} of {client.host} has no end.",
        code=f"{client.name}.endless",
        next_step="Look whether the service repeats its pages.",
    )
