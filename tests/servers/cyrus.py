"""A private Cyrus on loopback, for its JMAP (RFC 8620, 8621): free ports, own users, nothing left behind.

    with Cyrus() as server:
        server.import_mail("alice", "INBOX", b"From: …", arrived_at)
        JmapConfig(url=server.url, username="alice", …)

Only Debian's cyrus-common and cyrus-caldav are needed (its cyrus-imapd would remove Dovecot): mailboxes come into being
with the first delivery by LMTP, mail comes by JMAP. Cyrus wants root, to become the user `cyrus`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pwd
import shutil
import signal
import smtplib
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from sync.message import Json
from tests.needs import in_ci, require
from tests.servers.ports import free_port

PROGRAMS = Path("/usr/lib/cyrus/bin")
START_SECONDS = 60.0
STOP_SECONDS = 10.0
PASSWORD = "opensesame-2604"
"""Of every user. Unusual, so that a leak into a log can be searched for."""
USING = ("urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail")


def needs_cyrus() -> None:
    """Skips the test where Cyrus is not installed or cannot be started, and fails it in continuous integration."""
    require(str(PROGRAMS / "httpd"), package="cyrus-caldav")
    require("saslpasswd2", package="sasl2-bin")
    if os.geteuid() != 0:
        sentence = "needs root: Cyrus becomes the user cyrus"
        if in_ci():
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)


class Cyrus:
    """One server with the users alice and bob."""

    def __init__(self, users: Sequence[str] = ("alice", "bob")) -> None:
        self.users = tuple(users)
        self.http_port = free_port()
        self._lmtp_port = free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.folder = Path(tempfile.mkdtemp(prefix="cyrus-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._mailbox_ids: dict[tuple[str, str], str] = {}

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

    # -- mail

    def import_mail(self, user: str, mailbox: str, raw: bytes, arrived_at: datetime) -> str:
        """Puts a mail into a mailbox (by role or name); its Email id."""
        account = self._account(user)
        lines = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")  # Cyrus refuses bare newlines
        blob = self._request(f"/jmap/upload/{account}/", user, lines, "message/rfc822")
        assert isinstance(blob, dict)
        email: Json = {
            "blobId": blob["blobId"],
            "mailboxIds": {self.mailbox_id(user, mailbox): True},
            "receivedAt": arrived_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        answer = self.call(user, "Email/import", {"accountId": account, "emails": {"new": email}})
        created = answer["created"]
        assert isinstance(created, dict)
        assert created, answer
        made = created["new"]
        assert isinstance(made, dict)
        return str(made["id"])

    def destroy(self, user: str, ids: Sequence[str]) -> None:
        """Removes mails for good."""
        self.call(user, "Email/set", {"accountId": self._account(user), "destroy": list(ids)})

    def move(self, user: str, email_id: str, mailbox: str) -> None:
        """Moves a mail into one mailbox."""
        patch: Json = {"mailboxIds": {self.mailbox_id(user, mailbox): True}}
        self.call(user, "Email/set", {"accountId": self._account(user), "update": {email_id: patch}})

    def put_again(self, user: str, email_id: str, mailbox: str) -> None:
        """Puts a mail into one more mailbox."""
        patch: Json = {f"mailboxIds/{self.mailbox_id(user, mailbox)}": True}
        self.call(user, "Email/set", {"accountId": self._account(user), "update": {email_id: patch}})

    def flag(self, user: str, email_id: str) -> None:
        """Marks a mail as read."""
        patch: Json = {"keywords/$seen": True}
        self.call(user, "Email/set", {"accountId": self._account(user), "update": {email_id: patch}})

    def emails(self, user: str) -> list[Mapping[str, Json]]:
        """Every mail with its id, keywords and mailboxes."""
        account = self._account(user)
        ids = self.call(user, "Email/query", {"accountId": account})["ids"]
        wanted: Json = {"accountId": account, "ids": ids, "properties": ["id", "keywords", "mailboxIds"]}
        listed = self.call(user, "Email/get", wanted)["list"]
        assert isinstance(listed, list)
        return [email for email in listed if isinstance(email, dict)]

    def empty(self, user: str) -> None:
        """Removes every mail of a user."""
        ids = [str(email["id"]) for email in self.emails(user)]
        if ids:
            self.destroy(user, ids)

    def mailbox_id(self, user: str, mailbox: str) -> str:
        """The id of a mailbox, by its role or its name."""
        known = self._mailbox_ids.get((user, mailbox))
        if known is not None:
            return known
        listed = self.call(user, "Mailbox/get", {"accountId": self._account(user), "ids": None})["list"]
        assert isinstance(listed, list)
        for one in listed:
            assert isinstance(one, dict)
            if mailbox.lower() in (one["role"], str(one["name"]).lower()):
                self._mailbox_ids[user, mailbox] = str(one["id"])
                return str(one["id"])
        raise KeyError(mailbox)

    def make_mailbox(self, user: str, name: str) -> None:
        """A new mailbox below the root."""
        create: Json = {"new": {"name": name}}
        self.call(user, "Mailbox/set", {"accountId": self._account(user), "create": create})

    def call(self, user: str, method: str, arguments: Json) -> dict[str, Json]:
        """One method call; its answer's arguments."""
        body: Json = {"using": list(USING), "methodCalls": [[method, arguments, "0"]]}
        answer = self._request("/jmap/", user, json.dumps(body).encode(), "application/json")
        assert isinstance(answer, dict)
        responses = answer["methodResponses"]
        assert isinstance(responses, list)
        first = responses[0]
        assert isinstance(first, list)
        assert first[0] == method, first
        assert isinstance(first[1], dict)
        return first[1]

    def _account(self, user: str) -> str:
        return user

    def _request(self, path: str, user: str, content: bytes | None, content_type: str) -> Json:
        sign_in = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(self.url + path, data=content)
        request.add_header("Authorization", f"Basic {sign_in}")
        request.add_header("Content-Type", content_type)
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: Json = json.load(response)
        return answer

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Within the block connections come about and nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    # -- the process

    def _prepare(self) -> None:
        self.folder.chmod(0o755)
        for name in ("conf/socket", "conf/proc", "conf/lock", "conf/db", "spool", "sieve", "search"):
            (self.folder / name).mkdir(parents=True)
        folder = self.folder
        (folder / "imapd.conf").write_text(f"""configdirectory: {folder}/conf
partition-default: {folder}/spool
defaultpartition: default
proc_path: {folder}/conf/proc
mboxname_lockpath: {folder}/conf/lock
sievedir: {folder}/sieve
admins: cyrus
servername: localhost
virtdomains: off
unixhierarchysep: yes
altnamespace: yes
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {folder}/sasldb2
sasl_mech_list: PLAIN LOGIN
autocreate_quota: 0
autocreate_post: yes
autocreate_inbox_folders: Sent
xlist-sent: Sent
conversations: yes
conversations_db: twoskip
httpmodules: jmap
jmap_nonstandard_extensions: no
httpallowcompress: no
idlesocket: {folder}/conf/socket/idle
lmtpsocket: {folder}/conf/socket/lmtp
notifysocket: {folder}/conf/socket/notify
syslog_prefix: test
""")
        (folder / "cyrus.conf").write_text(f"""START {{
  recover cmd="{PROGRAMS}/ctl_cyrusdb -C {folder}/imapd.conf -r"
}}
SERVICES {{
  http cmd="{PROGRAMS}/httpd -C {folder}/imapd.conf -U 1000" listen="127.0.0.1:{self.http_port}" proto="tcp4" prefork=1
  lmtp cmd="{PROGRAMS}/lmtpd -a -C {folder}/imapd.conf" listen="127.0.0.1:{self._lmtp_port}" proto="tcp4" prefork=0
}}
EVENTS {{
  checkpoint cmd="{PROGRAMS}/ctl_cyrusdb -C {folder}/imapd.conf -c" period=180
}}
""")
        for user in self.users:
            subprocess.run(
                ["saslpasswd2", "-p", "-c", "-f", str(folder / "sasldb2"), "-u", "localhost", user],
                input=PASSWORD.encode(),
                check=True,
            )
        subprocess.run(["chown", "-R", "cyrus:mail", str(folder)], check=True)

    def _start(self) -> None:
        owner = pwd.getpwnam("cyrus")
        with (self.folder / "out.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--init-groups",
                 PROGRAMS / "master", "-C", self.folder / "imapd.conf", "-M", self.folder / "cyrus.conf",
                 "-p", self.folder / "conf/master.pid", "-D"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        for user in self.users:
            while not self._ready(user):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Cyrus did not start: {(self.folder / 'out.log').read_text()}")
                time.sleep(0.05)
            self.empty(user)

    def _ready(self, user: str) -> bool:
        """Delivers a first mail, which makes the mailboxes, and sees whether JMAP shows them."""
        try:
            with smtplib.LMTP("127.0.0.1", self._lmtp_port, timeout=10) as lmtp:
                lmtp.sendmail("root@localhost", [user], b"From: root@localhost\r\nSubject: first\r\n\r\nfirst\r\n")
            return bool(self.mailbox_id(user, "inbox")) and bool(self.mailbox_id(user, "sent"))
        except (OSError, smtplib.SMTPException, urllib.error.URLError, KeyError, AssertionError):
            return False

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(STOP_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)
