"""The REST kit against a scripted service: sign-in, budgets, refusals, paging, files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel, SecretStr

from sync.connector import PassContext
from sync.errors import AuthError, ConfigError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.kit.cursors import IdMark
from sync.kit.rest import (
    BasicAuth,
    Budget,
    RestClient,
    StaticAuth,
    by_cursor,
    by_link,
    by_number,
    by_url,
    growing_ids,
    moving_window,
)
from sync.kit.rest.budget import retry_after_seconds
from sync.kit.rest.pages import next_link
from sync.testing.reader import make_context
from sync.testing.service import Answer, ScriptedService, page

TOKEN = "s3cret-token-0815"


class Row(BaseModel):
    id: int


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with ScriptedService() as running:
        running.require("authorization", f"Bearer {TOKEN}")
        yield running


@pytest.fixture
def other() -> Iterator[ScriptedService]:
    with ScriptedService() as running:
        yield running


def client(service: ScriptedService, *, budget: Budget | None = None, **more: object) -> RestClient:
    auth = StaticAuth(SecretStr(str(more.pop("token", TOKEN))))
    path = str(more.pop("path", ""))
    return RestClient(f"{service.url}{path}", name="desk", auth=auth, budget=budget, **more)  # type: ignore[arg-type]


def ctx(now: datetime | None = None) -> PassContext:
    return make_context(now=now)


async def failure(made: RestClient, context: PassContext | None = None, **more: object) -> InboxSyncError:
    with pytest.raises(InboxSyncError) as caught:
        await made.get(context or ctx(), "/rows", list[Row], **more)  # type: ignore[arg-type]
    return caught.value


async def test_a_call_is_signed_and_its_answer_understood(service: ScriptedService) -> None:
    service.get("/rows")(lambda asked: [{"id": 1}, {"id": 2, "more": asked.query["q"]}])
    got = await client(service).get(ctx(), "/rows", list[Row], {"q": "a b&c"})
    assert [row.id for row in got.value] == [1, 2]
    assert service.asked[0].query == {"q": "a b&c"}


async def test_basic_sign_in_is_utf8(service: ScriptedService) -> None:
    service.require("authorization", "Basic asO8cmc6cMOkc3M=")
    service.get("/rows")(lambda _asked: [])
    made = RestClient(service.url, name="desk", auth=BasicAuth("jürg", SecretStr("päss")))
    assert (await made.get(ctx(), "/rows", list[Row])).value == []


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, AuthError, "desk.auth_refused"),
        (403, AuthError, "desk.forbidden"),
        (404, ConfigError, "desk.not_found"),
        (400, ConfigError, "desk.refused"),
        (422, ConfigError, "desk.refused"),
        (302, ConfigError, "desk.redirected"),
        (429, TemporaryError, "desk.throttled"),
        (408, TemporaryError, "desk.unavailable"),
        (500, TemporaryError, "desk.unavailable"),
        (503, TemporaryError, "desk.unavailable"),
    ],
)
async def test_each_status_has_its_error(
    service: ScriptedService, status: int, kind: type[InboxSyncError], code: str
) -> None:
    service.refuse(status, body={"message": f"no: {TOKEN}"})
    error = await failure(client(service))
    assert type(error) is kind
    assert error.code == code
    assert error.next_step
    assert TOKEN not in str(error)


async def test_a_refusal_about_one_message_concerns_no_other(service: ScriptedService) -> None:
    service.refuse(422, body={"errors": [{"detail": "too old"}]})
    error = await failure(client(service), about_message=True)
    assert isinstance(error, MessageError)
    assert "too old" in str(error)
    service.refuse(502)
    again = await failure(client(service), about_message=True)
    assert isinstance(again, TemporaryError)
    assert again.scope is Scope.MESSAGE


async def test_what_the_account_may_not_see_costs_itself_only(service: ScriptedService) -> None:
    service.refuse(403, times=3)
    assert isinstance(await failure(client(service), about_message=True), MessageError)
    with pytest.raises(MessageError):
        await client(service).find(ctx(), "/rows/1", Row)
    with pytest.raises(MessageError):
        _ = [got async for got in by_link(client(service), ctx(), "/rows", list[Row], about_message=True)]


async def test_a_secret_in_the_users_place_is_not_repeated(service: ScriptedService) -> None:
    service.refuse(400, body={"message": f"Xyz: {TOKEN}"})
    made = RestClient(service.url, name="desk", auth=BasicAuth(SecretStr(TOKEN), SecretStr("X")))
    error = await failure(made)
    assert TOKEN not in str(error)
    assert "Xyz" in str(error)


async def test_a_missing_permission_is_named(service: ScriptedService) -> None:
    service.refuse(403)
    error = await failure(client(service), needs='the permission "ticket.agent"')
    assert error.next_step == 'Give the account the permission "ticket.agent".'


async def test_a_thing_that_is_not_there_is_none(service: ScriptedService) -> None:
    assert await client(service).find(ctx(), "/rows/1", Row) is None


async def test_a_web_page_in_place_of_an_answer_says_where_to_look(service: ScriptedService) -> None:
    service.get("/rows")(lambda _asked: Answer(b"<html>customer@example.net, please sign in</html>"))
    error = await failure(client(service))
    assert error.code == "desk.not_understood"
    assert "customer@" not in str(error)
    assert error.__cause__ is None


async def test_an_answer_of_another_shape_names_the_place_and_no_value(service: ScriptedService) -> None:
    service.get("/rows")(lambda _asked: [{"id": "customer@example.net"}])
    error = await failure(client(service))
    assert "0.id" in str(error)
    assert "customer@" not in str(error)


# -- budgets


async def test_retry_after_is_obeyed_without_asking_again(service: ScriptedService) -> None:
    service.get("/rows")(lambda _asked: [])
    service.throttle(retry_after="17")
    now = datetime.now(UTC)
    made = client(service)
    error = await failure(made, ctx(now))
    assert isinstance(error, TemporaryError)
    assert error.retry_after_seconds == 17
    again = await failure(made, ctx(now + timedelta(seconds=10)))
    assert isinstance(again, TemporaryError)
    assert again.retry_after_seconds == pytest.approx(7)
    assert len(service.asked) == 1
    await made.get(ctx(now + timedelta(seconds=18)), "/rows", list[Row])


async def test_a_refusal_without_a_time_waits_longer_each_time(service: ScriptedService) -> None:
    service.throttle(times=3)
    made = client(service)
    now = datetime.now(UTC)
    waits = []
    for hour in range(3):
        error = await failure(made, ctx(now + timedelta(hours=hour)))
        assert isinstance(error, TemporaryError)
        waits.append(error.retry_after_seconds)
    assert waits == [30, 60, 120]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "Mon, 30 Nov 2026 10:00:30 GMT", "date": "Mon, 30 Nov 2026 10:00:00 GMT"}, 30),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "86400"}, 3600),
        ({"retry-after": "-5"}, 0),
        ({"x-ratelimit-retry-after": "9"}, 9),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, datetime(2026, 11, 30, 9, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"ratelimit-remaining": "0", "ratelimit-reset": "41"}, 41),
        ({"ratelimit-remaining": "1", "ratelimit-reset": "41"}, 0),
        ({"x-rate-limit-remaining": "0", "ratelimit-reset": "5"}, 5),
        (
            {
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": "1796032830",
                "date": "Mon, 30 Nov 2026 10:00:00 GMT",
            },
            30,
        ),
        ({"zendesk-ratelimit-tickets-index": "total=100; remaining=0; resets=12"}, 12),
        ({"x-gorgias-account-api-call-limit": "40/40", "x-ratelimit-reset": "3"}, 3),
        ({"x-ratelimit-remaining": "0"}, 0),
    ],
)
def test_the_vendors_headers_stop_requests_before_they_are_refused(headers: dict[str, str], wait: float) -> None:
    budget = Budget()
    now = datetime(2026, 11, 30, 10, tzinfo=UTC)
    assert budget.told(200, headers, now, "list") is None
    assert budget.wait_seconds(now, "list") == pytest.approx(wait)


async def test_a_listing_leaves_half_of_the_pace_to_passes(service: ScriptedService) -> None:
    service.get("/rows")(lambda _asked: [])
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    made = client(service, budget=Budget(4), account="halves")
    for second in (0, 10):
        await made.get(replace(ctx(now + timedelta(seconds=second)), is_listing=True), "/rows", list[Row])
    with pytest.raises(TemporaryError) as caught:
        await made.get(replace(ctx(now + timedelta(seconds=20)), is_listing=True), "/rows", list[Row])
    assert caught.value.retry_after_seconds == 40
    for _time in range(2):
        await made.get(ctx(now + timedelta(seconds=20)), "/rows", list[Row])
    with pytest.raises(TemporaryError) as caught:
        await made.get(replace(ctx(now + timedelta(seconds=20)), is_listing=True), "/rows", list[Row])
    assert caught.value.retry_after_seconds == 60, "until only one is left within the minute"


async def test_sources_on_one_account_share_its_budget(service: ScriptedService) -> None:
    service.get("/rows")(lambda _asked: [])
    one = client(service, budget=Budget(2, 60.0))
    two = client(service, budget=Budget(2, 60.0))
    now = datetime.now(UTC)
    await one.get(ctx(now), "/rows", list[Row])
    await two.get(ctx(now), "/rows", list[Row])
    error = await failure(one, ctx(now))
    assert isinstance(error, TemporaryError)
    assert error.retry_after_seconds == pytest.approx(60)
    stranger = client(service, budget=Budget(2, 60.0), account="another")
    await stranger.get(ctx(now), "/rows", list[Row])


async def test_an_endpoint_with_a_budget_of_its_own_holds_up_no_other(service: ScriptedService) -> None:
    service.get("/rows")(lambda _asked: [])
    made = client(service, budget=Budget(groups={"export": (1, 60.0)}))
    now = datetime.now(UTC)
    await made.get(ctx(now), "/rows", list[Row], group="export")
    assert (await failure(made, ctx(now), group="export")).code == "desk.throttled"
    await made.get(ctx(now), "/rows", list[Row])


# -- paging


async def test_pages_by_link_end_with_the_last_link(service: ScriptedService) -> None:
    rows = [{"id": number} for number in range(7)]
    service.get("/rows")(lambda asked: page(rows, asked, size=3, url=service.url))
    got = [row.id async for one in by_link(client(service), ctx(), "/rows", list[Row]) for row in one.value]
    assert got == list(range(7))


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://x/?page=2>; rel="next", <https://x/?page=9>; rel="last"', "https://x/?page=2"),
        ('<https://x/?a=1,2>; title="a, b"; rel="prev first", <b>; rel=next', "b"),
        ('<c>; rel="first next"', "c"),
        ('<d>; rel="nextish"', None),
        ("", None),
    ],
)
def test_link_headers_are_read_as_they_are_written(header: str, target: str | None) -> None:
    assert next_link({"link": header}) == target


async def test_a_next_page_on_another_host_is_asked_for_at_ours(
    service: ScriptedService, other: ScriptedService
) -> None:
    service.get("/rows")(lambda asked: {"next": f"{other.url}/rows?page=2" if "page" not in asked.query else None})
    pages = [
        one.value async for one in by_url(client(service), ctx(), "/rows", dict[str, str | None], next_url=_next_of)
    ]
    assert len(pages) == 2
    assert other.asked == []


async def test_a_next_page_beside_the_configured_path_is_not_asked_for(
    service: ScriptedService, other: ScriptedService
) -> None:
    service.get("/api/rows")(lambda _asked: {"next": f"{other.url}/rows?page=2"})
    made = client(service, path="/api")
    with pytest.raises(TemporaryError) as caught:
        [one async for one in by_url(made, ctx(), "/rows", dict[str, str | None], next_url=_next_of)]
    assert caught.value.code == "desk.other_host"
    assert other.asked == []


async def test_a_list_that_names_itself_as_its_next_page_ends(service: ScriptedService) -> None:
    service.get("/rows")(lambda _asked: {"next": f"{service.url}/rows?page=2"})
    pages = [one async for one in by_url(client(service), ctx(), "/rows", dict[str, str | None], next_url=_next_of)]
    assert len(pages) == 2


async def test_pages_by_cursor(service: ScriptedService) -> None:
    service.get("/rows")(lambda asked: {"next": {"": "b", "b": "c", "c": ""}[asked.query.get("after", "")]})
    got = [
        one.value["next"]
        async for one in by_cursor(
            client(service), ctx(), "/rows", dict[str, str], name="after", cursor=lambda value: value["next"]
        )
    ]
    assert got == ["b", "c", ""]


async def test_pages_by_number(service: ScriptedService) -> None:
    rows = [{"id": number} for number in range(6)]
    service.get("/rows")(lambda asked: page(rows, asked, size=3))
    pages = by_number(client(service), ctx(), "/rows", list[Row], is_last=lambda value, _page: len(value) < 3)
    assert [row.id async for one in pages for row in one.value] == list(range(6))


class _Table:
    """Rows sorted by time of change, three a page; `after_page` changes something after a page was given."""

    def __init__(self, rows: dict[int, datetime]) -> None:
        self.rows = rows
        self.after_page: dict[int, tuple[int, datetime]] = {}
        self.calls = 0

    async def load(self, since: datetime | None, number: int) -> list[tuple[int, datetime]]:
        some = sorted((stamp, row) for row, stamp in self.rows.items() if since is None or stamp >= since)
        found = [(row, stamp) for stamp, row in some[(number - 1) * 3 : number * 3]]
        self.calls += 1
        if self.calls in self.after_page:
            row, stamp = self.after_page[self.calls]
            self.rows[row] = stamp
        return found


async def _window(table: _Table, since: datetime | None = None) -> list[tuple[int, datetime]]:
    window = moving_window(
        table.load, since, key=lambda row: str(row[0]), stamp=lambda row: row[1], page_rows=3, max_pages=10
    )
    return [row async for some in window for row in some]


NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


async def test_a_moving_window_finds_all_rows_also_of_one_second() -> None:
    table = _Table(dict.fromkeys(range(10), NOON) | {20: NOON + timedelta(seconds=1), 21: NOON - timedelta(seconds=1)})
    assert sorted(row for row, _ in await _window(table)) == [*range(10), 20, 21]


async def test_rows_that_change_while_one_pages_are_given_again_and_hide_none() -> None:
    table = _Table({number: NOON + timedelta(seconds=number) for number in range(9)})
    table.after_page[1] = (0, NOON + timedelta(seconds=50))
    got = await _window(table)
    assert {row for row, _ in got} == set(range(9))
    assert [row for row, _ in got].count(0) == 2


async def test_more_rows_of_one_moment_than_can_be_paged_are_said_and_not_passed_over() -> None:
    with pytest.raises(TemporaryError) as caught:
        await _window(_Table(dict.fromkeys(range(40), NOON)), NOON)
    assert caught.value.code == "connector.too_many_at_once"


class _Numbers:
    def __init__(self, *held: int) -> None:
        self.held = set(held)
        self.asked: list[int] = []

    async def load(self, after: int) -> list[int]:
        self.asked.append(after)
        return sorted(one for one in self.held if one > after)[:3]

    async def walk(self, mark: IdMark) -> tuple[list[int], IdMark]:
        rows: list[int] = []
        async for some, latest in growing_ids(self.load, mark, number=int, page_rows=3, overlap=2):  # noqa: B007
            rows += some
        return rows, latest


async def test_growing_ids_are_walked_from_before_the_bookmark() -> None:
    numbers = _Numbers(*range(1, 9))
    rows, mark = await numbers.walk(IdMark())
    assert (rows, mark.top) == ([*range(1, 9)], 8)
    numbers.held |= {10, 12}
    rows, mark = await numbers.walk(mark)
    assert (rows, mark.top) == ([7, 8, 10, 12], 12)
    numbers.held.add(11)
    assert 11 in (await numbers.walk(mark))[0], "given before the top was, and committed after it"


async def test_a_bookmark_beyond_the_list_begins_anew() -> None:
    numbers = _Numbers(1, 2)
    rows, mark = await numbers.walk(IdMark(top=1_000))
    assert (rows, mark.top) == ([1, 2], 2)
    assert await _Numbers().walk(IdMark(top=5)) == ([], IdMark())


# -- files


async def _bytes(made: RestClient, url: str, *, max_bytes: int | None = None) -> bytes:
    return b"".join([piece async for piece in made.download(ctx(), url, max_bytes=max_bytes)])


async def test_a_file_of_our_own_host_is_asked_for_with_the_credential(service: ScriptedService) -> None:
    data = bytes(range(256)) * 9000
    service.get("/files/1")(lambda _asked: Answer(data))
    assert await _bytes(client(service), "/files/1") == data


async def test_a_file_elsewhere_is_asked_for_without_it(service: ScriptedService, other: ScriptedService) -> None:
    other.get("/signed")(lambda _asked: Answer(b"data"))
    service.get("/files/1")(lambda _asked: Answer(status=302, headers={"Location": f"{other.url}/signed?x=1"}))
    assert await _bytes(client(service), f"{other.url}/signed") == b"data"
    assert await _bytes(client(service), "/files/1") == b"data"
    assert len(other.asked) == 2
    assert other.leaks(TOKEN) == []


async def test_a_redirect_back_to_our_host_is_not_signed(service: ScriptedService, other: ScriptedService) -> None:
    other.get("/bounce")(lambda _asked: Answer(status=302, headers={"Location": f"{service.url}/delete-all"}))
    with pytest.raises(AuthError):
        await _bytes(client(service), f"{other.url}/bounce")
    assert service.leaks(TOKEN) == []


@pytest.mark.parametrize("target", ["http://localhost:{port}/x", "https://localhost:{port}/x", "http://[::1]:{port}/x"])
async def test_a_redirect_into_a_private_network_is_refused(
    service: ScriptedService, other: ScriptedService, target: str
) -> None:
    where = target.format(port=other.url.rpartition(":")[2])
    other.get("/x")(lambda _asked: Answer(b"secrets of the house"))
    service.get("/files/1")(lambda _asked: Answer(status=302, headers={"Location": where}))
    with pytest.raises((MessageError, TemporaryError)):
        await _bytes(client(service), "/files/1")
    assert other.asked == []


@pytest.mark.parametrize(
    "target", ["http://files.example.net/x", "file:///etc/passwd", "https://user:pw@files.example.net/x", "ftp://x/y"]
)
async def test_a_file_is_asked_for_nowhere_without_tls_or_with_a_password(
    service: ScriptedService, target: str
) -> None:
    with pytest.raises(MessageError) as caught:
        await _bytes(client(service), target)
    assert caught.value.code == "desk.file_refused"


@pytest.mark.parametrize(
    ("status", "kind"), [(404, MessageError), (403, MessageError), (410, MessageError), (503, TemporaryError)]
)
async def test_a_file_that_cannot_be_had_costs_itself_only(
    service: ScriptedService, status: int, kind: type[InboxSyncError]
) -> None:
    service.refuse(status)
    with pytest.raises(kind) as caught:
        await _bytes(client(service), "/files/1")
    assert getattr(caught.value, "scope", Scope.MESSAGE) is Scope.MESSAGE


async def test_a_file_without_an_end_stops_at_the_limit(service: ScriptedService) -> None:
    service.get("/files/1")(lambda _asked: Answer(b"x" * 100_000))
    with pytest.raises(MessageError) as caught:
        await _bytes(client(service), "/files/1", max_bytes=10_000)
    assert caught.value.code == "desk.file_refused"


async def test_a_file_that_breaks_off_is_not_taken_for_whole(service: ScriptedService) -> None:
    service.get("/files/1")(lambda _asked: Answer(b"x" * 100_000))
    service.cut(after_bytes=50_000)
    with pytest.raises(TemporaryError):
        await _bytes(client(service), "/files/1")


def _next_of(got: object) -> str | None:
    value = getattr(got, "value")  # noqa: B009  the shape is the test's own
    return value["next"] if isinstance(value, dict) else None


async def test_nothing_says_the_secret(service: ScriptedService) -> None:
    made = client(service)
    assert TOKEN not in repr(made) + repr(vars(made)) + repr(vars(made.auth))
    service.get("/rows")(lambda _asked: [])
    got = await made.get(ctx(), "/rows", list[Row])
    assert TOKEN not in repr(got)


async def test_a_page_for_signing_in_is_no_file(service: ScriptedService) -> None:
    service.get("/files/1")(lambda _asked: Answer(status=302, headers={"Location": "/login"}))
    service.get("/login")(lambda _asked: Answer(b"<html>sign in"))
    pieces = client(service).download(ctx(), "/files/1", follow_redirects=False)
    with pytest.raises(MessageError) as caught:
        await anext(pieces)
    assert caught.value.code == "desk.file_refused"
    assert [one.path for one in service.asked] == ["/files/1"]


async def test_a_route_that_fails_says_so_in_the_test_that_asked(
    service: ScriptedService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.get("/broken")(lambda asked: {"number": int(asked.query["number"])})
    with pytest.raises(TemporaryError):
        await client(service).get(ctx(), "broken", dict[str, int], {"number": "no number"})
    assert "ValueError: invalid literal for int()" in capfd.readouterr().err
