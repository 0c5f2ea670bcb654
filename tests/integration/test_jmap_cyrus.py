"""The `jmap` connector against a real Cyrus, beyond the contract suite."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from connectors.jmap import JmapConfig, JmapConnector
from sync.connector import StreamRole
from sync.message import Message
from sync.testing.reader import Reader
from tests.servers.cyrus import PASSWORD, Cyrus, needs_cyrus

pytestmark = pytest.mark.cyrus

AT = datetime(2026, 3, 12, 14, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[Cyrus]:
    needs_cyrus()
    with Cyrus() as server:
        yield server


@pytest.fixture
def server(running: Cyrus) -> Cyrus:
    running.empty("alice")
    return running


def mail(text: str, number: int = 1, size: int = 0) -> bytes:
    filler = ("x" * 76 + "\n") * (size // 77)
    return f"From: jo@example.net\nSubject: mail {number}\nMessage-ID: <{number}@x>\n\n{text}\n{filler}".encode()


def reader(server: Cyrus, **more: object) -> Reader:
    values = {"url": server.url, "username": "alice", "password": PASSWORD, **more}
    return Reader(JmapConnector(JmapConfig.model_validate(values)))


async def test_the_sent_mailbox_is_found_by_its_role(server: Cyrus) -> None:
    server.import_mail("alice", "sent", mail("from an agent"), AT)
    (arrived,) = await reader(server).run_pass()
    assert arrived.stream.role is StreamRole.SENT
    assert arrived.found.arrived_at == AT


async def test_flags_and_moves_bring_nothing_twice_in_a_mailbox(server: Cyrus) -> None:
    one = server.import_mail("alice", "inbox", mail("one"), AT)
    reading = reader(server)
    await reading.run_pass()
    server.flag("alice", one)
    assert await reading.run_pass() == []
    server.move("alice", one, "sent")
    server.move("alice", one, "inbox")
    assert [arrived.stream.role for arrived in await reading.run_pass()] in ([], [StreamRole.SENT])


async def test_what_is_destroyed_between_two_passes_is_no_news(server: Cyrus) -> None:
    reading = reader(server)
    await reading.run_pass()
    one = server.import_mail("alice", "inbox", mail("short-lived"), AT)
    server.destroy("alice", [one])
    server.import_mail("alice", "inbox", mail("stays", 2), AT)
    assert [arrived.text for arrived in await reading.run_pass()] == ["stays"]


async def test_a_mail_over_the_limit_is_not_downloaded(server: Cyrus) -> None:
    server.import_mail("alice", "inbox", mail("the beginning", size=500_000), AT)
    (arrived,) = await reader(server, max_message_bytes=100_000).run_pass()
    assert isinstance(arrived.content, Message)
    assert arrived.text.startswith("the beginning")
    assert any("size" in note for note in arrived.content.notes)


async def test_a_mailbox_named_by_its_path_is_read(server: Cyrus) -> None:
    server.make_mailbox("alice", "Clients")
    server.import_mail("alice", "Clients", mail("in a mailbox of its own"), AT)
    reading = reader(server, mailboxes=("clients",))
    (arrived,) = await reading.run_pass()
    assert (arrived.stream.key, arrived.text) == ("Clients", "in a mailbox of its own")
