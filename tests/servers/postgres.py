"""A private PostgreSQL cluster on loopback, for one test run: a free port, one database per test, nothing left behind.

    def test_something(postgres_cluster: Cluster) -> None:
        url = postgres_cluster.create_database()

Import the fixture where it is used: `from tests.servers.postgres import postgres_cluster`. Runs as root (the server
itself refuses to, and runs as `nobody`) and as an ordinary user. Its folder is not below pytest's tmp_path, because
`nobody` may not pass through root's temporary folders. Durability is off: these databases live for seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.needs import require
from tests.servers.ports import free_port

START_SECONDS = 60.0
STOP_SECONDS = 20.0
START_TRIES = 3
UNPRIVILEGED = "nobody"

FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "logging_collector": "off",
}


class Cluster:
    """A running server. `create_database` gives a URL of a new database, empty or a copy of a template. `settings` go
    over the fast ones."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**FAST, **(settings or {})}
        self._initdb = _newest("initdb")
        self._postgres = self._initdb.with_name("postgres")
        self._folder = Path(tempfile.mkdtemp(prefix="inbox-sync-pg-"))
        self._data = self._folder / "data"
        self._user = pwd.getpwnam(UNPRIVILEGED) if os.getuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self.host = "127.0.0.1"
        self.port = 0
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._folder.chmod(0o711)
        atexit.register(self.stop)

    def start(self) -> None:
        """Makes the cluster and waits until it answers."""
        self._run(
            str(self._initdb), "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync", "--no-instructions",
        )  # fmt: skip
        for last in (False,) * (START_TRIES - 1) + (True,):
            self.port = free_port()
            try:
                self._launch()
            except RuntimeError:  # somebody took the port meanwhile
                if last:
                    raise
            else:
                return

    def stop(self) -> None:
        """Ends the server at once and removes its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def kill(self) -> None:
        """Ends the server at once; `restart` brings it back."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Starts the server again on its old port."""
        self._launch()

    @property
    def pid(self) -> int:
        """The server's process; its backends are its children."""
        if self._process is None:
            raise RuntimeError("PostgreSQL does not run")
        return self._process.pid

    def url(self, database: str) -> str:
        """The URL of a database, as an operator would write it."""
        return f"postgresql://postgres@{self.host}:{self.port}/{database}"

    def create_database(self, template: str = "template0") -> str:
        """A new database; returns its URL."""
        name = f"test_{os.getpid()}_{next(self._names)}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Removes a database although something may still be connected to it."""
        self.sql(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Runs one statement as the superuser."""
        import psycopg  # noqa: PLC0415  only where there is a server

        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement.encode())

    # ------------------------------------------------------------------ processes

    def _as_user(self) -> list[str]:
        """The command that drops root's rights and ends the server when the tests are killed."""
        words = [str(require("setpriv", package="util-linux")), "--pdeathsig", "QUIT"]
        if self._user is not None:
            words += [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]
        return words

    def _environ(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self._folder), "TZ": "UTC"}

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [*self._as_user(), *command],
            cwd=self._folder,
            env=self._environ(),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")

    def _launch(self) -> None:
        settings = {
            **self._settings,
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        log = self._folder / "postgres.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._as_user(), str(self._postgres), "-D", str(self._data), *options],
                cwd=self._folder,
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._wait_until_it_answers(log)

    def _wait_until_it_answers(self, log: Path) -> None:
        import psycopg  # noqa: PLC0415  only where there is a server

        deadline = time.monotonic() + START_SECONDS
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                self.sql("SELECT 1")
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """One cluster for the whole run; skips (in continuous integration: fails) where PostgreSQL is not installed."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _newest(program: str) -> Path:
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    for folder in sorted(folders, key=lambda one: float(one.parent.name), reverse=True):
        if (folder / program).is_file():
            return folder / program
    return require(program, package="postgresql").resolve()
