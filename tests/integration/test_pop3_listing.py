"""Listing a POP3 maildrop, and taking files out of its mails: what is asked for, and what is not."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import pytest

from connectors.pop3 import Pop3Config, Pop3Connector
from connectors.pop3.connector import EPOCH, INBOX
from sync.attachments import NOT_WHOLE, AttachmentRules, choose
from sync.connector import PIECE_MAX_BYTES
from sync.errors import MessageError, TemporaryError
from sync.message import Attachment, Content, Listed, Message
from sync.testing.reader import Reader, make_context
from tests.servers.dovecot import PASSWORD, Dovecot, needs_pop3
from tests.servers.pop3_script import Drop, ScriptedPop3

AT = datetime(2026, 3, 12, 14, 3, tzinfo=UTC)
SMALL = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(3_000_000)


def mail(number: int = 0, *files: tuple[str, bytes]) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["Received"] = f"from a by b id {number}; {format_datetime(AT + timedelta(minutes=number))}"
    message["From"], message["To"], message["Subject"] = "c1@example.com", "support@shop.example", f"mail {number}"
    message["Date"] = format_datetime(AT)
    message.set_content(f"text {number}")
    for name, data in files:
        message.add_attachment(data, maintype="application", subtype="pdf", filename=name)
    return message.as_bytes()


@pytest.fixture
def server() -> Iterator[ScriptedPop3]:
    with ScriptedPop3() as running:
        yield running


def connector(server: ScriptedPop3, **more: object) -> Pop3Connector:
    values = {"host": "127.0.0.1", "port": server.port, "tls": "none", "username": "alice", "password": "pass-4711"}
    return Pop3Connector(Pop3Config.model_validate({**values, "read_timeout_seconds": 5.0, **more}))


async def listed(reader: Reader, since: datetime | None = None) -> list[Listed]:
    assert isinstance(reader.connector, Pop3Connector)
    return [piece async for piece in reader.connector.list(INBOX, since, reader.context(INBOX))]


# ---------------------------------------------------------------------------------------------------- listing


async def test_known_messages_cost_the_listing_of_the_maildrop_alone(server: ScriptedPop3) -> None:
    for number in range(1200):
        server.add(mail(number))
    reader = Reader(connector(server))
    reader.seen[INBOX.key, EPOCH] = {f"u{number}" for number in range(1, 1201)}
    pieces = await listed(reader)
    assert [len(piece.known) for piece in pieces] == [1000, 200]
    assert not any(command.startswith(("TOP", "RETR")) for command in server.commands)
    assert server.connections == 1


async def test_since_is_compared_with_what_the_last_server_wrote_down(server: ScriptedPop3) -> None:
    for number in range(5):
        server.add(mail(number))
    (piece,) = await listed(Reader(connector(server)), AT + timedelta(minutes=3))
    assert [one.arrived_at for one in piece.found] == [AT + timedelta(minutes=3), AT + timedelta(minutes=4)]


async def test_a_pass_between_two_pieces_sees_what_has_come_meanwhile(
    server: ScriptedPop3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.pop3.connector.LISTED_MAX", 4)
    for number in range(10):
        server.add(mail(number), uidl=f"id{number}")
    reader = Reader(connector(server))
    found: list[str] = []
    assert isinstance(reader.connector, Pop3Connector)
    async for piece in reader.connector.list(INBOX, None, reader.context(INBOX)):
        found += [one.external_id for one in piece.found] + list(piece.known)
        if len(found) == 4:
            del server.mails[0]  # and every number is another one's from now on
            server.add(mail(77), uidl="new")
            assert "text 77" in [one.text.strip() for one in await reader.run_pass()]
    assert sorted(found) == [f"id{number}" for number in range(10)]
    assert server.commands[-1] == "QUIT"


async def test_a_listing_that_is_given_up_ends_its_session(server: ScriptedPop3) -> None:
    server.add(mail(1))
    one = connector(server)
    listing = one.list(INBOX, None, Reader(one).context(INBOX))
    assert isinstance(listing, AsyncGenerator)
    assert (await anext(listing)).found
    await listing.aclose()
    assert server.commands[-1] == "QUIT"


async def test_an_empty_maildrop_is_one_empty_piece(server: ScriptedPop3) -> None:
    (piece,) = await listed(Reader(connector(server)))
    assert (piece.found, piece.known, piece.epoch) == ((), (), EPOCH)


# ---------------------------------------------------------------------------------------------------- files


async def read(one: Pop3Connector, name: str, attachment: Attachment, limit_bytes: int = 25_000_000) -> bytes:
    ctx = make_context(size_limit_bytes=limit_bytes)
    got = [piece async for piece in one.open_attachment(INBOX, EPOCH, name, attachment, ctx)]
    assert all(0 < len(piece) <= PIECE_MAX_BYTES for piece in got)
    return b"".join(got)


async def load(one: Pop3Connector, name: str, limit_bytes: int = 25_000_000) -> Message:
    content = (await one.fetch(INBOX, EPOCH, [name], make_context(size_limit_bytes=limit_bytes)))[name]
    assert isinstance(content, Message)
    return content


def loads(server: ScriptedPop3) -> int:
    return sum(command.startswith("RETR") for command in server.commands)


async def test_files_of_a_mail_that_was_just_loaded_are_not_loaded_twice(server: ScriptedPop3) -> None:
    server.add(mail(1, ("a.pdf", SMALL), ("b.pdf", LARGE)), uidl="one")
    one = connector(server)
    message = await load(one, "one")
    assert [await read(one, "one", file) for file in message.attachments] == [SMALL, LARGE]
    assert loads(server) == 1


async def test_after_a_restart_the_mail_is_loaded_once_more_for_all_its_files(server: ScriptedPop3) -> None:
    server.add(mail(1, ("a.pdf", SMALL), ("b.pdf", LARGE)), uidl="one")
    message = await load(connector(server), "one")
    server.commands.clear()
    later = connector(server)
    assert [await read(later, "one", file) for file in message.attachments] == [SMALL, LARGE]
    assert loads(server) == 1
    assert server.commands[-1] == "QUIT"


async def test_files_that_are_not_there_any_more_are_the_messages_own_trouble(server: ScriptedPop3) -> None:
    server.add(mail(1, ("a.pdf", SMALL)), uidl="one")
    one = connector(server)
    (file,) = (await load(one, "one")).attachments
    with pytest.raises(MessageError):
        await read(one, "one", Attachment("c.pdf", "application/pdf", 1, "9"))
    with pytest.raises(MessageError):
        await read(one, "nobody", file)
    await one.aclose()
    server.on("RETR", Drop)
    with pytest.raises(TemporaryError):
        await read(one, "one", file)


@pytest.mark.parametrize("claimed", [None, 1000], ids=["honest", "lying"])
async def test_files_of_a_mail_over_the_limit_are_named_and_never_loaded(
    server: ScriptedPop3, claimed: int | None
) -> None:
    server.add(mail(1, ("a.pdf", SMALL), ("film.pdf", LARGE)), uidl="one", size=claimed)
    one = connector(server)
    message = await load(one, "one", limit_bytes=1_000_000)
    assert message.text.strip() == "text 1"
    assert {file.filename for file in message.attachments} <= {"a.pdf", "film.pdf"}
    assert message.attachments
    chosen = choose(message.attachments, AttachmentRules())
    assert {file.why_not for file in chosen} == {NOT_WHOLE}
    server.commands.clear()
    with pytest.raises(MessageError):
        await read(one, "one", message.attachments[0], limit_bytes=1_000_000)
    assert loads(server) == (0 if claimed is None else 1)


async def test_a_file_takes_its_mail_in_memory_a_few_times_and_no_more(server: ScriptedPop3) -> None:
    server.add(mail(1, ("a.pdf", bytes(10_000_000))), uidl="one")  # 13.7 MB as a mail
    one = connector(server)
    (file,) = (await load(connector(server), "one")).attachments
    size = 0
    tracemalloc.start()
    try:
        async for piece in one.open_attachment(INBOX, EPOCH, "one", file, make_context()):
            size += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 10_000_000
    assert peak < 80_000_000, "the server's own copies are in it"


# ---------------------------------------------------------------------------------------------------- Dovecot


@pytest.mark.dovecot
async def test_a_dovecot_gives_lists_and_files_and_shows_what_is_deleted_meanwhile() -> None:
    needs_pop3()
    with Dovecot(pop3=True) as dovecot:
        for number in range(3):
            dovecot.deliver("alice", "INBOX", mail(number, ("a.pdf", SMALL)))
        values = {"host": "localhost", "port": dovecot.pop3s_port, "ca_file": dovecot.ca_file, "username": "alice"}
        one = Pop3Connector(Pop3Config.model_validate({**values, "password": PASSWORD}))
        reader = Reader(one)
        (piece,) = await listed(reader)
        assert [found.arrived_at for found in piece.found] == [AT + timedelta(minutes=number) for number in range(3)]
        first, *others = [found.external_id for found in piece.found]
        (file,) = (await load(one, first)).attachments
        dovecot.expunge("alice", "INBOX", "1")
        assert await read(one, first, file) == SMALL
        await one.aclose()
        with pytest.raises(MessageError):
            await read(one, first, file)
        contents = await one.fetch(INBOX, EPOCH, [first, *others], make_context())
        assert [type(contents[name]).__name__ for name in (first, *others)] == ["Gone", "Message", "Message"]
        assert await read(one, others[0], file) == SMALL


@pytest.mark.dovecot
async def test_a_dovecot_that_loses_a_mail_in_the_middle_of_a_pass_costs_that_mail_only() -> None:
    needs_pop3()
    with Dovecot(pop3=True) as dovecot:
        for number in range(3):
            dovecot.deliver("alice", "INBOX", mail(number))
        values = {"host": "localhost", "port": dovecot.pop3s_port, "ca_file": dovecot.ca_file, "username": "alice"}
        one = Pop3Connector(Pop3Config.model_validate({**values, "password": PASSWORD}))
        reader = Reader(one)
        polling = one.poll(INBOX, None, reader.context(INBOX))
        assert isinstance(polling, AsyncGenerator)
        batch = await anext(polling)
        names = [found.external_id for found in batch.found]
        dovecot.expunge("alice", "INBOX", "1")
        contents: dict[str, Content] = {}
        for _try in range(2):  # Dovecot may end the session when a message was taken away under it
            for name in names:
                try:
                    contents |= await one.fetch(INBOX, EPOCH, [name], reader.context(INBOX))
                except TemporaryError:
                    continue
        await polling.aclose()
        assert [type(contents[name]).__name__ for name in names[1:]] == ["Message", "Message"]
        assert type((await one.fetch(INBOX, EPOCH, names[:1], reader.context(INBOX)))[names[0]]).__name__ == "Gone"
