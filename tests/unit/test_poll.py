"""Passes over a connector that fails in every way: what is lost, what is held up, what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from sync.clock import SystemClock
from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Stream
from sync.errors import ConfigError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.ledger import Ledger, MessageFilter
from sync.mail.address import OwnAddresses
from sync.message import Batch, Content, Direction, Found, Json, Message, Participant, ParticipantKind
from sync.passes import PassReport
from sync.poll import Poller
from sync.settings import SourceSettings
from tests.unit.loop_desk import fresh_ledger

Answer = Callable[[Sequence[str]], Exception | None]
BEGAN = datetime.now(UTC) - timedelta(hours=1)


class Shelf:
    """A connector over streams of numbered messages, loaded by `fetch`. `on_fetch` and `on_poll` say what fails."""

    info: ClassVar = ConnectorInfo("shelf", "for tests")
    Config: ClassVar = ConnectorConfig

    def __init__(self, **streams: int) -> None:
        self.streams_held = dict(streams)
        self.on_fetch: Answer = lambda _ids: None
        self.on_poll: Callable[[str], Exception | None] = lambda _key: None
        self.hangs_at = ""
        self.polled: list[str] = []
        self.fetched: list[tuple[str, ...]] = []
        self.account = "shelf"

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        return []

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        return [Stream(key) for key in self.streams_held]

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        self.polled.append(stream.key)
        failure = self.on_poll(stream.key)
        if failure is not None:
            raise failure
        seen = cursor if isinstance(cursor, int) else 0
        count = self.streams_held[stream.key]
        found = tuple(
            Found(f"{stream.key}{n}", BEGAN + timedelta(seconds=n), size=10) for n in range(seen + 1, count + 1)
        )
        yield Batch(found, count, complete_until=datetime.now(UTC))

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        self.fetched.append(tuple(ids))
        if self.hangs_at in ids:
            await asyncio.Event().wait()
        failure = self.on_fetch(ids)
        if failure is not None:
            raise failure
        anna = Participant(ParticipantKind.EMAIL, "anna@example.com")
        return {
            one: Message(one, author=anna, direction=Direction.PARTICIPANT_TO_BUSINESS, participants=(anna,))
            for one in ids
        }

    async def aclose(self) -> None:
        """Nothing to close."""


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", BEGAN)
    yield opened
    opened.close()


def poller_of(shelf: Shelf, ledger: Ledger, **settings: object) -> Poller:
    return Poller(
        "support",
        SourceSettings.model_validate({"connector": "shelf", "start": "all", "every": 0.05, **settings}),
        inbox="main",
        connector=shelf,
        own_addresses=OwnAddresses(()),
        ledger=ledger,
        spool_max_bytes=10**9,
        http=None,
        clock=SystemClock(),
    )


async def passes_until(poller: Poller, condition: Callable[[], bool], most: int = 40) -> list[PassReport]:
    """Passes, one after the other, until `condition` holds."""
    reports = []
    for _ in range(most):
        reports.append(await poller.run_pass())
        if condition():
            return reports
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {most} passes; the last ended with {reports[-1].error!r}")


def states(ledger: Ledger) -> dict[str, str]:
    return {line.external_id: line.state.value for line in ledger.messages.list(MessageFilter())}


def broken(_ids: Sequence[str]) -> InboxSyncError:
    return TemporaryError("the connection broke", code="imap.broken")


def at(bad: str, error: InboxSyncError) -> Answer:
    return lambda ids: error if bad in ids else None


@pytest.mark.parametrize("position", [1, 2, 3])
async def test_one_message_that_cannot_be_fetched_costs_one_message(ledger: Ledger, position: int) -> None:
    shelf = Shelf(INBOX=3, Sent=1)
    bad = f"INBOX{position}"
    shelf.on_fetch = at(bad, MessageError("cannot be fetched", code="shelf.bad"))
    report = await poller_of(shelf, ledger).run_pass()
    assert report.error is None
    assert {key for key, state in states(ledger).items() if state == "loaded"} == {
        "INBOX1",
        "INBOX2",
        "INBOX3",
        "Sent1",
    } - {bad}


async def test_a_message_that_breaks_the_connection_is_gone_and_the_others_arrive(ledger: Ledger) -> None:
    shelf = Shelf(INBOX=3)
    shelf.on_fetch = at("INBOX1", broken(()))
    poller = poller_of(shelf, ledger, max_fetch_attempts=2)
    await passes_until(poller, lambda: list(states(ledger).values()).count("loaded") == 2)

    def one_more() -> bool:
        shelf.streams_held["INBOX"] += 1
        return states(ledger)["INBOX1"] == "gone"

    await passes_until(poller, one_more)


async def test_an_outage_makes_nothing_gone(ledger: Ledger) -> None:
    shelf = Shelf(INBOX=4)
    shelf.on_fetch = broken
    poller = poller_of(shelf, ledger, max_fetch_attempts=2)
    for _ in range(12):
        await poller.run_pass()
        await asyncio.sleep(0.01)
    assert set(states(ledger).values()) == {"found"}
    shelf.on_fetch = lambda _ids: None
    await passes_until(poller, lambda: set(states(ledger).values()) == {"loaded"})


async def test_a_fetch_that_hangs_at_one_message_does_not_hang_the_source(ledger: Ledger) -> None:
    shelf = Shelf(INBOX=3)
    shelf.hangs_at = "INBOX2"
    poller = poller_of(shelf, ledger, pass_timeout_seconds=0.6, max_fetch_attempts=1)
    await passes_until(poller, lambda: states(ledger).get("INBOX3") == "loaded", most=6)
    assert states(ledger)["INBOX1"] == "loaded"


async def test_a_stream_that_fails_does_not_starve_the_others(ledger: Ledger) -> None:
    shelf = Shelf(Broken=1, INBOX=1)
    shelf.on_poll = lambda key: broken(()) if key == "Broken" else None
    poller = poller_of(shelf, ledger)
    reports = await passes_until(poller, lambda: states(ledger).get("INBOX1") == "loaded", most=3)
    assert reports[-1].error is not None
    reports = [await poller.run_pass() for _ in range(3)]
    assert reports[-1].next_wait_seconds == poller.settings.every  # the others are polled as often as ever


async def test_a_missing_folder_does_not_slow_the_others_down(ledger: Ledger) -> None:
    shelf = Shelf(INBOX=1, Missing=1)
    shelf.on_poll = lambda key: ConfigError("no such folder", code="x.missing") if key == "Missing" else None
    poller = poller_of(shelf, ledger)
    reports = [await poller.run_pass() for _ in range(4)]
    assert reports[-1].error is not None
    assert reports[-1].next_wait_seconds == poller.settings.every


async def test_a_bug_in_a_connector_is_told_and_the_next_pass_is_planned(ledger: Ledger) -> None:
    shelf = Shelf(INBOX=1)
    shelf.on_poll = lambda _key: ZeroDivisionError()
    report = await poller_of(shelf, ledger).run_pass()
    assert report.error is not None
    assert report.error.code == "internal.error"
    row = ledger.sources.get("support")
    assert row is not None
    assert (row.state, row.failures) == ("failing", 1)
    assert row.next_pass_at is not None


async def test_a_message_scoped_failure_of_a_fetch_counts_at_once(ledger: Ledger) -> None:
    shelf = Shelf(INBOX=1)
    shelf.on_fetch = lambda _ids: TemporaryError("busy", code="x.busy", scope=Scope.MESSAGE)
    await passes_until(
        poller_of(shelf, ledger, max_fetch_attempts=2), lambda: states(ledger).get("INBOX1") == "gone", most=30
    )
