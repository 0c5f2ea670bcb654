"""A private Dovecot on loopback, for one test: free ports, its own certificate authority, nothing left behind.

    with Dovecot() as server:
        server.deliver("alice", "INBOX", b"From: …")
        ImapConfig(host=server.host, port=server.imaps_port, ca_file=server.ca_file, …)

Runs as root and as an ordinary user. Its folder is not below pytest's tmp_path, because as root the mail belongs to
`nobody`, who may not pass through root's temporary folders, and because unix sockets want short paths.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import grp
import imaplib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.needs import require
from tests.servers.ports import free_port

PROGRAM = Path("/usr/sbin/dovecot")
START_SECONDS = 60.0
STOP_SECONDS = 10.0
PASSWORD = "opensesame-7319"
"""Of every user, unless the test gives others. Unusual, so that a leak into a log can be searched for."""
CERTIFICATE_NAMES = ("localhost", "127.0.0.1")

_deliveries = count(1)


def _wait_until_free(port: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return
        time.sleep(0.005)


def needs_dovecot() -> None:
    """Skips the test where Dovecot is not installed, and fails it in continuous integration."""
    require("dovecot", package="dovecot-imapd")


def needs_pop3() -> None:
    """The same for Dovecot's POP3 part, a Debian package of its own."""
    needs_dovecot()
    require("/usr/lib/dovecot/pop3", package="dovecot-pop3d")


@dataclass(frozen=True)
class Authority:
    """A certificate authority made for this test run."""

    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @cache  # noqa: B019  lives as long as the test run
    def certificate(self, names: Sequence[str], days: int = 2) -> tuple[Path, Path]:
        """(certificate, key) for these names and addresses."""
        stem = f"server-{'-'.join(names)}-{days}".replace("*", "any")
        key, request, certificate = (self.folder / f"{stem}.{end}" for end in ("key", "csr", "pem"))
        kinds = ("IP" if name.replace(".", "").isdigit() else "DNS" for name in names)
        alternative = ",".join(f"{kind}:{name}" for kind, name in zip(kinds, names, strict=True))
        extensions = self.folder / f"{stem}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={names[0]}",
                 "-keyout", key, "-out", request)  # fmt: skip
        _openssl("x509", "-req", "-in", request, "-CA", self.ca_file, "-CAkey", self.folder / "ca.key", "-CAcreateserial",
                 "-days", days, "-extfile", extensions, "-out", certificate)  # fmt: skip
        return certificate, key


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@cache
def authority() -> Authority:
    """The test run's certificate authority."""
    folder = Path(tempfile.mkdtemp(prefix="inbox-sync-ca-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2,
             "-subj", "/CN=Test authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
             "-keyout", folder / "ca.key", "-out", folder / "ca.pem")  # fmt: skip
    return Authority(folder)


class Dovecot:
    """One server. `users` maps names to passwords (default: alice and bob, PASSWORD); `extra` goes at the end of
    dovecot.conf; `pop3` opens its two ports; `introspection_url` allows tokens (XOAUTH2, OAUTHBEARER) and says who knows
    about them; `special_use` says which folders exist from the start, by their use."""

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        certificate_names: Sequence[str] = CERTIFICATE_NAMES,
        certificate_days: int = 2,
        special_use: Mapping[str, str] | None = None,
        extra: str = "",
        rawlog: bool = True,
        pop3: bool = False,
        introspection_url: str = "",
    ) -> None:
        self.users = dict(users or {"alice": PASSWORD, "bob": PASSWORD})
        self.host = "localhost"
        self.ca_file = authority().ca_file
        self.imap_port = 0
        self.imaps_port = 0
        self.pop3_port = 0
        self.pop3s_port = 0
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self._certificate = authority().certificate(tuple(certificate_names), certificate_days)
        self._special_use = dict({"Sent": "\\Sent", "Junk": "\\Junk"} if special_use is None else special_use)
        self._extra = extra
        self._rawlog = rawlog
        self._pop3 = pop3
        self._introspection_url = introspection_url
        self._process: subprocess.Popen[bytes] | None = None
        root = os.geteuid() == 0
        self._owner = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.geteuid())
        self._prepare(root=root)

    # -- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts, on the ports it had before. Returns once it answers."""
        for _attempt in range(3):
            self._write_configuration()
            if self._started():
                return
            self.stop()
            self.imap_port = self.imaps_port = 0
        raise RuntimeError(f"Dovecot does not start:\n{self.log()}")

    def _started(self) -> bool:
        log = (self.folder / "out.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [str(PROGRAM), "-F", "-c", str(self.folder / "dovecot.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.imap_port), 2) as probe:
                if probe.recv(4) == b"* OK":
                    return True
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        """Stops; mail stays. `start` brings it back on the same ports."""
        process, self._process = self._process, None
        if process is None:
            return
        # The whole group, since the master leaves before those who serve a client; at once, since it waits for some.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)
        (self.folder / "run" / "master.pid").unlink(missing_ok=True)
        for port in (self.imap_port, self.imaps_port):
            _wait_until_free(port)

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Within the block connections come about and nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stops and removes everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server wrote, for a failing test to show."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    # -- mail

    def maildir(self, user: str, folder: str = "INBOX") -> Path:
        """The folder's place on disk. Folder names are ASCII here, `/` between levels."""
        root = self.folder / "mail" / user / "Maildir"
        return root if folder == "INBOX" else root / f".{folder.replace('/', '.')}"

    def deliver(self, user: str, folder: str, raw: bytes, mtime: float | datetime | None = None) -> Path:
        """Drops a mail into the folder as a delivery agent does; its INTERNALDATE is `mtime` (default: now)."""
        place = self.maildir(user, folder)
        for name in ("tmp", "new", "cur"):
            self._own_folder(place / name)
        number = next(_deliveries)
        name = f"{int(time.time())}.M{time.time_ns() // 1000 % 1_000_000:06d}P{os.getpid()}Q{number}.test"
        path = place / "tmp" / name
        path.write_bytes(raw)
        os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        if mtime is not None:
            at = mtime.timestamp() if isinstance(mtime, datetime) else mtime
            os.utime(path, (at, at))
        return path.rename(place / "new" / name)

    def append(
        self,
        user: str,
        folder: str,
        raw: bytes,
        at: datetime | None = None,
        flags: str = "",
        *,
        wire: bytes | None = None,
    ) -> None:
        """APPENDs over IMAP, with any INTERNALDATE; `wire` names the folder in modified UTF-7."""
        with self.client(user) as client:
            name = wire or folder.encode("ascii")
            answer, data = client.append(b'"' + name + b'"', flags, at or datetime.now(UTC), raw)  # type: ignore[arg-type]
            assert answer == "OK", data

    def create(self, user: str, folder: str) -> None:
        """Makes a folder; any UTF-8 name."""
        self.doveadm("mailbox", "create", "-u", user, folder)

    def remove(self, user: str, folder: str) -> None:
        """Deletes a folder and its mail."""
        self.doveadm("mailbox", "delete", "-u", user, folder)

    def save(self, user: str, folder: str, raw: bytes) -> None:
        """Saves a mail into a folder of any UTF-8 name."""
        self.doveadm("save", "-u", user, "-m", folder, stdin=raw)

    def expunge(self, user: str, folder: str, *query: str) -> None:
        """Removes the messages that a doveadm search query (`uid 3`, `all`) names."""
        self.doveadm("expunge", "-u", user, "mailbox", folder, *query)

    def empty(self, user: str) -> None:
        """Takes away everything the user has, folders and numbering too."""
        place = self.maildir(user)
        shutil.rmtree(place, ignore_errors=True)
        self._own_folder(place)

    def renumber(self, user: str, folder: str = "INBOX") -> None:
        """Gives the folder a new UIDVALIDITY and new UIDs, as after an index was lost. Restarts the server."""
        self.stop()
        place = self.maildir(user, folder)
        before = self._uidvalidity(place)
        for path in place.glob("dovecot*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        # Dovecot takes the time in seconds as the new value: within the second it would be the same again.
        (place / "dovecot-uidlist").write_text(f"3 V{max(before + 1, int(time.time()))} N1 G{os.urandom(16).hex()}\n")
        os.chown(place / "dovecot-uidlist", self._owner.pw_uid, self._owner.pw_gid)
        self.start()

    def set_uidvalidity(self, user: str, folder: str, value: int) -> None:
        """Like `renumber`, with a value of the test's choice (a lower one is a server's glitch)."""
        self.renumber(user, folder)
        self.doveadm("mailbox", "update", "-u", user, "--uid-validity", str(value), folder)

    @staticmethod
    def _uidvalidity(place: Path) -> int:
        path = place / "dovecot-uidlist"
        words = path.read_text().split("\n", 1)[0].split() if path.exists() else []
        return next((int(word[1:]) for word in words if word.startswith("V")), 0)

    def flags(self, user: str, folder: str = "INBOX") -> dict[str, str]:
        """The files of the folder with their flags and the sub-folder they lie in: whatever reading might change."""
        place = self.maildir(user, folder)
        return {
            path.name.split(":2,")[0]: f"{path.parent.name}:{path.name.partition(':2,')[2]}"
            for name in ("new", "cur")
            for path in (place / name).glob("*")
        }

    def doveadm(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Runs doveadm on this server."""
        return subprocess.run(
            ["doveadm", "-c", str(self.folder / "dovecot.conf"), *arguments],
            input=stdin,
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout

    @contextlib.contextmanager
    def client(self, user: str) -> Iterator[imaplib.IMAP4]:
        """A plain client, signed in."""
        client = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=30)
        try:
            client.login(user, self.users[user])
            yield client
        finally:
            client.logout()

    # -- what clients did

    def commands(self, user: str) -> list[str]:
        """Every line that clients of this user sent after signing in, in order of their connections."""
        logs = sorted((self.folder / "mail" / user / "dovecot.rawlog").glob("*.in"))
        lines = (line for path in logs for line in path.read_bytes().decode("utf-8", "replace").splitlines())
        return [line.split(" ", 1)[1] if line[:1].replace(".", "").isdigit() else line for line in lines]

    def forget_commands(self, user: str) -> None:
        """Empties what `commands` returns, also for connections that stay open."""
        for path in (self.folder / "mail" / user / "dovecot.rawlog").glob("*"):
            os.truncate(path, 0)

    # -- files

    def _own_folder(self, path: Path) -> None:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)  # the server may make it just now
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)

    def _prepare(self, *, root: bool) -> None:
        self.folder.chmod(0o755)
        for name in ("run", "state"):
            (self.folder / name).mkdir()
        for user in self.users:
            self._own_folder(self.folder / "mail" / user / "Maildir")
            if self._rawlog:
                self._own_folder(self.folder / "mail" / user / "dovecot.rawlog")
        self._write_users()
        self._root = root

    def set_password(self, user: str, password: str) -> None:
        """From now on; whoever is signed in with the old one is thrown out."""
        self.users[user] = password
        self._write_users()
        self.doveadm("auth", "cache", "flush")
        self.doveadm("kick", user)

    def _write_users(self) -> None:
        lines = (
            f"{user}:{{PLAIN.b64}}{base64.b64encode(password.encode()).decode()}:{self._owner.pw_uid}:"
            f"{self._owner.pw_gid}::{self.folder}/mail/{user}::\n"
            for user, password in self.users.items()
        )
        (self.folder / "users").write_text("".join(lines))

    def _oauth(self) -> str:
        (self.folder / "oauth2.conf").write_text(
            f"introspection_mode = auth\nintrospection_url = {self._introspection_url}\n"
            "username_attribute = username\nusername_format = %Lu\ntimeout_msecs = 5000\n"
        )
        return f"""
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {self.folder}/oauth2.conf
}}
"""

    def _pop3_service(self) -> str:
        return f"""
service pop3-login {{
  {"chroot = login" if self._root else "chroot ="}
  inet_listener pop3 {{
    port = {self.pop3_port}
  }}
  inet_listener pop3s {{
    port = {self.pop3s_port}
    ssl = yes
  }}
}}
"""

    def _write_configuration(self) -> None:
        self.imap_port = self.imap_port or free_port()
        self.imaps_port = self.imaps_port or free_port()
        if self._pop3:
            self.pop3_port = self.pop3_port or free_port()
            self.pop3s_port = self.pop3s_port or free_port()
        certificate, key = self._certificate
        owner, group = self._owner.pw_name, grp.getgrgid(self._owner.pw_gid).gr_name
        unprivileged = (
            ""
            if self._root
            else f"default_internal_user = {owner}\ndefault_internal_group = {group}\ndefault_login_user = {owner}\n"
            "service anvil {\n  chroot =\n}\n"
        )
        folders = "".join(
            f"  mailbox {name} {{\n    auto = subscribe\n    special_use = {use}\n  }}\n"
            for name, use in self._special_use.items()
        )
        (self.folder / "dovecot.conf").write_text(f"""
protocols = imap{" pop3" if self._pop3 else ""}
listen = 127.0.0.1
base_dir = {self.folder}/run
state_dir = {self.folder}/state
instance_name = test-{self.folder.name}
log_path = {self.folder}/dovecot.log
mail_location = maildir:~/Maildir
mail_uid = {owner}
mail_gid = {group}
first_valid_uid = 0
first_valid_gid = 0
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login{" xoauth2 oauthbearer" if self._introspection_url else ""}
auth_failure_delay = 0
mailbox_idle_check_interval = 1s
mail_max_userip_connections = 100
default_vsz_limit = 1G
namespace inbox {{
  inbox = yes
  separator = /
{folders}}}
{self._oauth() if self._introspection_url else ""}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = username_format=%u {self.folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {self.folder}/users
}}
service imap-login {{
  {"chroot = login" if self._root else "chroot ="}
  process_min_avail = 1
  inet_listener imap {{
    port = {self.imap_port}
  }}
  inet_listener imaps {{
    port = {self.imaps_port}
    ssl = yes
  }}
}}
{self._pop3_service() if self._pop3 else ""}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
{f"protocol imap {{{chr(10)}  rawlog_dir = %h/dovecot.rawlog{chr(10)}}}" if self._rawlog else ""}
{unprivileged}
{self._extra}
""")


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    """A running Dovecot with the users alice and bob."""
    needs_dovecot()
    with Dovecot() as server:
        yield server
