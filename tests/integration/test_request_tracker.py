"""What is special about Request Tracker, on a real one: who sees what, whose words they are, and what changes under us."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from connectors.request_tracker import RequestTrackerConfig, RequestTrackerConnector
from sync.connector import Finding, Severity
from sync.errors import MessageError
from sync.message import Direction, Gone, Json, LeaveOut, LeftOut, Message, ParticipantKind
from sync.testing.reader import Arrived, Reader
from tests.servers.request_tracker import File, RequestTracker

pytestmark = [pytest.mark.request_tracker, pytest.mark.xdist_group("request_tracker")]

ALICE = "alice@customer.example"
BOB = "bob@customer.example"
IN = Direction.PARTICIPANT_TO_BUSINESS
OUT = Direction.BUSINESS_TO_PARTICIPANT
_numbers = count(1)


@pytest.fixture
def queue(request_tracker: RequestTracker) -> str:
    name = f"desk {next(_numbers)}"
    request_tracker.make_queue(name)
    return name


def user(
    server: RequestTracker, queue: str, *, rights: Sequence[str] = (), privileged: bool = True, zone: str = ""
) -> str:
    """A new user's token; every privileged user of this server sees everything but what others hide."""
    name = f"reader{next(_numbers)}"
    granted = [("ManageAuthTokens", None), *((right, queue) for right in rights)]
    server.make_user(name, email=f"{name}@rt.example", privileged=privileged, timezone=zone, rights=granted)
    return server.token_of(name)


def connector(server: RequestTracker, queue: str, **more: object) -> RequestTrackerConnector:
    values = {"url": server.url, "token": server.token, "queues": (queue,), **more}
    return RequestTrackerConnector(RequestTrackerConfig.model_validate(values))


def messages(arrived: Sequence[Arrived]) -> dict[str, Message]:
    return {one.text.strip(): one.content for one in arrived if isinstance(one.content, Message)}


def told(arrived: Sequence[Arrived]) -> dict[str, tuple[Direction | None, tuple[str, ...]]]:
    """Each text with its direction, and whose conversation it belongs to."""
    return {
        text: (message.direction, tuple(one.value for one in message.participants))
        for text, message in messages(arrived).items()
    }


async def test_answers_of_agents_go_to_the_requestors_and_what_rt_writes_is_no_message(
    request_tracker: RequestTracker, queue: str
) -> None:
    mail = f"From: Alice <{ALICE}>\r\nTo: support@rt.example\r\nSubject: Printer\r\nMessage-ID: <{queue[5:]}@x>\r\n"
    mail += "Date: Thu, 12 Mar 2026 14:03:00 +0000\r\n\r\nIt burns.\r\n"
    request_tracker.mail_in(mail.encode(), queue=queue)  # RT answers her by itself
    reader = Reader(connector(request_tracker, queue))
    (first,) = await reader.run_pass()
    assert told([first]) == {"It burns.": (IN, (ALICE,))}
    assert isinstance(first.content, Message)
    assert first.content.subject == "Printer"
    assert first.content.sent_at == datetime(2026, 3, 12, 14, 3, tzinfo=UTC)
    assert abs(first.found.arrived_at - datetime.now(UTC)) < timedelta(minutes=5), "the mail's date is no arrival"
    row = request_tracker.call("GET", f"/transaction/{first.found.external_id}")
    assert isinstance(row, dict)
    assert isinstance(row["Object"], dict)
    ticket = int(str(row["Object"]["id"]))
    request_tracker.call("POST", f"/ticket/{ticket}/correspond", {"Content": "We look.", "ContentType": "text/plain"})
    assert told(await reader.run_pass()) == {"We look.": (OUT, (ALICE,))}
    kinds = request_tracker.call("GET", f"/ticket/{ticket}/history?per_page=100&fields=Type")
    assert "EmailRecord" in str(kinds), "RT has written records of mail"


@pytest.mark.parametrize(
    ("opened_by_agents", "wanted"), [("customer", (IN, (ALICE,))), ("agent", (OUT, (ALICE,))), ("skip", None)]
)
async def test_what_an_agent_noted_for_a_customer_is_the_customers_unless_the_operator_says_otherwise(
    request_tracker: RequestTracker, queue: str, opened_by_agents: str, wanted: object
) -> None:
    request_tracker.create("root", "On the phone", "She called.", queue=queue, requestors=[ALICE])
    arrived = await Reader(connector(request_tracker, queue, opened_by_agents=opened_by_agents)).run_pass()
    assert told(arrived).get("She called.") == wanted
    assert len(arrived) == 1, "left out with the reason"


async def test_internal_notes_never_arrive_unless_they_are_wanted_as_activities(
    request_tracker: RequestTracker, queue: str
) -> None:
    opened = request_tracker.create(ALICE, "Printer", "It burns.", queue=queue)
    request_tracker.write(opened.ticket, "root", "She is always like that.", note=True)
    arrived = await Reader(connector(request_tracker, queue)).run_pass()
    assert [one.content.reason for one in arrived if isinstance(one.content, LeftOut)] == [LeaveOut.INTERNAL]
    assert told(arrived) == {"It burns.": (IN, (ALICE,))}
    shown = messages(await Reader(connector(request_tracker, queue, internal_notes="activity")).run_pass())
    assert shown["She is always like that."].activity
    assert not shown["It burns."].activity


async def test_a_user_who_may_not_see_everything_misses_nothing_behind_short_and_empty_pages(
    request_tracker: RequestTracker, queue: str
) -> None:
    hidden = f"hidden {queue}"
    request_tracker.make_queue(hidden)
    token = user(request_tracker, queue, rights=("SeeQueue", "ShowTicket"), privileged=False)
    wanted = []
    for number in range(3):
        wanted.append(f"message {number}")
        request_tracker.create(ALICE, "Printer", wanted[-1], queue=queue)
        ticket = request_tracker.create(BOB, "Secret", "hidden", queue=hidden).ticket
        note: dict[str, Json] = {"do": "write", "ticket": ticket, "by": BOB, "text": "hidden"}
        request_tracker.do(*[note] * 110)
    query = urllib.parse.quote(f"ObjectType = 'RT::Ticket' AND Type = 'Correspond' AND TicketQueue = '{hidden}'")
    page = request_tracker.call("GET", f"/transactions?query={query}&per_page=100&page=1", token=token)
    assert isinstance(page, dict)
    assert (page["total"], page["items"]) == (None, []), "the trap: an empty page, and no word that there are more"
    anywhere = Reader(connector(request_tracker, queue, token=token, queues=()))
    assert [one.text for one in await anywhere.run_pass()] == wanted
    reader = Reader(connector(request_tracker, queue, token=token))
    assert [one.text for one in await reader.run_pass()] == wanted
    request_tracker.create(ALICE, "Printer", "message 3", queue=queue)
    assert [one.text for one in await reader.run_pass()] == ["message 3"]


async def test_a_long_stretch_that_a_user_may_not_see_is_walked_through_once(
    request_tracker: RequestTracker, queue: str
) -> None:
    token = user(request_tracker, queue, rights=("SeeQueue", "ShowTicket"), privileged=False)
    request_tracker.create(ALICE, "Printer", "before", queue=queue)
    made = connector(request_tracker, queue, token=token)
    reader = Reader(made)
    assert [one.text for one in await reader.run_pass()] == ["before"]
    request_tracker.skip_numbers(2700)  # more windows than a pass looks at without putting its bookmark down
    request_tracker.create(ALICE, "Printer", "behind", queue=queue)
    (stream,) = await made.streams(reader.context())
    halfway = reader.cursors[stream.key]
    assert await reader.poll(stream, most_batches=1) == [], "the pass was cut short by its deadline"
    assert reader.cursors[stream.key] != halfway, "and the next one goes on where it ended"
    assert [one.text for one in await reader.run_pass()] == ["behind"]
    before = len(reader.batches)
    assert await reader.run_pass() == []
    assert len(reader.batches) == before + 1


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
async def test_the_time_zone_of_the_tokens_user_hides_nothing(
    request_tracker: RequestTracker, queue: str, zone: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for hours in (200, 100, 30, 13, 1):
        request_tracker.create(ALICE, "Printer", f"{hours} hours ago", queue=queue, at=now - timedelta(hours=hours))
    token = user(request_tracker, queue, zone=zone)
    for hours in (31, 14, 2):
        reader = Reader(connector(request_tracker, queue, token=token), since=now - timedelta(hours=hours))
        texts = {one.text for one in await reader.run_pass()}
        assert {f"{some} hours ago" for some in (30, 13, 1) if some <= hours} <= texts


async def test_an_old_archive_is_not_walked_through_for_a_start_from_now(
    request_tracker: RequestTracker, queue: str
) -> None:
    week_ago = datetime.now(UTC) - timedelta(days=7)
    old = [request_tracker.create(ALICE, "Printer", f"old {number}", queue=queue, at=week_ago) for number in range(5)]
    for opened in old:  # the ticket's own time, which the transaction's does not change
        request_tracker._sql("UPDATE Tickets SET Created = ? WHERE id = ?", f"{week_ago:%F %T}", opened.ticket)
    request_tracker.create(ALICE, "Printer", "new", queue=queue)
    reader = Reader(connector(request_tracker, queue), since=datetime.now(UTC))
    assert [one.text for one in await reader.run_pass()] == ["old 4", "new"]


async def test_what_was_committed_late_is_found_by_the_next_look(request_tracker: RequestTracker, queue: str) -> None:
    request_tracker.create(ALICE, "Printer", "first", queue=queue)
    late = request_tracker.create(BOB, "Printer", "late", queue=queue)
    request_tracker.hold_back(late.transaction)
    request_tracker.create(ALICE, "Printer", "third", queue=queue)
    reader = Reader(connector(request_tracker, queue))
    assert [one.text for one in await reader.run_pass()] == ["first", "third"]
    request_tracker.commit(late.transaction)
    assert [one.text for one in await reader.run_pass()] == ["late"]


async def test_what_comes_and_goes_while_pages_are_turned_hides_nothing(
    request_tracker: RequestTracker, queue: str
) -> None:
    ticket = request_tracker.create(ALICE, "Printer", "message 000", queue=queue).ticket
    letter: dict[str, Json] = {"do": "write", "ticket": ticket, "by": ALICE}
    request_tracker.do(*[{**letter, "text": f"message {number:03d}"} for number in range(1, 250)])
    made = connector(request_tracker, queue)
    reader = Reader(made)
    (stream,) = await made.streams(reader.context())
    arrived: list[Arrived] = []
    async for batch in made.poll(stream, None, reader.context(stream)):
        if not arrived:
            request_tracker.write(ticket, ALICE, "in between")
        arrived += await reader.take(stream, batch)
    assert [one.text for one in arrived] == [*(f"message {number:03d}" for number in range(250)), "in between"]


async def test_a_record_that_rt_stumbles_over_costs_itself_only(request_tracker: RequestTracker, queue: str) -> None:
    numbers = [request_tracker.create(ALICE, "Printer", f"message {n}", queue=queue).transaction for n in range(5)]
    made = connector(request_tracker, queue)
    reader = Reader(made)
    (stream,) = await made.streams(reader.context())
    (batch,) = [batch async for batch in made.poll(stream, None, reader.context(stream))]
    request_tracker.hold_back(numbers[2])  # between look and load; RT answers 500 to every list that it is in
    arrived = await reader.take(stream, batch)
    assert [one.text for one in arrived if one.content is not None] == [f"message {n}" for n in (0, 1, 3, 4)]


async def test_merged_tickets_mix_nobodys_words(request_tracker: RequestTracker, queue: str) -> None:
    alices = request_tracker.create(ALICE, "Printer", "alice 1", queue=queue)
    bobs = request_tracker.create(BOB, "Scanner", "bob 1", queue=queue)
    request_tracker.write(bobs.ticket, "root", "to bob alone")
    request_tracker.write(alices.ticket, "root", "to alice alone")
    request_tracker.merge(bobs.ticket, into=alices.ticket)
    request_tracker.write(alices.ticket, "root", "to both")
    request_tracker.write(bobs.ticket, BOB, "bob 2")
    arrived = await Reader(connector(request_tracker, queue)).run_pass()
    assert told(arrived) == {
        "alice 1": (IN, (ALICE,)),
        "bob 1": (IN, (BOB,)),
        "to bob alone": (OUT, (BOB,)),
        "to alice alone": (OUT, (ALICE,)),
        "to both": (OUT, (ALICE, BOB)),
        "bob 2": (IN, (BOB,)),
    }


async def test_tickets_that_were_merged_one_after_the_other_mix_nobodys_words(
    request_tracker: RequestTracker, queue: str
) -> None:
    carol = "carol@customer.example"
    tickets = {who: request_tracker.create(who, "Printer", f"from {who}", queue=queue) for who in (ALICE, BOB, carol)}
    alices, bobs, carols = (tickets[who].ticket for who in (ALICE, BOB, carol))
    request_tracker.merge(carols, into=bobs)
    request_tracker.write(alices, "root", "to alice")
    request_tracker.write(bobs, "root", "to bob and carol")
    request_tracker.merge(bobs, into=alices)
    request_tracker.write(alices, "root", "to all")
    arrived = told(await Reader(connector(request_tracker, queue)).run_pass())
    assert arrived["to alice"] == (OUT, (ALICE,))
    assert set(arrived["to bob and carol"][1]) == {BOB, carol}
    assert set(arrived["to all"][1]) == {ALICE, BOB, carol}


async def test_messages_of_a_deleted_ticket_are_gone(request_tracker: RequestTracker, queue: str) -> None:
    opened = request_tracker.create(ALICE, "Spam", "buy this", queue=queue)
    request_tracker.delete(opened.ticket)
    made = connector(request_tracker, queue)
    reader = Reader(made)
    (stream,) = await made.streams(reader.context())
    contents = await made.fetch(stream, "", [str(opened.transaction)], reader.context(stream))
    assert contents == {str(opened.transaction): Gone("its ticket was deleted")}
    assert await reader.run_pass() == []


async def test_a_customer_without_an_address_is_known_by_their_name_in_rt(
    request_tracker: RequestTracker, queue: str
) -> None:
    request_tracker.make_user("walk-in", email="")
    request_tracker.create("walk-in", "At the counter", "Hello.", queue=queue)
    (arrived,) = await Reader(connector(request_tracker, queue)).run_pass()
    assert isinstance(arrived.content, Message)
    (customer,) = arrived.content.participants
    assert (customer.kind, customer.value) == (ParticipantKind.EXTERNAL, "request_tracker:walk-in")
    (skipped,) = await Reader(connector(request_tracker, queue, without_address="skip")).run_pass()
    assert isinstance(skipped.content, LeftOut)
    assert skipped.content.reason is LeaveOut.NO_IDENTITY


async def test_files_are_streamed_byte_by_byte_and_a_page_for_signing_in_is_none(
    request_tracker: RequestTracker, queue: str
) -> None:
    data = bytes(range(256)) * 9000
    files = [File("Grüße ☃.bin", data), File("notes.txt", b"a text", "text/plain")]
    opened = request_tracker.create(ALICE, "Printer", "see the files", queue=queue, files=files)
    made = connector(request_tracker, queue)
    reader = Reader(made)
    (arrived,) = await reader.run_pass()
    assert isinstance(arrived.content, Message)
    named = arrived.content.attachments
    assert [(one.filename, one.size) for one in named] == [("Grüße ☃.bin", len(data)), ("notes.txt", 6)]
    ctx = reader.context(arrived.stream)
    pieces = [p async for p in made.open_attachment(arrived.stream, "", str(opened.transaction), named[0], ctx)]
    assert b"".join(pieces) == data
    assert len(pieces) > 1
    stranger = user(request_tracker, queue, privileged=False)
    other = connector(request_tracker, queue, token=stranger)
    refused = other.open_attachment(arrived.stream, "", str(opened.transaction), named[0], ctx)
    with pytest.raises(MessageError):  # RT leads to a page for somebody else, which is no file
        await anext(refused)


async def test_html_is_read_and_two_texts_are_one_message(request_tracker: RequestTracker, queue: str) -> None:
    request_tracker.create(ALICE, "Printer", "<p>It <b>burns</b> ☃</p>", html=True, queue=queue)
    assert list(messages(await Reader(connector(request_tracker, queue)).run_pass())) == ["It burns ☃"]


async def test_a_bookmark_from_beyond_the_newest_number_is_first_sight(
    request_tracker: RequestTracker, queue: str
) -> None:
    request_tracker.create(ALICE, "Printer", "still there", queue=queue)
    reader = Reader(connector(request_tracker, queue))
    (stream,) = await reader.connector.streams(reader.context())
    reader.cursors[stream.key] = '{"v": 1, "kind": "id", "top": 900000000}'
    assert [one.text for one in await reader.run_pass()] == ["still there"]


async def findings(made: RequestTrackerConnector) -> Mapping[str, Finding]:
    return {one.code: one for one in await made.check(Reader(made).context())}


async def test_check_names_the_right_that_is_missing(request_tracker: RequestTracker, queue: str) -> None:
    request_tracker.create(ALICE, "Printer", "It burns.", queue=queue)
    good = await findings(connector(request_tracker, queue))
    assert {one.severity for one in good.values()} == {Severity.OK}

    stranger = await findings(connector(request_tracker, queue, token=user(request_tracker, queue, privileged=False)))
    assert "Privileged" in stranger["request_tracker.not_privileged"].next_step
    assert f'SeeQueue in "{queue}"' in stranger["request_tracker.queue_missing"].next_step
    nowhere = connector(request_tracker, queue, queues=(), token=user(request_tracker, queue, privileged=False))
    assert "SeeQueue and ShowTicket" in (await findings(nowhere))["request_tracker.no_queue"].next_step

    blind = await findings(
        connector(request_tracker, queue, token=user(request_tracker, queue, rights=("SeeQueue",), privileged=False))
    )
    assert "ShowTicket" in blind["request_tracker.no_tickets"].next_step
