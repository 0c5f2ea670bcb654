"""POP3 and JMAP, from real servers into the sandbox with the real program, which is killed in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import Program, assert_each_once_in_order, seed_contacts, write_config
from tests.mailbag import Mail, Mailbag
from tests.servers import cyrus, dovecot
from tests.servers.cyrus import Cyrus, needs_cyrus
from tests.servers.dovecot import Dovecot, needs_pop3

MAILS = 150
LATER = 20


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def received(mail: Mail, number: int) -> bytes:
    """As the last server passes it on: with the time of its arrival, and different from every other mail."""
    return f"Received: from a by b id {number}; {format_datetime(mail.arrived_at)}\r\n".encode() + mail.raw


def killed_in_the_middle(program: Program, sandbox: Sandbox, bag: Mailbag) -> None:
    """Runs until everything is there, with one kill -9 on the way."""
    daemon = program.daemon()
    daemon.wait_for(partial(stored, sandbox, bag.deliveries() // 3), "a third is there")
    daemon.kill()
    program.sync()
    assert_each_once_in_order(sandbox, bag)


def stored(sandbox: Sandbox, count: int) -> bool:
    return sandbox.stats()["messagesStored"] >= count


@pytest.mark.dovecot
def test_a_pop3_maildrop_arrives_once_and_in_order(tmp_path: Path, sandbox: Sandbox) -> None:
    needs_pop3()
    with Dovecot(pop3=True) as server:
        bag = Mailbag(seed=31, customers_count=20)

        def put(count: int) -> None:
            for number, mail in enumerate(bag.more(count, outgoing_share=0)):
                server.deliver("alice", "INBOX", received(mail, number), mtime=mail.arrived_at.timestamp())

        put(MAILS)
        seed_contacts(sandbox, bag)
        source = f"""
[sources.support]
connector = "pop3"
every = "500ms"
start = "all"
host = "localhost"
port = {server.pop3s_port}
ca_file = "{server.ca_file}"
username = "alice"
password = {{ env = "MAIL_PASSWORD" }}
"""
        program = write_config(tmp_path, sandbox, source)
        program.environ["MAIL_PASSWORD"] = dovecot.PASSWORD
        killed_in_the_middle(program, sandbox, bag)
        put(LATER)
        program.sync()
        assert_each_once_in_order(sandbox, bag)
        assert set(server.flags("alice").values()) <= {"new:", "cur:"}, "nothing is marked as read"


@pytest.mark.cyrus
def test_a_jmap_account_arrives_once_and_in_order_across_its_mailboxes(tmp_path: Path, sandbox: Sandbox) -> None:
    needs_cyrus()
    with Cyrus() as server:
        bag = Mailbag(seed=32, customers_count=20)

        def put(count: int) -> None:
            for number, mail in enumerate(bag.more(count)):
                server.import_mail("alice", mail.folder.lower(), received(mail, number), mail.arrived_at)

        put(MAILS)
        seed_contacts(sandbox, bag)
        source = f"""
[sources.support]
connector = "jmap"
every = "500ms"
start = "all"
order_wait_seconds = "2s"
url = "{server.url}"
username = "alice"
password = {{ env = "MAIL_PASSWORD" }}
"""
        program = write_config(tmp_path, sandbox, source)
        program.environ["MAIL_PASSWORD"] = cyrus.PASSWORD
        killed_in_the_middle(program, sandbox, bag)
        put(LATER)
        program.sync()
        assert_each_once_in_order(sandbox, bag)
        assert "$seen" not in str(server.emails("alice")), "nothing is marked as read"
