"""Passes over a ticket connector: what the ledger has of notes, nobodies and edits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from sync.clock import SystemClock
from sync.connector import ConnectorInfo, Finding, PassContext
from sync.delivery import Accepted, Intent
from sync.errors import TemporaryError
from sync.kit.tickets import ByTickets, Entry, Person, Said, Ticket, TicketSettings
from sync.ledger import Ledger, MessageFilter
from sync.mail.address import OwnAddresses
from sync.message import Attachment, Gone
from sync.poll import Poller
from sync.settings import SourceSettings
from tests.unit.loop_desk import fresh_ledger

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
JO = Person("7", "Jo", "jo@example.net")
ANNA = Person("1", "Anna", "anna@help.example.com", is_agent=True)


class Desk(ByTickets[str]):
    info: ClassVar[ConnectorInfo] = ConnectorInfo("desk", "a helpdesk")

    def __init__(self, **settings: str) -> None:
        super().__init__(TicketSettings.model_validate(settings))
        self.said: dict[str, Entry] = {}
        self.changes = 0
        self.file_failures = 0
        self.failure: TemporaryError | None = None

    @property
    def account(self) -> str:
        return "desk"

    def say(self, number: int, said: Said, version: str = "a", minutes: int = 0) -> None:
        self.said[str(number)] = Entry(f"1/{number}", BEGAN + timedelta(minutes=minutes), said, version)
        self.changes += 1

    async def changed(self, since: datetime | None, ctx: PassContext) -> AsyncIterator[Sequence[Ticket[str]]]:
        yield [Ticket("1", BEGAN + timedelta(seconds=self.changes), "")]
        if self.failure is not None:
            raise self.failure

    async def ticket(self, ticket_id: str, ctx: PassContext) -> Ticket[str] | None:
        return Ticket("1", BEGAN, "") if ticket_id == "1" else None

    async def entries(self, ticket: Ticket[str], ctx: PassContext) -> Sequence[Entry]:
        return list(self.said.values())

    async def check_access(self, ctx: PassContext) -> Sequence[Finding]:
        return []

    async def open_file(self, external_id: str, attachment: Attachment, ctx: PassContext) -> AsyncIterator[bytes]:
        if self.file_failures:
            self.file_failures -= 1
            raise TemporaryError("not now.", code="desk.down")
        yield b"hi"


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", BEGAN)
    yield opened
    opened.close()


def poller(desk: Desk, ledger: Ledger, **settings: object) -> Poller:
    return Poller(
        "desk",
        SourceSettings.model_validate({"connector": "desk", "start": "all", **settings}),
        inbox="main",
        connector=desk,
        own_addresses=OwnAddresses(("*@shop.example.com",)),
        ledger=ledger,
        spool_max_bytes=10_000_000,
        http=None,
        clock=SystemClock(),
    )


def lines(ledger: Ledger) -> list[tuple[str, str, str]]:
    found = ledger.messages.list(MessageFilter(limit=100))
    return sorted((one.external_id, one.state, one.reason) for one in found)


async def test_notes_and_nobodies_are_in_the_ledger_with_their_reasons(ledger: Ledger) -> None:
    desk = Desk(without_address="skip")
    desk.say(1, Said(JO, text="help"))
    desk.say(2, Said(ANNA, customers=(JO,), text="he is angry", is_internal=True))
    desk.say(3, Said(Person("9", "Pat"), text="by phone"))
    desk.say(4, Said(ANNA, customers=(Person("5", "Shop", "robot@shop.example.com"),), text="done"))
    report = await poller(desk, ledger).run_pass()
    assert report.error is None
    assert [line[0::2] for line in lines(ledger)] == [
        ("1/1", ""),
        ("1/2", "internal"),
        ("1/3", "no_identity"),
        ("1/4", "own_address"),
    ]
    assert report.deliveries == 1


async def test_a_note_that_is_wanted_is_one_silent_line_for_the_team(ledger: Ledger) -> None:
    desk = Desk(internal_notes="activity")
    desk.say(2, Said(ANNA, customers=(JO,), text="he is angry", is_internal=True))
    await poller(desk, ledger).run_pass()
    (row,) = ledger.deliveries.window("main", 10, datetime.now(UTC))
    message = ledger.messages.contents([row.message_id])[row.message_id]
    assert message.activity == "Internal note"


async def test_an_edit_between_two_passes_replaces_what_waits(ledger: Ledger) -> None:
    desk = Desk()
    desk.say(1, Said(JO, text="old words"))
    polled = poller(desk, ledger)
    await polled.run_pass()
    desk.say(1, Said(JO, text="new words"), "b")
    report = await polled.run_pass()
    assert (report.error, report.new, report.repeated) == (None, 0, 1)
    (row,) = ledger.deliveries.window("main", 10, datetime.now(UTC))
    assert ledger.messages.contents([row.message_id])[row.message_id].text == "new words"
    assert (await polled.run_pass()).repeated == 0, "what is known in this version is not given again"


class Brief(Desk):
    """Shows what there is, and in which version, and gives the words when asked for them."""

    is_down = False

    async def entries(self, ticket: Ticket[str], ctx: PassContext) -> Sequence[Entry]:
        return [replace(one, said=None) for one in self.said.values()]

    async def load(self, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Entry | Gone]:
        if self.is_down:
            raise TemporaryError("not now.", code="desk.down")
        return {one.id: one for one in self.said.values() if one.id in ids}


def deliver(ledger: Ledger) -> list[str]:
    """Everything that waits, as the Inbox would take it. Returns the words."""
    now = datetime.now(UTC)
    lease = ledger.leases.take("inbox:main", "test", 3600)
    assert lease is not None
    rows = ledger.deliveries.window("main", 10, now)
    words = [ledger.messages.contents([row.message_id])[row.message_id].text for row in rows]
    for row in rows:
        number = row.attempt + 1
        intent = Intent(row.delivery_id, number, now, f"c{row.participant_id}", "{}", "h", 0, now, "")
        accepted = Accepted(row.delivery_id, number, now, f"wix-{row.delivery_id}", row.delivery_id)
        assert ledger.deliveries.commit(lease.ref, [intent], now) == [True]
        assert ledger.deliveries.commit(lease.ref, [accepted], now) == [True]
    return words


async def test_an_edit_after_delivery_is_told_also_where_looking_gives_no_words(ledger: Ledger) -> None:
    desk = Brief()
    desk.say(1, Said(JO, text="old words"))
    polled = poller(desk, ledger, edits="note")
    await polled.run_pass()
    assert deliver(ledger) == ["old words"]
    desk.say(1, Said(JO, text="new words"), "b")
    desk.is_down = True
    await polled.run_pass()
    assert deliver(ledger) == []
    desk.is_down = False
    desk.changes += 1
    await polled.run_pass()
    assert deliver(ledger) == ["new words"]
    await polled.run_pass()
    assert deliver(ledger) == []


async def test_an_answer_that_is_made_internal_is_taken_back_where_looking_gives_no_words(ledger: Ledger) -> None:
    desk = Brief()
    desk.say(1, Said(ANNA, (JO,), text="he is a fool"))
    polled = poller(desk, ledger)
    await polled.run_pass()
    desk.say(1, Said(ANNA, (JO,), text="he is a fool", is_internal=True), "b")
    desk.is_down = True
    await polled.run_pass()
    desk.is_down = False
    desk.changes += 1
    await polled.run_pass()
    assert deliver(ledger) == []
    assert lines(ledger) == [("1/1", "skipped", "internal")]


async def test_an_edit_whose_files_cannot_be_had_now_is_seen_again(ledger: Ledger) -> None:
    desk = Desk()
    desk.say(1, Said(JO, text="old words"))
    polled = poller(desk, ledger)
    await polled.run_pass()
    desk.say(1, Said(JO, text="new words", files=(Attachment("a.txt", "text/plain", 2, "1"),)), "b")
    desk.file_failures = 1
    assert (await polled.run_pass()).error is None
    desk.changes += 1
    assert (await polled.run_pass()).error is None
    assert deliver(ledger) == ["new words"]


async def test_a_pass_that_used_up_the_budget_goes_on_when_there_is_a_new_one(ledger: Ledger) -> None:
    desk = Desk()
    polled = poller(desk, ledger)
    desk.failure = TemporaryError("used up.", code="desk.throttled", retry_after_seconds=70)
    waits = []
    for number in range(5):
        desk.say(number, Said(JO, text=f"message {number}"))
        waits.append((await polled.run_pass()).next_wait_seconds)
    assert waits == [70] * 5
    waits = [(await polled.run_pass()).next_wait_seconds for _pass in range(3)]
    assert waits[-1] > 70, "where nothing gets on, the wait grows"
