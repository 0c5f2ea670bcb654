"""Listing JMAP mailboxes, and taking files out of their mails: what is asked for, what is not, and whom it is shown to."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP

import pytest

from connectors.jmap import JmapConfig, JmapConnector
from sync.attachments import AttachmentRules, choose
from sync.connector import PIECE_MAX_BYTES, PassContext, Severity, Stream
from sync.errors import ConfigError, MessageError, TemporaryError
from sync.message import Attachment, Legibility, Listed, Message
from sync.testing.reader import Reader, make_context
from tests.servers.cyrus import PASSWORD, Cyrus, needs_cyrus
from tests.servers.jmap_script import ARRIVAL, ScriptedJmap

INBOX = Stream("Inbox")
SMALL = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(3_000_000)


def made(number: int = 0, *, html: str = "", files: tuple[tuple[str, bytes], ...] = ()) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = "c1@example.com", "support@shop.example", f"mail {number}"
    message["Date"], message["Message-ID"] = "Mon, 23 Nov 2026 10:00:00 +0000", f"<{number}.files@mail.example>"
    if html:
        message.set_content(html, subtype="html")
    else:
        message.set_content(f"text {number}")
    for name, data in files:
        message.add_attachment(data, maintype="application", subtype="pdf", filename=name)
    return message


def mail(number: int = 0, *, html: str = "", files: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    return made(number, html=html, files=files).as_bytes()


def plain(number: int) -> bytes:
    return f"From: c1@example.com\r\nMessage-ID: <{number}@x>\r\nSubject: mail {number}\r\n\r\ntext {number}".encode()


@pytest.fixture
def server() -> Iterator[ScriptedJmap]:
    with ScriptedJmap() as running:
        yield running


def connector(server: ScriptedJmap, **more: object) -> JmapConnector:
    values = {"url": server.url, "token": "token-4711", "mailboxes": ("inbox",), **more}
    return JmapConnector(JmapConfig.model_validate(values))


async def listed(reader: Reader, since: datetime | None = None) -> list[Listed]:
    assert isinstance(reader.connector, JmapConnector)
    return [piece async for piece in reader.connector.list(INBOX, since, reader.context(INBOX))]


# ---------------------------------------------------------------------------------------------------- listing


async def test_known_mails_cost_their_ids_alone(server: ScriptedJmap) -> None:
    for number in range(1200):
        server.add(plain(number))
    reader = Reader(connector(server))
    reader.seen[INBOX.key, "acc"] = {f"m{number}" for number in range(1, 1201)}
    pieces = await listed(reader)
    assert [len(piece.known) for piece in pieces] == [1000, 200]
    assert {piece.epoch for piece in pieces} == {"acc"}
    assert [ids for ids in server.asked if ids] == []


async def test_since_is_a_moment_by_the_servers_word_for_arrival(server: ScriptedJmap) -> None:
    for number in range(5):
        server.add(mail(number), minutes=number)
    (piece,) = await listed(Reader(connector(server)), ARRIVAL + timedelta(minutes=3))
    assert [one.arrived_at for one in piece.found] == [ARRIVAL + timedelta(minutes=number) for number in (3, 4)]


@pytest.mark.parametrize("vanish", [1, 29, 45, 60])
async def test_mails_that_come_and_go_between_pages_hide_no_other(vanish: int) -> None:
    with ScriptedJmap(page=30) as server:
        for number in range(300):
            server.add(plain(number))
        removed: set[str] = set()
        rounds = iter(range(5))

        def trouble() -> None:
            """From the oldest on, so that everything behind moves up; one comes at the end."""
            if next(rounds, None) is None:
                return
            gone = sorted(server.mails, key=lambda name: server.mails[name].received_at)[:vanish]
            removed.update(gone)
            for name in gone:
                server.remove(name)
            server.add(plain(999))
            server.before["Email/query"] = trouble

        server.before["Email/query"] = trouble
        found = {one.external_id for piece in await listed(Reader(connector(server))) for one in piece.found}
        assert found >= set(server.mails) - removed


async def test_a_mailbox_that_is_emptied_while_it_is_listed_ends_the_listing() -> None:
    with ScriptedJmap(page=30) as server:
        for number in range(100):
            server.add(mail(number))

        def second() -> None:
            server.before["Email/query"] = server.mails.clear

        server.before["Email/query"] = second
        (piece,) = await listed(Reader(connector(server)))
        assert piece.found == ()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 30, 31, 60, 61])
async def test_every_count_of_mails_is_listed_to_its_end(count: int) -> None:
    with ScriptedJmap(page=30) as server:
        for number in range(count):
            server.add(mail(number))
        pieces = await listed(Reader(connector(server)))
        assert sum(len(piece.found) for piece in pieces) == count
        assert server.calls.count("Email/query") <= 2 + count // 10


async def test_a_server_that_gives_fewer_mails_at_once_than_it_says_is_asked_for_fewer(server: ScriptedJmap) -> None:
    server.most = 7
    for number in range(40):
        server.add(mail(number))
    assert len(await Reader(connector(server)).run_pass()) == 40


# ---------------------------------------------------------------------------------------------------- files


async def load(one: JmapConnector, name: str, limit_bytes: int = 25_000_000) -> Message:
    content = (await one.fetch(INBOX, "acc", [name], make_context(size_limit_bytes=limit_bytes)))[name]
    assert isinstance(content, Message)
    return content


async def read(one: JmapConnector, name: str, attachment: Attachment, ctx: PassContext | None = None) -> bytes:
    got = [piece async for piece in one.open_attachment(INBOX, "acc", name, attachment, ctx or make_context())]
    assert all(0 < len(piece) <= PIECE_MAX_BYTES for piece in got)
    return b"".join(got)


def downloads(server: ScriptedJmap) -> list[str]:
    return [
        path.split("/")[3] for method, path, _authorization in server.requests if "/blob/" in path and method == "GET"
    ]


async def test_files_of_a_mail_that_was_just_loaded_are_not_downloaded_again(server: ScriptedJmap) -> None:
    server.add(mail(1, files=(("a.pdf", SMALL), ("b.pdf", LARGE))))
    one = connector(server)
    message = await load(one, "m1")
    assert [await read(one, "m1", file) for file in message.attachments] == [SMALL, LARGE]
    assert downloads(server) == ["blob-m1"]


async def test_files_of_other_mails_come_alone_and_their_names_stay_here(server: ScriptedJmap) -> None:
    server.add(mail(1, files=(("a.pdf", SMALL), ("b.pdf", LARGE))))
    message = await load(connector(server), "m1")
    server.requests.clear()
    later = connector(server)
    assert [await read(later, "m1", file) for file in message.attachments] == [SMALL, LARGE]
    assert downloads(server) == ["blob-m1-2", "blob-m1-3"]
    assert not any(".pdf" in path for _method, path, _authorization in server.requests)


async def test_a_mail_that_is_nothing_but_a_file_gives_it(server: ScriptedJmap) -> None:
    message = EmailMessage(policy=SMTP)
    message["From"], message["Subject"] = "c1@example.com", "a file"
    message.set_content(SMALL, maintype="application", subtype="pdf", filename="a.pdf")
    server.add(message.as_bytes())
    (file,) = (await load(connector(server), "m1")).attachments
    assert await read(connector(server), "m1", file) == SMALL


async def test_a_file_in_a_forwarded_mail_is_found_in_there(server: ScriptedJmap) -> None:
    outer = made(1)
    outer.add_attachment(made(2, files=(("inner.pdf", SMALL),)))
    server.add(outer.as_bytes())
    message = await load(connector(server), "m1")
    inner = [file for file in message.attachments if file.filename == "inner.pdf"] or [
        Attachment("inner.pdf", "application/pdf", len(SMALL), "2.2")
    ]
    assert await read(connector(server), "m1", inner[0]) == SMALL
    assert downloads(server)[-1] == "blob-m1-2"


async def test_a_file_that_is_not_there_is_the_messages_own_trouble_and_a_busy_server_is_not(
    server: ScriptedJmap,
) -> None:
    server.add(mail(1, files=(("a.pdf", SMALL),)))
    (file,) = (await load(connector(server), "m1")).attachments
    one = connector(server)
    with pytest.raises(MessageError):
        await read(one, "m1", Attachment("c.pdf", "application/pdf", 1, "9"))
    with pytest.raises(MessageError):
        await read(one, "m77", file)
    server.lost_blobs.add("blob-m1-2")
    with pytest.raises(MessageError):
        await read(one, "m1", file)
    server.lost_blobs.clear()
    server.status = (429, {"Retry-After": "7"})
    with pytest.raises(TemporaryError) as caught:
        await read(one, "m1", file)
    assert caught.value.retry_after_seconds == 7


async def test_of_a_mail_over_the_limit_text_and_files_come_one_by_one(server: ScriptedJmap) -> None:
    server.add(mail(1, html="<p>Read <b>this</b></p>", files=(("a.pdf", SMALL), ("film.pdf", LARGE))))
    one = connector(server)
    message = await load(one, "m1", limit_bytes=1_000_000)
    assert message.text == "Read this"
    assert (message.notes, message.legibility) == ((), Legibility.FULL), "nothing is missing"
    assert [(file.filename, file.size) for file in message.attachments] == [
        ("a.pdf", len(SMALL)),
        ("film.pdf", len(LARGE)),
    ]
    chosen = choose(message.attachments, AttachmentRules(file_max_bytes=1_000_000))
    assert [bool(file.why_not) for file in chosen] == [False, True]
    assert await read(one, "m1", chosen[0]) == SMALL
    assert downloads(server) == ["blob-m1-2"]


async def test_a_picture_in_the_text_of_a_large_mail_is_one_there_too(server: ScriptedJmap) -> None:
    message = made(1, html='<p>See <img src="cid:pic"></p>')
    message.add_related(SMALL, maintype="image", subtype="png", cid="<pic>", disposition="inline", filename="pic.png")
    message.add_attachment(LARGE, maintype="image", subtype="png", filename="photo.png")
    server.add(message.as_bytes())
    loaded = await load(connector(server), "m1", limit_bytes=100_000)
    assert [(file.filename, file.inline) for file in loaded.attachments] == [("pic.png", True), ("photo.png", False)]


async def test_a_text_that_is_cut_says_so(server: ScriptedJmap) -> None:
    message = made(1)
    message.set_content("word " * 1000)
    server.add(message.as_bytes())
    loaded = await load(connector(server), "m1", limit_bytes=4096)
    assert loaded.text.startswith("word word")
    assert any("size" in note for note in loaded.notes)


async def test_a_file_is_never_held_as_a_whole(server: ScriptedJmap) -> None:
    server.add(mail(1, files=(("a.pdf", b""),)))
    server.big_blobs["blob-m1-2"] = 50
    size = 0
    one = connector(server)
    tracemalloc.start()
    try:
        file = Attachment("a.pdf", "application/pdf", 50_000_000, "2")
        async for piece in one.open_attachment(INBOX, "acc", "m1", file, make_context()):
            size += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 50_000_000
    assert peak < 12_000_000


# ---------------------------------------------------------------------------------------------------- hosts


@pytest.mark.parametrize("address", ["downloadUrl", "apiUrl"])
async def test_the_sign_in_goes_to_no_host_that_the_settings_do_not_name(server: ScriptedJmap, address: str) -> None:
    with ScriptedJmap() as other:
        server.add(mail(1))
        path = str(server.session()[address])
        server.session_changes = {address: f"{other.url}{path}"}
        other.mails, other.log = server.mails, server.log
        one = Reader(connector(server))
        with pytest.raises(ConfigError) as caught:
            await one.run_pass()
        assert caught.value.code == "jmap.other_host"
        assert f'other_hosts = ["{other.host}"]' in caught.value.next_step
        findings = await one.connector.check(one.context())
        assert [finding.code for finding in findings if finding.severity is Severity.ERROR] == ["jmap.other_host"]
        assert not other.requests
        named = Reader(connector(server, other_hosts=(other.host,)))
        assert [arrived.text.strip() for arrived in await named.run_pass()] == ["text 1"]
        assert {authorization for _method, _path, authorization in other.requests} == {"Bearer token-4711"}


# ---------------------------------------------------------------------------------------------------- Cyrus

AT = datetime(2026, 3, 12, 14, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[Cyrus]:
    needs_cyrus()
    with Cyrus() as server:
        yield server


@pytest.fixture
def cyrus(running: Cyrus) -> Cyrus:
    running.empty("alice")
    return running


def on_cyrus(cyrus: Cyrus, **more: object) -> JmapConnector:
    values = {"url": cyrus.url, "username": "alice", "password": PASSWORD, "mailboxes": ("inbox",), **more}
    return JmapConnector(JmapConfig.model_validate(values))


@pytest.mark.cyrus
async def test_a_cyrus_gives_files_alone_and_those_of_a_mail_over_the_limit(cyrus: Cyrus) -> None:
    outer = made(1, html="<p>Read <b>this</b></p>", files=(("a.pdf", SMALL), ("b.pdf", LARGE)))
    outer.add_attachment(made(2, files=(("inner.pdf", SMALL),)))
    name = cyrus.import_mail("alice", "inbox", outer.as_bytes(), AT)
    whole = await load(on_cyrus(cyrus), name)
    one = on_cyrus(cyrus)
    parts = await load(one, name, limit_bytes=1_000_000)
    assert (parts.text, whole.text.partition("\n")[0]) == ("Read this", "Read this")
    assert parts.notes == ()
    files = [file for file in parts.attachments if file.filename.endswith(".pdf")]
    assert [(file.filename, file.ref, file.size) for file in files] == [
        ("a.pdf", "2", len(SMALL)),
        ("b.pdf", "3", len(LARGE)),
    ]
    assert {file.ref for file in files} <= {file.ref for file in whole.attachments}
    assert [await read(one, name, file) for file in files] == [SMALL, LARGE]
    assert await read(one, name, Attachment("inner.pdf", "application/pdf", None, "4.2")) == SMALL
    with pytest.raises(MessageError):
        await read(one, name, Attachment("c.pdf", "application/pdf", None, "9"))


@pytest.mark.cyrus
async def test_a_cyrus_lists_mails_of_one_second_over_several_pages(
    cyrus: Cyrus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.jmap.listing.IDS_AT_ONCE", 8)
    ids = {cyrus.import_mail("alice", "inbox", mail(number), AT) for number in range(30)}
    one = on_cyrus(cyrus)
    (stream,) = await one.streams(make_context())
    (piece,) = [some async for some in one.list(stream, AT, make_context())]
    assert {found.external_id for found in piece.found} == ids
    (none,) = [some async for some in one.list(stream, AT + timedelta(seconds=1), make_context())]
    assert none.found == ()


@pytest.mark.cyrus
async def test_the_same_bytes_twice_are_one_email_on_a_cyrus(cyrus: Cyrus) -> None:
    first = cyrus.import_mail("alice", "inbox", mail(1), AT)
    reader = Reader(on_cyrus(cyrus, mailboxes=("inbox", "sent")))
    assert len(await reader.run_pass()) == 1
    cyrus.put_again("alice", first, "sent")
    arrived = await reader.run_pass()
    assert [one.stream.key for one in arrived] == ["Sent"]
    pieces = await reader.list_everything()
    assert [piece.known for _stream, piece in pieces] == [(first,), (first,)]


@pytest.mark.cyrus
async def test_a_state_from_the_future_is_no_state_on_a_cyrus(cyrus: Cyrus) -> None:
    cyrus.import_mail("alice", "inbox", mail(1), AT)
    reader = Reader(on_cyrus(cyrus))
    await reader.run_pass()
    stream, batch = reader.batches[-1]
    assert isinstance(batch.cursor, dict)
    cursor = {**batch.cursor, "state": str(int(str(batch.cursor["state"])) + 1000)}
    cyrus.import_mail("alice", "inbox", mail(2), AT)
    batches = [one async for one in reader.connector.poll(stream, cursor, reader.context(stream))]
    assert [found.size is not None for one in batches for found in one.found] == [True]
    assert "jmap.listed_again" in reader.log.names()
