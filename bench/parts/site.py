"""A site to measure the program at: a Dovecot with a full mailbox, the stub of the Inbox, a configuration."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.harness import Missing, Ran, run_program
from bench.parts import stub
from bench.parts.mails import OWN, fill_maildir
from tests.needs import find
from tests.servers.dovecot import PASSWORD, Dovecot

LANES = 32


@dataclass(frozen=True)
class Site:
    """What runs. `configure` writes a file, `sync` types `inbox-sync sync`."""

    folder: Path
    server: Dovecot
    inbox_url: str

    def environ(self) -> dict[str, str]:
        """Compiled code is kept, as an installed program has it."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        compiled = {"PYTHONPYCACHEPREFIX": str(self.folder / "compiled")}
        return {**kept, **compiled, "WIX_KEY": "key", "MAIL_PASSWORD": PASSWORD}

    def configure(self, name: str, ledger_url: str, *, user: str = "alice", lanes: int = LANES) -> Path:
        """A configuration with the budget lifted; everything else is as it comes."""
        path = self.folder / f"{name}.toml"
        path.write_text(f"""
[ledger]
url = "{ledger_url}"
[inbox.main]
site_id = "site"
api_key = {{ env = "WIX_KEY" }}
base_url = "{self.inbox_url}"
own_addresses = ["{OWN}"]
requests_per_minute = 1000000
burst_requests = 1000
lanes = {lanes}
[sources.{user}]
connector = "imap"
start = "all"
host = "127.0.0.1"
port = {self.server.imap_port}
tls = "none"
username = "{user}"
password = {{ env = "MAIL_PASSWORD" }}
folders = ["INBOX"]
""")
        return path

    def fill(self, user: str, count: int, *, seed: int = 1) -> int:
        """Fills a mailbox and lets the server index it. Returns the bytes."""
        owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(owner.pw_gid).gr_gid
        size = fill_maildir(self.server.maildir(user), count, seed=seed, owner=(owner.pw_uid, group))
        self.server.doveadm("index", "-u", user, "INBOX")
        return size

    def command(self, config: Path, *words: str) -> list[str | Path]:
        return [sys.executable, "-m", "sync.cli", "--config", config, *words]

    def warm_up(self, user: str) -> None:
        """The program's code is compiled and read from disk once before it is measured."""
        config = self.configure("warm-up", f"sqlite:///{self.folder}/warm-up.db", user=user)
        run_program(self.command(config, "sync", "--dry-run", "--json"), env=self.environ(), codes=(0, 1))

    def sync(self, config: Path, *, expected: int, before: tuple[str, ...] = ()) -> Ran:
        """One `sync` in a process of its own; `before` is put before the command. Raises RuntimeError when not exactly
        `expected` deliveries arrived."""
        stub.take_counts(self.inbox_url)
        ran = run_program([*before, *self.command(config, "sync", "--json")], env=self.environ())
        sent = sum(source["sent"] for source in json.loads(ran.output[ran.output.index("{") :])["sources"])
        arrived = stub.take_counts(self.inbox_url).get(stub.MESSAGES, 0)
        if arrived != expected:
            raise RuntimeError(f"{expected} messages were to arrive, {arrived} did ({sent} are booked as sent)")
        return ran


@contextlib.contextmanager
def site(folder: Path, users: tuple[str, ...] = ("alice",)) -> Iterator[Site]:
    """Everything on loopback, ended and removed afterwards. Raises Missing where Dovecot is not installed."""
    if find("dovecot") is None or find("openssl") is None:
        raise Missing("needs dovecot and openssl: make servers (Debian packages dovecot-imapd, openssl)")
    with Dovecot(users=dict.fromkeys(users, PASSWORD), rawlog=False) as server, stub.running() as url:
        yield Site(folder, server, url)
