"""A private django-helpdesk on loopback: its own SQLite file, a free port, nothing left behind.

    with DjangoHelpdesk() as server:
        ticket = server.mail_in(b"From: alice@customer.example …").ticket
        server.write(ticket, "We are on our way.", user="agent")
        DjangoHelpdeskConfig(url=server.url, token=server.token, …)

It runs in an environment of its own (.tools/django-helpdesk, made by tools/servers from the hashed
requirements/django-helpdesk.txt), because Django is no dependency of the project. Customers' mail goes through the site's
own reader of mail; what its pages do is done through its own models, in a process beside it (django_helpdesk_site.py).
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
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from sync.message import Json
from tests.needs import require_file
from tests.servers.ports import free_port

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".tools" / "django-helpdesk" / "bin" / "python"
SITE = Path(__file__).with_name("django_helpdesk_site.py")
START_SECONDS = 60.0
STOP_SECONDS = 10.0
AGENT = "agent"
PASSWORD = "opensesame-4471"
"""Of the agent. Unusual, so that a leak into a log can be searched for."""
QUEUE = "support"

SETTINGS = """
SECRET_KEY = "x" * 50
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.sites",
    "django.contrib.messages", "django.contrib.admin", "django.contrib.staticfiles", "django.contrib.humanize",
    "helpdesk", "rest_framework", "rest_framework.authtoken",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware", "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "site_urls"
SITE_ID = 1
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = FOLDER + "/media"
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER + "/db.sqlite3", "OPTIONS": {"timeout": 20},
}}
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
HELPDESK_TEAMS_MODE_ENABLED = False
HELPDESK_ENABLE_PER_QUEUE_STAFF_PERMISSION = False
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication", "rest_framework.authentication.BasicAuthentication",
    ],
}
"""
URLS = """
from django.conf import settings
from django.urls import include, path, re_path
from django.views.static import serve

urlpatterns = [
    re_path("^media/(?P<path>.*)$", serve, {"document_root": settings.MEDIA_ROOT}),
    path("", include("helpdesk.urls", namespace="helpdesk")),
]
"""


def needs_django_helpdesk() -> None:
    """Skips the test where django-helpdesk is not installed, and fails it in continuous integration."""
    require_file(PYTHON.parents[1] / "installed.txt", "django-helpdesk from PyPI, into .tools")


@dataclass(frozen=True, slots=True)
class Received:
    """Where a customer's mail went."""

    followup: int
    ticket: int


@dataclass(frozen=True, slots=True)
class File:
    """A file of a follow-up."""

    name: str
    content: bytes
    type: str = "application/octet-stream"


class DjangoHelpdesk:
    """One site."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""
        self.folder = Path(tempfile.mkdtemp(prefix="django-helpdesk-"))
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

    # -- what customers, agents and the site do

    def do(self, *commands: Mapping[str, Json]) -> list[Json]:
        """Commands of django_helpdesk_site.py, in one transaction; an answer for each."""
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

    def mail_in(self, raw: bytes, *, queue: str = QUEUE) -> Received:
        """A mail arrives at the queue."""
        answer = self.do({"do": "mail_in", "raw": base64.b64encode(raw).decode(), "queue": queue})[0]
        assert isinstance(answer, dict), "the mail was not taken"
        assert isinstance(answer["followup"], int)
        assert isinstance(answer["ticket"], int)
        return Received(answer["followup"], answer["ticket"])

    def open_ticket(self, title: str, text: str, email: str, *, queue: str = QUEUE) -> int:
        """A ticket without a follow-up; the first `write` is its opening."""
        answer = self.do({"do": "open_ticket", "queue": queue, "title": title, "description": text, "email": email})[0]
        assert isinstance(answer, int)
        return answer

    def write(
        self,
        ticket: int,
        comment: str,
        *,
        user: str | None = None,
        title: str = "Comment",
        public: bool = True,
        at: datetime | None = None,
        message_id: str | None = None,
        files: Sequence[File] = (),
    ) -> int:
        """A follow-up, as the site's pages make it; the user None: a customer on the public page."""
        sent: list[Json] = [
            {"name": one.name, "type": one.type, "content": base64.b64encode(one.content).decode()} for one in files
        ]
        answer = self.do(
            {
                "do": "write",
                "ticket": ticket,
                "user": user,
                "title": title,
                "comment": comment,
                "public": public,
                "at": None if at is None else at.isoformat(),
                "message_id": message_id,
                "files": sent,
            }
        )[0]
        assert isinstance(answer, int)
        return answer

    def merge(self, tickets: Sequence[int], into: int) -> None:
        """Merges tickets into one: their follow-ups move there."""
        self.do({"do": "merge", "tickets": list(tickets), "into": into})

    def set_date(self, followup: int, at: datetime) -> None:
        """When the site thinks a follow-up was written."""
        self.do({"do": "set_date", "followup": followup, "at": at.isoformat()})

    def edit(self, followup: int, comment: str) -> None:
        """Somebody changes a follow-up's text."""
        self.do({"do": "edit", "followup": followup, "comment": comment})

    def delete(self, followup: int) -> None:
        """Somebody deletes a follow-up."""
        self.do({"do": "delete", "followup": followup})

    def delete_ticket(self, ticket: int) -> None:
        """Somebody deletes a ticket with all that is in it."""
        self.do({"do": "delete_ticket", "ticket": ticket})

    def make_user(self, name: str, *, email: str = "", staff: bool = False) -> str:
        """A user; the token with which they sign in."""
        answer = self.do({"do": "user", "name": name, "email": email, "staff": staff})[0]
        assert isinstance(answer, dict)
        return str(answer["token"])

    def clear(self) -> None:
        """Takes away every ticket."""
        self.do({"do": "clear"})

    def state(self) -> Json:
        """Every follow-up: whatever reading might change."""
        return self.do({"do": "state"})[0]

    def call(self, method: str, path: str, body: Json = None, *, token: str = "") -> Json:
        """One call of the API, as the agent unless a token says otherwise."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api{path}", data=content, method=method)
        request.add_header("Authorization", f"Token {token or self.token}")
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
        return {**os.environ, "PYTHONPATH": str(self.folder), "DJANGO_SETTINGS_MODULE": "site_settings"}

    def _prepare(self) -> None:
        (self.folder / "media").mkdir()
        (self.folder / "site_settings.py").write_text(f"FOLDER = {str(self.folder)!r}\n{SETTINGS}")
        (self.folder / "site_urls.py").write_text(URLS)
        with (self.folder / "helper.log").open("wb") as log:
            self._helper = subprocess.Popen(
                [PYTHON, SITE], env=self._environ(), cwd=self.folder,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.token = str(self.do({"do": "setup", "password": PASSWORD})[0])

    def _start(self) -> None:
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, "-m", "django", "runserver", "--noreload", f"127.0.0.1:{self.port}"],
                env=self._environ(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"django-helpdesk did not start:\n{self.log()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            self.call("GET", "/tickets/")
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
