"""A site under test: a sandbox, a configuration, and the real program as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sync.sandbox import Sandbox
from sync.sandbox.operations import ConversationDump
from tests.mailbag import OWN, Mailbag

TOKEN = re.compile(r"T\d{6}")
DEADLINE_SECONDS = 90.0


def wait_for(condition: Callable[[], object], what: str, timeout_seconds: float = DEADLINE_SECONDS) -> None:
    """Waits until `condition` holds; fails with `what` after the deadline."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}"
        time.sleep(0.02)


@dataclass
class Program:
    """`inbox-sync` with one configuration file."""

    folder: Path
    config: Path
    environ: dict[str, str] = field(default_factory=dict)

    def _env(self) -> dict[str, str]:
        return {**os.environ, "WIX_KEY": "sandbox-api-key", "MAIL_PASSWORD": "x", **self.environ}

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "sync.cli", "--config", str(self.config), *args]

    def run(self, *args: str, timeout_seconds: float = DEADLINE_SECONDS) -> subprocess.CompletedProcess[str]:
        """Types a command and waits for it."""
        return subprocess.run(
            self.command(*args), env=self._env(), capture_output=True, text=True, timeout=timeout_seconds, check=False
        )

    def json(self, *args: str) -> dict[str, object]:
        """Types a reader with --json; its exit code must be 0 or 1 (something waits for an operator)."""
        done = self.run(*args, "--json")
        assert done.returncode in (0, 1), done.stderr + done.stdout
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def sync(self, timeout_seconds: float = DEADLINE_SECONDS) -> dict[str, object]:
        """One `sync`; it must succeed."""
        done = self.run("sync", "--json", timeout_seconds=timeout_seconds)
        assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-2000:]
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def daemon(self) -> Daemon:
        """Starts `run` and waits until it is ready."""
        return Daemon(self)


class Daemon:
    """A running daemon."""

    def __init__(self, program: Program) -> None:
        self.log_path = program.folder / f"daemon-{time.monotonic_ns()}.log"
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            program.command("run"), env=program._env(), stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def ready(self) -> Daemon:
        wait_for(lambda: "daemon.ready" in self.log() or self.process.poll() is not None, "the daemon is ready")
        assert self.process.poll() is None, self.log()[-4000:]
        return self

    def wait_for(self, condition: Callable[[], object], what: str, timeout_seconds: float = DEADLINE_SECONDS) -> None:
        """Waits while the daemon lives; a failure shows what it logged."""
        try:
            wait_for(lambda: self.process.poll() is not None or condition(), what, timeout_seconds)
            assert self.process.poll() is None, "the daemon has ended"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(40)
        self._log.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        self._log.close()
        return code


def page_port(daemon: Daemon) -> int:
    """Where a daemon's page listens (`[web]` with port 0)."""
    lines: list[dict[str, object]] = []

    def listens() -> bool:
        lines[:] = [json.loads(line) for line in daemon.log().splitlines() if '"web.listening"' in line]
        return bool(lines)

    daemon.wait_for(listens, "the page listens")
    port = lines[0]["port"]
    assert isinstance(port, int)
    return port


class Systemd:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.told += self._socket.recv(65_536).decode().split("\n")

    def close(self) -> None:
        # close() alone would leave the thread in recv()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def write_config(
    folder: Path,
    sandbox: Sandbox,
    sources: str,
    *,
    ledger_url: str | None = None,
    inbox: str = "",
    daemon: str = "",
) -> Program:
    """A configuration with the budget lifted and small settle times, ratios kept."""
    path = folder / "config.toml"
    url = ledger_url or f"sqlite:///{folder}/ledger.db"
    path.write_text(
        f"""
[ledger]
url = "{url}"

[daemon]
log_format = "json"
grace_seconds = "5s"
lease_seconds = "3s"
{daemon}

[inbox.main]
site_id = "{sandbox.site_id}"
api_key = {{ env = "WIX_KEY" }}
base_url = "{sandbox.url}"
own_addresses = ["{OWN}"]
requests_per_minute = 1000000
burst_requests = 100
unknown_settle_seconds = "3s"
first_look_seconds = "100ms"
answer_timeout_seconds = "3s"
retry_first_seconds = "200ms"
probe_seconds = "200ms"
probe_max_seconds = "1s"
lane_hold_seconds = "20s"
{inbox}

{sources}
"""
    )
    return Program(folder, path)


def seed_contacts(sandbox: Sandbox, bag: Mailbag, site_id: str | None = None) -> None:
    """Customers with two addresses are one contact at the site; the others are made by the first send."""
    for customer in bag.customers:
        if len(customer.addresses) > 1:
            sandbox.seed_contact(list(customer.addresses), name=customer.name, site_id=site_id)


def tokens_by_customer(sandbox: Sandbox, bag: Mailbag) -> dict[int, list[str]]:
    """What the sandbox holds: each customer's tokens in the order of the conversation."""
    return tokens_in(sandbox.conversations(), bag)


def tokens_in(conversations: Iterable[ConversationDump], bag: Mailbag) -> dict[int, list[str]]:
    """The same for some of the conversations."""
    of_address = {address: customer.number for customer in bag.customers for address in customer.addresses}
    held: dict[int, list[str]] = {}
    for conversation in conversations:
        numbers = {of_address[address] for address in conversation["emails"] if address in of_address}
        assert len(numbers) == 1, conversation["emails"]
        number = numbers.pop()
        assert number not in held, f"customer {number} has two conversations"
        held[number] = [
            token for message in conversation["messages"] for token in TOKEN.findall(str(message["text"]))[:1]
        ]
    return held


def assert_each_once_in_order(sandbox: Sandbox, bag: Mailbag) -> None:
    """The promise: every delivery once, in order, in the right conversation."""
    assert_in_order(tokens_by_customer(sandbox, bag), bag)
    assert sandbox.targets() == []


def assert_in_order(held: dict[int, list[str]], bag: Mailbag) -> None:
    """Each customer holds what the bag expects, each once, in order."""
    wanted = bag.expected()
    assert held.keys() == wanted.keys()
    for number, tokens in wanted.items():
        assert sorted(held[number]) == sorted(tokens), f"customer {number}"
        assert held[number] == tokens, f"order of customer {number}"
