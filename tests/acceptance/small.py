"""A small site for acceptance tests: a sandbox, Maildirs, and the program as the operator types it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import pytest

from sync.answers import InboxAnswer, SourceAnswer, StatusAnswer
from sync.config import load
from sync.ledger import Ledger
from sync.operate import Operator
from sync.sandbox import Sandbox
from sync.settings import LedgerSettings
from tests.acceptance.harness import TOKEN, Daemon, Program, wait_for
from tests.acceptance.typist import typist
from tests.servers.ports import free_port

OWN = "support@shop.example"
KEY = '{ env = "WIX_KEY" }'
_numbers = itertools.count(1)


@dataclass
class Typed:
    """What a typed command came to."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        answer = json.loads(self.out)
        assert isinstance(answer, dict)
        return answer

    def rows(self, key: str) -> list[dict[str, object]]:
        """A list of the answer."""
        found = self.json()[key]
        assert isinstance(found, list)
        return found

    def ok(self) -> Typed:
        assert self.code == 0, f"exit code {self.code}\n{self.err}\n{self.out}"
        return self

    def refused(self, exit_code: int, error_code: str, *words: str) -> Typed:
        """An error in one sentence with its code and a next step; no traceback."""
        assert self.code == exit_code, f"exit code {self.code}\n{self.err}\n{self.out}"
        assert f"[{error_code}]" in self.err, self.err
        assert "next step: " in self.err, self.err
        assert "Traceback" not in self.err, self.err
        flat = " ".join(self.err.split())
        for word in words:
            assert word in flat, f"{word!r} is not in: {flat}"
        return self

    def shows(self, *words: str) -> Typed:
        flat = " ".join(self.out.split())
        for word in words:
            assert word in flat, f"{word!r} is not in:\n{self.out}\n{self.err}"
        return self


@dataclass
class Small:
    """One site, its configuration file, and Maildirs below `folder`."""

    folder: Path
    sandbox: Sandbox
    compiled: Path | None = None
    environ: dict[str, str] = field(default_factory=dict)
    """What both the daemon and the typed commands have in their environment."""
    daemon_environ: dict[str, str] = field(default_factory=dict)
    """What only the daemon has."""

    def __post_init__(self) -> None:
        if self.compiled is not None:
            self.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self.compiled)}
        self.daemons: list[Daemon] = []
        self.configure()

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def socket(self) -> Path:
        return self.folder / "ledger.db.sock"

    # -- the file

    def configure(
        self,
        *sources: str,
        key: str = KEY,
        site_id: str = "",
        ledger_url: str = "",
        inbox: str = "",
        daemon: str = "",
        every: str = "200ms",
        grace: str = "5s",
        lane_hold: str = "5s",
    ) -> None:
        """Writes the file; without sources one Maildir called `mail`."""
        self.ledger_url = ledger_url or f"sqlite:///{self.ledger}"
        self.config.write_text(
            f"""
[ledger]
url = "{self.ledger_url}"
connect_timeout_seconds = 3  # seconds

[daemon]
grace_seconds = "{grace}"
lease_seconds = "3s"
{daemon}

[inbox.main]
site_id = "{site_id or self.sandbox.site_id}"
api_key = {key}
base_url = "{self.sandbox.url}"
own_addresses = ["{OWN}"]
requests_per_minute = 1000000
burst_requests = 100
unknown_settle_seconds = "1s"
first_look_seconds = "50ms"
answer_timeout_seconds = "5s"
retry_first_seconds = "100ms"
probe_seconds = "100ms"
probe_max_seconds = "500ms"
lane_hold_seconds = "{lane_hold}"
{inbox}

{chr(10).join(sources or (self.maildir(every=every),))}
# end
"""
        )

    def maildir(self, name: str = "mail", *, every: str = "200ms", more: str = "") -> str:
        """A source that reads the Maildir of its name."""
        (self.folder / name / "new").mkdir(parents=True, exist_ok=True)
        (self.folder / name / "cur").mkdir(exist_ok=True)
        return f"""
[sources.{name}]
connector = "maildir"
path = "{self.folder / name}"
every = "{every}"
start = "all"
order_wait_seconds = "1s"
{more}
"""

    def put(
        self, token: str, sender: str = "Customer <c1@example.com>", *, into: str = "mail", raw: bytes | None = None
    ) -> None:
        """Drops a mail into a Maildir, one minute old for each that follows."""
        path = self.folder / into / "new" / f"{int(time.time())}.M{next(_numbers)}P{os.getpid()}.test"
        staged = self.folder / path.name
        staged.write_bytes(mail(token, sender) if raw is None else raw)
        staged.rename(path)

    # -- the program

    def program(self, **environ: str) -> Program:
        return Program(self.folder, self.config, {**self.environ, **environ})

    def type(self, *args: str, **environ: str) -> Typed:
        """Types a command and waits for it."""
        program = self.program(**environ)
        if "PYTHONPATH" in program.environ:  # what is decided when Python starts
            done = program.run(*args)
            return Typed(done.returncode, done.stdout, done.stderr)
        return Typed(*typist().type(["--config", str(self.config), *args], program._env()))

    def start(self, *, ready: bool = True, **environ: str) -> Daemon:
        daemon = self.program(**self.daemon_environ, **environ).daemon()
        self.daemons.append(daemon)
        return daemon.ready() if ready else daemon

    def end(self) -> None:
        for daemon in self.daemons:
            daemon.kill()

    # -- what came of it

    def sent(self) -> list[str]:
        """The tokens that stand in the Inbox, in the order of their conversations."""
        texts = [str(one["text"]) for conversation in self.sandbox.conversations() for one in conversation["messages"]]
        return [token for text in texts for token in TOKEN.findall(text)[:1]]

    def wait_sent(self, *tokens: str) -> None:
        """Waits until exactly these have arrived, each once, and the ledger knows it: the Inbox has a message before its
        answer is recorded, and what is looked at or stopped in between is not yet what it will be."""
        wait_for(lambda: len(self.sent()) >= len(tokens), f"{tokens} arrive")
        assert sorted(self.sent()) == sorted(tokens)
        wait_for(lambda: self.recorded() >= len(tokens), f"{tokens} are recorded")

    def recorded(self) -> int:
        """How many deliveries the ledger knows as sent."""
        ledger = Ledger.open(LedgerSettings(url=self.ledger_url), writer=False)
        try:
            return ledger.overview.status().deliveries.get("sent", 0)
        finally:
            ledger.close()

    def status(self) -> StatusAnswer:
        """What the ledger says, asked in this process: a typed command takes a second, and this is asked often."""

        async def ask() -> StatusAnswer:
            async with Operator.open(load(self.config, secrets=False), writer=False) as operator:
                return await operator.status()

        return asyncio.run(ask())

    def source(self, name: str) -> SourceAnswer:
        """A source's part of `status`."""
        return next(source for source in self.status()["sources"] if source["name"] == name)

    def inbox(self) -> InboxAnswer:
        """The inbox's part of `status`."""
        return next(inbox for inbox in self.status()["inboxes"] if inbox["name"] == "main")


@contextlib.contextmanager
def small_site(folder: Path, temporary: pytest.TempPathFactory) -> Iterator[Small]:
    """For a fixture: the site, and at the end no process of it is left."""
    with Sandbox(port=free_port()) as sandbox:  # it may be stopped and started again
        made = Small(folder, sandbox, _compiled(temporary))
        try:
            yield made
        finally:
            made.end()


def _compiled(temporary: pytest.TempPathFactory) -> Path | None:
    """Where processes keep compiled code if the environment forbids it beside the sources: compiling everything each
    time takes longer than most commands. Not below the folder of one test run, so that the next one has it, too."""
    if not sys.dont_write_bytecode:
        return None
    base = temporary.getbasetemp()
    return (base.parent.parent if os.environ.get("PYTEST_XDIST_WORKER") else base.parent) / "compiled"


def mail(token: str, sender: str = "Customer <c1@example.com>", **headers: str) -> bytes:
    """A plain mail, later than all before."""
    message = EmailMessage()
    at = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=next(_numbers))
    message["From"], message["To"] = sender, OWN
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{token}@mail.example>"
    message["Subject"] = f"Order {token}"
    for name, value in headers.items():
        message[name] = value
    message.set_content(f"{token} hello")
    return message.as_bytes()
