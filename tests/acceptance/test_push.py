"""The daemon with a mailbox that tells of new mail: it arrives long before the next poll, and in order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import Daemon, Systemd, write_config
from tests.mailbag import OWN
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot
from tests.servers.proxy import Fault, FaultProxy

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


def test_s20_a_mail_server_that_falls_silent_is_told_while_the_watchdog_is_fed_and_everything_arrives_afterwards(
    tmp_path: Path, server: Dovecot
) -> None:
    """Half-open connections at the poll and in IDLE: passes end at their deadline, and systemd hears that all is well
    with the daemon, which it is."""
    with (
        Sandbox() as sandbox,
        FaultProxy(("127.0.0.1", server.imaps_port)) as proxy,
        contextlib.closing(Systemd(str(tmp_path / "notify"))) as systemd,
    ):
        toml = source(server).replace(f"port = {server.imaps_port}", f"port = {proxy.port}").replace(LONG, "300ms")
        hurried = 'pass_timeout_seconds = "1s"\nread_timeout_seconds = 0.5\nidle_renew_seconds = 1\n'
        program = write_config(tmp_path, sandbox, toml.replace("[sources.support]", f"[sources.support]\n{hurried}"))
        program.environ |= {"MAIL_PASSWORD": PASSWORD, "NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "4000000"}
        daemon = Daemon(program).ready()
        try:
            daemon.wait_for(lambda: "I1 IDLE" in server.commands("alice"), "it waits in IDLE")
            server.deliver("alice", "INBOX", mail(1))
            daemon.wait_for(lambda: texts(sandbox) == ["text 1"], "the first mail has arrived")
            proxy.fault(Fault(silent=True, cut_down_bytes=0, how="hang"))
            server.deliver("alice", "INBOX", mail(2))
            daemon.wait_for(lambda: "pass.failed" in daemon.log(), "a pass has failed")
            fed = systemd.told.count("WATCHDOG=1")
            daemon.wait_for(lambda: systemd.told.count("WATCHDOG=1") >= fed + 5, "fed for more than its time")
            assert "watchdog.not_fed" not in daemon.log()
            sources = program.json("status")["sources"]
            assert isinstance(sources, list)
            assert sources[0]["state"] == "failing"
            assert sources[0]["fault"]["code"] in {"imap.timeout", "source.pass_abandoned"}
            proxy.fault()
            daemon.wait_for(lambda: texts(sandbox) == ["text 1", "text 2"], "everything has arrived")
            assert daemon.stop() == 0
        finally:
            daemon.kill()
