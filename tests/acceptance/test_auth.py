"""`inbox-sync auth` as typed, with the real program, a real Dovecot and a provider on loopback."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import Program, write_config
from tests.servers.dovecot import Dovecot, needs_dovecot
from tests.servers.token_server import CLIENT_ID, CLIENT_SECRET, MARK, TokenServer

pytestmark = pytest.mark.dovecot

KILLS = 5


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def provider() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


@pytest.fixture
def mailbox(provider: TokenServer) -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot(introspection_url=f"{provider.url}/introspect") as running:
        yield running


@pytest.fixture
def program(tmp_path: Path, sandbox: Sandbox, provider: TokenServer, mailbox: Dovecot) -> Program:
    return configured(tmp_path, sandbox, provider, mailbox)


def configured(
    folder: Path, sandbox: Sandbox, provider: TokenServer, mailbox: Dovecot, flow: str = "device"
) -> Program:
    source = f"""
[sources.support]
connector = "imap"
every = "300ms"
start = "all"
order_wait_seconds = "1s"
park_probe_seconds = "1h"
host = "127.0.0.1"
port = {mailbox.imap_port}
tls = "none"
username = "alice"
folders = ["INBOX"]
push = false

[sources.support.oauth]
provider = "custom"
flow = "{flow}"
client_id = "{CLIENT_ID}"
client_secret = {{ env = "CLIENT_SECRET" }}
token_url = "{provider.url}/token"
device_url = "{provider.url}/device"
authorize_url = "{provider.url}/authorize"
"""
    program = write_config(folder, sandbox, source, daemon='log_level = "debug"')
    program.environ["CLIENT_SECRET"] = CLIENT_SECRET
    return program


def put(mailbox: Dovecot, text: str) -> None:
    mailbox.deliver("alice", "INBOX", f"From: a@example.net\r\nSubject: s\r\n\r\n{text}\r\n".encode())


def stored(sandbox: Sandbox) -> int:
    return int(sandbox.stats()["messagesStored"])


def kept(program: Program) -> dict[str, str]:
    with sqlite3.connect(f"file:{program.folder}/ledger.db?mode=ro", uri=True) as ledger:
        row = ledger.execute("SELECT value FROM tokens").fetchone()
    value = json.loads(row[0]) if row else {}
    assert isinstance(value, dict)
    return value


def is_rotated(program: Program, before: str) -> bool:
    return kept(program)["refresh_token"] != before


def test_signed_in_by_hand_without_a_daemon(
    program: Program, provider: TokenServer, mailbox: Dovecot, sandbox: Sandbox
) -> None:
    put(mailbox, "hello")
    before = program.run("sync")
    assert before.returncode == 1
    assert "inbox-sync auth" in before.stdout + before.stderr
    provider.approve()
    done = program.run("auth", "support")
    assert done.returncode == 0, done.stderr
    assert "ABCD-EFGH" in done.stderr
    assert f"{provider.url}/activate" in done.stderr
    assert "support: signed in" in done.stdout
    program.sync()
    assert stored(sandbox) == 1
    for token in (*kept(program).values(), CLIENT_SECRET):
        assert token not in done.stdout + done.stderr


def test_signed_in_through_the_daemon_a_parked_source_is_tried_at_once_and_no_token_is_shown(
    program: Program, provider: TokenServer, mailbox: Dovecot, sandbox: Sandbox
) -> None:
    put(mailbox, "hello")
    daemon = program.daemon().ready()
    daemon.wait_for(
        lambda: "oauth.sign_in_needed" in json.dumps(program.json("status")), "the source says what it needs"
    )
    provider.approve()
    done = program.run("auth", "support", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["signed_in"] is True
    daemon.wait_for(lambda: stored(sandbox) == 1, "the mail is there")
    shown = daemon.log() + done.stdout + json.dumps(program.json("status")) + json.dumps(program.json("source", "list"))
    assert daemon.stop() == 0
    assert MARK not in shown
    assert CLIENT_SECRET not in shown


def test_s21_killed_right_after_a_rotation_the_new_token_works(
    program: Program, provider: TokenServer, mailbox: Dovecot, sandbox: Sandbox
) -> None:
    provider.lifetime_seconds = 1
    provider.approve()
    assert program.run("auth", "support").returncode == 0
    for number in range(KILLS):
        before = kept(program)["refresh_token"]
        put(mailbox, f"mail {number}")
        provider.expire()
        daemon = program.daemon()
        daemon.wait_for(partial(is_rotated, program, before), "the token was rotated")
        daemon.kill()
        assert kept(program)["refresh_token"] in provider.live_refresh_tokens
    provider.expire()
    program.sync()
    assert stored(sandbox) == KILLS


def test_revoked_is_told_once_and_signing_in_again_mends_it(
    program: Program, provider: TokenServer, mailbox: Dovecot, sandbox: Sandbox
) -> None:
    provider.approve()
    assert program.run("auth", "support").returncode == 0
    provider.revoke()
    put(mailbox, "hello")
    daemon = program.daemon().ready()
    daemon.wait_for(lambda: "oauth.revoked" in json.dumps(program.json("status")), "status says it")
    assert daemon.log().count('"oauth.revoked"') <= 2, "once in the pass's line, once as the alert"
    assert program.run("auth", "support").returncode == 0
    daemon.wait_for(lambda: stored(sandbox) == 1, "the mail is there")
    assert daemon.stop() == 0


def test_the_browsers_last_address_is_pasted(
    tmp_path: Path, sandbox: Sandbox, provider: TokenServer, mailbox: Dovecot
) -> None:
    program = configured(tmp_path, sandbox, provider, mailbox, flow="browser")
    typed = subprocess.Popen(
        program.command("auth", "support"),
        env=program._env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with typed:
        assert typed.stderr is not None
        said = ""
        while (found := re.search(rf"{provider.url}/authorize\S+", said)) is None:
            line = typed.stderr.readline()
            assert line, said
            said += line
        out, _err = typed.communicate(provider.browse(found.group()) + "\n", timeout=60)
    assert typed.returncode == 0
    assert "support: signed in" in out


@pytest.mark.parametrize(
    ("source", "says"), [("suport", 'there is no source "suport"'), ("", "there is no source")], ids=["wrong", "empty"]
)
def test_a_source_that_does_not_exist_is_named(program: Program, source: str, says: str) -> None:
    done = program.run("auth", source)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_declined_sign_in_ends_with_a_sentence(program: Program, provider: TokenServer) -> None:
    provider.decline()
    provider.slow_down_times = 0
    done = program.run("auth", "support")
    assert done.returncode == 1
    assert "declined" in done.stderr
