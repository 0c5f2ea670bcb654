"""The rows of docs/failures.md about lists and threads, on each hosted helpdesk: `zendesk`, `freshdesk`, `zammad`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sync.testing.reader import Arrived, Reader
from tests.servers.freshdesk_script import ScriptedFreshdesk
from tests.servers.helpdesk_worlds import FreshdeskWorld, HelpdeskWorld, ZammadWorld, ZendeskWorld
from tests.servers.zammad_script import ScriptedZammad
from tests.servers.zendesk_script import ScriptedZendesk

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


@pytest.fixture(params=["zendesk", "freshdesk", "zammad", "zammad by articles"])
def world(request: pytest.FixtureRequest) -> Iterator[HelpdeskWorld]:
    if request.param == "zendesk":
        with ScriptedZendesk() as zendesk:
            yield ZendeskWorld(zendesk)
    elif request.param == "freshdesk":
        with ScriptedFreshdesk() as freshdesk:
            yield FreshdeskWorld(freshdesk)
    else:
        with ScriptedZammad() as zammad:
            yield ZammadWorld(zammad, "articles" if "articles" in request.param else "tickets")


def texts(arrived: list[Arrived]) -> list[str]:
    return sorted(one.text for one in arrived)


def once_at_page(number: int, happens: Callable[[], object]) -> Callable[[int], None]:
    """Happens before the n-th page that is given, once."""
    given = 0

    def before(_page: int) -> None:
        nonlocal given
        given += 1
        if given == number:
            happens()

    return before


async def test_l7_tickets_that_come_change_and_go_between_pages_hide_no_other(world: HelpdeskWorld) -> None:
    many = 2 * world.page_rows + 20
    tickets = [world.open(f"message {number:03d}", BEGAN + timedelta(seconds=number)) for number in range(many)]
    later = BEGAN + timedelta(minutes=20)

    def meanwhile() -> None:
        world.open("message new", later)
        world.write(tickets[1], "message again", later + timedelta(seconds=1))
        world.remove(tickets[0])
        world.remove(tickets[7])

    world.before_pages(once_at_page(3, meanwhile))
    reader = Reader(world.connector())
    arrived = texts(await reader.run_pass())
    arrived = sorted(arrived + texts(await reader.run_pass()))
    assert len(arrived) == len(set(arrived))
    gone = {"message 000", "message 007"}
    kept = {f"message {number:03d}" for number in range(many)} - gone
    assert set(arrived) - gone == kept | {"message new", "message again"}
    await reader.connector.aclose()


async def test_d18_300_tickets_of_one_moment_over_three_pages_and_one_committed_late_come_once_each(
    world: HelpdeskWorld,
) -> None:
    for number in range(300):
        world.open(f"message {number:03d}", BEGAN)
    reader = Reader(world.connector())
    assert texts(await reader.run_pass()) == [f"message {number:03d}" for number in range(300)]
    world.open("committed late", BEGAN - timedelta(minutes=2))
    assert texts(await reader.run_pass()) == ["committed late"]
    assert await reader.run_pass() == []
    await reader.connector.aclose()


async def test_33_a_ticket_with_250_comments_brings_250(world: HelpdeskWorld) -> None:
    ticket = world.open("comment 000", BEGAN)
    for number in range(1, 250):
        world.write(ticket, f"comment {number:03d}", BEGAN + timedelta(seconds=number))
    reader = Reader(world.connector())
    assert texts(await reader.run_pass()) == [f"comment {number:03d}" for number in range(250)]
    await reader.connector.aclose()


async def test_what_a_pass_missed_is_in_the_listing_of_the_sweep(world: HelpdeskWorld) -> None:
    world.open("seen", BEGAN)
    reader = Reader(world.connector())
    await reader.run_pass()
    world.open("shown much later", BEGAN - timedelta(minutes=30))
    pieces = [piece for _stream, piece in await reader.list_everything(BEGAN - timedelta(days=1))]
    assert sum(len(piece.known) for piece in pieces) == 1
    (missed,) = [one for piece in pieces for one in piece.found]
    assert missed.arrived_at == BEGAN - timedelta(minutes=30)
    await reader.connector.aclose()
