"""Backfill, audit and the sweep with the real program: what an operator types, a killed daemon, live mail meanwhile."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import (
    TOKEN,
    Program,
    assert_each_once_in_order,
    seed_contacts,
    write_config,
)
from tests.acceptance.test_main_job import imap_source, put
from tests.mailbag import Customer, Mailbag
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.postgres import Cluster

pytestmark = [pytest.mark.dovecot, pytest.mark.timeout(300)]
SINCE = "2026-01-01"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def mailbox() -> Iterator[Dovecot]:
    with Dovecot() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    return cluster.create_database()


def made(
    tmp_path: Path,
    sandbox: Sandbox,
    mailbox: Dovecot,
    *,
    ledger_url: str | None = None,
    inbox: str = "",
    more: str = "",
) -> Program:
    sources = imap_source(mailbox, start="now", more=more)
    program = write_config(tmp_path, sandbox, sources, ledger_url=ledger_url, inbox=inbox)
    program.environ["MAIL_PASSWORD"] = PASSWORD
    return program


def old_bag(count: int, *, seed: int = 21, customers_count: int = 40) -> Mailbag:
    bag = Mailbag(seed=seed, customers_count=customers_count, begin=datetime(2026, 3, 1, 12, tzinfo=UTC))
    bag.more(count)
    return bag


def test_a_dry_run_counts_what_then_happens_in_order_and_silently(
    tmp_path: Path, sandbox: Sandbox, mailbox: Dovecot, ledger_url: str
) -> None:
    bag = old_bag(300)
    put(mailbox, bag.mails)
    doubled = bag.mails[5]
    mailbox.deliver("alice", "Sent", doubled.raw, mtime=doubled.arrived_at.timestamp() + 1)
    seed_contacts(sandbox, bag)
    program = made(tmp_path, sandbox, mailbox, ledger_url=ledger_url, more="backfill_window = 60")
    program.sync()
    assert sandbox.stats()["messagesStored"] == 0

    told = program.json("backfill", "support", "--since", SINCE, "--dry-run")
    assert (told["listed"], told["messages"], told["skipped"]) == (301, 300, {"duplicate": 1})
    assert sandbox.stats()["messagesStored"] == 0
    assert program.json("backfill", "support", "--status")["state"] == "none"

    done = program.json("backfill", "support", "--since", SINCE)
    assert done["state"] == "done"
    assert (done["listed"], done["messages"], done["skipped"]) == (301, 300, {"duplicate": 1})
    assert (done["deliveries"], done["waiting"], done["failed"]) == (bag.deliveries(), 0, 0)
    assert_each_once_in_order(sandbox, bag)
    assert all(is_silent(sandbox))

    audit = program.json("audit", "support", "--since", SINCE)
    assert (audit["missing"], audit["at_source"], audit["in_ledger"]) == (0, 301, 301)
    again = program.json("backfill", "support", "--since", SINCE)
    assert (again["state"], again["messages"], again["known"]) == ("done", 0, 301)
    assert sandbox.stats()["messagesStored"] == bag.deliveries()


def is_silent(sandbox: Sandbox) -> list[bool]:
    return [bool(one.get("silent")) for conversation in sandbox.conversations() for one in conversation["messages"]]


def test_a_daemon_killed_again_and_again_goes_on_and_live_mail_overtakes(
    tmp_path: Path, sandbox: Sandbox, mailbox: Dovecot
) -> None:
    bag = old_bag(400, seed=22)
    put(mailbox, bag.mails)
    seed_contacts(sandbox, bag)
    program = made(tmp_path, sandbox, mailbox, inbox="lanes = 8", more="backfill_window = 40")
    program.sync()
    sandbox.fault("delay", call="messages.send", times=None, seconds=0.02)
    daemon = program.daemon().ready()
    following = subprocess.Popen(
        program.command("backfill", "support", "--since", SINCE),
        env=program._env(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        daemon.wait_for(lambda: stored(sandbox) > 20, "the backfill has begun")
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=60)
        assert "the daemon goes on with the backfill of support" in said
        assert "--stop" in said
        for kill in range(4):
            target = stored(sandbox) + 25
            daemon.wait_for(partial(has_stored, sandbox, target), "it goes on")
            daemon.kill()
            daemon = program.daemon().ready()
            if kill == 1:
                live = Mailbag(seed=23, customers_count=3, begin=datetime.now(UTC).replace(microsecond=0))
                live.customers = [Customer(one.number, (f"new{one.number}@example.com",)) for one in live.customers]
                much_to_do = sandbox.fault("delay", call="messages.send", times=None, seconds=0.5)
                put(mailbox, live.more(3, outgoing_share=0))
                daemon.wait_for(lambda: len(live_tokens(sandbox)) == 3, "live mail arrives")
                assert stored(sandbox) < bag.deliveries(), "it overtook the backfill"
                sandbox.clear_faults(much_to_do)
        daemon.wait_for(
            lambda: json.loads(program.run("backfill", "support", "--status", "--json").stdout)["state"] == "done",
            "the backfill is done",
        )
    finally:
        following.kill()
        daemon.kill()
    held = tokens_by_customer_of(sandbox, bag)
    assert held == bag.expected()
    assert program.json("audit", "support", "--since", SINCE)["missing"] == 0


def test_a_sync_typed_during_a_backfill_waits_for_live_mail_only_and_status_tells_of_it(
    tmp_path: Path, sandbox: Sandbox, mailbox: Dovecot
) -> None:
    bag = old_bag(200, seed=26)
    put(mailbox, bag.mails)
    program = made(tmp_path, sandbox, mailbox, inbox="lanes = 8")
    program.sync()
    sandbox.fault("delay", call="messages.send", times=None, seconds=1.0)
    daemon = program.daemon().ready()
    following = subprocess.Popen(
        program.command("backfill", "support", "--since", SINCE),
        env=program._env(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        daemon.wait_for(lambda: stored(sandbox) > 5, "the backfill has begun")
        live = Mailbag(seed=27, customers_count=3, begin=datetime.now(UTC).replace(microsecond=0))
        live.customers = [Customer(one.number, (f"new{one.number}@example.com",)) for one in live.customers]
        put(mailbox, live.more(3, outgoing_share=0))
        (told,) = rows(program.sync()["sources"])
        assert len(live_tokens(sandbox)) == 3
        assert told["pending"] == 0
        (running,) = rows(program.json("status")["backfills"])
        assert running["state"] == "bringing"
        assert "support: backfill since" in program.run("status").stdout
        assert stored(sandbox) < bag.deliveries(), "it did not wait for the backfill"
    finally:
        following.kill()
        following.wait()
        daemon.kill()


def stored(sandbox: Sandbox) -> int:
    return int(str(sandbox.stats()["messagesStored"]))


def has_stored(sandbox: Sandbox, count: int) -> bool:
    return stored(sandbox) > count


def live_tokens(sandbox: Sandbox) -> set[str]:
    return {
        token
        for conversation in sandbox.conversations()
        if any(str(email).startswith("new") for email in conversation["emails"])
        for message in conversation["messages"]
        for token in TOKEN.findall(str(message["text"]))
    }


def tokens_by_customer_of(sandbox: Sandbox, bag: Mailbag) -> dict[int, list[str]]:
    """As `tokens_by_customer`, of this bag's customers only."""
    of_address = {address: customer.number for customer in bag.customers for address in customer.addresses}
    held: dict[int, list[str]] = {}
    for conversation in sandbox.conversations():
        numbers = {of_address[address] for address in conversation["emails"] if address in of_address}
        for number in numbers:
            assert number not in held
            held[number] = [
                token for message in conversation["messages"] for token in TOKEN.findall(str(message["text"]))[:1]
            ]
    return held


def test_what_was_deleted_in_the_inbox_stays_deleted_with_cursors_reset_and_a_backfill(
    tmp_path: Path, sandbox: Sandbox, mailbox: Dovecot
) -> None:
    """D16. Also within --limit and --until."""
    bag = old_bag(30, seed=24)
    put(mailbox, bag.mails)
    program = made(tmp_path, sandbox, mailbox)
    assert program.run("backfill", "support", "--since", SINCE, "--dry-run").returncode != 0, "nothing was polled yet"
    program.sync()
    done = program.json("backfill", "support", "--since", SINCE, "--limit", "10")
    assert (done["messages"], done["left_out"], done["state"]) == (10, 20, "done")
    assert len(sandbox.conversations()) > 5
    sandbox.reset()  # somebody deleted them all
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("UPDATE streams SET cursor = NULL, complete_until = NULL, first_loaded_at = NULL")
    db.close()
    mailbox.renumber("alice", "INBOX")
    program.sync()
    until = bag.mails[10].arrived_at.isoformat()
    done = program.json("backfill", "support", "--since", SINCE, "--until", until)
    assert done["messages"] == 0
    assert sandbox.conversations() == []
    assert program.run("backfill", "support").returncode == 1, "there is none to go on with"
    assert "is done" in program.run("backfill", "support", "--status").stdout


def test_an_audit_names_a_mail_that_was_left_out_and_the_sweep_brings_it_in(
    tmp_path: Path, sandbox: Sandbox, mailbox: Dovecot
) -> None:
    bag = Mailbag(seed=25, begin=datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5))
    put(mailbox, bag.more(20, outgoing_share=0))
    program = write_config(tmp_path, sandbox, imap_source(mailbox, start="all", more='sweep_every = "1s"'))
    program.environ["MAIL_PASSWORD"] = PASSWORD
    program.sync()
    lost = forget(tmp_path / "ledger.db", 7)
    mailbox.expunge("alice", "INBOX", "UID", "4")

    typed = program.run("audit", "support", "--since", "1d")
    assert typed.returncode == 1, typed.stdout + typed.stderr
    flat = " ".join(typed.stdout.split())
    assert "1 missing" in flat
    assert "no longer listed" in flat
    audit = program.json("audit", "support", "--since", "1d")
    assert (audit["at_source"], audit["in_ledger"], audit["missing"]) == (19, 19, 1)
    lines = {(line["side"], line["what"], line["reason"]): line["count"] for line in rows(audit["lines"])}
    assert lines == {
        ("source", "delivered", ""): 18,
        ("source", "missing", ""): 1,
        ("ledger", "still listed", "delivered"): 18,
        ("ledger", "no longer listed", "delivered"): 1,
    }
    assert [one["external_id"] for one in rows(audit["examples"]) if one["what"] == "missing"] == [lost]

    daemon = program.daemon().ready()
    try:
        daemon.wait_for(lambda: sandbox.stats()["messagesStored"] == 21, "the sweep brings it in")
        daemon.wait_for(lambda: "sweep.ended" in daemon.log(), "and says so")
        (source,) = rows(program.json("status")["sources"])
        assert source["swept_at"] is not None
        assert program.run("audit", "support", "--since", "1d").returncode == 0
    finally:
        daemon.kill()
    (message,) = [one for one in rows(program.json("message", "list")["messages"]) if one["external_id"] == lost]
    assert rows(message["deliveries"])[0]["state"] == "sent"


def rows(found: object) -> list[dict[str, object]]:
    assert isinstance(found, list)
    return found


def forget(ledger: Path, number: int) -> str:
    """Takes a message out of the ledger as if the cursor had passed it unseen; its id at the service."""
    with sqlite3.connect(ledger) as db:
        (message_id, external_id) = db.execute(
            "SELECT id, external_id FROM messages ORDER BY id LIMIT 1 OFFSET ?", (number,)
        ).fetchone()
        for table in ("payloads", "deliveries"):
            db.execute(f"DELETE FROM {table} WHERE message_id = ?", (message_id,))
        db.execute("DELETE FROM messages WHERE id = ?", (message_id,))
    db.close()
    return str(external_id)
