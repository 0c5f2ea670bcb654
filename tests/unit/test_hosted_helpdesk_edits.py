"""What the ledger makes of an edit at a hosted helpdesk, with its connector and a whole pass."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from sync.clock import SystemClock
from sync.connector import Connector
from sync.ledger import Ledger
from sync.mail.address import OwnAddresses
from sync.poll import Poller
from sync.settings import SourceSettings
from sync.testing.reader import OneCallHttp
from tests.servers.freshdesk_script import NOTE, ScriptedFreshdesk
from tests.servers.helpdesk_worlds import FreshdeskWorld, ZammadWorld, ZendeskWorld
from tests.servers.zammad_script import ScriptedZammad
from tests.servers.zendesk_script import ScriptedZendesk
from tests.unit.loop_desk import fresh_ledger

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
LATER = BEGAN + timedelta(minutes=20)


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", BEGAN)
    yield opened
    opened.close()


def poller(connector: Connector, ledger: Ledger) -> Poller:
    return Poller(
        "desk",
        SourceSettings.model_validate({"connector": connector.info.name, "start": "all"}),
        inbox="main",
        connector=connector,
        own_addresses=OwnAddresses(()),
        ledger=ledger,
        spool_max_bytes=10_000_000,
        http=OneCallHttp(),
        clock=SystemClock(),
    )


def waiting(ledger: Ledger) -> list[str]:
    rows = ledger.deliveries.window("main", 10, datetime.now(UTC))
    contents = ledger.messages.contents([row.message_id for row in rows])
    return [contents[row.message_id].text for row in rows]


async def test_words_that_zendesk_blacks_out_before_their_delivery_are_not_delivered(ledger: Ledger) -> None:
    with ScriptedZendesk() as service:
        world = ZendeskWorld(service)
        polled = poller(world.connector(), ledger)
        ticket = world.open("my card is 4111", BEGAN)
        assert (await polled.run_pass()).error is None
        service.redact(ticket, ticket.comments[0], "4111", at=LATER)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["my card is ▇▇▇▇"]


async def test_a_note_that_is_corrected_in_freshdesk_before_its_delivery_is_delivered_corrected(ledger: Ledger) -> None:
    with ScriptedFreshdesk() as service:
        world = FreshdeskWorld(service)
        polled = poller(world.connector(), ledger)
        ticket = world.open("help", BEGAN)
        note = service.conversation(ticket, service.agent, "on Mnday", at=BEGAN, source=NOTE)
        assert (await polled.run_pass()).error is None
        service.edit(ticket, note, "on Monday", at=LATER)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help", "on Monday"]


async def test_an_article_that_is_made_visible_in_zammad_is_delivered(ledger: Ledger) -> None:
    with ScriptedZammad() as service:
        world = ZammadWorld(service, "tickets")
        polled = poller(world.connector(), ledger)
        ticket = world.open("help", BEGAN)
        note = service.article(ticket, "we are at it", at=BEGAN, sender="Agent", kind="note", internal=True)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help"]
        service.publish(note, internal=False, at=LATER)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help", "we are at it"]


@pytest.mark.parametrize("read_by", ["tickets", "articles"])
async def test_an_answer_that_is_made_internal_in_zammad_before_its_delivery_does_not_reach_the_customer(
    ledger: Ledger, read_by: Literal["tickets", "articles"]
) -> None:
    with ScriptedZammad() as service:
        world = ZammadWorld(service, read_by)
        polled = poller(world.connector(), ledger)
        ticket = world.open("help", BEGAN)
        answer = service.article(ticket, "he is a fool", at=BEGAN, sender="Agent", kind="note", internal=False)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help", "he is a fool"]
        service.publish(answer, internal=True, at=LATER)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help"]
        service.publish(answer, internal=False, at=LATER + timedelta(minutes=1))
        for _pass in ("finds it", "loads it"):
            assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help", "he is a fool"]


async def test_a_public_note_that_is_made_private_in_freshdesk_before_its_delivery_is_not_delivered(
    ledger: Ledger,
) -> None:
    with ScriptedFreshdesk() as service:
        world = FreshdeskWorld(service)
        polled = poller(world.connector(), ledger)
        ticket = world.open("help", BEGAN)
        note = service.conversation(ticket, service.agent, "he is a fool", at=BEGAN, source=NOTE)
        assert (await polled.run_pass()).error is None
        note.private = True
        service.touch(ticket, LATER)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help"]


async def test_a_public_comment_that_is_made_internal_in_zendesk_before_its_delivery_is_not_delivered(
    ledger: Ledger,
) -> None:
    with ScriptedZendesk() as service:
        world = ZendeskWorld(service)
        polled = poller(world.connector(), ledger)
        ticket = world.open("help", BEGAN)
        answer = service.comment(ticket, service.agent, "he is a fool", at=BEGAN)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help", "he is a fool"]
        answer.public = False
        service.touch(ticket, LATER)
        assert (await polled.run_pass()).error is None
        assert waiting(ledger) == ["help"]
