"""Alerts of a real daemon: by command, webhook and mail; and its heartbeat."""

from __future__ import annotations

import json
import shutil
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from sync.alarm import memory_from_json
from sync.alerts import MEMORY_KEY
from sync.ledger import Ledger
from sync.settings import LedgerSettings
from tests.acceptance.harness import wait_for
from tests.acceptance.small import Small, small_site
from tests.servers.hook import Hook

pytestmark = pytest.mark.timeout(240)

QUICK = 'after_seconds = "300ms"\nwell_after_seconds = "300ms"\ntimeout_seconds = 5'


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


class _MailHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, MailServer)
        self.wfile.write(b"220 ready\r\n")
        for line in iter(self.rfile.readline, b""):
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                data = b"".join(iter(self.rfile.readline, b".\r\n"))
                server.mails.append(message_from_bytes(data))
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                return


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail, as a server on this machine does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.mails: list[Message] = []

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def break_source(small: Small) -> None:
    (small.folder / "mail").rename(small.folder / "away")


def mend_source(small: Small) -> None:
    (small.folder / "away").rename(small.folder / "mail")


def is_told(small: Small, about: str) -> bool:
    """Whether the ledger knows that this trouble was told. A daemon that ends before that tells it once more."""
    ledger = Ledger.open(LedgerSettings(url=small.ledger_url), writer=False)
    try:
        known = memory_from_json(ledger.notes.get(MEMORY_KEY)).troubles.get(about)
        return known is not None and known.told
    finally:
        ledger.close()


def test_one_alert_when_a_source_stops_and_one_all_clear_also_over_a_restart(small: Small, hook: Hook) -> None:
    small.environ["HOOK"] = hook.url
    small.configure(daemon=f'[alerts]\nwebhook = {{ env = "HOOK" }}\n{QUICK}')
    daemon = small.start()
    small.put("T000001")
    small.wait_sent("T000001")
    break_source(small)
    wait_for(lambda: hook.posted, "the trouble is told")
    daemon.wait_for(lambda: is_told(small, "source mail"), "that it was told is kept")
    assert daemon.stop() == 0
    daemon = small.start()
    daemon.wait_for(lambda: small.source("mail")["state"] == "failing", "it goes on failing")
    mend_source(small)
    wait_for(lambda: len(hook.posted) >= 2, "the end is told")
    assert [(one["kind"], one["about"]) for one in hook.posted] == [("trouble", "source mail"), ("well", "source mail")]
    trouble = hook.posted[0]
    assert trouble["code"] == "maildir.missing" or trouble["code"].startswith("maildir.")
    assert trouble["next_step"]
    assert trouble["text"] == f"source mail: {trouble['sentence']}"
    assert "secret-path" not in daemon.log()
    assert daemon.stop() == 0


def test_an_alert_that_nobody_took_is_told_again_until_somebody_does(small: Small, hook: Hook) -> None:
    small.environ["HOOK"] = hook.url
    small.configure(daemon=f'[alerts]\nwebhook = {{ env = "HOOK" }}\n{QUICK}')
    hook.status = 503
    daemon = small.start()
    break_source(small)
    daemon.wait_for(lambda: daemon.log().count("alert.not_told") >= 2, "the webhook does not take it")
    hook.status = 200
    wait_for(lambda: hook.posted, "it is told")
    mend_source(small)
    wait_for(lambda: len(hook.posted) >= 2, "the end is told")
    assert [one["kind"] for one in hook.posted] == ["trouble", "well"]
    assert daemon.stop() == 0


def test_alerts_go_by_command_and_by_mail_and_one_that_fails_does_not_keep_the_other(small: Small) -> None:
    told = small.folder / "told.json"
    script = small.folder / "tell"
    script.write_text(f"#!/bin/sh\ncat > {told}.new && mv {told}.new {told}\n")
    script.chmod(0o755)
    with mail_server() as server:
        small.configure(
            daemon=f"""[alerts]
command = ["{script}"]
mail_to = ["me@example.com"]
mail_from = "inbox-sync@example.com"
smtp_host = "127.0.0.1"
smtp_port = {server.port}
{QUICK}"""
        )
        daemon = small.start()
        break_source(small)
        wait_for(lambda: told.exists() and server.mails, "both are told")
        assert json.loads(told.read_text())["about"] == "source mail"
        mail = server.mails[0]
        assert mail["To"] == "me@example.com"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert "source mail" in mail["Subject"]
        assert "What to do:" in str(mail.get_payload())
        script.write_text("#!/bin/sh\nexit 3\n")
        mend_source(small)
        wait_for(lambda: len(server.mails) == 2, "the mail comes although the command fails")
        assert "the command ended with exit code 3" in daemon.log()
        assert daemon.stop() == 0


def test_held_messages_are_told_together(small: Small, hook: Hook) -> None:
    small.environ["HOOK"] = hook.url
    small.configure(
        small.maildir(more="participant_messages_per_hour = 1"),
        daemon=f'[alerts]\nwebhook = {{ env = "HOOK" }}\n{QUICK}',
    )
    daemon = small.start()
    small.put("T000001")
    small.wait_sent("T000001")
    for number in range(2, 5):
        small.put(f"T{number:06d}")
    wait_for(lambda: [one for one in hook.posted if one["kind"] == "happened"], "it is told")
    [told] = [one for one in hook.posted if one["kind"] == "happened"]
    assert (told["code"], told["about"]) == ("delivery.held", "source mail")
    assert daemon.stop() == 0


def test_the_heartbeat_comes_as_long_as_the_daemon_lives(small: Small, hook: Hook) -> None:
    small.environ["HOOK"] = hook.url
    small.configure(daemon='[alerts]\nheartbeat_url = { env = "HOOK" }\nheartbeat_seconds = "100ms"')
    daemon = small.start()
    wait_for(lambda: hook.beats >= 3, "it comes")
    assert daemon.stop() == 0
    assert not hook.posted
    shutil.rmtree(small.folder / "mail")


def test_mail_without_a_sender_is_refused_when_the_file_is_read(small: Small) -> None:
    small.configure(daemon='[alerts]\nmail_to = ["me@example.com"]')
    assert small.type("check").code == 78
