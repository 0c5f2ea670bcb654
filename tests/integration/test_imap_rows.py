"""Rows of docs/failures.md that are IMAP's, from the server to the ledger."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.imap import ImapConfig, ImapConnector
from sync.connector import PassContext, Stream
from sync.errors import TemporaryError
from sync.ledger import Ledger, MessageFilter
from sync.message import Content, Message
from sync.testing import Reader
from tests.integration.imap_source import OWN, ImapSource
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot
from tests.servers.imap_parts import structure_of
from tests.servers.imap_script import Drop, ScriptedImap, fetch_items
from tests.unit.loop_desk import fresh_ledger, until

FOLDER_MAILS = 500_000


def mail(number: int, *, date: str = "Fri, 20 Nov 2026 12:00:00 +0000") -> bytes:
    return (
        f"From: c{number}@example.net\r\nTo: {OWN}\r\nMessage-ID: <{number}@example.net>\r\nDate: {date}\r\n"
        f"Subject: mail {number}\r\n\r\ntext {number}\r\n"
    ).encode()


@pytest.fixture
def server() -> Iterator[ScriptedImap]:
    with ScriptedImap() as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", datetime.now(UTC))
    yield opened
    opened.close()


def connector_for(server: ScriptedImap, **more: object) -> ImapConnector:
    values = {"host": "127.0.0.1", "port": server.port, "tls": "none", "username": "alice", "password": PASSWORD}
    return ImapConnector(ImapConfig.model_validate({**values, "folders": ["INBOX"], "read_timeout_seconds": 5, **more}))


def states(ledger: Ledger) -> dict[str, str]:
    """The state of each place, by folder and UID."""
    return {f"{line.stream}/{line.external_id}": line.state.value for line in ledger.messages.list(MessageFilter())}


# --------------------------------------------------------------------------------------------------- S19, 34


async def test_s19_a_ghost_is_gone_after_some_tries_with_one_warning_and_the_cursor_passes_it(
    server: ScriptedImap, ledger: Ledger
) -> None:
    inbox = server.folder("INBOX")
    inbox.add(mail(1))
    inbox.add(mail(2)).shown = False
    inbox.add(mail(3))
    source = ImapSource(ledger, server.port, folders=["INBOX"])
    with capture_logs() as logs:
        for _ in range(60):
            report = await source.patient.run_pass()
            assert report.error is None
            if states(ledger).get("INBOX/2") == "gone":
                break
            await asyncio.sleep(0.02)
    assert states(ledger) == {"INBOX/1": "loaded", "INBOX/2": "gone", "INBOX/3": "loaded"}
    assert [entry["event"] for entry in logs].count("message.gone") == 1
    (row,) = ledger.streams.of_source("support")
    assert isinstance(row.cursor, dict)
    assert row.cursor["next"] == 4
    server.commands.clear()
    inbox.add(mail(4))
    await source.patient.run_pass()
    assert states(ledger)["INBOX/4"] == "loaded"
    assert not any(command.startswith("UID FETCH 2") for command in server.commands)
    await source.connector.aclose()


@pytest.mark.dovecot
async def test_34_a_mail_that_is_moved_between_list_and_fetch_is_gone_there_and_arrives_once_from_where_it_went(
    ledger: Ledger,
) -> None:
    needs_dovecot()
    with Dovecot(rawlog=False) as dovecot:
        dovecot.create("alice", "Support")
        dovecot.deliver("alice", "INBOX", mail(1))
        dovecot.deliver("alice", "INBOX", mail(2))

        class Moved(ImapConnector):
            """Somebody is at work in the mailbox whenever we are about to load from it."""

            async def fetch(
                self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext
            ) -> Mapping[str, Content]:
                dovecot.doveadm("move", "-u", "alice", "Support", "mailbox", "INBOX", "subject", "mail 1")
                return await super().fetch(stream, epoch, ids, ctx)

        source = ImapSource(ledger, dovecot.imap_port, kind=Moved, folders=["INBOX", "Support"])
        with capture_logs() as logs:
            for _ in range(20):
                report = await source.patient.run_pass()
                assert report.error is None
        await source.connector.aclose()
    assert states(ledger) == {"INBOX/1": "gone", "INBOX/2": "loaded", "Support/1": "loaded"}
    assert not [entry for entry in logs if entry["log_level"] in {"error", "critical"}]
    assert len([entry for entry in logs if entry["log_level"] == "warning"]) <= 1


# --------------------------------------------------------------------------------------------------- 27


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Fri, 20 Nov 1066 12:00:00 +0000", "Fri, 20 Nov 9999 12:00:00 +0000"]
)
async def test_27_order_goes_by_arrival_whatever_the_date_says(server: ScriptedImap, ledger: Ledger, date: str) -> None:
    noon = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    inbox = server.folder("INBOX")
    for number, written in enumerate(("Fri, 20 Nov 2026 12:00:00 +0000", date, "Fri, 20 Nov 2026 11:00:00 +0000")):
        inbox.add(mail(number, date=written), arrived_at=noon + timedelta(minutes=number))
    source = ImapSource(ledger, server.port, folders=["INBOX"])
    assert sorted(await source.loaded()) == ["text 0", "text 1", "text 2"]
    await source.connector.aclose()
    lines = sorted(ledger.messages.list(MessageFilter()), key=lambda line: line.id)
    assert [line.arrived_at for line in lines] == [noon + timedelta(minutes=number) for number in range(3)]
    assert lines[1].written_at is None or lines[1].written_at <= lines[1].seen_at


# --------------------------------------------------------------------------------------------------- S22


class CountedSocket(socket.socket):
    """Knows how many of its kind are connected to a server, and how many were at a time."""

    live: set[int] = set()  # noqa: RUF012  the whole point of it
    most = 0

    def connect(self, address: object) -> None:
        super().connect(address)  # type: ignore[arg-type]
        CountedSocket.live.add(id(self))
        CountedSocket.most = max(CountedSocket.most, len(CountedSocket.live))

    def close(self) -> None:
        CountedSocket.live.discard(id(self))
        super().close()


async def test_s22_a_thousand_failures_of_every_kind_take_no_more_connections_than_allowed_and_leak_none(
    server: ScriptedImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountedSocket, "live", set())
    monkeypatch.setattr(CountedSocket, "most", 0)
    monkeypatch.setattr("connectors.imap.wire.socket.socket", CountedSocket)
    for name in ("Support", "Sales"):
        server.folder(name)
    folders = ["INBOX", "Support", "Sales"]
    connector = connector_for(server, folders=folders, push_folders=folders, max_connections=3)
    reader = Reader(connector)
    await reader.run_pass()
    troubles: list[tuple[bool, str, Callable[[str], str] | type[Exception]]] = [
        (False, "LOGIN", lambda _command: "NO [LIMIT] Too many simultaneous connections"),
        (True, "IDLE", lambda _command: "NO [UNAVAILABLE] later"),
        (False, "LIST", Drop),
        (True, "IDLE", Drop),
        (False, "STATUS", lambda _command: "NO [THROTTLED] Suggested Backoff Time: 1000"),
        (True, "EXAMINE", Drop),
        (False, "STATUS", Drop),
        (True, "LOGIN", lambda _command: "NO [LIMIT] Too many simultaneous connections"),
        (False, "CAPABILITY", Drop),
    ]
    failures, threads = 0, threading.active_count()
    for number, (waits, command, answer) in zip(range(2000), cycle(troubles), strict=False):
        server.calm()
        server.on(command, answer)
        try:
            async with asyncio.timeout(30):
                await (connector.wait(reader.context()) if waits else reader.run_pass())
        except TemporaryError:
            failures += 1
        if number % 5 == 0:
            server.break_all()
        if failures == 1000:
            break
    assert failures == 1000
    assert CountedSocket.most <= 3
    server.calm()
    server.folder("INBOX").add(mail(1))
    assert [one.text for one in await reader.run_pass()] == ["text 1"]
    await connector.aclose()
    assert not CountedSocket.live
    await until(lambda: server.open_connections() == 0, "none is left at the server")
    await until(lambda: threading.active_count() <= threads + 2, "no thread is left")


# --------------------------------------------------------------------------------------------------- S23


@pytest.mark.parametrize(("has_esearch", "step"), [(True, 2), (False, 1)], ids=["with holes", "without ESEARCH"])
async def test_s23_a_folder_of_500_000_mails_takes_little_memory(*, has_esearch: bool, step: int) -> None:
    """The first look, of which two batches are taken, and a later one that finds three new mails."""
    uids = range(1, FOLDER_MAILS * step + 1, step)
    top = uids[-1]
    ranges = f"1:{top}" if step == 1 else ",".join(map(str, uids))
    told = (f'* ESEARCH (TAG "A") UID ALL {ranges}' if has_esearch else "* SEARCH " + " ".join(map(str, uids))).encode()
    later = (
        f'* ESEARCH (TAG "A") UID ALL {top + 1}:{top + 3}' if has_esearch else f"* SEARCH {top + 1} {top + 2} {top + 3}"
    )
    with ScriptedImap(capabilities="IMAP4rev1 ESEARCH" if has_esearch else "IMAP4rev1") as server:
        returning = "RETURN (ALL) " if has_esearch else ""
        server.on(f"UID SEARCH {returning}UID 1:{top}", lambda _command: told)
        server.on(f"UID SEARCH {returning}UID *", lambda _command: told[: told.find(b"1")] + b"%d" % top)
        server.on(f"UID SEARCH {returning}UID {top + 1}:*", lambda _command: later.encode())
        server.on("EXAMINE", lambda _command: [b"* %d EXISTS" % FOLDER_MAILS, b"* OK [UIDVALIDITY 1000] x"])
        connector = connector_for(server)
        reader = Reader(connector)
        before = resident_bytes()
        await reader.poll(Stream("INBOX"), most_batches=2)
        first_bytes = resident_bytes(peak=True) - before
        gc.collect()
        await asyncio.sleep(0.01)  # what the poll that was broken off held is let go by the loop
        before = resident_bytes()
        reader.cursors["INBOX"] = f'{{"v": 1, "uidvalidity": 1000, "next": {top + 1}, "uidnext": {top + 1}}}'
        server.folder("INBOX").add(mail(1), uid=top + 3)
        await reader.poll(Stream("INBOX"))
        later_bytes = resident_bytes(peak=True) - before
        await connector.aclose()
    assert first_bytes < 60_000_000
    assert later_bytes < 10_000_000


def resident_bytes(*, peak: bool = False) -> int:
    """What this process holds, or the most it held since it was asked without `peak` (proc(5), clear_refs)."""
    if not peak:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    name = "VmHWM:" if peak else "VmRSS:"
    status = Path("/proc/self/status").read_text("ascii")
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) * 1024


async def test_s23_a_mail_of_1_gb_arrives_with_its_text_and_its_file_is_named(server: ScriptedImap) -> None:
    raw = (
        b"From: c1@example.net\r\nMessage-ID: <1@example.net>\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee the film.\r\n--b\r\nContent-Type: video/mp4\r\n"
        b"Content-Disposition: attachment; filename=film.mp4\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + b"QUFB" * 18 + b"QUFB\r\n"
    )  # fmt: skip
    raw += raw[-78:] * 1000 + b"--b--\r\n"
    gigabyte = 10**9
    part_bytes = len(raw) - raw.rfind(b"base64\r\n\r\n") - 10 - 7 - 2
    one = server.folder("INBOX").add(raw, size=len(raw) + gigabyte - part_bytes)
    structure = structure_of(raw) or b""
    told = structure.replace(b" %d)" % part_bytes, b" %d)" % gigabyte)
    assert told != structure
    server.on("UID FETCH", lambda command: [b"* 1 FETCH (" + fetch_items(one, command).replace(structure, told) + b")"])
    reader = Reader(connector_for(server))
    (arrived,) = await reader.run_pass()
    await reader.connector.aclose()
    assert isinstance(arrived.content, Message)
    assert (arrived.content.text, arrived.content.notes) == ("See the film.", ())
    (film,) = arrived.content.attachments
    assert film.size == pytest.approx(gigabyte * 76 / 78 * 3 / 4, rel=0.001)
    assert not any("BODY.PEEK[]" in command for command in server.commands)
