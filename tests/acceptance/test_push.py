"""The daemon with a mailbox that tells of new mail: it arrives long before the next poll, and in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import Daemon, write_config
from tests.mailbag import OWN
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot

pytestmark = pytest.mark.dovecot

LONG = "3600s"


def mail(number: int, *, to_customer: bool = False) -> bytes:
    sender, recipient = (OWN, "anna@example.com") if to_customer else ("anna@example.com", OWN)
    return (
        f"From: {sender}\r\nTo: {recipient}\r\nMessage-ID: <{number}@example.com>\r\nSubject: hello\r\n"
        f"Date: Mon, 01 Jan 2035 10:00:{number:02d} +0000\r\n\r\ntext {number}\r\n"
    ).encode()


@pytest.fixture
def server() -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot() as running:
        yield running


def source(server: Dovecot) -> str:
    """Polled once an hour, and a row waits up to an hour for its siblings: only a hint can make it quick."""
    return f"""
[sources.support]
connector = "imap"
every = "{LONG}"
order_wait_seconds = "{LONG}"
host = "localhost"
port = {server.imaps_port}
ca_file = "{server.ca_file}"
username = "alice"
password = {{ env = "MAIL_PASSWORD" }}
"""


def texts(sandbox: Sandbox) -> list[str]:
    return [
        str(message["text"]).splitlines()[-1]
        for conversation in sandbox.conversations()
        for message in conversation["messages"]
    ]


def test_a_hint_on_one_folder_brings_its_mail_and_its_siblings_long_before_the_poll(
    tmp_path: Path, server: Dovecot
) -> None:
    with Sandbox() as sandbox:
        program = write_config(tmp_path, sandbox, source(server))
        program.environ["MAIL_PASSWORD"] = PASSWORD
        daemon = Daemon(program).ready()
        try:
            daemon.wait_for(lambda: "I1 IDLE" in server.commands("alice"), "it waits in IDLE")
            server.deliver("alice", "INBOX", mail(1))
            daemon.wait_for(lambda: texts(sandbox) == ["text 1"], "the first mail has arrived")
            server.deliver("alice", "Sent", mail(2, to_customer=True))
            server.deliver("alice", "INBOX", mail(3))
            daemon.wait_for(lambda: len(texts(sandbox)) == 3, "the answer in the sibling folder came with it")
            assert sorted(texts(sandbox)) == ["text 1", "text 2", "text 3"]
            assert daemon.stop() == 0
        finally:
            daemon.kill()


def test_a_paused_source_holds_no_connection_and_waits_again_when_it_is_resumed(
    tmp_path: Path, server: Dovecot
) -> None:
    with Sandbox() as sandbox:
        program = write_config(tmp_path, sandbox, source(server).replace(LONG, "300ms"))
        program.environ["MAIL_PASSWORD"] = PASSWORD
        daemon = Daemon(program).ready()
        try:
            daemon.wait_for(lambda: "I1 IDLE" in server.commands("alice"), "it waits in IDLE")
            assert program.run("source", "pause", "support").returncode == 0
            daemon.wait_for(lambda: b"alice" not in server.doveadm("who", "-1"), "no connection is left")
            server.forget_commands("alice")
            assert program.run("source", "resume", "support").returncode == 0
            daemon.wait_for(lambda: "I1 IDLE" in server.commands("alice"), "it waits again")
            assert daemon.stop() == 0
        finally:
            daemon.kill()
