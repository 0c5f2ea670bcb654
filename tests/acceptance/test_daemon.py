"""The daemon as systemd and its operator meet it: real processes, real signals, a real socket."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sync.control import MAX_CONNECTIONS, MAX_REQUEST_BYTES
from tests.acceptance.harness import Systemd, wait_for
from tests.acceptance.small import Small, mail, small_site
from tests.servers.imap_script import ScriptedImap, Silence
from tests.servers.postgres import Cluster

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


# ---------------------------------------------------------------------------------------------------- systemd


@pytest.mark.parametrize("abstract", [False, True], ids=["file", "abstract"])
def test_systemd_hears_ready_status_and_stopping(small: Small, abstract: bool) -> None:
    address = f"@inbox-sync-{small.folder}" if abstract else str(small.folder / "notify")
    with contextlib.closing(Systemd(address)) as systemd:
        daemon = small.start(ready=False, NOTIFY_SOCKET=address)
        daemon.wait_for(lambda: "READY=1" in systemd.told, "systemd hears READY=1")
        assert f"MAINPID={daemon.process.pid}" in systemd.told
        assert "STATUS=1 source, 1 inbox" in systemd.told
        assert "STOPPING=1" not in systemd.told
        assert daemon.stop() == 0
        wait_for(lambda: "STOPPING=1" in systemd.told, "systemd hears STOPPING=1")
        assert systemd.told.index("READY=1") < systemd.told.index("STOPPING=1")


def test_the_watchdog_is_fed_although_every_pass_hangs(small: Small) -> None:
    address = str(small.folder / "notify")
    with ScriptedImap() as server, contextlib.closing(Systemd(address)) as systemd:
        server.on("LOGIN", Silence)
        small.configure(silent_source(server), daemon="max_passes = 1")
        daemon = small.start(NOTIFY_SOCKET=address, WATCHDOG_USEC="4000000")
        daemon.wait_for(lambda: server.commands, "the pass hangs")
        before = systemd.told.count("WATCHDOG=1")
        daemon.wait_for(lambda: systemd.told.count("WATCHDOG=1") >= before + 6, "fed for more than its time")
        assert "watchdog.not_fed" not in daemon.log()
        daemon.kill()


# ---------------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_on_the_wire_come_back_and_ends_with_0(small: Small, asked: signal.Signals) -> None:
    small.sandbox.fault("delay", call="messages.send", seconds=1.0, times=None)
    small.configure(inbox="lanes = 1")
    tokens = [f"T{number:06d}" for number in range(1, 5)]
    for number, token in enumerate(tokens):
        small.put(token, f"c{number}@example.com")
    daemon = small.start()
    daemon.wait_for(lambda: on_the_wire(small), "a send is on the wire")
    daemon.process.send_signal(asked)
    assert daemon.process.wait(40) == 0, daemon.log()
    sent = small.sent()
    assert 1 <= len(sent) < len(tokens)
    counts = small.inbox()["deliveries"]
    assert (counts["sent"], counts["sending"], counts["unknown"]) == (len(sent), 0, 0)
    assert not small.socket.exists()
    small.sandbox.clear_faults()
    small.type("sync").ok()
    assert sorted(small.sent()) == tokens


def on_the_wire(small: Small) -> bool:
    return any(one["call"] == "messages.send" and one["finishedAt"] is None for one in small.sandbox.journal())


def test_a_running_pass_holds_the_end_up_no_longer_than_the_grace(small: Small) -> None:
    with ScriptedImap() as server:
        server.on("LOGIN", Silence)
        small.configure(silent_source(server), grace="1s")
        daemon = small.start()
        daemon.wait_for(lambda: server.commands, "the pass hangs")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(40) == 0, daemon.log()


def silent_source(server: ScriptedImap, *, pass_timeout: str = "300s") -> str:
    return scripted_source("hanging", server, pass_timeout=pass_timeout)


def scripted_source(name: str, server: ScriptedImap, *, pass_timeout: str = "300s") -> str:
    return f"""
[sources.{name}]
connector = "imap"
every = "200ms"
start = "all"
pass_timeout_seconds = "{pass_timeout}"
host = "127.0.0.1"
port = {server.port}
tls = "none"
username = "alice"
password = {{ env = "MAIL_PASSWORD" }}
folders = ["INBOX"]
push = false
"""


# ---------------------------------------------------------------------------------------------------- passes


def test_a_pass_that_hangs_is_abandoned_and_others_go_on(small: Small) -> None:
    with ScriptedImap() as server:
        server.on("LOGIN", Silence)
        small.configure(silent_source(server, pass_timeout="700ms"), small.maildir(), daemon="max_passes = 2")
        small.put("T000001")
        daemon = small.start()
        small.wait_sent("T000001")
        daemon.wait_for(lambda: small.source("hanging")["state"] == "failing", "the pass is abandoned")
        fault = small.source("hanging")["fault"]
        assert fault is not None
        assert fault["code"] == "source.pass_abandoned"
        daemon.wait_for(lambda: server.connections >= 2, "it is tried again")
        assert small.source("mail")["state"] == "ok"
        server.folder("INBOX").add(b"From: <d@example.com>\nMessage-ID: <2@x>\nSubject: s\n\nT000002 hello\n")
        server.calm()
        small.wait_sent("T000001", "T000002")
        daemon.wait_for(lambda: small.source("hanging")["state"] == "ok", "it is well again")
        assert daemon.stop() == 0


def test_a_paused_source_is_not_polled_until_it_is_resumed(small: Small) -> None:
    small.configure(small.maildir(), small.maildir("other"))
    daemon = small.start()
    small.type("source", "pause", "mail").ok().shows("mail is not polled any more")
    assert small.source("mail")["paused"]
    small.put("T000001")
    small.put("T000002", "d@example.com", into="other")
    small.wait_sent("T000002")
    named = small.type("sync", "--source", "mail")
    assert named.code == 1
    named.shows("source.paused", "mail is paused", "inbox-sync source resume mail")
    small.type("sync").ok()
    assert small.sent() == ["T000002"]
    small.type("source", "resume", "mail").ok()
    small.wait_sent("T000001", "T000002")
    assert daemon.stop() == 0


# ---------------------------------------------------------------------------------------------------- one daemon


def test_a_second_daemon_is_refused_and_a_killed_one_leaves_nothing_in_the_way(small: Small) -> None:
    first = small.start()
    small.type("run").refused(69, "ledger.locked", str(small.ledger), f"process {first.process.pid} on")
    small.type("db", "upgrade").refused(69, "ledger.locked", f"process {first.process.pid} on")
    first.kill()
    assert small.socket.exists()
    second = small.start()
    answered = small.type("status", "--json").ok().json()["daemon"]
    assert isinstance(answered, dict)
    assert answered["pid"] == second.process.pid
    small.put("T000001")
    small.wait_sent("T000001")
    assert second.stop() == 0


def test_a_sync_that_cannot_ask_the_daemon_is_refused_with_who_it_is_and_since_when(small: Small) -> None:
    earliest = datetime.now(UTC)
    daemon = small.start()
    latest = datetime.now(UTC)
    small.configure(daemon=f'control_socket = "{small.folder}/other.sock"')
    refused = small.type("sync").refused(69, "ledger.locked", f"process {daemon.process.pid} on")
    said = " ".join(refused.err.split())
    assert any(f"started {day:%Y-%m-%dT}" in said for day in (earliest, latest))
    assert daemon.stop() == 0


def test_a_restart_after_kill_9_waits_for_no_lease_and_for_no_answer(small: Small) -> None:
    """The lease lasts an hour, and the answer to what was on the wire is due in over a minute: longer than is waited."""
    small.configure(inbox='connect_timeout_seconds = "60s"')
    small.config.write_text(small.config.read_text().replace('lease_seconds = "3s"', 'lease_seconds = "1h"'))
    small.sandbox.fault("hang_before_store", call="messages.send", seconds=120)
    small.put("T000001")
    killed = small.start()
    wait_for(lambda: on_the_wire(small), "it is on the wire")
    killed.kill()
    small.put("T000002", sender="Other <c2@example.com>")
    second = small.start()
    small.wait_sent("T000001", "T000002")
    assert second.stop() == 0


@pytest.mark.postgres
def test_a_sync_beside_the_daemon_of_another_machine_leaves_the_work_to_it(
    small: Small, postgres_cluster: Cluster
) -> None:
    url = postgres_cluster.create_database()
    small.configure(ledger_url=url, daemon=f'control_socket = "{small.folder}/one.sock"')
    daemon = small.start()
    small.put("T000001")
    small.wait_sent("T000001")
    small.configure(ledger_url=url, daemon=f'control_socket = "{small.folder}/other.sock"')
    small.type("sync").ok()
    named = small.type("sync", "--source", "mail")
    assert named.code == 75
    named.shows("source.held_elsewhere", "another daemon polls mail")
    small.put("T000002")
    small.type("sync").ok()
    small.wait_sent("T000001", "T000002")
    assert daemon.stop() == 0


# ---------------------------------------------------------------------------------------------------- reading again


def test_sighup_keeps_the_old_configuration_or_takes_the_new_one(small: Small) -> None:
    daemon = small.start()
    good = small.config.read_text()
    small.config.write_text(good.replace("connector =", "conector ="))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(lambda: "daemon.not_reloaded" in daemon.log(), "the bad file is refused")
    assert 'did you mean \\"connector\\"' in daemon.log()
    small.put("T000001")
    small.wait_sent("T000001")
    small.type("reload").refused(78, "config.invalid", 'did you mean "connector"')
    small.type("message", "list").ok().shows("mail")

    small.configure(small.maildir(), small.maildir("fresh"))
    small.put("T000002", "d@example.com", into="fresh")
    small.type("check").ok().shows("inbox-sync reload", "source fresh")
    daemon.process.send_signal(signal.SIGHUP)
    small.wait_sent("T000001", "T000002")
    small.put("T000003", "e@example.com", into="fresh")
    small.type("sync", "--source", "fresh").ok().shows("fresh")
    assert "T000003" in small.sent()
    assert "inbox-sync reload" not in small.type("check").ok().out

    small.configure(small.maildir("fresh"))
    small.type("reload").ok().shows("removed: mail")
    assert small.source("mail")["state"] == "removed"
    assert daemon.stop() == 0


def test_a_reload_does_not_touch_the_sources_that_did_not_change(small: Small) -> None:
    with ScriptedImap() as kept, ScriptedImap() as hanging:
        hanging.on("LOGIN", Silence)
        stays = scripted_source("stays", kept)
        small.configure(stays, small.maildir())
        daemon = small.start(NOTIFY_SOCKET=str(small.folder / "nobody"))
        daemon.wait_for(lambda: small.source("stays")["last_good_pass_at"], "the first pass")
        small.configure(stays, scripted_source("hangs", hanging), small.maildir("fresh"))
        small.type("reload").ok().shows("removed: mail", "fresh", "hangs")
        daemon.wait_for(lambda: hanging.commands, "the new source hangs in its sign-in")
        small.configure(stays, small.maildir("fresh"), small.maildir())
        small.type("reload").ok().shows("removed: hangs")
        small.put("T000001", "d@example.com", into="fresh")
        small.put("T000002", "e@example.com")
        kept.folder("INBOX").add(mail("T000003", "f@example.com"))
        small.wait_sent("T000001", "T000002", "T000003")
        assert kept.connections == 1, "its connection was kept through both reloads"
        assert daemon.stop() == 0


def test_an_inbox_is_exchanged_while_its_sources_go_on(small: Small) -> None:
    small.configure(every="50ms")
    daemon = small.start()
    tokens = [f"T{number:06d}" for number in range(1, 13)]
    for number, token in enumerate(tokens):
        small.put(token, f"c{number % 5}@example.com")
        if number % 3 == 0:
            small.configure(every="50ms", inbox=f"lanes = {number + 1}")
            small.type("reload").ok().shows("changed: main")
    small.wait_sent(*tokens)
    assert "bug" not in daemon.log()
    assert daemon.stop() == 0


@pytest.mark.parametrize("fault", ["misspelt key", "missing secret", "no inbox", "no TOML"])
def test_30_reload_with_a_bad_configuration_keeps_the_old_one_says_so_and_fails(small: Small, fault: str) -> None:
    daemon = small.start()
    good = small.config.read_text()
    bad = {
        "misspelt key": good.replace("connector =", "conector ="),
        "missing secret": good.replace("WIX_KEY", "NO_SUCH_KEY"),
        "no inbox": good.replace("[inbox.main]", "[outbox.main]"),
        "no TOML": good + "\n[[[",
    }
    small.config.write_text(bad[fault])
    refused = small.type("reload")
    assert refused.code == 78, refused.out + refused.err
    assert "next step: " in refused.err
    assert "Traceback" not in refused.err
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(lambda: "daemon.not_reloaded" in daemon.log(), "the log says that the old one is kept")
    small.put("T000001")  # it goes on as before
    small.wait_sent("T000001")
    small.config.write_text(good)
    small.type("reload").ok()
    assert daemon.stop() == 0


# ---------------------------------------------------------------------------------------------------- commands


def test_typed_commands_work_with_secrets_that_only_the_daemon_has(small: Small) -> None:
    secrets = small.folder / "credentials"
    secrets.mkdir()
    (secrets / "main_api_key").write_text("sandbox-api-key\n")
    small.configure(key='{ credential = "main_api_key" }', every="1h")
    small.type("sync").refused(78, "config.invalid", "exists only inside the systemd unit")
    small.daemon_environ["CREDENTIALS_DIRECTORY"] = str(secrets)
    daemon = small.start()
    daemon.wait_for(lambda: small.source("mail")["last_good_pass_at"], "the first pass")

    small.type("check").ok().shows("the Inbox answers and accepts the credentials", "source mail")
    small.put("T000001")
    shown = small.type("sync", "--dry-run", "--json").ok()
    assert [(row["verdict"], row["participants"]) for row in shown.rows("previews")] == [("new", ["c1@example.com"])]
    assert small.sent() == []
    small.type("sync").ok()
    assert small.sent() == ["T000001"]
    [message] = small.type("message", "list", "--json").ok().rows("messages")
    small.type("message", "show", str(message["id"])).ok().shows("sent")
    retried = small.type("message", "retry", str(message["id"]))
    assert retried.code == 1, retried.out
    small.type("source", "pause", "mail").ok()
    small.type("source", "resume", "mail").ok()
    small.type("reload").ok().shows("nothing has changed")
    small.type("status").ok().shows("running for", f"pid {daemon.process.pid}")
    assert "sandbox-api-key" not in daemon.log()
    assert daemon.stop() == 0


def test_a_sync_through_the_daemon_tells_its_progress(small: Small) -> None:
    small.configure(every="1h")
    daemon = small.start()
    daemon.wait_for(lambda: small.source("mail")["last_good_pass_at"], "the first pass")
    small.put("T000001")
    frames = ask(small, b'{"command": "sync", "args": {}}\n')
    assert {frame["progress"]["stage"] for frame in frames[:-1]} == {"polling", "delivering"}
    assert frames[-1]["result"]["ok"]
    assert small.sent() == ["T000001"]
    assert daemon.stop() == 0


def test_a_refused_delivery_is_retried_and_a_waiting_one_dropped_through_the_daemon(small: Small) -> None:
    small.sandbox.fault("status", call="messages.send", status=400, code="INVALID_ARGUMENT", text="T000001", times=None)
    small.configure(lane_hold="500ms")
    small.put("T000001")
    daemon = small.start()
    daemon.wait_for(lambda: small.inbox()["deliveries"]["dead"] == 1, "the delivery is dead")
    [message] = small.type("message", "list", "--failed", "--json").ok().rows("messages")
    small.sandbox.clear_faults()
    small.type("message", "retry", str(message["id"])).ok()
    small.wait_sent("T000001")

    small.sandbox.stop()
    small.put("T000002")
    daemon.wait_for(lambda: small.inbox()["state"] == "parked", "the inbox is parked")
    small.type("message", "drop", "--state", "pending", "--yes").ok()
    small.sandbox.start()
    daemon.wait_for(lambda: small.inbox()["state"] == "ok", "the inbox is well again")
    assert small.inbox()["deliveries"]["skipped"] == 1
    assert small.sent() == ["T000001"]
    assert daemon.stop() == 0


def test_a_sync_at_work_ends_when_the_daemon_does(small: Small) -> None:
    small.sandbox.fault("hang_before_store", call="messages.send", seconds=30, times=None)
    small.configure(every="1h", grace="1s")
    daemon = small.start()
    daemon.wait_for(lambda: small.source("mail")["last_good_pass_at"], "the first pass")
    small.put("T000001")
    with ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(small.type, "sync")
        daemon.wait_for(lambda: on_the_wire(small), "a send is on the wire")
        assert daemon.stop() == 0
        done = syncing.result(60)
    assert done.code == 75, done.err
    assert "next step:" in done.err
    small.sandbox.clear_faults()
    small.type("sync").ok()
    assert small.sent() == ["T000001"]


# ---------------------------------------------------------------------------------------------------- the socket


def connect(small: Small) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(20)
    client.connect(str(small.socket))
    return client


def ask(small: Small, request: bytes) -> list[dict[str, dict[str, object]]]:
    """The frames that come back for one request."""
    with connect(small) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)
        return [json.loads(line) for line in client.makefile("rb")]


def test_the_control_socket_bears_every_kind_of_client(small: Small) -> None:
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(str(small.socket))
    stale.close()
    daemon = small.start()
    assert stat.S_IMODE(small.socket.lstat().st_mode) == 0o600
    status = b'{"command": "status", "args": {}}\n'

    for nonsense in (
        b"hello\n",
        b"[]\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"command": "status", "args": [1]}\n',
    ):
        [frame] = ask(small, nonsense)
        assert frame["error"]["exit_code"] == 2
        assert frame["error"]["next_step"]
    [frame] = ask(small, b'{"args": {}}\n')
    assert frame["error"]["code"] == "command.unknown"
    [frame] = ask(small, b'{"command": "message_list", "args": {"limit": "many"}}\n')
    assert frame["error"]["code"] == "command.arguments"
    [frame] = ask(small, b'{"command": "' + b"x" * (MAX_REQUEST_BYTES + 10) + b'"}\n')
    assert "longer than" in str(frame["error"]["sentence"])

    connect(small).close()
    with connect(small) as client:
        client.sendall(b'{"command": "sta')
    with connect(small) as client:
        client.sendall(b'{"command": "sync", "args": {}}\n')  # and hangs up at once

    def served_of(clients: int) -> int:
        """Of so many at the same time; the others are told that there are too many."""
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(lambda _: ask(small, status), range(clients)))
        assert all(len(frames) == 1 for frames in answers)
        assert {frames[0]["error"]["code"] for frames in answers if "error" in frames[0]} <= {"daemon.busy"}
        return sum("result" in frames[0] for frames in answers)

    # those who hung up may be among those at work for a moment
    daemon.wait_for(lambda: served_of(20) >= MAX_CONNECTIONS, "as many as promised are served")

    small.put("T000001")
    small.wait_sent("T000001")
    assert "Traceback" not in daemon.log()
    assert "control.bug" not in daemon.log()
    assert daemon.stop() == 0
    assert not small.socket.exists()


# ---------------------------------------------------------------------------------------------------- the log


def test_the_log_is_json_and_keeps_secrets_addresses_and_bodies_to_itself(small: Small) -> None:
    with ScriptedImap(password="right") as server:
        small.environ["MAIL_PASSWORD"] = "planted-password"
        small.configure(silent_source(server), small.maildir())
        small.put("T000001", "Planted Name <planted.address@example.com>")
        small.put("T000002", "no address at all")
        small.put("", raw=b"\x00 planted body \xff")
        small.sandbox.fault("status", call="messages.send", status=503, times=1)
        daemon = small.start(WIX_KEY="sandbox-api-key")
        small.wait_sent("T000001")
        daemon.wait_for(lambda: small.source("hanging")["state"] == "parked", "the sign-in is refused")
        small.sandbox.stop()
        small.put("T000003", "planted.other@example.com")
        daemon.wait_for(lambda: small.inbox()["state"] == "parked", "the inbox is parked")
        assert daemon.stop() == 0
    lines = [json.loads(line) for line in daemon.log().splitlines()]
    assert all(isinstance(line, dict) and {"timestamp", "level", "event"} <= line.keys() for line in lines)
    events = {line["event"] for line in lines}
    assert {"daemon.ready", "pass.ended", "pass.failed", "inbox.parked", "daemon.stopping", "daemon.stopped"} <= events
    text = daemon.log().lower()
    for planted in ("planted", "sandbox-api-key", "hello", "order t0", "@example.com", "alice"):
        assert planted not in text, [line for line in text.splitlines() if planted in line]
