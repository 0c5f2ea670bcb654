"""Large mails over IMAP by their parts: what is asked for, what arrives, and what odd servers make of it."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from connectors.imap import ImapConfig, ImapConnector
from sync.attachments import AttachmentRules, choose
from sync.connector import Attaches, Stream
from sync.errors import TemporaryError
from sync.message import Content, Legibility, Message
from sync.testing import Reader, make_context
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot
from tests.servers.imap_parts import section_of, structure_of
from tests.servers.imap_script import Drop, ScriptedImap, fetch_items

CORPUS = Path(__file__).parents[1] / "corpus" / "mail"
INBOX = Stream("INBOX")
PLAN = random.Random(1).randbytes(400_000)
FILM = random.Random(2).randbytes(3_000_000)


def mail(*files: tuple[str, bytes], text: str = "The words.") -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = "c1@example.com", "support@shop.example", "Files"
    message["Date"], message["Message-ID"] = "Mon, 23 Nov 2026 10:00:00 +0000", "<files@mail.example>"
    message.set_content(text)
    for name, data in files:
        message.add_attachment(data, maintype="application", subtype="pdf", filename=name)
    return message.as_bytes()


async def load(connector: ImapConnector, *, limit_bytes: int = 25 * 1024 * 1024) -> dict[str, Content]:
    """Everything in the INBOX, by UID."""
    ctx = replace(make_context(), size_limit_bytes=limit_bytes)
    contents: dict[str, Content] = {}
    async for batch in connector.poll(INBOX, None, ctx):
        ids = [found.external_id for found in batch.found]
        contents |= await connector.fetch(INBOX, batch.epoch, ids, ctx)
    return contents


async def load_one(connector: ImapConnector, *, limit_bytes: int = 25 * 1024 * 1024) -> Message:
    (content,) = (await load(connector, limit_bytes=limit_bytes)).values()
    assert isinstance(content, Message)
    return content


async def read_files(connector: Attaches, message: Message, epoch: str, uid: str) -> list[bytes]:
    ctx = make_context()
    return [
        b"".join([piece async for piece in connector.open_attachment(INBOX, epoch, uid, one, ctx)])
        for one in message.attachments
    ]


def without_sizes(content: Content) -> Content:
    if not isinstance(content, Message):
        return content
    return replace(content, attachments=tuple(replace(one, size=None) for one in content.attachments))


# ------------------------------------------------------------------------------------------------- Dovecot


@pytest.fixture(scope="module")
def shared() -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot() as running:
        yield running


@pytest.fixture
def dovecot(shared: Dovecot) -> Dovecot:
    shared.empty("alice")
    shared.forget_commands("alice")
    return shared


def at_dovecot(server: Dovecot, **more: object) -> ImapConnector:
    values = {"host": "localhost", "port": server.imaps_port, "ca_file": server.ca_file, "username": "alice"}
    more = {"password": PASSWORD, "folders": ["INBOX"], "read_timeout_seconds": 20, **more}
    return ImapConnector(ImapConfig.model_validate({**values, **more}))


@pytest.mark.dovecot
async def test_every_mail_of_the_corpus_reads_the_same_whole_and_by_its_parts(dovecot: Dovecot) -> None:
    for path in sorted(CORPUS.glob("*.eml")):
        dovecot.deliver("alice", "INBOX", path.read_bytes())
    whole_way, parts_way = at_dovecot(dovecot), at_dovecot(dovecot, whole_max_bytes=0)
    try:
        whole = await load(whole_way)
        dovecot.forget_commands("alice")
        parts = await load(parts_way)
    finally:
        await whole_way.aclose()
        await parts_way.aclose()
    assert len(whole) == len(list(CORPUS.glob("*.eml")))
    assert {uid: without_sizes(one) for uid, one in parts.items()} == {
        uid: without_sizes(one) for uid, one in whole.items()
    }
    for uid, content in parts.items():
        other = whole[uid]
        assert isinstance(content, Message) == isinstance(other, Message)
        if isinstance(content, Message) and isinstance(other, Message):
            sizes = [one.size for one in other.attachments]
            assert [one.size for one in content.attachments] == [pytest.approx(size, abs=8, rel=0.01) for size in sizes]
    loaded_whole = [line for line in dovecot.commands("alice") if "BODY.PEEK[]" in line]
    uids = {uid for line in loaded_whole for uid in re.findall(r"\d+", line.partition("FETCH")[2].partition("(")[0])}
    assert len(uids) < len(whole) / 4


@pytest.mark.dovecot
async def test_a_large_mail_is_asked_for_by_its_parts_and_its_files_come_one_by_one(dovecot: Dovecot) -> None:
    dovecot.deliver("alice", "INBOX", mail(("plan.pdf", PLAN), ("film.pdf", FILM)))
    connector = at_dovecot(dovecot)
    try:
        message = await load_one(connector)
        assert message.text == "The words."
        assert (message.legibility, message.notes) == (Legibility.FULL, ())
        assert [one.size for one in message.attachments] == [pytest.approx(len(data), abs=4) for data in (PLAN, FILM)]
        asked = " ".join(dovecot.commands("alice"))
        assert "BODY.PEEK[]" not in asked
        assert "BODY.PEEK[1] " in asked.replace(")", " ")
        ((uid, epoch),) = [("1", "")]
        ctx = make_context()
        async for batch in connector.poll(INBOX, None, ctx):
            epoch, uid = batch.epoch, batch.found[0].external_id
        assert await read_files(connector, message, epoch, uid) == [PLAN, FILM]
    finally:
        await connector.aclose()


@pytest.mark.dovecot
async def test_l9_a_mail_beyond_the_limit_arrives_in_full_text_with_the_large_file_named(dovecot: Dovecot) -> None:
    text = "All of it. " * 30_000 + "The end."
    dovecot.deliver("alice", "INBOX", mail(("film.pdf", FILM), ("plan.pdf", PLAN), text=text))
    connector = at_dovecot(dovecot)
    try:
        message = await load_one(connector, limit_bytes=2_500_000)
    finally:
        await connector.aclose()
    assert message.text.endswith("The end.")
    assert (message.legibility, message.notes) == (Legibility.FULL, ())
    film, plan = choose(message.attachments, AttachmentRules(file_max_bytes=1_000_000))
    assert film.why_not == "it is larger than 1.0 MB"
    assert not plan.why_not


@pytest.mark.dovecot
async def test_s23_loading_a_mail_of_25_mib_takes_no_memory_to_speak_of(dovecot: Dovecot) -> None:
    dovecot.deliver("alice", "INBOX", mail(("film.pdf", bytes(18_000_000))))
    connector = at_dovecot(dovecot)
    tracemalloc.start()
    try:
        message = await load_one(connector)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await connector.aclose()
    assert message.attachments[0].size == pytest.approx(18_000_000, abs=4)
    assert peak < 2_000_000


# ------------------------------------------------------------------------------------------------- odd servers


@pytest.fixture
def server() -> Iterator[ScriptedImap]:
    with ScriptedImap() as running:
        yield running


def at_script(server: ScriptedImap, **more: object) -> ImapConnector:
    values = {"host": "127.0.0.1", "port": server.port, "tls": "none", "username": "alice", "password": "pass-word-1"}
    more = {"folders": ["INBOX"], "read_timeout_seconds": 5, "whole_max_bytes": 1000, **more}
    return ImapConnector(ImapConfig.model_validate({**values, **more}))


def answering(server: ScriptedImap, change: Callable[[str, bytes], bytes]) -> None:
    """FETCH as the model does it, then changed by (items, answer)."""

    def answer(command: str) -> Sequence[bytes]:
        items = command.split(" ", 3)[3]
        return [b"* 1 FETCH (" + change(items, fetch_items(one, items)) + b")" for one in server.folder("INBOX").mails]

    server.on("UID FETCH", answer)


WORDS = b'("text" "plain" NIL NIL NIL "7bit" 12 1)'
PDF = b'("application" "pdf" NIL NIL NIL "base64" 10 1)'
STRUCTURES = {
    "none": b"",
    "nil": b"NIL",
    "no end": b"(" + WORDS,
    "a part that is a word": b"(" + WORDS + b'("x-zip" ("boundary" "")) "mixed")',
    "a multipart told as one part": b'("multipart" "mixed" ("boundary" "b") NIL NIL "7bit" 400 NIL NIL NIL NIL)',
    "a size below zero": b'("text" "plain" NIL NIL NIL "7bit" -1 NIL)',
    "a multipart without parts": b'(NIL "mixed" ("boundary" "b") NIL NIL NIL)',
    "quotes in quotes": b'(("text" "plain" NIL NIL """" "7bit" 12 1)("application" "pdf" NIL NIL """ "base64" 9) "mixed")',
    "a mail without its structure": b"(" + WORDS + b'("message" "rfc822" NIL NIL NIL "7bit" 9) "mixed")',
    "a mail that is only a word": b'(("message" "rfc822" NIL NIL NIL "7bit" 9 (NIL NIL) ("alternative") 51) "report")',
    "one part fewer": b"(" + WORDS + b' "mixed")',
    "one part more": b"(" + WORDS * 2 + PDF * 2 + b' "mixed")',
    "another type": b'(("text" "html" NIL NIL NIL "7bit" 12 1)' + PDF + b' "mixed")',
    "sizes of before": b'(("text" "plain" NIL NIL NIL "7bit" 11 1)' + PDF + b' "mixed")',
    "larger than the mail": b"(" + WORDS + PDF.replace(b"10 1", b"99999999 1") + b' "mixed")',
    "nested without end": b"(" * 5000 + b")" * 5000,
    "no imap": b"(\xff{}[]%%)",
}
"""As servers were seen to answer (jstedfast/MailKit 371, 503, 878, 1393, 1841; emersion/go-imap 659; javaee/javamail 282),
and worse."""


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
async def test_a_structure_that_is_wrong_has_the_mail_loaded_whole(server: ScriptedImap, structure: bytes) -> None:
    server.folder("INBOX").add(mail(("plan.pdf", PLAN)))
    right = structure_of(server.folder("INBOX").mails[0].raw) or b""
    answering(server, lambda _items, said: said.replace(right, structure))
    connector = at_script(server)
    try:
        message = await load_one(connector)
        assert message.text == "The words."
        assert await read_files(connector, message, "1000", "1") == [PLAN]
    finally:
        await connector.aclose()
    assert sum("BODY.PEEK[]" in command for command in server.commands) == 1


@pytest.mark.parametrize("answer", [lambda _command: "BAD no such item", lambda _command: "NO [SERVERBUG] no"])
async def test_a_server_that_refuses_structures_gives_whole_mails(
    server: ScriptedImap, answer: Callable[[str], str]
) -> None:
    server.folder("INBOX").add(mail(("plan.pdf", PLAN)))
    server.on("UID FETCH 1 (UID BODYSTRUCTURE)", answer)
    connector = at_script(server)
    try:
        message = await load_one(connector)
        assert (message.text, len(message.attachments)) == ("The words.", 1)
    finally:
        await connector.aclose()


async def test_a_structure_that_breaks_the_connection_is_asked_for_once(server: ScriptedImap) -> None:
    server.folder("INBOX").add(mail(("plan.pdf", PLAN)))
    server.on("UID FETCH 1 (UID BODYSTRUCTURE)", Drop)
    reader = Reader(at_script(server))
    try:
        arrived = await reader.run_pass()
        assert [one.text for one in arrived] == ["The words."]
    finally:
        await reader.connector.aclose()
    assert sum("BODYSTRUCTURE" in command for command in server.commands) == 1


async def test_a_server_that_knows_no_sections_gives_whole_mails(server: ScriptedImap) -> None:
    """It answers BODY[2] with everything, and BODY[2.MIME] with nothing."""
    raw = mail(("plan.pdf", PLAN))
    server.folder("INBOX").add(raw)

    def everything(items: str, said: bytes) -> bytes:
        if "HEADER.FIELDS" in items or "BODY.PEEK[" not in items:
            return said
        return b"UID 1 BODY[] {%d}\r\n" % len(raw) + raw

    answering(server, everything)
    connector = at_script(server)
    try:
        message = await load_one(connector)
        assert message.text == "The words."
        assert await read_files(connector, message, "1000", "1") == [PLAN]
    finally:
        await connector.aclose()


@pytest.mark.parametrize("given", ["nothing", "too much"])
async def test_a_file_that_is_not_given_by_itself_comes_with_the_whole_mail(server: ScriptedImap, given: str) -> None:
    server.folder("INBOX").add(mail(("plan.pdf", FILM)))

    def no_files(items: str, said: bytes) -> bytes:
        if "[2]" not in items or "<0.1024>" in items:
            return said
        octets = b"" if given == "nothing" else section_of(server.folder("INBOX").mails[0].raw, "2")
        return b"UID 1 BODY[2] {%d}\r\n" % len(octets) + octets

    answering(server, no_files)
    connector = at_script(server)
    try:
        message = await load_one(connector)
        with pytest.raises(TemporaryError) as caught:
            await read_files(connector, message, "1000", "1")
        assert caught.value.code == "imap.part_not_given"
        message = await load_one(connector)
        assert await read_files(connector, message, "1000", "1") == [FILM]
    finally:
        await connector.aclose()


async def test_a_busy_server_is_left_alone_in_the_middle_of_a_mail(server: ScriptedImap) -> None:
    server.folder("INBOX").add(mail(("plan.pdf", PLAN)))
    server.on("UID FETCH 1 (UID BODYSTRUCTURE)", lambda _command: "NO [THROTTLED] Suggested Backoff Time: 9000")
    connector = at_script(server)
    try:
        with pytest.raises(TemporaryError) as caught:
            await load_one(connector)
        assert (caught.value.code, caught.value.retry_after_seconds) == ("imap.throttled", 9.0)
        server.calm()
        assert (await load_one(connector)).text == "The words."
        assert not any("BODY.PEEK[]" in command for command in server.commands)
    finally:
        await connector.aclose()


async def test_wrapped_files_are_read_with_the_text(server: ScriptedImap) -> None:
    """A forwarded mail is read down to its own files, which are left where they are."""
    inner = mail(("film.pdf", FILM), text="What they wrote.")
    outer = (
        b"From: c2@example.com\r\nMessage-ID: <outer@example.com>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
        b"Subject: Fwd: Files\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n"
        b"--outer\r\n\r\nSee below.\r\n--outer\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--outer--\r\n"
    )
    server.folder("INBOX").add(outer)
    connector = at_script(server)
    try:
        message = await load_one(connector)
        assert "See below." in message.text
        assert "What they wrote." in message.text
        assert [(one.filename, one.ref) for one in message.attachments] == [("Files.eml", "2"), ("film.pdf", "2.2")]
        assert message.attachments[0].size == len(inner)
        (film,) = await read_files(connector, replace(message, attachments=message.attachments[1:]), "1000", "1")
        assert film == FILM
    finally:
        await connector.aclose()
