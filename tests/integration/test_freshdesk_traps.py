"""The `freshdesk` connector against what surprises people about Freshdesk, one test a trap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.freshdesk import FreshdeskConfig, FreshdeskConnector
from sync.connector import Severity
from sync.errors import AuthError, MessageError, TemporaryError
from sync.message import Attachment, Direction, Json, LeftOut, Message, ParticipantKind
from sync.testing.reader import Arrived, Reader
from sync.testing.service import Asked
from tests.servers.freshdesk_script import API_KEY, CHAT, FORWARDED, NOTE, OUTBOUND_EMAIL, ScriptedFreshdesk, Ticket

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


class Freshdesk(ScriptedFreshdesk):
    """With one customer, at noon."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW)
        self.per_minute = 100_000
        self.jo = self.contact("jo@example.net", "Jo Doe")

    def reader(self, **settings: object) -> Reader:
        values = {"url": self.url, "api_key": API_KEY, "requests_per_minute": 10_000, **settings}
        return Reader(FreshdeskConnector(FreshdeskConfig.model_validate(values)), now=NOW)


@pytest.fixture
def service() -> Iterator[Freshdesk]:
    with Freshdesk() as running:
        yield running


def texts(arrived: Sequence[Arrived]) -> list[str]:
    return [one.text for one in arrived if isinstance(one.content, Message)]


def message(arrived: Arrived) -> Message:
    assert isinstance(arrived.content, Message), arrived.content
    return arrived.content


async def test_the_list_is_read_beyond_the_page_after_which_freshdesk_gives_nothing(service: Freshdesk) -> None:
    service.last_page = 2
    for number in range(520):
        service.ticket(service.jo, f"message {number:03d}", at=ago(600 - number / 10))
    assert sorted(texts(await service.reader().run_pass())) == [f"message {number:03d}" for number in range(520)]
    pages = [int(one.query["page"]) for one in service.asked if one.path == "/api/v2/tickets"]
    assert max(pages) == 1


async def test_a_ticket_from_before_the_last_thirty_days_is_found_when_somebody_writes_into_it(
    service: Freshdesk,
) -> None:
    old = service.ticket(service.jo, "in spring", at=ago(60 * 24 * 200))
    service.conversation(old, service.jo, "today", at=ago(5))
    assert texts(await service.reader().run_pass()) == ["in spring", "today"]
    reader = service.reader()
    reader.since = ago(60)
    assert texts(await reader.run_pass()) == ["in spring", "today"]
    assert [found.arrived_at for _stream, batch in reader.batches for found in batch.found] == [old.created_at, ago(5)]


async def test_the_description_is_the_first_message_with_its_files(service: Freshdesk) -> None:
    files = [service.file("order.pdf", b"%PDF", "application/pdf")]
    service.ticket(service.jo, "my order is late", at=ago(30), subject="Order 17", files=files)
    (first,) = await service.reader().run_pass()
    assert message(first).text == "my order is late"
    assert message(first).subject == "Order 17"
    assert [(one.filename, one.mime_type, one.size) for one in message(first).attachments] == [
        ("order.pdf", "application/pdf", 4)
    ]


async def test_a_ticket_that_an_agent_began_by_mail_goes_to_the_customer(service: Freshdesk) -> None:
    service.ticket(service.jo, "we have news for you", at=ago(30), source=OUTBOUND_EMAIL)
    (first,) = await service.reader().run_pass()
    assert message(first).direction is Direction.BUSINESS_TO_PARTICIPANT
    assert [one.value for one in message(first).participants] == ["jo@example.net"]


async def test_more_conversations_than_are_embedded_all_come(service: Freshdesk) -> None:
    ticket = service.ticket(service.jo, "message 00", at=ago(60))
    for number in range(1, 25):
        service.conversation(ticket, service.jo, f"message {number:02d}", at=ago(60 - number))
    assert texts(await service.reader().run_pass()) == [f"message {number:02d}" for number in range(25)]


async def test_pages_of_conversations_go_by_the_link_header(service: Freshdesk) -> None:
    ticket = service.ticket(service.jo, "message 000", at=ago(300))
    for number in range(1, 101):
        service.conversation(ticket, service.jo, f"message {number:03d}", at=ago(300 - number))
    assert len(await service.reader().run_pass()) == 101
    pages = [one for one in service.asked if one.path.endswith("/conversations")]
    assert len(pages) == 1, "a full page without a link is the last one"


async def test_what_changes_in_the_same_second_as_the_last_one_seen_is_found(service: Freshdesk) -> None:
    service.ticket(service.jo, "first", at=ago(30))
    reader = service.reader()
    await reader.run_pass()
    service.ticket(service.jo, "same second", at=ago(30))
    assert texts(await reader.run_pass()) == ["same second"]
    service.asked.clear()
    assert await reader.run_pass() == []
    assert service.paths() == ["/api/v2/tickets"]


async def test_private_notes_and_forwards_to_others_are_internal(service: Freshdesk) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    service.conversation(ticket, service.agent, "he is angry", at=ago(29), private=True, source=NOTE)
    service.conversation(ticket, service.agent, "dear supplier, …", at=ago(28), source=FORWARDED)
    service.conversation(ticket, service.agent, "a public note", at=ago(27), source=NOTE)
    service.conversation(ticket, service.agent, "done", at=ago(26))
    arrived = await service.reader().run_pass()
    assert [isinstance(one.content, LeftOut) for one in arrived] == [False, True, True, False, False]
    assert message(arrived[4]).direction is Direction.BUSINESS_TO_PARTICIPANT
    shown = await service.reader(internal_notes="activity").run_pass()
    assert [message(one).activity for one in shown] == ["", "Internal note", "Internal note", "", ""]
    author = message(shown[1]).author
    assert author is not None
    assert author.name == "Anna Agent"


async def test_a_note_is_shown_although_the_key_may_not_read_agents(service: Freshdesk) -> None:
    service.sees_agents = False
    ticket = service.ticket(service.jo, "help", at=ago(30))
    service.conversation(ticket, service.agent, "he is angry", at=ago(29), private=True, source=NOTE)
    _first, note = await service.reader(internal_notes="activity").run_pass()
    author = message(note).author
    assert author is not None
    assert author.name == "an agent"


async def test_merged_tickets_keep_their_messages_and_bring_no_other(service: Freshdesk) -> None:
    loser = service.ticket(service.jo, "asked twice", at=ago(30))
    winner = service.ticket(service.jo, "asked once", at=ago(29))
    reader = service.reader()
    assert len(await reader.run_pass()) == 2
    service.merge(loser, winner, at=ago(20))
    arrived = await reader.run_pass()
    assert len(arrived) == 2
    assert all(isinstance(one.content, LeftOut) for one in arrived)


async def test_deleted_tickets_and_spam_bring_nothing(service: Freshdesk) -> None:
    service.ticket(service.jo, "buy pills", at=ago(31), spam=True)
    deleted = service.ticket(service.jo, "delete me", at=ago(30))
    deleted.deleted = True
    vanishing = service.ticket(service.jo, "delete me in between", at=ago(29))
    service.ticket(service.jo, "keep me", at=ago(28))
    reader = service.reader()
    service.refuse(404, path=f"/api/v2/tickets/{vanishing.id}")
    assert texts(await reader.run_pass()) == ["keep me"]


async def test_a_ticket_that_turns_out_to_be_spam_brings_nothing(
    service: Freshdesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = service.ticket(service.jo, "buy pills", at=ago(30))
    viewed = service._view

    def view(one: Ticket, asked: Asked) -> Json:
        ticket.spam = True
        return viewed(one, asked)

    monkeypatch.setattr(service, "_view", view)
    assert await service.reader().run_pass() == []
    assert f"/api/v2/tickets/{ticket.id}" in service.paths()


async def test_who_writes_into_anothers_ticket_speaks_for_themselves(service: Freshdesk) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    pat = service.contact("pat@example.net", "Pat")
    service.conversation(ticket, pat, "me too", at=ago(29))
    service.conversation(ticket, service.contact(None, "Kim"), "and me", at=ago(28), from_email="Kim <kim@example.net>")
    _jo, second, third = await service.reader().run_pass()
    assert [one.value for one in message(second).participants] == ["pat@example.net"]
    assert [one.value for one in message(third).participants] == ["kim@example.net"]


async def test_customers_without_an_address_are_known_otherwise_or_left_out(service: Freshdesk) -> None:
    service.ticket(service.contact(None, "Caller", phone="0049 221 123456"), "by phone", at=ago(30))
    chatter = service.contact(None, "Visitor 17")
    service.ticket(chatter, "by chat", at=ago(29), source=CHAT)
    found = [message(one).participants[0] for one in await service.reader().run_pass()]
    assert [(one.kind, one.value) for one in found] == [
        (ParticipantKind.PHONE, "+49221123456"),
        (ParticipantKind.EXTERNAL, f"freshdesk:{chatter}"),
    ]
    by_phone, by_chat = await service.reader(without_address="skip").run_pass()
    assert isinstance(by_phone.content, Message)
    assert isinstance(by_chat.content, LeftOut)


async def test_an_edited_note_is_an_edit_and_a_picture_with_a_new_address_is_none(service: Freshdesk) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    note = service.conversation(ticket, service.agent, "public note", at=ago(29), source=NOTE)
    reader = service.reader()
    await reader.run_pass()
    service.picture = "<img src='https://files.example.net/1?signature=other'>"
    service.touch(ticket, ago(20))
    assert await reader.run_pass() == []
    assert reader.edited == []
    service.edit(ticket, note, "public note, corrected", at=ago(10))
    assert await reader.run_pass() == []
    (edited,) = reader.edited
    assert edited.text == "public note, corrected"


async def test_a_note_that_is_made_public_becomes_a_message(service: Freshdesk) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    note = service.conversation(ticket, service.agent, "we are at it", at=ago(29), private=True, source=NOTE)
    reader = service.reader()
    await reader.run_pass()
    note.private = False
    service.touch(ticket, ago(20))
    assert texts(await reader.run_pass()) == ["we are at it"]


async def open_file(service: Freshdesk, reader: Reader, arrived: Arrived, attachment: Attachment) -> bytes:
    connector = reader.connector
    assert isinstance(connector, FreshdeskConnector)
    ctx = reader.context(arrived.stream)
    opened = connector.open_attachment(arrived.stream, "", arrived.found.external_id, attachment, ctx)
    return b"".join([piece async for piece in opened])


async def test_a_file_is_read_by_a_fresh_address_and_without_showing_the_key(service: Freshdesk) -> None:
    ticket = service.ticket(service.jo, "see", at=ago(30), files=[service.file("a.txt", b"first")])
    files = [service.file("b.txt", b"second"), service.file("c.txt", b"third")]
    service.conversation(ticket, service.jo, "and", at=ago(29), files=files)
    reader = service.reader()
    arrived = await reader.run_pass()
    service.files.expire()
    read = [
        await open_file(service, reader, one, attachment) for one in arrived for attachment in message(one).attachments
    ]
    assert read == [b"first", b"second", b"third"]
    assert service.files.leaks(API_KEY) == []
    assert not [one for one in service.files.asked if "authorization" in one.headers]


async def test_a_file_that_was_removed_costs_itself(service: Freshdesk) -> None:
    ticket = service.ticket(service.jo, "see", at=ago(30), files=[service.file("a.txt", b"first")])
    reader = service.reader()
    (arrived,) = await reader.run_pass()
    (attachment,) = message(arrived).attachments
    ticket.files.clear()
    with pytest.raises(MessageError) as caught:
        await open_file(service, reader, arrived, attachment)
    assert caught.value.code == "freshdesk.file_gone"


async def test_what_freshdesk_refuses_is_obeyed_by_every_source_on_the_account(service: Freshdesk) -> None:
    service.per_minute = 2
    service.ticket(service.jo, "help", at=ago(30))
    one, other = service.reader(), service.reader()
    with pytest.raises(TemporaryError) as caught:
        await one.run_pass()
    assert caught.value.retry_after_seconds == 31
    asked = len(service.asked)
    with pytest.raises(TemporaryError):
        await other.run_pass()
    assert len(service.asked) == asked, "the other source does not even ask"


async def test_a_first_look_that_is_more_than_the_budget_is_done_bit_by_bit(service: Freshdesk) -> None:
    for number in range(20):
        service.ticket(service.jo, f"message {number:02d}", at=ago(60 - number))
    reader = service.reader(requests_per_minute=11)
    for minute in range(10):
        reader.now = NOW + timedelta(minutes=minute)
        try:
            await reader.run_pass()
        except TemporaryError:
            continue
        break
    found = [one.external_id for _stream, batch in reader.batches for one in batch.found]
    assert len(found) == len(set(found)) == 20


async def test_check_names_the_permission_that_is_missing(service: Freshdesk) -> None:
    reader = service.reader()
    service.scope = 3
    service.refuse(403, body={"code": "access_denied"}, path="/api/v2/contacts")
    findings = await reader.connector.check(reader.context())
    assert {one.code: one.severity for one in findings if one.severity is not Severity.OK} == {
        "freshdesk.scope": Severity.WARNING,
        "freshdesk.contacts": Severity.WARNING,
    }
    assert all(one.next_step for one in findings if one.severity is Severity.WARNING)
    service.refuse(403, body={"code": "access_denied"}, path="/api/v2/tickets")
    (error,) = await reader.connector.check(reader.context())
    assert error.severity is Severity.ERROR
    assert "view tickets" in error.next_step
    service.refuse(403, body={"code": "access_denied"}, path="/api/v2/tickets")
    with pytest.raises(AuthError):
        await reader.run_pass()
