"""Listing folders of a real Dovecot: numbers for what is known, day's grain and zones, numberings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.imap import ImapConfig, ImapConnector
from sync.connector import Stream
from sync.message import Listed
from sync.testing import Reader
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot

pytestmark = pytest.mark.dovecot
INBOX = Stream("INBOX")


def mail(number: int) -> bytes:
    return (
        f"From: c{number}@example.net\r\nMessage-ID: <{number}@example.net>\r\n"
        f"Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nSubject: mail {number}\r\n\r\ntext {number}\r\n"
    ).encode()


@pytest.fixture(scope="module")
def shared() -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot() as running:
        yield running


@pytest.fixture
def server(shared: Dovecot) -> Dovecot:
    shared.empty("alice")
    shared.forget_commands("alice")
    return shared


@pytest.fixture
async def reader(server: Dovecot) -> AsyncIterator[Reader]:
    values = {
        "host": "localhost",
        "port": server.imaps_port,
        "ca_file": server.ca_file,
        "username": "alice",
        "password": PASSWORD,
    }
    made = Reader(ImapConnector(ImapConfig.model_validate(values)))
    yield made
    await made.connector.aclose()


async def listed(reader: Reader, since: datetime | None = None, *, epoch: str | None = None) -> list[Listed]:
    connector = reader.connector
    assert isinstance(connector, ImapConnector)
    ctx = reader.context(INBOX)
    if epoch is not None:
        ctx = replace(ctx, epoch=epoch)
    return [piece async for piece in connector.list(INBOX, since, ctx)]


async def test_two_thousand_known_mails_cost_numbers_only(server: Dovecot, reader: Reader) -> None:
    for number in range(2000):
        server.deliver("alice", "INBOX", mail(number))
    await reader.run_pass()
    server.forget_commands("alice")
    pieces = await listed(reader)
    assert [len(piece.known) for piece in pieces] == [1000, 1000]
    commands = [line.split(maxsplit=1)[1] for line in server.commands("alice")]
    assert not [command for command in commands if "FETCH" in command], commands
    assert len(commands) <= 3


@pytest.mark.parametrize("hours", [0, 1, 12, 23])
async def test_since_is_a_moment_although_the_server_knows_days_only(
    server: Dovecot, reader: Reader, hours: int
) -> None:
    moment = datetime(2026, 11, 10, hours, 30, tzinfo=UTC)
    for number, minutes in enumerate((-26 * 60, -60, -1, 0, 1, 60, 26 * 60)):
        server.deliver("alice", "INBOX", mail(number), mtime=(moment + timedelta(minutes=minutes)).timestamp())
    found = [one.arrived_at for piece in await listed(reader, moment) for one in piece.found]
    assert sorted(found) == [moment + timedelta(minutes=minutes) for minutes in (0, 1, 60, 26 * 60)]


async def test_a_numbering_keeps_the_name_the_ledger_has_for_it(server: Dovecot, reader: Reader) -> None:
    """A backup that was played back under the same UIDVALIDITY has a name that only the cursor knows."""
    server.deliver("alice", "INBOX", mail(1))
    (piece,) = await listed(reader)
    (again,) = await listed(reader, epoch=f"{piece.epoch}-2")
    assert again.epoch == f"{piece.epoch}-2"
    assert len(again.found) == 1
    (other,) = await listed(reader, epoch="1-2")
    assert other.epoch == piece.epoch


async def test_an_empty_folder_is_one_empty_piece(server: Dovecot, reader: Reader) -> None:
    del server
    (piece,) = await listed(reader)
    assert (piece.found, piece.known) == ((), ())
    assert piece.epoch
