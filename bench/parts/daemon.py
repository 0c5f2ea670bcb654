"""A real daemon under a benchmark's configuration, and what it costs."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.harness import cpu_seconds, resident_mib
from bench.parts.mails import OWN
from tests.servers.dovecot import PASSWORD, Dovecot

DEADLINE_SECONDS = 300.0
MANY_CLIENTS = """
default_process_limit = 4000
default_client_limit = 12000
service imap-login {
  service_count = 0
  process_min_avail = 2
}
service imap {
  process_limit = 4000
}
"""
"""Dovecot for hundreds of connections at a time."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process cost over some time: a share of one core, memory, and the most threads it was seen to have."""

    core_share: float
    resident_mib: float
    threads: int


class Daemon:
    """`inbox-sync run` with `sources` (TOML) feeding one inbox at `base_url`, its budget lifted. `plugins`: a folder with
    further connectors."""

    def __init__(self, folder: Path, base_url: str, site_id: str, sources: str, *, plugins: Path | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.ledger = folder / "ledger.db"
        self.log = folder / "daemon.log"
        self._config = folder / "config.toml"
        self._config.write_text(
            f'[ledger]\nurl = "sqlite:///{self.ledger}"\n[daemon]\nlog_format = "json"\n[inbox.main]\n'
            f'site_id = "{site_id}"\napi_key = {{ env = "WIX_KEY" }}\nbase_url = "{base_url}"\n'
            f'own_addresses = ["{OWN}"]\nrequests_per_minute = 1000000\nburst_requests = 100\n\n{sources}'
        )
        self._environ = {**os.environ, "WIX_KEY": "sandbox-api-key", "MAIL_PASSWORD": PASSWORD}
        if plugins is not None:
            self._environ["PYTHONPATH"] = str(plugins)
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Daemon]:
        """From its start to its end."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "sync.cli", "--config", str(self._config), "run"],
                env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._process = process
        self.pid = process.pid
        try:
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait_for(self, condition: Callable[[], bool], what: str, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Waits; raises RuntimeError with the end of the log when it takes too long, and as soon as it cannot happen any
        more: the daemon has ended, or has parked the inbox."""
        deadline = time.monotonic() + deadline_seconds
        while not condition():
            why = self._why_never()
            if not why and time.monotonic() > deadline:
                why = f"not within {deadline_seconds:g} s"
            if why:
                raise RuntimeError(f"{why}: {what}\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)

    def _why_never(self) -> str:
        """Why nothing is to be waited for any more; "" while there is."""
        if self._process is not None and self._process.poll() is not None:
            return f"the daemon has ended with {self._process.returncode}"
        try:
            with self._ledger() as ledger:
                parked = ledger.execute("SELECT name, sentence FROM inboxes WHERE state = 'parked'").fetchone()
        except sqlite3.OperationalError:  # not there yet
            return ""
        return "" if parked is None else f"the inbox {parked[0]} is parked ({parked[1]})"

    def _ledger(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True))

    def asked(self, query: str) -> int:
        """One number out of the ledger; 0 while it is not there yet."""
        try:
            with self._ledger() as ledger:
                return int(ledger.execute(query).fetchone()[0])
        except sqlite3.OperationalError:
            return 0

    def sources_polled(self) -> int:
        """How many sources had a pass that went well."""
        return self.asked("SELECT count(*) FROM sources WHERE last_good_pass_at IS NOT NULL")

    def cost(self, seconds: float) -> Cost:
        """What it costs from now on, for so long. Memory is that at the end."""
        before, began = cpu_seconds(self.pid), time.monotonic()
        threads = 0
        while time.monotonic() - began < seconds:
            threads = max(threads, self.threads())
            time.sleep(0.25)
        share = (cpu_seconds(self.pid) - before) / (time.monotonic() - began)
        return Cost(share, resident_mib(self.pid), threads)

    def threads(self) -> int:
        """How many threads it has now."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/task").iterdir())


def imap_source(name: str, server: Dovecot, user: str, more: str = "", *, every: str = "60s") -> str:
    """TOML of a source on a mailbox, over TLS."""
    return (
        f'[sources.{name}]\nconnector = "imap"\nevery = "{every}"\nhost = "localhost"\nport = {server.imaps_port}\n'
        f'ca_file = "{server.ca_file}"\nusername = "{user}"\npassword = {{ env = "MAIL_PASSWORD" }}\n{more}\n\n'
    )
