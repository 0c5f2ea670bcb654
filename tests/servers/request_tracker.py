"""A private Request Tracker 5 on loopback: its own SQLite file, a free port, nothing left behind.

    with RequestTracker() as server:
        ticket = server.create("alice@customer.example", "Printer", "It burns.")
        server.write(ticket.ticket, "root", "We are on our way.")
        RequestTrackerConfig(url=server.url, token=server.token, …)

Nothing of the machine's own set-up in /etc/request-tracker5 is used. Mail that RT would send goes to a file. Tickets are
made by RT's own classes in a process beside it (request_tracker.pl, some milliseconds each), where what is tested is
reading; its mail gate and its API are there for what they do differently. RT checks a token at each request, by bcrypt:
with the cost that it comes with, that alone takes a quarter of a second of computing, so it is set low here.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from sync.message import Json
from tests.needs import require, require_file
from tests.servers.ports import free_port

HOME = Path("/usr/share/request-tracker5")
SERVER = HOME / "libexec" / "rt-server"
SETUP = Path("/usr/sbin/rt-setup-database-5")
HELPER = Path(__file__).with_suffix(".pl")
START_SECONDS = 60.0
STOP_SECONDS = 10.0
AGENT = "root"
PASSWORD = "opensesame-3318"
"""Of the agent `root`, who may do everything. Unusual, so that a leak into a log can be searched for."""
QUEUE = "General"


def needs_request_tracker() -> None:
    """Skips the test where Request Tracker is not installed, and fails it in continuous integration."""
    require(str(SERVER), package="request-tracker5")
    require(str(SETUP), package="request-tracker5")
    require_file(Path("/usr/share/perl5/Starlet.pm"), "Debian package rt5-standalone")


@dataclass(frozen=True, slots=True)
class Opened:
    """A new ticket, and the transaction that holds its first message."""

    ticket: int
    transaction: int


@dataclass(frozen=True, slots=True)
class File:
    """A file of a message."""

    name: str
    content: bytes
    type: str = "application/octet-stream"


class RequestTracker:
    """One server. `workers` is how many requests it serves at the same time."""

    def __init__(self, *, workers: int = 2) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""
        self.folder = Path(tempfile.mkdtemp(prefix="request-tracker-"))
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self._helper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._prepare()
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    # -- by RT's own classes, without its scrips

    def do(self, *commands: Mapping[str, Json]) -> list[Json]:
        """Commands of request_tracker.pl, in one transaction; an answer for each."""
        helper = self._helper
        assert helper is not None
        assert helper.stdin is not None
        assert helper.stdout is not None
        helper.stdin.write(json.dumps([dict(command) for command in commands]).encode() + b"\n")
        helper.stdin.flush()
        line = helper.stdout.readline()
        assert line, self.log()
        answer = json.loads(line)
        assert "answers" in answer, answer
        answers = answer["answers"]
        assert isinstance(answers, list)
        return answers

    def make_queue(self, name: str) -> None:
        """A queue, empty."""
        self.do({"do": "queue", "name": name})

    def make_user(
        self,
        name: str,
        *,
        email: str = "",
        privileged: bool = False,
        timezone: str = "",
        rights: Sequence[tuple[str, str | None]] = (),
    ) -> None:
        """A user. `rights` are (right, queue) pairs, queue None: everywhere."""
        granted: list[Json] = [{"right": right, "queue": queue} for right, queue in rights]
        self.do(
            {
                "do": "user",
                "name": name,
                "email": email,
                "privileged": privileged,
                "timezone": timezone,
                "rights": granted,
            }
        )

    def token_of(self, user: str) -> str:
        """A new token with which the user signs in."""
        return str(self.do({"do": "token", "user": user})[0])

    def create(
        self,
        by: str,
        subject: str,
        text: str,
        *,
        queue: str = QUEUE,
        requestors: Sequence[str] | None = None,
        cc: Sequence[str] = (),
        html: bool = False,
        files: Sequence[File] = (),
        at: datetime | None = None,
    ) -> Opened:
        """Somebody opens a ticket (an address nobody has is a new customer). `at`: when RT thinks it was written."""
        answer = self.do(
            {
                "do": "create",
                "by": by,
                "queue": queue,
                "subject": subject,
                "text": text,
                "requestors": list(requestors) if requestors is not None else None,
                "cc": list(cc) or None,
                "html": html,
                "files": _files(files),
                "at": _stamp(at),
            }
        )[0]
        assert isinstance(answer, dict)
        assert isinstance(answer["ticket"], int)
        assert isinstance(answer["transaction"], int)
        return Opened(answer["ticket"], answer["transaction"])

    def write(
        self,
        ticket: int,
        by: str,
        text: str,
        *,
        note: bool = False,
        html: bool = False,
        files: Sequence[File] = (),
        at: datetime | None = None,
    ) -> int:
        """Somebody writes into a ticket, `note`: for agents only; the transaction's number."""
        answer = self.do(
            {
                "do": "write",
                "by": by,
                "ticket": ticket,
                "text": text,
                "note": note,
                "html": html,
                "files": _files(files),
                "at": _stamp(at),
            }
        )[0]
        assert isinstance(answer, int)
        return answer

    def merge(self, ticket: int, into: int) -> None:
        """Merges one ticket into another."""
        self.do({"do": "merge", "ticket": ticket, "into": into})

    def delete(self, ticket: int) -> None:
        """Deletes a ticket, which RT calls a status."""
        self.do({"do": "status", "ticket": ticket, "status": "deleted"})

    def hold_back(self, transaction: int) -> None:
        """As if the transaction were not committed yet: its number is taken, and nobody sees it."""
        self._sql("UPDATE Transactions SET ObjectType = 'not committed' WHERE id = ?", transaction)

    def commit(self, transaction: int) -> None:
        """Undoes `hold_back`."""
        self._sql("UPDATE Transactions SET ObjectType = 'RT::Ticket' WHERE id = ?", transaction)

    def edit(self, transaction: int, text: str) -> None:
        """Changes a message's text, which in RT only somebody with access to its database can."""
        self._sql("UPDATE Attachments SET Content = ? WHERE TransactionId = ? AND Parent = 0", text, transaction)

    def skip_numbers(self, count: int) -> None:
        """The next transactions get numbers higher by `count`."""
        columns, values = "id, ObjectType, ObjectId, Type, Creator, Created", "'RT::System', 1, 'Set', 1, '2020-01-01'"
        self._sql(f"INSERT INTO Transactions ({columns}) SELECT MAX(id) + ?, {values} FROM Transactions", count)

    def _sql(self, statement: str, *values: Json) -> None:
        self.do({"do": "sql", "statement": statement, "values": list(values)})

    # -- as customers and other programs do

    def mail_in(self, raw: bytes, *, queue: str = QUEUE) -> None:
        """A mail arrives at RT's mail gate."""
        form = {"queue": queue, "action": "correspond", "SessionType": "REST"}
        content = urllib.parse.urlencode(form).encode() + b"&message=" + urllib.parse.quote_plus(raw).encode()
        request = urllib.request.Request(f"{self.url}/REST/1.0/NoAuth/mail-gateway", data=content)
        with urllib.request.urlopen(request, timeout=60) as response:
            said = response.read().decode()
        assert said.startswith("ok"), said

    def call(self, method: str, path: str, body: Json = None, *, token: str = "") -> Json:
        """One call of the API, as the agent `root` unless a token says otherwise."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/REST/2.0{path}", data=content, method=method)
        request.add_header("Authorization", f"token {token or self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: Json = json.load(response)
        return answer

    # -- the processes

    @contextlib.contextmanager
    def stall(self) -> Iterator[None]:
        """Within the block it takes connections and requests, and does not answer."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def log(self) -> str:
        """What the programs wrote, for a failing test to show."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def _environ(self) -> dict[str, str]:
        settings = {"RT_SITE_CONFIG": self.folder / "RT_SiteConfig.pm", "RT_SITE_CONFIG_DIR": self.folder / "empty.d"}
        return {**os.environ, **{name: str(path) for name, path in settings.items()}, "TMPDIR": str(self.folder)}

    def _prepare(self) -> None:
        folder = self.folder
        for name in ("empty.d", "mason", "session"):
            (folder / name).mkdir()
        (folder / "RT_SiteConfig.pm").write_text(f"""
Set($rtname, 'rt.example'); Set($Organization, 'rt.example'); Set($Timezone, 'UTC');
Set($CorrespondAddress, 'support@rt.example'); Set($CommentAddress, 'comment@rt.example');
Set($WebDomain, '127.0.0.1'); Set($WebPort, {self.port}); Set($WebPath, '');
Set($DatabaseType, 'SQLite'); Set($DatabaseName, '{folder}/rt5.sqlite');
Set($DatabaseHost, ''); Set($DatabaseUser, ''); Set($DatabasePassword, '');
Set($MailCommand, 'testfile'); Set($BcryptCost, 4);
Set($LogToSyslog, undef); Set($LogToSTDERR, 'warning'); Set($LogToFile, undef); Set($StatementLog, undef);
Set($WebSessionClass, 'Apache::Session::File'); Set($WebSecureCookies, 0); Set($RestrictReferrer, 0);
$RT::MasonDataDir = '{folder}/mason'; $RT::MasonSessionDir = '{folder}/session'; $RT::VarPath = '{folder}';
1;
""")
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        with (folder / "setup.log").open("wb") as log:
            subprocess.run(
                [SETUP, "--action", "init", "--skip-create", "--root-password-file", password],
                env=self._environ(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True,
            )  # fmt: skip
        with (folder / "helper.log").open("wb") as log:
            self._helper = subprocess.Popen(
                ["perl", HELPER], env=self._environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self.do({"do": "setup"})
        self.token = self.token_of(AGENT)

    def _start(self) -> None:
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [SERVER, "--host", "127.0.0.1", "--port", str(self.port), "--max-workers", str(self._workers)],
                env=self._environ(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Request Tracker did not start:\n{self.log()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            self.call("GET", "/rt")
            return True
        return False

    def _stop(self) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            for pipe in (helper.stdin, helper.stdout):
                if pipe is not None:
                    pipe.close()
            helper.wait(STOP_SECONDS)
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)


def _files(files: Sequence[File]) -> list[Json]:
    return [{"name": one.name, "type": one.type, "content": base64.b64encode(one.content).decode()} for one in files]


def _stamp(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
