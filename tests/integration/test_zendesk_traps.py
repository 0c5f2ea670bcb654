"""The `zendesk` connector against what surprises people about Zendesk, one test a trap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.zendesk import ZendeskConfig, ZendeskConnector
from sync.connector import Severity
from sync.errors import AuthError, InboxSyncError, TemporaryError
from sync.message import Direction, LeftOut, Message, ParticipantKind
from sync.testing.reader import Arrived, Reader
from tests.servers.zendesk_script import EMAIL, SYSTEM, TOKEN, ScriptedZendesk

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SETTINGS = {"email": EMAIL, "api_token": TOKEN, "exports_per_minute": 100, "requests_per_minute": 10_000}


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


class Zendesk(ScriptedZendesk):
    """With one customer, at noon; the service's clock and ours go together."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: self.now)
        self.now = NOW
        self.exports_per_minute = 1000
        self.jo = self.user("end-user", "jo@example.net", "Jo Doe")

    def reader(self, **settings: object) -> Reader:
        config = ZendeskConfig.model_validate({"url": self.url, **SETTINGS, **settings})
        return Reader(ZendeskConnector(config), now=NOW)


@pytest.fixture
def service() -> Iterator[Zendesk]:
    with Zendesk() as running:
        yield running


def texts(arrived: Sequence[Arrived]) -> list[str]:
    return [one.text for one in arrived if isinstance(one.content, Message)]


def message(arrived: Arrived) -> Message:
    assert isinstance(arrived.content, Message), arrived.content
    return arrived.content


async def test_what_is_in_the_hidden_last_minute_comes_with_a_later_pass(service: Zendesk) -> None:
    reader = service.reader()
    service.ticket(service.jo, "shown", at=ago(3))
    service.ticket(service.jo, "hidden", at=ago(0.5))
    assert texts(await reader.run_pass()) == ["shown"]
    assert reader.batches[-1][1].complete_until == ago(1)
    service.now += timedelta(minutes=1)
    assert texts(await reader.run_pass()) == ["hidden"]


async def test_rows_that_page_boundaries_repeat_come_once_and_are_looked_into_once(service: Zendesk) -> None:
    service.page = 2
    for number in range(7):
        service.ticket(service.jo, f"message {number}", at=ago(30 - number))
    reader = service.reader()
    assert texts(await reader.run_pass()) == [f"message {number}" for number in range(7)]
    assert sum(path.endswith("/comments") for path in service.paths()) == 7


async def test_a_row_is_looked_into_although_its_updated_at_is_older_than_the_bookmark(service: Zendesk) -> None:
    old = service.ticket(service.jo, "first", at=ago(600))
    reader = service.reader()
    await reader.run_pass()
    service.comment(old, service.jo, "committed late", at=ago(500))
    old.updated_at = ago(600)
    service.touch(old, ago(2))
    assert texts(await reader.run_pass()) == ["committed late"]


async def test_a_change_that_only_the_hidden_stamp_shows_is_looked_into_once(service: Zendesk) -> None:
    old = service.ticket(service.jo, "first", at=ago(600))
    reader = service.reader()
    await reader.run_pass()
    service.touch(old, ago(2))
    await reader.run_pass()
    service.asked.clear()
    await reader.run_pass()
    assert service.paths() == ["/api/v2/incremental/tickets/cursor"]


async def test_an_export_is_read_until_it_says_end_of_stream_and_no_further(service: Zendesk) -> None:
    service.page = 3
    for number in range(8):
        service.ticket(service.jo, f"message {number}", at=ago(30 - number))
    await service.reader().run_pass()
    assert sum("incremental" in path for path in service.paths()) == 3


async def test_a_deleted_ticket_is_passed_over_and_its_scrubbed_words_go_nowhere(service: Zendesk) -> None:
    deleted = service.ticket(service.jo, "delete me", at=ago(30))
    service.ticket(service.jo, "keep me", at=ago(20))
    service.delete(deleted, at=ago(10))
    reader = service.reader()
    assert texts(await reader.run_pass()) == ["keep me"]
    assert f"/api/v2/tickets/{deleted.id}/comments" not in service.paths()


async def test_a_ticket_that_is_deleted_between_the_export_and_its_comments_costs_itself(service: Zendesk) -> None:
    first = service.ticket(service.jo, "delete me", at=ago(30))
    service.ticket(service.jo, "keep me", at=ago(20))
    service.refuse(404, body={"error": "RecordNotFound"}, path=f"/api/v2/tickets/{first.id}/comments")
    reader = service.reader()
    assert texts(await reader.run_pass()) == ["keep me"]
    service.delete(first, at=ago(19))
    assert await reader.run_pass() == []


async def test_what_zendesk_writes_when_tickets_are_merged_is_left_out_and_messages_stay(service: Zendesk) -> None:
    loser = service.ticket(service.jo, "asked twice", at=ago(30))
    winner = service.ticket(service.jo, "asked once", at=ago(29))
    reader = service.reader()
    before = {one.found.external_id for one in await reader.run_pass()}
    service.merge(loser, winner, at=ago(20))
    service.comment(winner, service.jo, "thank you", at=ago(19))
    assert texts(await reader.run_pass()) == ["thank you"]
    again = service.reader()
    assert before < {one.found.external_id for one in await again.run_pass()}


async def test_what_the_system_says_is_left_out(service: Zendesk) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    service.comment(ticket, SYSTEM, "This ticket was closed for lack of an answer.", at=ago(20))
    assert texts(await service.reader().run_pass()) == ["help"]


async def test_a_redaction_is_an_edit_of_the_comment(service: Zendesk) -> None:
    ticket = service.ticket(service.jo, "my card is 4111 1111", at=ago(30))
    reader = service.reader()
    (arrived,) = await reader.run_pass()
    service.redact(ticket, ticket.comments[0], "4111 1111", at=ago(10))
    assert await reader.run_pass() == []
    (edited,) = reader.edited
    assert edited.found.external_id == arrived.found.external_id
    assert "4111" not in edited.text
    assert edited.text.startswith("my card is")
    assert await reader.run_pass() == []
    assert len(reader.edited) == 1


@pytest.mark.parametrize("tells", [True, False])
async def test_no_more_exports_are_asked_for_in_a_minute_than_are_allowed(
    service: Zendesk,
    tells: bool,  # in a header how many are left
) -> None:
    service.tells_exports = tells
    service.page = 1
    service.exports_per_minute = 10
    for number in range(12):
        service.ticket(service.jo, f"message {number:02d}", at=ago(30 - number))
    reader = service.reader(exports_per_minute=10)
    with pytest.raises(TemporaryError) as caught:
        await reader.run_pass()
    assert caught.value.code == "zendesk.throttled"
    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds <= 60
    assert sum("incremental" in path for path in service.paths()) == 10, "and none is refused"
    assert sum(len(batch.found) for _stream, batch in reader.batches) == 10, "what was read is kept"
    reader.now = service.now = NOW + timedelta(minutes=1)
    assert texts(await reader.run_pass()) == ["message 10", "message 11"]


async def test_a_refused_export_is_asked_for_again_when_zendesk_says(service: Zendesk) -> None:
    service.exports_per_minute = 0  # others have used it up
    service._exports = [NOW - timedelta(seconds=20)]
    with pytest.raises(TemporaryError) as caught:
        await service.reader().run_pass()
    assert caught.value.retry_after_seconds == 41


async def test_headers_that_say_nothing_is_left_end_the_pass_before_a_refusal(service: Zendesk) -> None:
    service.ticket(service.jo, "one", at=ago(30))
    service.ticket(service.jo, "two", at=ago(29))
    service.budget(None, {"ratelimit-remaining": "0", "ratelimit-reset": "17"})
    with pytest.raises(TemporaryError) as caught:
        await service.reader().run_pass()
    assert caught.value.retry_after_seconds == 17


async def test_an_agent_who_is_no_administrator_is_told_what_is_missing(service: Zendesk) -> None:
    service.role = "agent"
    reader = service.reader()
    with pytest.raises(AuthError) as caught:
        await reader.run_pass()
    assert "administrator" in caught.value.next_step
    findings = await reader.connector.check(reader.context())
    assert [one.next_step for one in findings if one.severity is Severity.ERROR] == [caught.value.next_step]


async def test_a_sign_in_that_zendesk_takes_for_nobodys_is_found_by_check(service: Zendesk) -> None:
    service.is_anonymous = True
    reader = service.reader()
    (finding,) = await reader.connector.check(reader.context())
    assert (finding.severity, finding.code) == (Severity.ERROR, "zendesk.auth_refused")


async def test_an_oauth_token_signs_in_too(service: Zendesk) -> None:
    service.ticket(service.jo, "hello", at=ago(30))
    config = ZendeskConfig.model_validate({"url": service.url, "oauth_token": TOKEN})
    assert texts(await Reader(ZendeskConnector(config), now=NOW).run_pass()) == ["hello"]


async def test_public_replies_go_to_the_requester_and_notes_to_nobody_unless_they_are_wanted(service: Zendesk) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    service.comment(ticket, service.agent, "he is angry", at=ago(29), public=False)
    service.comment(ticket, service.agent, "done", at=ago(28))
    first, note, reply = await service.reader().run_pass()
    assert message(first).direction is Direction.PARTICIPANT_TO_BUSINESS
    assert isinstance(note.content, LeftOut)
    assert message(reply).direction is Direction.BUSINESS_TO_PARTICIPANT
    assert [one.value for one in message(reply).participants] == ["jo@example.net"]
    _first, note, _reply = await service.reader(internal_notes="activity").run_pass()
    assert message(note).activity == "Internal note"
    author = message(note).author
    assert author is not None
    assert author.name == "Anna Agent"


async def test_who_writes_into_anothers_ticket_speaks_for_themselves(service: Zendesk) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    service.comment(ticket, service.user("end-user", "pat@example.net", "Pat"), "me too", at=ago(29))
    _first, second = await service.reader().run_pass()
    assert [one.value for one in message(second).participants] == ["pat@example.net"]


async def test_customers_without_an_address_are_known_otherwise_or_left_out(service: Zendesk) -> None:
    service.ticket(service.user("end-user", None, "Caller", phone="+49 221 123456"), "by phone", at=ago(30))
    chatter = service.user("end-user", None, "Visitor 17")
    service.ticket(chatter, "by chat", at=ago(29))
    found = [message(one).participants[0] for one in await service.reader().run_pass()]
    assert [(one.kind, one.value) for one in found] == [
        (ParticipantKind.PHONE, "+49221123456"),
        (ParticipantKind.EXTERNAL, f"zendesk:{chatter}"),
    ]
    by_phone, by_chat = await service.reader(without_address="skip").run_pass()
    assert isinstance(by_phone.content, Message)
    assert isinstance(by_chat.content, LeftOut)


async def test_a_new_comment_in_an_old_ticket_has_its_own_time_and_so_have_the_old_ones(service: Zendesk) -> None:
    ticket = service.ticket(service.jo, "last year", at=ago(60 * 24 * 400))
    service.comment(ticket, service.jo, "today", at=ago(5))
    reader = service.reader()
    reader.since = ago(60)
    assert [one.found.arrived_at for one in await reader.run_pass()] == [ticket.created_at, ago(5)]


async def test_a_file_is_read_from_its_other_host_without_the_sign_in(service: Zendesk) -> None:
    service.ticket(service.jo, "see the picture", at=ago(30), files=[service.file("cat.txt", b"meow" * 1000)])
    reader = service.reader()
    (arrived,) = await reader.run_pass()
    (attachment,) = message(arrived).attachments
    assert (attachment.filename, attachment.size) == ("cat.txt", 4000)
    connector = reader.connector
    assert isinstance(connector, ZendeskConnector)
    opened = connector.open_attachment(
        arrived.stream, "", arrived.found.external_id, attachment, reader.context(arrived.stream)
    )
    assert b"".join([piece async for piece in opened]) == b"meow" * 1000
    assert service.files.asked
    assert not [one for one in service.files.asked if "authorization" in one.headers]


async def test_a_clock_that_is_ahead_does_not_ask_for_the_last_minute(service: Zendesk) -> None:
    service.ticket(service.jo, "hello", at=ago(10))
    reader = service.reader()
    reader.since = NOW + timedelta(days=3)
    await reader.run_pass()
    asked = [one.query["start_time"] for one in service.asked if "start_time" in one.query]
    assert asked
    assert all(int(one) <= (NOW - timedelta(minutes=1)).timestamp() for one in asked)


async def test_errors_hold_no_secret_and_no_body(service: Zendesk) -> None:
    service.ticket(service.jo, "something private", at=ago(10))
    service.refuse(400, body={"error": f"bad {TOKEN}"})
    with pytest.raises(InboxSyncError) as caught:
        await service.reader().run_pass()
    assert not re.search(f"{TOKEN}|private", str(caught.value))
