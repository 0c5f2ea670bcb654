"""Files out of mailboxes: what a Dovecot is asked for, and what is not, and how much memory it takes."""

from __future__ import annotations

import base64
import random
import re
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
import structlog

from connectors.imap import ImapConfig, ImapConnector
from connectors.maildir import MaildirConfig, MaildirConnector
from sync.attachments import AttachmentRules, choose
from sync.connector import PIECE_MAX_BYTES, Attaches, PassContext, Stream
from sync.errors import MessageError
from sync.message import Attachment, Found, Message
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot

SMALL = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(3_000_000)


def mail(*files: tuple[str, bytes]) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = "c1@example.com", "support@shop.example", "Files"
    message["Date"], message["Message-ID"] = "Mon, 23 Nov 2026 10:00:00 +0000", f"<{len(files)}.files@mail.example>"
    message.set_content("The words.")
    for name, data in files:
        message.add_attachment(data, maintype="application", subtype="pdf", filename=name)
    return message.as_bytes()


def context(limit_bytes: int = 25 * 1024 * 1024) -> PassContext:
    now = datetime.now(UTC)
    return PassContext(structlog.get_logger(), lambda: now, now + timedelta(seconds=60), limit_bytes)


async def first_of(connector: ImapConnector | MaildirConnector) -> tuple[Stream, str, Found]:
    """The newest mail of the first stream that holds one."""
    ctx = context()
    for stream in await connector.streams(ctx):
        async for batch in connector.poll(stream, None, ctx):
            if batch.found:
                return stream, batch.epoch, batch.found[-1]
    raise AssertionError("there is no mail")


async def load(connector: ImapConnector, *, limit_bytes: int = 25 * 1024 * 1024) -> tuple[Stream, str, str, Message]:
    stream, epoch, found = await first_of(connector)
    contents = await connector.fetch(stream, epoch, [found.external_id], context(limit_bytes))
    message = contents[found.external_id]
    assert isinstance(message, Message)
    return stream, epoch, found.external_id, message


async def read(connector: Attaches, stream: Stream, epoch: str, external_id: str, one: Attachment) -> bytes:
    pieces = [piece async for piece in connector.open_attachment(stream, epoch, external_id, one, context())]
    assert all(0 < len(piece) <= PIECE_MAX_BYTES for piece in pieces)
    return b"".join(pieces)


# ---------------------------------------------------------------------------------------------------- files


async def test_a_maildir_gives_the_files_of_its_mails(tmp_path: Path) -> None:
    (tmp_path / "cur").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "1.M1.host").write_bytes(mail(("a.pdf", SMALL), ("b.pdf", LARGE)))
    connector = MaildirConnector(MaildirConfig.model_validate({"path": tmp_path, "settle_seconds": 0}))
    stream, epoch, found = await first_of(connector)
    assert isinstance(found.content, Message)
    got = [await read(connector, stream, epoch, found.external_id, one) for one in found.content.attachments]
    assert got == [SMALL, LARGE]
    with pytest.raises(MessageError):
        await read(connector, stream, epoch, found.external_id, Attachment("c.pdf", "application/pdf", 1, "9"))


# ---------------------------------------------------------------------------------------------------- IMAP


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


def connector_for(server: Dovecot) -> ImapConnector:
    values = {"host": "localhost", "port": server.imaps_port, "ca_file": server.ca_file, "username": "alice"}
    return ImapConnector(ImapConfig.model_validate({**values, "password": PASSWORD, "read_timeout_seconds": 20}))


@pytest.fixture
async def imap(server: Dovecot) -> AsyncIterator[ImapConnector]:
    made = connector_for(server)
    yield made
    await made.aclose()


def fetches(server: Dovecot) -> list[str]:
    return [line for line in server.commands("alice") if "BODY.PEEK[" in line and "HEADER.FIELDS" not in line]


@pytest.mark.dovecot
async def test_files_of_a_mail_that_was_just_loaded_are_not_fetched_twice(server: Dovecot, imap: ImapConnector) -> None:
    server.deliver("alice", "INBOX", mail(("a.pdf", SMALL), ("b.pdf", b"%PDF")))
    stream, epoch, uid, message = await load(imap)
    got = [await read(imap, stream, epoch, uid, one) for one in message.attachments]
    assert got == [SMALL, b"%PDF"]
    assert len(fetches(server)) == 1


@pytest.mark.dovecot
async def test_files_of_other_mails_come_part_by_part(server: Dovecot, imap: ImapConnector) -> None:
    server.deliver("alice", "INBOX", mail(("a.pdf", SMALL), ("b.pdf", LARGE)))
    stream, epoch, uid, message = await load(imap)
    later = connector_for(server)
    try:
        server.forget_commands("alice")
        got = [await read(later, stream, epoch, uid, one) for one in message.attachments]
        assert got == [SMALL, LARGE]
        assert not any("BODY.PEEK[]" in line for line in fetches(server))
        with pytest.raises(MessageError):
            await read(later, stream, epoch, "4711", message.attachments[0])
        with pytest.raises(MessageError):
            await read(later, stream, epoch, uid, Attachment("c.pdf", "application/pdf", 1, "9"))
    finally:
        await later.aclose()


@pytest.mark.dovecot
async def test_a_mail_that_is_nothing_but_a_file_gives_it(server: Dovecot, imap: ImapConnector) -> None:
    header = b"From: c1@example.com\r\nContent-Type: application/pdf; name=a.pdf\r\n"
    header += b"Content-Transfer-Encoding: base64\r\n\r\n"
    server.deliver("alice", "INBOX", header + base64.encodebytes(SMALL))
    stream, epoch, uid, message = await load(imap)
    later = connector_for(server)
    try:
        assert await read(later, stream, epoch, uid, message.attachments[0]) == SMALL
    finally:
        await later.aclose()


@pytest.mark.dovecot
async def test_reading_a_large_part_holds_pieces_of_it_only(server: Dovecot, imap: ImapConnector) -> None:
    server.deliver("alice", "INBOX", mail(("a.bin", bytes(20_000_000))))
    stream, epoch, found = await first_of(imap)
    one = Attachment("a.bin", "application/pdf", 20_000_000, "2")
    size = 0
    tracemalloc.start()
    try:
        async for piece in imap.open_attachment(stream, epoch, found.external_id, one, context()):
            size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 20_000_000
    assert peak < 12_000_000


@pytest.mark.dovecot
async def test_a_part_of_30_mb_is_named_and_never_loaded(server: Dovecot, imap: ImapConnector) -> None:
    server.deliver("alice", "INBOX", mail(("film.bin", bytes(30_000_000))))
    _, _, _, message = await load(imap)
    assert "The words." in message.text
    (one,) = message.attachments
    assert one.size is not None
    assert 30_000_000 <= one.size < 31_000_000
    (chosen,) = choose(message.attachments, AttachmentRules())
    assert chosen.why_not == "it is larger than 26 MB"
    asked = [line for line in server.commands("alice") if "FETCH" in line]
    assert next(at for at, line in enumerate(asked) if "RFC822.SIZE" in line) < len(asked) - 1
    asked_for = " ".join(fetches(server))
    assert "[]" not in asked_for
    assert re.findall(r"\[2\]\S*", asked_for) == ["[2]<0.1024>)"]


@pytest.mark.dovecot
async def test_a_file_that_fits_comes_out_of_a_mail_that_does_not(server: Dovecot, imap: ImapConnector) -> None:
    content = random.Random(3).randbytes(4_000_000)
    server.deliver("alice", "INBOX", mail(("plan.pdf", content)))
    stream, epoch, uid, message = await load(imap, limit_bytes=1_000_000)
    (one,) = message.attachments
    assert one.size is not None
    assert len(content) <= one.size < len(content) * 1.02
    assert await read(imap, stream, epoch, uid, one) == content
