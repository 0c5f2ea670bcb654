"""The main job against a real Dovecot, the sandbox, and the real program: what "done" means."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from sync.message import Json
from sync.sandbox import Sandbox
from tests.acceptance.harness import (
    Program,
    assert_each_once_in_order,
    seed_contacts,
    tokens_by_customer,
    write_config,
)
from tests.mailbag import Mail, Mailbag
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.postgres import Cluster

pytestmark = [pytest.mark.dovecot, pytest.mark.timeout(600)]

MAILS = 2000
KILLS = 20


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Dovecot]:
    with Dovecot() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    return cluster.create_database()


def imap_source(mailbox: Dovecot, *, start: str = "all", every: str = "500ms", more: str = "") -> str:
    return f"""
[sources.support]
connector = "imap"
every = "{every}"
start = "{start}"
order_wait_seconds = "2s"
host = "localhost"
port = {mailbox.imaps_port}
ca_file = "{mailbox.ca_file}"
username = "alice"
password = {{ env = "MAIL_PASSWORD" }}
folders = ["INBOX", "\\\\Sent"]
{more}
"""


def put(mailbox: Dovecot, mails: list[Mail]) -> None:
    for mail in mails:
        mailbox.deliver("alice", mail.folder, mail.raw, mtime=mail.arrived_at.timestamp())


def made(tmp_path: Path, sandbox: Sandbox, sources: str, ledger_url: str, **more: str) -> Program:
    program = write_config(tmp_path, sandbox, sources, ledger_url=ledger_url, **more)
    program.environ["MAIL_PASSWORD"] = PASSWORD
    return program


def bodies_fetched(mailbox: Dovecot) -> int:
    return sum("BODY.PEEK[]" in line for line in mailbox.commands("alice"))


def test_two_thousand_mails_arrive_once_in_order_across_both_folders(
    tmp_path: Path, sandbox: Sandbox, mailbox: Dovecot, ledger_url: str
) -> None:
    bag = Mailbag(seed=11, customers_count=150)
    put(mailbox, bag.more(MAILS))
    seed_contacts(sandbox, bag)
    program = made(tmp_path, sandbox, imap_source(mailbox), ledger_url)

    program.sync(timeout_seconds=300)
    assert_each_once_in_order(sandbox, bag)
    assert len(sandbox.contacts()) == len(bag.expected())

    mailbox.forget_commands("alice")
    sent_before = sandbox.stats()["messagesStored"]
    program.sync()
    assert sandbox.stats()["messagesStored"] == sent_before
    assert bodies_fetched(mailbox) == 0

    put(mailbox, bag.more(50))
    program.sync()
    assert sandbox.stats()["messagesStored"] == bag.deliveries()
    assert_each_once_in_order(sandbox, bag)

    mailbox.renumber("alice", "INBOX")
    mailbox.renumber("alice", "Sent")
    mailbox.forget_commands("alice")
    program.sync()
    assert sandbox.stats()["messagesStored"] == bag.deliveries()
    assert bodies_fetched(mailbox) == 0

    put(mailbox, bag.more(1, outgoing_share=0))
    program.sync()
    assert_each_once_in_order(sandbox, bag)


def test_start_now_sends_nothing_of_a_full_mailbox_and_then_only_what_is_new(
    tmp_path: Path, sandbox: Sandbox, mailbox: Dovecot, ledger_url: str
) -> None:
    old = Mailbag(seed=12)
    put(mailbox, old.more(500))
    program = made(tmp_path, sandbox, imap_source(mailbox, start="now"), ledger_url)
    program.sync()
    assert sandbox.stats()["messagesStored"] == 0

    new = Mailbag(seed=13, begin=datetime.now(UTC).replace(microsecond=0))
    put(mailbox, new.more(20))
    seed_contacts(sandbox, new)
    program.sync()
    assert_each_once_in_order(sandbox, new)
    mailbox.renumber("alice", "INBOX")
    program.sync()
    assert_each_once_in_order(sandbox, new)


@pytest.mark.parametrize("faulty", [False, True], ids=["fair", "faulty"])
def test_kill_9_at_random_moments_changes_nothing(
    tmp_path: Path, sandbox: Sandbox, mailbox: Dovecot, ledger_url: str, faulty: bool
) -> None:
    chance = random.Random(f"{faulty}{ledger_url[:8]}")
    bag = Mailbag(seed=14, customers_count=60)
    put(mailbox, bag.more(300))
    seed_contacts(sandbox, bag)
    program = made(tmp_path, sandbox, imap_source(mailbox), ledger_url, inbox="lanes = 8")
    sandbox.fault("delay", call="messages.send", times=None, seconds=0.02)
    if faulty:
        add_faults(sandbox)
    for _ in range(KILLS):
        daemon = program.daemon()
        stored = sandbox.stats()["messagesStored"]
        goal = stored + chance.randrange(1, 60)
        daemon.wait_for(partial(stored_at_least, sandbox, min(goal, bag.deliveries())), "some more messages")
        daemon.kill()
        put(mailbox, bag.more(chance.randrange(0, 25)))
    sandbox.clear_faults()
    daemon = program.daemon().ready()
    daemon.wait_for(
        lambda: sum(len(tokens) for tokens in tokens_by_customer(sandbox, bag).values()) >= bag.deliveries(),
        "everything is there",
    )
    daemon.wait_for(lambda: nothing_open(program), "nothing is left on the way")
    assert daemon.stop() == 0
    assert_each_once_in_order(sandbox, bag)


FAULTS: tuple[tuple[str, dict[str, Json]], ...] = (
    ("drop_after_store", {}),
    ("reset_before_store", {}),
    ("reset_after_store", {}),
    ("status", {"status": 503}),
    ("status", {"status": 500, "stored": True}),
    ("status", {"status": 429, "retry_after": 1}),
    ("truncate", {"part": "body"}),
    ("late_commit", {"seconds": 1.0}),
    ("slow_list", {"seconds": 1.0}),
)


def add_faults(sandbox: Sandbox) -> None:
    """Each once in a while, for ever: the sandbox on a bad day."""
    for number, (action, more) in enumerate(FAULTS):
        sandbox.fault(action, call="messages.send", times=None, probability=0.02, seed=number, **more)


def stored_at_least(sandbox: Sandbox, count: int) -> bool:
    return sandbox.stats()["messagesStored"] >= count


def nothing_open(program: Program) -> bool:
    status = program.json("status")
    inboxes = status["inboxes"]
    assert isinstance(inboxes, list)
    counts = inboxes[0]["deliveries"]
    return all(counts[state] == 0 for state in ("pending", "sending", "unknown"))
