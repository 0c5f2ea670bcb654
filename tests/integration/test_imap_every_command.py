"""What a server or a network may do at each command: a real Dovecot behind a proxy, a real ledger before it.

docs/connectors/imap.md ("At each command") is the table of what is walked through here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import cast

import pytest

from connectors.imap import wire as wire_module
from sync.clock import SystemClock
from sync.errors import TemporaryError
from sync.ledger import Ledger
from tests.integration.imap_source import OWN, PASS_SECONDS, ImapSource
from tests.servers.dovecot import Dovecot, needs_dovecot
from tests.servers.imap_faults import ImapFaults, What
from tests.unit.loop_desk import fresh_ledger, until

pytestmark = pytest.mark.dovecot

LEEWAY_SECONDS = 5.0
"""What a busy machine may add to it."""
FILM = random.Random(7).randbytes(900_000)

CONNECTING = ("GREETING", "CAPABILITY", "LOGIN", "ID ", "LIST ")
LOOKING = ("UNSELECT", "STATUS ", "EXAMINE ", "UID SEARCH ", r"UID FETCH \S+ \(UID INTERNALDATE")
LOADING = (
    r"UID FETCH \S+ \(UID BODYSTRUCTURE\)",
    r"UID FETCH \S+ \(UID BODY.PEEK\[HEADER\]",
    r"UID FETCH \S+ \(UID BODY.PEEK\[1\]",
    r"UID FETCH \S+ \(UID BODY.PEEK\[\]",
)
FILES = (
    r"UID FETCH \S+ \(UID BODY.PEEK\[2.MIME\]\)",
    r"UID FETCH \S+ \(UID BODY.PEEK\[2\]<0.7",
    r"UID FETCH .*<786432",
)
MADE_ANEW = ("UNSELECT", *LOADING[:3])
"""Where a connection that breaks off is replaced without a word, and the pass goes on in another way."""
EVERY_COMMAND = (*CONNECTING, *LOOKING, *LOADING, *FILES)
LOSSES: tuple[What, ...] = ("silence", "half", "close", "reset", "bye")


def mail(number: int, file: bytes = b"", *, sent: bool = False) -> bytes:
    message = EmailMessage(policy=SMTP)
    customer = f"c{number}@example.net"
    message["From"], message["To"] = (OWN, customer) if sent else (customer, OWN)
    message["Subject"] = f"mail {number}"
    message["Date"], message["Message-ID"] = "Fri, 20 Nov 2026 12:00:00 +0000", f"<{number}@example.net>"
    message.set_content(f"text {number}")
    if file:
        message.add_attachment(file, maintype="video", subtype="mp4", filename="film.mp4")
    return message.as_bytes()


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot(rawlog=False) as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", SystemClock().now())
    yield opened
    opened.close()


class Mailbox:
    """Mail that arrives: each time three, in both folders, one of them with a large file."""

    def __init__(self, server: Dovecot) -> None:
        self.server = server
        self.expected: dict[str, bytes] = {}
        server.empty("alice")

    def receive(self) -> None:
        first = len(self.expected)
        for number, (folder, file) in enumerate((("INBOX", b""), ("INBOX", FILM), ("Sent", b"")), first):
            self.server.deliver("alice", folder, mail(number, file, sent=folder == "Sent"))
            self.expected[f"text {number}"] = file


@pytest.fixture
async def site(server: Dovecot, ledger: Ledger) -> AsyncIterator[tuple[ImapFaults, ImapSource, Mailbox]]:
    """A source that has read its mailbox once."""
    mailbox = Mailbox(server)
    mailbox.receive()
    with ImapFaults(server.imap_port) as proxy:
        source = ImapSource(ledger, proxy.port)
        assert await source.loaded() == mailbox.expected
        yield proxy, source, mailbox
        await source.connector.aclose()
        await until(lambda: proxy.open_connections() == 0, "no connection is left")


@pytest.mark.parametrize("command", EVERY_COMMAND)
async def test_s20_a_connection_that_is_lost_at_a_command_ends_the_pass_in_time_and_costs_nothing(
    site: tuple[ImapFaults, ImapSource, Mailbox], command: str
) -> None:
    proxy, source, mailbox = site
    for what in LOSSES:
        mailbox.receive()
        if command in CONNECTING:
            await source.connector.aclose()
        proxy.at(command, what)
        report, seconds = await source.meet_trouble(proxy, source.hurried)
        assert seconds < PASS_SECONDS + LEEWAY_SECONDS, what
        if command not in (*FILES, *MADE_ANEW):
            assert isinstance(report.error, TemporaryError), what
        await until(lambda: proxy.open_connections() <= 1, "what hangs was closed")
        proxy.calm()
        if command in FILES:  # or it would be the third try of a file that its message has
            assert await source.loaded() == mailbox.expected, what
    assert await source.loaded() == mailbox.expected


REFUSALS: dict[What, float | None] = {
    b"NO [THROTTLED] Request is throttled. Suggested Backoff Time: 60000 milliseconds": 60.0,
    b"NO [LIMIT] Too many simultaneous connections": None,
    b"NO [UNAVAILABLE] Temporary failure": None,
    b"BAD User is rate limited, try again in 2 minutes": 120.0,
}
CAN_BE_DONE_WITHOUT = ("ID ", *FILES)
"""The program says who it is where it can; a file that cannot be had now has its message loaded later."""


@pytest.mark.parametrize("command", [one for one in EVERY_COMMAND if one not in {"GREETING", *CAN_BE_DONE_WITHOUT}])
async def test_s22_a_server_that_wants_to_be_left_alone_at_a_command_is_obeyed(
    site: tuple[ImapFaults, ImapSource, Mailbox], command: str
) -> None:
    proxy, source, mailbox = site
    for answer, asked_seconds in REFUSALS.items():
        mailbox.receive()
        if command in CONNECTING:
            await source.connector.aclose()
        struck = proxy.struck
        proxy.at(command, answer)
        report, _seconds = await source.meet_trouble(proxy, source.patient)
        assert isinstance(report.error, TemporaryError)
        assert report.error.code in ("imap.throttled", "imap.unavailable")
        assert report.error.retry_after_seconds == asked_seconds
        assert report.next_wait_seconds >= (asked_seconds or 0)
        assert proxy.struck == struck + 1, "it is not asked again"
        proxy.calm()
    assert await source.loaded() == mailbox.expected


async def test_s20_a_connection_that_is_lost_at_starttls_is_made_anew(server: Dovecot, ledger: Ledger) -> None:
    mailbox = Mailbox(server)
    with ImapFaults(server.imap_port) as proxy:
        source = ImapSource(ledger, proxy.port, tls="starttls", host="localhost", ca_file=server.ca_file)
        for what in LOSSES:
            mailbox.receive()
            await source.connector.aclose()
            proxy.at("STARTTLS", what)
            report, seconds = await source.meet_trouble(proxy, source.hurried)
            assert isinstance(report.error, TemporaryError)
            assert seconds < PASS_SECONDS + LEEWAY_SECONDS
            proxy.calm()
            assert await source.loaded() == mailbox.expected
        assert not any(command.startswith("LOGIN") for command in proxy.seen), "nothing is said before TLS"
        await source.connector.aclose()


@pytest.mark.parametrize("command", ["GREETING", "CAPABILITY", "LOGIN", "EXAMINE", "IDLE", "DONE"])
async def test_s20_a_connection_that_is_lost_while_it_waits_is_noticed_and_harms_no_pass(
    server: Dovecot, ledger: Ledger, command: str
) -> None:
    mailbox = Mailbox(server)
    with ImapFaults(server.imap_port) as proxy:
        source = ImapSource(ledger, proxy.port, read_timeout_seconds=PASS_SECONDS, idle_renew_seconds=0.2)
        await source.loaded()
        ctx = await source.patient.waiting_context()
        for what in ("silence", "close", "reset", "bye"):
            await source.connector.aclose()
            await source.loaded()
            proxy.at(command, cast("What", what))
            async with asyncio.timeout(60):
                with pytest.raises(TemporaryError):
                    await source.connector.wait(ctx)
            mailbox.receive()
            if command in {"IDLE", "DONE"}:
                assert await source.loaded() == mailbox.expected, "the poll goes on beside it"
            proxy.calm()
            async with asyncio.timeout(60):
                mailbox.receive()
                assert await source.connector.wait(ctx) == frozenset({"INBOX"})
            assert await source.loaded() == mailbox.expected
        await source.connector.aclose()
        await until(lambda: proxy.open_connections() == 0, "no connection is left")


async def test_s20_a_connection_that_is_lost_at_logout_is_closed_all_the_same(
    site: tuple[ImapFaults, ImapSource, Mailbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "LOGOUT_TIMEOUT_SECONDS", PASS_SECONDS)
    proxy, source, mailbox = site
    for what in LOSSES:
        proxy.at("LOGOUT", what)
        async with asyncio.timeout(60):
            await source.connector.aclose()
        await until(lambda: proxy.open_connections() == 0, "no connection is left")
        proxy.calm()
        mailbox.receive()
        assert await source.loaded() == mailbox.expected
