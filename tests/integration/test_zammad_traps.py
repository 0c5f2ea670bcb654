"""The `zammad` connector against what surprises people about Zammad, one test a trap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.zammad import ZammadConfig, ZammadConnector
from sync.connector import Severity
from sync.errors import AuthError, ConfigError, MessageError
from sync.message import Direction, Gone, LeftOut, Message, ParticipantKind
from sync.testing.reader import Arrived, Reader
from tests.servers.zammad_script import TOKEN, ScriptedZammad

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WAYS = pytest.mark.parametrize("read_by", ["tickets", "articles"])


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


class Zammad(ScriptedZammad):
    """With one customer, at noon."""

    def __init__(self) -> None:
        super().__init__(permissions=("ticket.agent", "admin"))
        self.jo = self.user("jo@example.net", "Jo", "Doe")

    def reader(self, **settings: object) -> Reader:
        config = ZammadConfig.model_validate({"url": self.url, "token": TOKEN, **settings})
        return Reader(ZammadConnector(config), now=NOW)


@pytest.fixture
def service() -> Iterator[Zammad]:
    with Zammad() as running:
        yield running


def texts(arrived: Sequence[Arrived]) -> list[str]:
    return [one.text for one in arrived if isinstance(one.content, Message)]


def message(arrived: Arrived) -> Message:
    assert isinstance(arrived.content, Message), arrived.content
    return arrived.content


def connector(reader: Reader) -> ZammadConnector:
    assert isinstance(reader.connector, ZammadConnector)
    return reader.connector


@pytest.mark.parametrize("elasticsearch", [False, True])
async def test_news_are_found_without_elasticsearch_and_although_its_index_lags(
    service: Zammad, elasticsearch: bool
) -> None:
    service.elasticsearch = elasticsearch
    ticket = service.ticket(service.jo, "first", at=ago(30))
    reader = service.reader()
    assert texts(await reader.run_pass()) == ["first"]
    service.article(ticket, "second", at=ago(1))  # the index knows nothing of it yet
    assert texts(await reader.run_pass()) == ["second"]


@pytest.mark.parametrize("names_tickets", [False, True])
async def test_a_search_is_understood_in_either_shape(service: Zammad, names_tickets: bool) -> None:
    service.names_tickets = names_tickets
    service.ticket(service.jo, "first", at=ago(30))
    service.ticket(service.jo, "second", at=ago(29))
    assert texts(await service.reader().run_pass()) == ["first", "second"]


async def test_where_conditions_find_nothing_all_tickets_are_walked_through_and_check_says_so(service: Zammad) -> None:
    service.conditions = False
    for number in range(120):
        service.ticket(service.jo, f"message {number:03d}", at=ago(500 - number))
    reader = service.reader()
    assert texts(await reader.run_pass()) == [f"message {number:03d}" for number in range(120)]
    service.article(service.tickets[min(service.tickets)], "again", at=ago(1))
    assert texts(await reader.run_pass()) == ["again"]
    findings = await connector(reader).check(reader.context())
    assert [one.code for one in findings if one.severity is Severity.WARNING] == ["zammad.conditions"]


async def test_an_agents_token_may_not_read_all_articles_and_is_told_so(service: Zammad) -> None:
    service.permissions = ("ticket.agent",)
    service.ticket(service.jo, "hello", at=ago(30))
    assert texts(await service.reader().run_pass()) == ["hello"]
    reader = service.reader(read_by="articles")
    with pytest.raises(AuthError) as caught:
        await reader.run_pass()
    assert "permission admin" in caught.value.next_step
    (finding,) = await connector(reader).check(reader.context())
    assert finding.severity is Severity.ERROR
    assert "permission admin" in finding.next_step


async def test_a_token_without_the_permission_for_tickets_is_told_which(service: Zammad) -> None:
    service.permissions = ("user_preferences",)
    reader = service.reader()
    findings = await connector(reader).check(reader.context())
    errors = [one for one in findings if one.severity is Severity.ERROR]
    assert errors
    assert "ticket.agent" in errors[0].next_step


async def test_a_user_without_groups_is_told_so(service: Zammad) -> None:
    service.groups = set()
    reader = service.reader()
    findings = await connector(reader).check(reader.context())
    assert [one.code for one in findings if one.severity is Severity.ERROR] == ["zammad.no_group"]


async def test_a_search_that_zammad_refuses_is_told_in_its_words(service: Zammad) -> None:
    service.refuse(422, body={"error": "Invalid condition, operator missing"}, path="/api/v1/tickets/search")
    with pytest.raises(ConfigError) as caught:
        await service.reader().run_pass()
    assert "operator missing" in str(caught.value)


@WAYS
async def test_internal_articles_go_to_nobody_unless_they_are_wanted(service: Zammad, read_by: str) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    service.article(ticket, "he is angry", at=ago(29), sender="Agent", kind="note", internal=True)
    service.article(ticket, "for the supplier", at=ago(28), sender="Agent", kind="email", internal=True)
    service.article(ticket, "done", at=ago(27), sender="Agent")
    arrived = await service.reader(read_by=read_by).run_pass()
    assert [isinstance(one.content, LeftOut) for one in arrived] == [False, True, True, False]
    reply = message(arrived[3])
    assert reply.direction is Direction.BUSINESS_TO_PARTICIPANT
    assert [(one.value, one.name) for one in reply.participants] == [("jo@example.net", "Jo Doe")]
    shown = await service.reader(read_by=read_by, internal_notes="activity").run_pass()
    assert message(shown[1]).activity == "Internal note"
    author = message(shown[1]).author
    assert author is not None
    assert author.name == "Anna Agent"


@WAYS
async def test_an_article_that_is_made_visible_becomes_a_message(service: Zammad, read_by: str) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    note = service.article(ticket, "we are at it", at=ago(29), sender="Agent", kind="note", internal=True)
    reader = service.reader(read_by=read_by)
    await reader.run_pass()
    service.publish(note, internal=False, at=ago(10))
    (arrived,) = await reader.run_pass()
    assert (arrived.text, arrived.found.arrived_at) == ("we are at it", ago(29))
    service.publish(note, internal=True, at=ago(5))
    assert await reader.run_pass() == [], "what was internal before is known"
    contents = await connector(reader).fetch(arrived.stream, "", [arrived.found.external_id], reader.context())
    assert isinstance(contents[arrived.found.external_id], Gone), "hidden before it was loaded"


@WAYS
async def test_automatic_replies_are_left_out(service: Zammad, read_by: str) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    service.article(ticket, "Thank you for your request.", at=ago(30), sender="System", by=1)
    assert texts(await service.reader(read_by=read_by).run_pass()) == ["help"]


@WAYS
async def test_what_was_written_down_for_a_customer_is_the_customers(service: Zammad, read_by: str) -> None:
    pat = service.user("pat@example.net", "Pat", "Roe")
    ticket = service.ticket(service.jo, "by phone", at=ago(30), kind="phone", by=service.agent, origin_by=service.jo)
    service.article(ticket, "by phone, nobody said for whom", at=ago(29), kind="phone", by=service.agent)
    service.article(ticket, "on the web", at=ago(28), kind="web", by=pat)
    service.article(ticket, "by mail", at=ago(27), by=service.jo, author="Kim <kim@example.net>")
    arrived = await service.reader(read_by=read_by).run_pass()
    assert [message(one).participants[0].value for one in arrived] == [
        "jo@example.net",
        "jo@example.net",
        "pat@example.net",
        "kim@example.net",
    ]
    assert {message(one).direction for one in arrived} == {Direction.PARTICIPANT_TO_BUSINESS}


async def test_customers_without_an_address_are_known_otherwise_or_left_out(service: Zammad) -> None:
    service.ticket(service.user(None, "A", "Caller", phone="+49 221 123456"), "by phone", at=ago(30), kind="phone")
    chatter = service.user(None, "Visitor", "17")
    service.ticket(chatter, "by chat", at=ago(29), kind="chat")
    nobody = service.ticket(1, "from nobody", at=ago(28), kind="note", sender="Agent")
    assert nobody.customer == 1
    arrived = await service.reader().run_pass()
    found = [message(one).participants[0] for one in arrived[:2]]
    assert [(one.kind, one.value) for one in found] == [
        (ParticipantKind.PHONE, "+49221123456"),
        (ParticipantKind.EXTERNAL, f"zammad:{chatter}"),
    ]
    assert isinstance(arrived[2].content, LeftOut)
    arrived = await service.reader(without_address="skip").run_pass()
    assert [isinstance(one.content, LeftOut) for one in arrived] == [False, True, True]


@WAYS
async def test_articles_that_a_merge_moved_are_known_and_the_one_it_left_is_nobodys(
    service: Zammad, read_by: str
) -> None:
    loser = service.ticket(service.jo, "asked twice", at=ago(30))
    winner = service.ticket(service.jo, "asked once", at=ago(29))
    reader = service.reader(read_by=read_by)
    assert len(await reader.run_pass()) == 2
    service.merge(loser, winner, at=ago(10))
    service.article(winner, "thank you", at=ago(9))
    assert texts(await reader.run_pass()) == ["thank you"]
    assert reader.edited == []
    assert sorted(texts(await service.reader(read_by=read_by).run_pass())) == ["asked once", "asked twice", "thank you"]


async def test_a_file_is_read_at_the_ticket_in_which_its_article_is_now(service: Zammad) -> None:
    files = [service.file("a.txt", b"words " * 1000)]
    loser = service.ticket(service.jo, "see", at=ago(30), files=files)
    winner = service.ticket(service.jo, "other", at=ago(29))
    reader = service.reader()
    arrived = (await reader.run_pass())[0]
    (attachment,) = message(arrived).attachments
    assert (attachment.filename, attachment.size, attachment.mime_type) == ("a.txt", 6000, "text/plain")
    service.merge(loser, winner, at=ago(10))
    ctx = reader.context(arrived.stream)
    made = connector(reader)
    opened = made.open_attachment(arrived.stream, "", arrived.found.external_id, attachment, ctx)
    assert b"".join([piece async for piece in opened]) == b"words " * 1000
    service.delete(winner)
    with pytest.raises(MessageError) as caught:
        _ = [x async for x in made.open_attachment(arrived.stream, "", arrived.found.external_id, attachment, ctx)]
    assert caught.value.code == "zammad.file_gone"


@WAYS
async def test_a_ticket_that_goes_to_a_group_we_do_not_see_costs_itself(service: Zammad, read_by: str) -> None:
    hidden = service.ticket(service.jo, "secret", at=ago(30))
    service.ticket(service.jo, "open", at=ago(29))
    service.refuse(403, body={"error": "Not authorized"}, path=f"/api/v1/ticket_articles/by_ticket/{hidden.id}")
    service.refuse(403, body={"error": "Not authorized"}, path=f"/api/v1/tickets/{hidden.id}")
    assert texts(await service.reader(read_by=read_by).run_pass()) == ["open"]


async def test_escalations_bring_nothing_and_are_looked_into_once(service: Zammad) -> None:
    ticket = service.ticket(service.jo, "help", at=ago(30))
    reader = service.reader()
    await reader.run_pass()
    service.touch(ticket, ago(10))
    assert await reader.run_pass() == []
    service.asked.clear()
    assert await reader.run_pass() == []
    assert service.paths() == ["/api/v1/tickets/search"]


async def test_an_article_with_a_lower_id_that_is_committed_late_is_found(service: Zammad) -> None:
    service.ticket(service.jo, "first", at=ago(30))
    late = service.article(service.tickets[min(service.tickets)], "late", at=ago(29))
    held = service.articles.pop(late.id)
    service.ticket(service.jo, "second", at=ago(28))
    reader = service.reader(read_by="articles")
    assert texts(await reader.run_pass()) == ["first", "second"]
    service.articles[late.id] = held
    assert texts(await reader.run_pass()) == ["late"]


async def test_articles_that_are_deleted_while_the_list_is_read_hide_no_other(service: Zammad) -> None:
    ticket = service.ticket(service.jo, "message 000", at=ago(900))
    for number in range(1, 450):
        service.article(ticket, f"message {number:03d}", at=ago(900 - number))
    gone = sorted(service.articles)[5:15]
    given = 0

    def meanwhile(_page: int) -> None:
        nonlocal given
        given += 1
        if given == 5:  # the newest article, two probes, the first page; before the second
            for number in gone:
                del service.articles[number]

    service.before_page = meanwhile
    arrived = texts(await service.reader(read_by="articles").run_pass())
    assert given > 5
    assert len(arrived) == len(set(arrived))
    assert {f"message {number:03d}" for number in range(450)} - {f"message {n:03d}" for n in range(5, 15)} <= set(
        arrived
    )


async def test_a_long_history_is_not_read_to_find_where_to_begin(service: Zammad) -> None:
    ticket = service.ticket(service.jo, "message 0000", at=ago(60 * 24 * 30))
    for number in range(1, 3000):
        service.article(ticket, f"message {number:04d}", at=ago(60 * 24 * 30) + timedelta(minutes=number))
    service.article(ticket, "today", at=ago(5))
    reader = service.reader(read_by="articles")
    reader.since = ago(60)
    assert texts(await reader.run_pass())[-1] == "today"
    whole_pages = [one for one in service.asked if one.query.get("per_page") == "200"]
    assert len(whole_pages) <= 4
    service.asked.clear()
    service.article(ticket, "just now", at=ago(1))
    assert texts(await reader.run_pass()) == ["just now"]
    assert len([one for one in service.asked if one.path.endswith("/ticket_articles")]) <= 6
