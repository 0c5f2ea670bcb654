"""What is special about django-helpdesk, on a real one: one list by date without a filter, titles that tell, merges."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from connectors.django_helpdesk import DjangoHelpdeskConfig, DjangoHelpdeskConnector
from sync.connector import Severity
from sync.errors import AuthError, MessageError
from sync.message import Direction, Gone, Json, LeaveOut, LeftOut, Message
from sync.testing import service as scripted
from sync.testing.reader import Arrived, Reader
from tests.servers.django_helpdesk import DjangoHelpdesk, File

pytestmark = [pytest.mark.django_helpdesk, pytest.mark.xdist_group("django_helpdesk")]

ALICE = "alice@customer.example"
BOB = "bob@customer.example"
IN = Direction.PARTICIPANT_TO_BUSINESS
OUT = Direction.BUSINESS_TO_PARTICIPANT
_numbers = count(1)
MANY_BEGIN = datetime.now(UTC) - timedelta(hours=20)


@pytest.fixture
def site(helpdesk_site: DjangoHelpdesk) -> DjangoHelpdesk:
    helpdesk_site.clear()
    return helpdesk_site


def connector(site: DjangoHelpdesk, **more: object) -> DjangoHelpdeskConnector:
    values = {"url": site.url, "token": site.token, **more}
    return DjangoHelpdeskConnector(DjangoHelpdeskConfig.model_validate(values))


def mail(sender: str, text: str, subject: str = "Printer", html: str = "") -> bytes:
    head = (
        f"From: {sender}\r\nTo: support@helpdesk.example\r\nSubject: {subject}\r\nMessage-ID: <m{next(_numbers)}@x>\r\n"
    )
    if not html:
        return f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()
    parts = (
        f"--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n--b--\r\n"
    )
    return f"{head}MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n{parts}".encode()


def messages(arrived: Sequence[Arrived]) -> dict[str, Message]:
    return {one.text.strip(): one.content for one in arrived if isinstance(one.content, Message)}


def told(arrived: Sequence[Arrived]) -> dict[str, tuple[Direction | None, tuple[str, ...]]]:
    """Each text with its direction, and whose conversation it belongs to."""
    return {
        text: (message.direction, tuple(one.value for one in message.participants))
        for text, message in messages(arrived).items()
    }


async def test_customers_write_by_mail_and_on_the_page_agents_answer_and_the_site_itself_says_nothing(
    site: DjangoHelpdesk,
) -> None:
    ticket = site.mail_in(mail(f"Alice <{ALICE}>", "It burns.", html="<p>It burns.</p>")).ticket
    site.write(ticket, "We look.", user="agent")
    site.write(ticket, "Thank you!")
    site.write(ticket, "", user="agent", title="Closed")
    site.write(ticket, "Ticket escalated after 3 days", title="Ticket Escalated")
    reader = Reader(connector(site))
    arrived = await reader.run_pass()
    assert told(arrived) == {"It burns.": (IN, (ALICE,)), "We look.": (OUT, (ALICE,)), "Thank you!": (IN, (ALICE,))}
    assert messages(arrived)["It burns."].subject == "Printer"
    assert messages(arrived)["It burns."].attachments == (), "the mail's own HTML is no file"


async def test_a_mail_is_its_senders_though_the_ticket_is_somebody_elses(site: DjangoHelpdesk) -> None:
    first = site.mail_in(mail(ALICE, "It burns."))
    tracked = f"Re: [support-{first.ticket}] Printer"
    site.mail_in(mail(BOB, "Mine burns, too.", tracked))
    site.mail_in(mail("anna@shop.example", "We look.", tracked))
    arrived = await Reader(connector(site, agent_addresses=("*@shop.example",))).run_pass()
    assert told(arrived) == {
        "It burns.": (IN, (ALICE,)),
        "Mine burns, too.": (IN, (BOB,)),
        "We look.": (OUT, (ALICE,)),
    }


async def test_internal_notes_never_arrive_unless_they_are_wanted_as_activities(site: DjangoHelpdesk) -> None:
    ticket = site.mail_in(mail(ALICE, "It burns.")).ticket
    site.write(ticket, "She is always like that.", user="agent", public=False)
    arrived = await Reader(connector(site)).run_pass()
    assert [one.content.reason for one in arrived if isinstance(one.content, LeftOut)] == [LeaveOut.INTERNAL]
    assert told(arrived) == {"It burns.": (IN, (ALICE,))}
    shown = messages(await Reader(connector(site, internal_notes="activity")).run_pass())
    assert shown["She is always like that."].activity


@pytest.mark.parametrize(
    ("opened_by_agents", "wanted"), [("customer", (IN, (ALICE,))), ("agent", (OUT, (ALICE,))), ("skip", None)]
)
async def test_what_an_agent_noted_for_a_customer_is_the_customers_unless_the_operator_says_otherwise(
    site: DjangoHelpdesk, opened_by_agents: str, wanted: object
) -> None:
    body: Json = {
        "queue": 1,
        "title": "On the phone",
        "description": "She called.",
        "submitter_email": ALICE,
        "priority": 3,
    }
    site.call("POST", "/tickets/", body)
    arrived = await Reader(connector(site, opened_by_agents=opened_by_agents)).run_pass()
    assert told(arrived).get("She called.") == wanted


async def test_merged_tickets_mix_nobodys_words(site: DjangoHelpdesk) -> None:
    alices = site.mail_in(mail(ALICE, "alice 1")).ticket
    bobs = site.mail_in(mail(BOB, "bob 1", "Scanner")).ticket
    site.write(bobs, "to bob", user="agent")
    site.merge([bobs], into=alices)
    site.write(alices, "to alice", user="agent")
    arrived = await Reader(connector(site)).run_pass()
    assert told(arrived) == {
        "alice 1": (IN, (ALICE,)),
        "bob 1": (IN, (BOB,)),
        "to bob": (OUT, (BOB,)),
        "to alice": (OUT, (ALICE,)),
    }
    assert messages(arrived)["bob 1"].subject == "Scanner"


async def test_merging_tells_nothing_again(site: DjangoHelpdesk) -> None:
    alices, bobs = site.mail_in(mail(ALICE, "alice 1")).ticket, site.mail_in(mail(BOB, "bob 1")).ticket
    reader = Reader(connector(site))
    await reader.run_pass()
    site.merge([bobs], into=alices)
    assert await reader.run_pass() == []
    assert reader.edited == []


async def test_an_edit_within_the_overlap_is_noticed(site: DjangoHelpdesk) -> None:
    ticket = site.mail_in(mail(ALICE, "It burns.")).ticket
    answer = site.write(ticket, "We lock.", user="agent")
    reader = Reader(connector(site))
    await reader.run_pass()
    site.edit(answer, "We look.")
    assert await reader.run_pass() == []
    assert [one.text for one in reader.edited] == ["We look."]
    await reader.run_pass()
    assert len(reader.edited) == 1


async def test_deleted_follow_ups_and_tickets_are_gone(site: DjangoHelpdesk) -> None:
    received = site.mail_in(mail(ALICE, "It burns."))
    made = connector(site)
    reader = Reader(made)
    (stream,) = await made.streams(reader.context())
    site.delete_ticket(received.ticket)
    contents = await made.fetch(stream, "", [str(received.followup)], reader.context(stream))
    assert isinstance(contents[str(received.followup)], Gone)
    assert await reader.run_pass() == []


async def test_what_was_committed_late_is_found_by_the_next_look(site: DjangoHelpdesk) -> None:
    ticket = site.mail_in(mail(ALICE, "first")).ticket
    reader = Reader(connector(site))
    await reader.run_pass()
    site.write(ticket, "late", at=datetime.now(UTC) - timedelta(seconds=200))
    assert [one.text for one in await reader.run_pass()] == ["late"]


def many(site: DjangoHelpdesk, count: int, *, at: datetime | None = None) -> int:
    """A ticket with many follow-ups, a minute apart, or all of one moment."""
    ticket = site.open_ticket("Printer", "It burns.", ALICE)
    row: dict[str, Json] = {
        "do": "write",
        "ticket": ticket,
        "user": None,
        "title": "Comment",
        "public": True,
        "message_id": None,
    }
    site.do(
        *[
            {
                **row,
                "comment": f"message {number:04d}",
                "files": [],
                "at": (at or MANY_BEGIN + timedelta(minutes=number)).isoformat(),
            }
            for number in range(count)
        ]
    )
    return ticket


async def test_the_page_that_matters_is_looked_for_from_the_end(site: DjangoHelpdesk) -> None:
    ticket = many(site, 450)
    for number in (30, 220, 445):
        reader = Reader(connector(site), since=MANY_BEGIN + timedelta(minutes=number))
        texts = [one.text for one in await reader.run_pass()]
        assert texts[-1] == "message 0449"
        assert f"message {number:04d}" in texts
        assert len(texts) <= 450 - number + 100
    reader = Reader(connector(site), since=MANY_BEGIN + timedelta(minutes=445))
    await reader.run_pass()
    log = site.folder / "server.log"
    before = log.read_text().count("GET /api/followups/?")
    site.write(ticket, "new", at=MANY_BEGIN + timedelta(minutes=451))
    assert [one.text for one in await reader.run_pass()] == ["new"]
    assert log.read_text().count("GET /api/followups/?") - before == 1


async def test_rows_that_go_while_pages_are_turned_hide_no_others(site: DjangoHelpdesk) -> None:
    many(site, 350)
    made = connector(site)
    reader = Reader(made)
    (stream,) = await made.streams(reader.context())
    arrived: list[Arrived] = []
    first: list[str] = []
    async for batch in made.poll(stream, None, reader.context(stream)):
        if not first:
            first = [one.external_id for one in batch.found]
            for number in first[:5]:
                site.delete(int(number))  # everything behind moves to an earlier page
        arrived += await reader.take(stream, batch)
    texts = [one.text for one in arrived]
    assert {f"message {number:04d}" for number in range(5, 350)} <= set(texts)
    assert len(texts) == len(set(texts)), "what was read again is known"


async def test_many_rows_of_one_moment_all_arrive(site: DjangoHelpdesk) -> None:
    many(site, 230, at=datetime.now(UTC) - timedelta(hours=1))
    reader = Reader(connector(site))
    assert sorted(one.text for one in await reader.run_pass()) == [f"message {number:04d}" for number in range(230)]


async def test_a_horizon_goes_by_the_message_and_not_by_its_ticket(site: DjangoHelpdesk) -> None:
    ticket = many(site, 150)
    site.write(ticket, "new", user="agent")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    arrived = await Reader(connector(site), since=hour_ago).run_pass()
    assert [one.text for one in arrived if one.found.arrived_at >= hour_ago] == ["new"]


async def test_files_are_streamed_and_those_elsewhere_are_asked_for_without_the_token(site: DjangoHelpdesk) -> None:
    data = bytes(range(256)) * 9000
    ticket = site.mail_in(mail(ALICE, "It burns.")).ticket
    site.write(ticket, "see the file", files=[File("Grüße.pdf", data, "application/pdf")])
    made = connector(site)
    reader = Reader(made)
    arrived = (await reader.run_pass())[-1]
    assert isinstance(arrived.content, Message)
    (named,) = arrived.content.attachments
    assert (named.filename, named.size) == ("Grüße.pdf", len(data))
    ctx = reader.context(arrived.stream)
    found = [piece async for piece in made.open_attachment(arrived.stream, "", arrived.found.external_id, named, ctx)]
    assert b"".join(found) == data
    with scripted.ScriptedService() as store:
        store.get("/file")(lambda _asked: scripted.Answer(status=403))
        elsewhere = type(named)(named.filename, named.mime_type, ref=f"{store.url}/file")
        with pytest.raises(MessageError):
            await anext(made.open_attachment(arrived.stream, "", arrived.found.external_id, elsewhere, ctx))
        assert store.leaks(site.token) == []


async def test_other_queues_are_left_out_with_the_reason(site: DjangoHelpdesk) -> None:
    site.mail_in(mail(ALICE, "It burns."))
    (arrived,) = await Reader(connector(site, queues=(99,))).run_pass()
    assert isinstance(arrived.content, LeftOut)
    assert arrived.content.reason is LeaveOut.POLICY


async def test_check_names_the_permission_that_is_missing(site: DjangoHelpdesk) -> None:
    token = site.make_user(f"customer{next(_numbers)}")
    made = connector(site, token=token)
    (finding,) = await made.check(Reader(made).context())
    assert finding.severity is Severity.ERROR
    assert "is_staff" in finding.next_step
    with pytest.raises(AuthError):
        await Reader(made).run_pass()
    good = connector(site, token=site.make_user(f"reader{next(_numbers)}", staff=True))
    assert [one.code for one in await good.check(Reader(good).context())] == [
        "django_helpdesk.signed_in",
        "django_helpdesk.no_tickets",
    ]


async def test_a_password_signs_in_too(site: DjangoHelpdesk) -> None:
    site.mail_in(mail(ALICE, "It burns."))
    values = {"url": site.url, "username": "agent", "password": "opensesame-4471"}
    made = DjangoHelpdeskConnector(DjangoHelpdeskConfig.model_validate(values))
    assert [one.text.strip() for one in await Reader(made).run_pass()] == ["It burns."]
