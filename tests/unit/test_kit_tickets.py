"""The ticket kit: what was said becomes messages; bookmarks; both shapes of a helpdesk's API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from sync.connector import ConnectorInfo, Finding, PassContext
from sync.errors import MessageError, TemporaryError
from sync.kit.cursors import OWED_TRIES, IdMark, TimeMark
from sync.kit.tickets import ByTickets, Entry, Person, Said, Ticket, TicketSettings, message_of, version_of
from sync.message import Direction, LeaveOut, LeftOut, Message, ParticipantKind
from sync.testing.reader import Reader

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
OVERLAP = timedelta(minutes=5)
JO = Person("7", "Jo Doe", "Jo@Example.NET")
ANNA = Person("1", "Anna", "anna@help.example.com", is_agent=True)


def message(said: Said, **settings: str) -> Message:
    made = message_of(said, NOON, TicketSettings.model_validate(settings), "desk")
    assert isinstance(made, Message), made
    return made


def left_out(said: Said, **settings: str) -> LeftOut:
    made = message_of(said, NOON, TicketSettings.model_validate(settings), "desk")
    assert isinstance(made, LeftOut), made
    return made


def test_a_customer_speaks_in_their_own_conversation() -> None:
    made = message(Said(JO, text="help", subject=" My  ticket "))
    assert made.direction is Direction.PARTICIPANT_TO_BUSINESS
    assert [(one.kind, one.value, one.name) for one in made.participants] == [
        (ParticipantKind.EMAIL, "jo@example.net", "Jo Doe")
    ]
    assert made.subject == "My ticket"


def test_an_agent_speaks_to_all_customers_of_the_ticket_once_each() -> None:
    bob = Person("8", "Bob", "bob@example.net")
    made = message(Said(ANNA, customers=(JO, bob, JO, ANNA), text="done"))
    assert made.direction is Direction.BUSINESS_TO_PARTICIPANT
    assert [one.value for one in made.participants] == ["jo@example.net", "bob@example.net"]
    assert made.author is not None
    assert made.author.name == "Anna"


def test_an_internal_note_is_left_out_unless_the_operator_wants_it() -> None:
    note = Said(ANNA, customers=(JO,), text="he is angry", is_internal=True)
    assert left_out(note).reason is LeaveOut.INTERNAL
    made = message(note, internal_notes="activity")
    assert made.activity == "Internal note"
    assert made.direction is Direction.PARTICIPANT_TO_BUSINESS
    assert made.author is not None
    assert made.author.name == "Anna"


@pytest.mark.parametrize(
    ("person", "kind", "value"),
    [
        (Person("9", "Pat", phone="+49 (221) 123-456"), ParticipantKind.PHONE, "+49221123456"),
        (Person("9", "Pat", phone="0049 221 123456"), ParticipantKind.PHONE, "+49221123456"),
        (Person("9", "Pat", phone="call me"), ParticipantKind.EXTERNAL, "desk:9"),
        (Person("9", "Pat", email="no address"), ParticipantKind.EXTERNAL, "desk:9"),
    ],
)
def test_a_customer_without_an_address_is_known_otherwise(person: Person, kind: ParticipantKind, value: str) -> None:
    (participant,) = message(Said(person, text="hello")).participants
    assert (participant.kind, participant.value) == (kind, value)


def test_a_customer_nobody_can_tell_is_left_out_with_the_reason() -> None:
    assert left_out(Said(Person("9", "Pat"), text="hello"), without_address="skip").reason is LeaveOut.NO_IDENTITY
    assert "without_address" in left_out(Said(Person("9"), text="x"), without_address="skip").why
    assert left_out(Said(None, text="hello")).why == "the service names no customer"


def test_html_is_read_with_its_quotes() -> None:
    made = message(Said(JO, html="<p>New words</p><blockquote type=cite><p>old words</p></blockquote>", text="x"))
    assert "New words" in made.text
    assert made.reply is not None
    assert "old" not in made.reply.text


def test_html_without_words_gives_way_to_the_text() -> None:
    assert message(Said(JO, html="<p> </p>", text="the text")).text == "the text"


def test_a_version_changes_with_its_parts() -> None:
    assert version_of("a", 1) == version_of("a", 1) != version_of("a", 2)


# -- bookmarks


def test_a_time_mark_goes_through_json_and_never_back() -> None:
    mark = TimeMark().plus([("1", NOON), ("2", NOON - timedelta(minutes=1))], OVERLAP)
    again = TimeMark.read(mark.dump(), NOON)
    assert again == mark
    assert again.plus([("3", NOON - timedelta(hours=1))], OVERLAP).at == NOON
    assert again.look_from(OVERLAP) == NOON - OVERLAP
    assert not again.is_new("2", NOON - timedelta(minutes=1))
    assert again.is_new("2", NOON)


def test_a_time_mark_forgets_what_is_out_of_the_overlap() -> None:
    mark = TimeMark().plus([("old", NOON - timedelta(minutes=6)), ("new", NOON)], OVERLAP)
    assert set(mark.seen) == {"new"}


@pytest.mark.parametrize(
    "cursor",
    [
        None,
        17,
        [],
        {},
        {"v": 999, "kind": "time"},
        {"v": 1},
        {"kind": "id", "v": 1, "top": 5},
        {"kind": "time", "at": "x"},
    ],
)
def test_an_unreadable_mark_is_first_sight(cursor: object) -> None:
    assert TimeMark.read(cursor, NOON) == TimeMark()  # type: ignore[arg-type]


def test_a_mark_from_the_future_is_first_sight() -> None:
    mark = TimeMark().plus([("1", NOON + timedelta(days=3))], OVERLAP)
    assert TimeMark.read(mark.dump(), NOON) == TimeMark()
    assert IdMark(top=500).capped(400) == IdMark()


def test_an_id_mark_looks_back() -> None:
    mark = IdMark.read(IdMark().plus([3, 9, 4]).dump())
    assert mark.top == 9
    assert mark.look_after(5) == 4
    assert mark.look_after(100) == 0


def test_what_cannot_be_loaded_is_owed_for_some_passes() -> None:
    mark = TimeMark()
    for _time in range(OWED_TRIES):
        mark = mark.owing("5")
        assert "5" in mark.owed
    assert mark.owing("5").owed == {}
    assert TimeMark().owing("5").paid("5").owed == {}


# -- a helpdesk that tells which tickets changed


class Desk(ByTickets[str]):
    info: ClassVar[ConnectorInfo] = ConnectorInfo("desk", "a helpdesk")

    def __init__(self) -> None:
        super().__init__(TicketSettings.model_validate({}))
        self.tickets: dict[str, list[Entry]] = {}
        self.updated: dict[str, datetime] = {}
        self.broken: set[str] = set()
        self.most: int | None = None
        self.looked_into: list[str] = []
        self.asked_since: list[datetime | None] = []

    @property
    def account(self) -> str:
        return "desk"

    def say(self, ticket: str, number: int, at: datetime, *, version: str = "", text: str = "") -> None:
        said = Said(JO, text=text or f"message {number}")
        entries = [one for one in self.tickets.get(ticket, []) if one.id != f"{ticket}/{number}"]
        self.tickets[ticket] = [*entries, Entry(self.place(ticket, number), at, said, version)]
        self.updated[ticket] = max(at, self.updated.get(ticket, at))

    async def changed(self, since: datetime | None, ctx: PassContext) -> AsyncIterator[Sequence[Ticket[str]]]:
        self.asked_since.append(since)
        rows = sorted((at, name) for name, at in self.updated.items() if since is None or at >= since)
        yield [Ticket(name, at, name) for at, name in rows]

    async def ticket(self, ticket_id: str, ctx: PassContext) -> Ticket[str] | None:
        at = self.updated.get(ticket_id)
        return None if at is None else Ticket(ticket_id, at, ticket_id)

    async def entries(self, ticket: Ticket[str], ctx: PassContext) -> Sequence[Entry]:
        if self.most is not None and len(self.looked_into) >= self.most:
            raise TemporaryError("it is too much", code="desk.throttled", retry_after_seconds=7)
        self.looked_into.append(ticket.id)
        if ticket.id in self.broken:
            raise MessageError("it is broken", code="desk.broken")
        return self.tickets[ticket.id]

    async def check_access(self, ctx: PassContext) -> Sequence[Finding]:
        return []


def texts(arrived: Sequence[object]) -> list[str]:
    return [getattr(one, "text") for one in arrived]  # noqa: B009


async def test_a_ticket_that_changed_without_a_word_brings_nothing() -> None:
    desk = Desk()
    desk.say("1", 1, NOON)
    reader = Reader(desk, now=NOON + timedelta(hours=1))
    assert texts(await reader.run_pass()) == ["message 1"]
    desk.updated["1"] = NOON + timedelta(minutes=1)
    assert await reader.run_pass() == []
    assert desk.looked_into == ["1", "1"]
    await reader.run_pass()
    assert desk.looked_into == ["1", "1"], "what did not change is not looked into again"


async def test_a_ticket_that_was_committed_late_is_found_within_the_overlap() -> None:
    desk = Desk()
    desk.say("1", 1, NOON)
    reader = Reader(desk, now=NOON)
    await reader.run_pass()
    desk.say("2", 2, NOON - timedelta(minutes=4))
    assert texts(await reader.run_pass()) == ["message 2"]


async def test_since_is_taken_from_the_services_own_times() -> None:
    desk = Desk()
    desk.say("1", 1, NOON - timedelta(hours=3))
    reader = Reader(desk, now=NOON, since=NOON - timedelta(days=3))
    await reader.run_pass()
    await reader.run_pass()
    assert desk.asked_since == [NOON - timedelta(days=3, minutes=10), NOON - timedelta(hours=3, minutes=5)]


async def test_a_ticket_that_cannot_be_read_costs_itself_and_is_tried_again() -> None:
    desk = Desk()
    for number in range(3):
        desk.say(str(number), number, NOON + timedelta(seconds=number))
    desk.broken.add("1")
    reader = Reader(desk, now=NOON)
    assert texts(await reader.run_pass()) == ["message 0", "message 2"]
    desk.broken.clear()
    assert texts(await reader.run_pass()) == ["message 1"]


async def test_a_thread_longer_than_a_batch_arrives_whole() -> None:
    desk = Desk()
    for number in range(1100):
        desk.say("1", number, NOON + timedelta(seconds=number))
    reader = Reader(desk, now=NOON)
    assert len(await reader.run_pass()) == 1100
    assert all(len(batch.found) <= 500 for _stream, batch in reader.batches)


async def test_a_message_can_be_loaded_alone() -> None:
    desk = Desk()
    desk.say("1", 1, NOON)
    desk.say("2", 2, NOON)
    (stream,) = await desk.streams(Reader(desk).context())
    contents = await desk.fetch(stream, "", ["2/2", "1/9", "7/7"], Reader(desk).context(stream))
    assert isinstance(contents["2/2"], Message)
    assert {"1/9", "7/7"} <= contents.keys()
    assert desk.looked_into == ["2", "1"]


async def test_an_edit_is_given_with_its_content() -> None:
    desk = Desk()
    desk.say("1", 1, NOON, version="a")
    reader = Reader(desk, now=NOON)
    await reader.run_pass()

    async def versions(_epoch: str, ids: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(ids, "a")

    desk.say("1", 1, NOON, version="b", text="edited")
    desk.updated["1"] = NOON + timedelta(minutes=1)
    (stream,) = await desk.streams(reader.context())
    ctx = replace(reader.context(stream), versions=versions)
    found = [one async for batch in desk.poll(stream, reader.cursor(stream), ctx) for one in batch.found]
    assert [(one.version, isinstance(one.content, Message)) for one in found] == [("b", True)]


async def test_a_pass_that_is_told_to_wait_goes_on_where_it_stopped_although_there_was_nothing_new() -> None:
    desk = Desk()
    for number in range(10):
        desk.say(str(number), number, NOON + timedelta(seconds=number))
    reader = Reader(desk, now=NOON + timedelta(hours=1))
    assert len(await reader.run_pass()) == 10
    desk.updated = {name: at + timedelta(minutes=20) for name, at in desk.updated.items()}
    desk.looked_into.clear()
    for most in (4, 8):
        desk.most = most
        with pytest.raises(TemporaryError):
            await reader.run_pass()
    desk.most = None
    assert await reader.run_pass() == []
    assert desk.looked_into == [str(number) for number in range(10)]


async def test_the_bookmark_is_put_down_although_there_is_nothing_new() -> None:
    desk = Desk()
    for number in range(60):
        desk.say(str(number), number, NOON + timedelta(seconds=number))
    reader = Reader(desk, now=NOON + timedelta(hours=1))
    await reader.run_pass()
    desk.updated = {name: at + timedelta(minutes=20) for name, at in desk.updated.items()}
    (stream,) = await desk.streams(reader.context())
    assert await reader.poll(stream, most_batches=2) == []
    desk.looked_into.clear()
    await reader.run_pass()
    assert 0 < len(desk.looked_into) < 60


async def test_a_listing_that_is_told_to_wait_pauses_and_goes_on() -> None:
    desk = Desk()
    for number in range(6):
        desk.say(str(number), number, NOON + timedelta(seconds=number))
    (stream,) = await desk.streams(Reader(desk).context())
    desk.most = 4
    listed, pauses = [], []
    async for piece in desk.list(stream, None, Reader(desk, now=NOON).context(stream)):
        listed += [one.external_id for one in piece.found]
        if piece.pause_seconds:
            pauses.append(piece.pause_seconds)
            desk.most = None
    assert pauses == [7]
    assert listed == [f"{number}/{number}" for number in range(6)], "nothing twice"


async def test_a_listing_that_is_told_to_wait_for_ever_ends() -> None:
    desk = Desk()
    desk.say("1", 1, NOON)
    desk.most = 0
    (stream,) = await desk.streams(Reader(desk).context())
    with pytest.raises(TemporaryError):
        _ = [piece async for piece in desk.list(stream, None, Reader(desk, now=NOON).context(stream))]


async def test_messages_of_one_moment_keep_the_order_of_the_service() -> None:
    desk = Desk()
    for number in (9, 10, 11):
        desk.say("1", number, NOON)
    assert texts(await Reader(desk, now=NOON).run_pass()) == ["message 9", "message 10", "message 11"]


async def test_a_connector_can_say_itself_why_it_leaves_something_out() -> None:
    desk = Desk()
    why = LeftOut(LeaveOut.POLICY, "it is in another queue")
    desk.tickets["1"] = [Entry("1/1", NOON, why)]
    desk.updated["1"] = NOON
    (arrived,) = await Reader(desk, now=NOON).run_pass()
    assert arrived.content == why


async def test_what_is_said_after_the_look_within_the_same_second_is_found() -> None:
    desk = Desk()
    desk.say("1", 1, NOON)
    reader = Reader(desk, now=NOON + timedelta(seconds=0.3))
    assert texts(await reader.run_pass()) == ["message 1"]
    desk.say("1", 2, NOON)
    reader.now = NOON + timedelta(minutes=1)
    assert texts(await reader.run_pass()) == ["message 2"]
    await reader.run_pass()
    assert len(desk.looked_into) == 2, "and then it is settled"


async def test_more_changes_within_the_overlap_than_a_pass_can_look_into_come_to_an_end() -> None:
    desk = Desk()
    for number in range(12):
        desk.say(str(number), number, NOON + timedelta(seconds=number))
    reader = Reader(desk, now=NOON + timedelta(hours=1))
    for most in (5, 10):
        desk.most = most
        with pytest.raises(TemporaryError):
            await reader.run_pass()
    desk.most = None
    await reader.run_pass()
    await reader.run_pass()
    stopped = [NOON + timedelta(seconds=4), NOON + timedelta(seconds=9)]
    assert desk.asked_since == [None, *stopped, NOON + timedelta(seconds=11) - OVERLAP]
    assert desk.looked_into == [str(number) for number in range(12)]
