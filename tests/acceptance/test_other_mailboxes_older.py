"""POP3 and JMAP with the real program and real servers: older mail, files, what was missed, and signing in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import Program, assert_each_once_in_order, seed_contacts, write_config
from tests.acceptance.test_backfill import forget
from tests.mailbag import Mail, Mailbag
from tests.servers import cyrus, dovecot
from tests.servers.cyrus import Cyrus, needs_cyrus
from tests.servers.dovecot import Dovecot, needs_pop3
from tests.servers.jmap_script import ScriptedJmap
from tests.servers.token_server import CLIENT_ID, CLIENT_SECRET, MARK, TokenServer

MAILS = 40
EACH_WITH_A_FILE = 10
SINCE = "2026-01-01"
FILE = bytes(range(256)) * 500


@dataclass
class Mailbox:
    """A mailbox of one of the two: `source` are its settings."""

    source: str
    password: str
    put: Callable[[bytes, datetime], object]

    def fill(self, mails: list[Mail]) -> None:
        """Mails as the last server passes them on, with the time of their arrival; each tenth has a file."""
        for number, mail in enumerate(mails):
            stamp = f"Received: from a by b id {number}; {format_datetime(mail.arrived_at)}\r\n".encode()
            message = message_from_bytes(stamp + mail.raw, policy=SMTP)
            if number % EACH_WITH_A_FILE == 0:
                message.add_attachment(FILE, maintype="application", subtype="pdf", filename=f"{number}.pdf")
            self.put(message.as_bytes(), mail.arrived_at)

    def program(self, folder: Path, sandbox: Sandbox, more: str) -> Program:
        """The real program with this mailbox as its source `support`."""
        program = write_config(folder, sandbox, f"[sources.support]\nevery = '500ms'\n{more}\n{self.source}")
        program.environ["MAIL_PASSWORD"] = self.password
        return program


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(params=[pytest.param("pop3", marks=pytest.mark.dovecot), pytest.param("jmap", marks=pytest.mark.cyrus)])
def mailbox(request: pytest.FixtureRequest) -> Iterator[Mailbox]:
    sign_in = 'username = "alice"\npassword = { env = "MAIL_PASSWORD" }'
    if request.param == "pop3":
        needs_pop3()
        with Dovecot(pop3=True) as pop3:
            where = f'connector = "pop3"\nhost = "localhost"\nport = {pop3.pop3s_port}\nca_file = "{pop3.ca_file}"'
            yield Mailbox(
                f"{where}\n{sign_in}",
                dovecot.PASSWORD,
                lambda raw, at: pop3.deliver("alice", "INBOX", raw, mtime=at.timestamp()),
            )
    else:
        needs_cyrus()
        with Cyrus() as jmap:
            where = f'connector = "jmap"\nurl = "{jmap.url}"\nmailboxes = ["inbox"]'
            yield Mailbox(
                f"{where}\n{sign_in}", cyrus.PASSWORD, lambda raw, at: jmap.import_mail("alice", "inbox", raw, at)
            )


def test_older_mail_comes_by_backfill_in_order_with_its_files_and_nothing_is_missing(
    tmp_path: Path, sandbox: Sandbox, mailbox: Mailbox
) -> None:
    bag = Mailbag(seed=41, customers_count=10, begin=datetime(2026, 3, 1, 12, tzinfo=UTC))
    mailbox.fill(bag.more(MAILS, outgoing_share=0))
    seed_contacts(sandbox, bag)
    program = mailbox.program(tmp_path, sandbox, 'start = "now"')
    program.sync()
    assert sandbox.stats()["messagesStored"] == 0

    done = program.json("backfill", "support", "--since", SINCE)
    assert (done["state"], done["listed"], done["messages"], done["failed"]) == ("done", MAILS, MAILS, 0)
    assert_each_once_in_order(sandbox, bag)
    shown = json.dumps(sandbox.messages())
    assert [number for number in range(MAILS) if f'"{number}.pdf"' in shown] == [0, 10, 20, 30]
    audit = program.json("audit", "support", "--since", SINCE)
    assert (audit["missing"], audit["at_source"], audit["in_ledger"]) == (0, MAILS, MAILS)


def test_an_audit_names_what_was_missed_and_the_sweep_brings_it_in(
    tmp_path: Path, sandbox: Sandbox, mailbox: Mailbox
) -> None:
    bag = Mailbag(seed=42, customers_count=5, begin=datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5))
    mailbox.fill(bag.more(20, outgoing_share=0))
    program = mailbox.program(tmp_path, sandbox, 'start = "all"\nsweep_every = "1s"')
    program.sync()
    lost = forget(tmp_path / "ledger.db", 7)
    audit = program.json("audit", "support", "--since", "1d")
    assert audit["missing"] == 1
    assert lost in json.dumps(audit["examples"])
    daemon = program.daemon().ready()
    try:
        daemon.wait_for(lambda: sandbox.stats()["messagesStored"] == 21, "the sweep brings it in")
        daemon.wait_for(lambda: "sweep.ended" in daemon.log(), "and says so")
    finally:
        daemon.kill()


def test_a_jmap_server_that_tells_of_new_mail_need_not_be_polled_for_it(tmp_path: Path, sandbox: Sandbox) -> None:
    with ScriptedJmap() as server:
        server.has_events = True
        where = f'connector = "jmap"\nurl = "{server.url}"\ntoken = {{ env = "MAIL_PASSWORD" }}\nmailboxes = ["inbox"]'
        program = write_config(tmp_path, sandbox, f"[sources.support]\nevery = '1h'\nstart = \"all\"\n{where}")
        program.environ["MAIL_PASSWORD"] = "token-4711"
        daemon = program.daemon().ready()
        daemon.wait_for(lambda: server.listeners == 1, "it listens")
        server.add(b"From: a@example.net\r\nSubject: s\r\n\r\nhello\r\n", minutes=int(_minutes_to_now()))
        daemon.wait_for(lambda: sandbox.stats()["messagesStored"] == 1, "the mail is there")
        assert daemon.stop() == 0


# ---------------------------------------------------------------------------------------------------- signing in


def signed_in_by_hand(program: Program, provider: TokenServer, sandbox: Sandbox) -> None:
    """As an operator does it."""
    program.environ["CLIENT_SECRET"] = CLIENT_SECRET
    provider.approve()
    done = program.run("auth", "support")
    assert done.returncode == 0, done.stderr
    assert "support: signed in" in done.stdout
    program.sync()
    assert sandbox.stats()["messagesStored"] == 1
    assert MARK not in done.stdout + done.stderr


def oauth(provider: TokenServer) -> str:
    return f"""
[sources.support.oauth]
provider = "custom"
flow = "device"
client_id = "{CLIENT_ID}"
client_secret = {{ env = "CLIENT_SECRET" }}
token_url = "{provider.url}/token"
device_url = "{provider.url}/device"
"""


@pytest.mark.dovecot
def test_a_pop3_maildrop_is_signed_in_to_as_typed(tmp_path: Path, sandbox: Sandbox) -> None:
    needs_pop3()
    with TokenServer() as provider, Dovecot(pop3=True, introspection_url=f"{provider.url}/introspect") as server:
        server.deliver("alice", "INBOX", b"From: a@example.net\r\nSubject: s\r\n\r\nhello\r\n")
        where = f'connector = "pop3"\nhost = "127.0.0.1"\nport = {server.pop3_port}\ntls = "none"\nusername = "alice"'
        mailbox = Mailbox(where + oauth(provider), "", lambda _raw, _at: None)
        signed_in_by_hand(mailbox.program(tmp_path, sandbox, 'start = "all"'), provider, sandbox)


def test_a_jmap_mailbox_is_signed_in_to_as_typed(tmp_path: Path, sandbox: Sandbox) -> None:
    with TokenServer() as provider, ScriptedJmap() as server:
        server.token = lambda token: bool(provider.introspect(token)[1]["active"])
        server.add(b"From: a@example.net\r\nSubject: s\r\n\r\nhello\r\n", minutes=int(_minutes_to_now()))
        where = f'connector = "jmap"\nurl = "{server.url}"\nusername = "alice"\nmailboxes = ["inbox"]'
        mailbox = Mailbox(where + oauth(provider), "", lambda _raw, _at: None)
        signed_in_by_hand(mailbox.program(tmp_path, sandbox, 'start = "all"'), provider, sandbox)


def _minutes_to_now() -> float:
    """So that the mail is not older than what is delivered at all."""
    return (datetime.now(UTC) - datetime(2026, 3, 12, 14, 3, tzinfo=UTC)).total_seconds() / 60 - 5
