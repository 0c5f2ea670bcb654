"""The connection to the database: opening it on SQLite and PostgreSQL, one transaction per call, and errors in words.

SQLite: WAL, synchronous=FULL, foreign keys on, `BEGIN IMMEDIATE` for everything that writes (a deferred transaction
that turns into a writer gets "database is locked" in spite of the busy time-out), deferred for readers. Writers of one
process queue on a lock of their own, because SQLite's busy handler sleeps and is not fair.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from sync.errors import ConfigError, InboxSyncError, LedgerError, Scope, TemporaryError
from sync.settings import LedgerSettings

T = TypeVar("T")

WRITE_TRIES = 4
"""How often a transaction is run when the database says that only its timing was bad."""

FIRST_RETRY_SECONDS = 0.02
SQLITE_CACHE_KIB = 8192
SQLITE_JOURNAL_MAX_BYTES = 64 * 1024 * 1024
SQLITE_HEADER = b"SQLite format 3\0"
OWNER_ONLY = 0o600

POSTGRES_KEEPALIVE: Mapping[str, int] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""libpq's names; seconds, and milliseconds for the last: a server that vanished is noticed within a minute."""

POSTGRES_IDLE_IN_TRANSACTION_SECONDS = 10
"""After so long PostgreSQL ends a session that does nothing within a transaction. Ours wait for nothing but the next
statement, so it is a process that is frozen or cut off, and its locks would keep everybody else from taking over."""

POSTGRES_SERVER_KEEPALIVE = (
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=20000"
)
"""The same for the server's side, in seconds, and milliseconds for the last: a machine that vanished must not keep its
locks for the two hours that are usual."""

POSTGRES_WITH_TRANSACTION_TIMEOUT = 170000
"""The version of PostgreSQL that brought transaction_timeout: the only limit for a session that waits for the rest of a
batch of statements. In older ones that is up to keepalives."""

URL_HELP = 'write [ledger] url = "sqlite:////absolute/path.db" or "postgresql://user@host/database"'


class ConnectionFailed(TemporaryError):
    """The database server cannot be reached (any more)."""

    code = "ledger.busy"


class Rows(Protocol):
    """As much of psycopg's cursor as is used here."""

    def fetchone(self) -> tuple[object, ...] | None:
        """The next row."""
        ...


class ServerInfo(Protocol):
    """As much of psycopg's connection info as is used here."""

    @property
    def server_version(self) -> int:
        """170002 for 17.2."""
        ...


class PostgresConnection(Protocol):
    """As much of psycopg's connection as is used here."""

    @property
    def info(self) -> ServerInfo:
        """What is known of the server."""
        ...

    def execute(self, query: str) -> Rows:
        """One statement."""
        ...

    def commit(self) -> None:
        """Ends the transaction."""
        ...


class DbapiConnection(Protocol):
    """As much of the DB API's connection as is used here."""

    isolation_level: str | None

    def execute(self, sql: str) -> object:
        """sqlite3's short way to one statement."""
        ...


def process_name() -> str:
    """Which process this is, among all that use the ledger. Holders of leases begin with it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def session_name(process: str) -> str:
    """What PostgreSQL shows as the application_name of a process's sessions (it keeps 63 characters)."""
    return f"inbox-sync {process}"[:63]


def parse_url(text: str) -> URL:
    """The URL of `[ledger]` with the driver this program uses. Raises ConfigError on anything but a SQLite file or a
    PostgreSQL database."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigError(
            "[ledger] url cannot be read as a database URL", code="ledger.url", next_step=URL_HELP
        ) from None
    backend = url.drivername.partition("+")[0]
    if backend == "sqlite":
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise ConfigError(
                "[ledger] url names no file: a ledger in memory would forget what was sent",
                code="ledger.url",
                next_step=URL_HELP,
            )
        return url.set(drivername="sqlite+pysqlite")
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise ConfigError(
        f'[ledger] url names the database "{backend}"; it can be sqlite or postgresql',
        code="ledger.url",
        next_step=URL_HELP,
    )


def describe(url: URL) -> str:
    """The URL for logs and messages: without password and driver."""
    plain = url.set(drivername=url.drivername.partition("+")[0])
    return plain.render_as_string(hide_password=True)


def sqlite_path(url: URL) -> Path | None:
    """The database file, links resolved (two names of one file share its lock); None on PostgreSQL."""
    if url.get_backend_name() != "sqlite":
        return None
    return Path(os.path.realpath(url.database or ""))


class Database:
    """An engine, and transactions as calls. `sleep` is the wait between tries."""

    def __init__(
        self, settings: LedgerSettings, *, migrating: bool = False, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.settings = settings
        self.url = parse_url(settings.url)
        self.path = sqlite_path(self.url)
        self.label = describe(self.url)
        self._sleep = sleep
        self._jitter = random.Random()  # noqa: S311  spreads retries, guards nothing
        self._writer = threading.Lock()
        self.engine = self._create(migrating=migrating)
        self._reading = self.engine.execution_options(sqlite_begin="DEFERRED")

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file of ours."""
        return self.path is not None

    def first_contact(self, work: Callable[[Connection], T]) -> T:
        """Like `read`, for a ledger that is being opened: a server that cannot be reached is then no passing trouble
        but something to tell (LedgerError `ledger.unreachable`)."""
        try:
            return self.read(work)
        except ConnectionFailed as error:
            raise LedgerError(error.sentence, code="ledger.unreachable", next_step=error.next_step) from error

    def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction that only reads."""
        return self._repeat(lambda _again: self._in_transaction(self._reading, work))

    def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction; runs it again when it lost a race (every work here may be repeated)."""
        return self._repeat(lambda _again: self._write_once(work))

    def write_knowing(self, work: Callable[[Connection, bool], T]) -> T:
        """Like `write`; `work` is told whether an earlier try of it may have been committed without our hearing so."""
        return self._repeat(lambda again: self._write_once(lambda tx: work(tx, again)))

    def explain(self, error: SQLAlchemyError) -> InboxSyncError | None:
        """An error of the database in an operator's words; None when it is a bug of ours."""
        return self._explain(error)[0]

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    # ------------------------------------------------------------------ transactions

    def _write_once(self, work: Callable[[Connection], T]) -> T:
        if not self.is_sqlite:
            return self._in_transaction(self.engine, work)
        if not self._writer.acquire(timeout=self.settings.busy_timeout_seconds):
            raise self._busy("the ledger is busy with another transaction")
        try:
            return self._in_transaction(self.engine, work)
        finally:
            self._writer.release()

    def _in_transaction(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with engine.connect() as tx, tx.begin():
            return work(tx)

    def _repeat(self, once: Callable[[bool], T]) -> T:
        again = False
        for attempt in range(1, WRITE_TRIES + 1):
            try:
                return once(again)
            except SQLAlchemyError as error:
                problem, transient, unheard = self._explain(error)
                if problem is None:
                    raise
                if not transient or attempt == WRITE_TRIES:
                    raise problem from error
                again = again or unheard
                delay = FIRST_RETRY_SECONDS * 2 ** (attempt - 1)
            self._sleep(delay * (0.5 + self._jitter.random()))
        raise AssertionError("unreachable")

    # ------------------------------------------------------------------ engines

    def _create(self, *, migrating: bool) -> Engine:
        try:
            return self._create_sqlite(migrating=migrating) if self.path else self._create_postgres(migrating=migrating)
        except ModuleNotFoundError as error:
            raise LedgerError(
                f"{self.label} needs PostgreSQL's driver, and {error.name} is not installed",
                code="ledger.driver_missing",
                next_step="install the extra: pip install 'inbox-sync[postgres]'",
            ) from error
        except ImportError as error:  # psycopg without libpq
            raise LedgerError(
                f"PostgreSQL's driver cannot be used: {error}",
                code="ledger.driver_missing",
                next_step="install the extra: pip install 'inbox-sync[postgres]'",
            ) from error
        except (ArgumentError, NoSuchModuleError) as error:
            raise ConfigError(f"[ledger] url cannot be used: {error}", code="ledger.url", next_step=URL_HELP) from error

    def _create_sqlite(self, *, migrating: bool) -> Engine:
        engine = create_engine(
            self.url.set(database=str(self.path)),
            hide_parameters=True,
            pool_size=self.settings.threads,
            max_overflow=self.settings.threads,
            pool_timeout=self.settings.busy_timeout_seconds,
            connect_args={"timeout": self.settings.busy_timeout_seconds, "check_same_thread": False},
        )
        pragmas = (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={int(self.settings.busy_timeout_seconds * 1000)}",
            f"foreign_keys={'OFF' if migrating else 'ON'}",
            f"cache_size=-{SQLITE_CACHE_KIB}",
            f"journal_size_limit={SQLITE_JOURNAL_MAX_BYTES}",
            "temp_store=MEMORY",
        )

        def prepare(connection: DbapiConnection, _entry: ConnectionPoolEntry) -> None:
            connection.isolation_level = None  # the driver would begin and commit by rules of its own
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")

        event.listen(engine, "connect", prepare)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _create_postgres(self, *, migrating: bool) -> Engine:
        from sync.ledger.patience import patient  # noqa: PLC0415  psycopg is an extra

        connect = patient(self.settings.statement_timeout_seconds)
        query = dict(self.url.query)
        own_options = query.pop("options", "")
        # one side of a copy idles while the other one commits or counts millions of rows
        idle_seconds = 0 if migrating else POSTGRES_IDLE_IN_TRANSACTION_SECONDS
        options = (
            f"-c statement_timeout={int(self.settings.statement_timeout_seconds * 1000)} -c timezone=UTC"
            f" -c idle_in_transaction_session_timeout={idle_seconds * 1000}"
            f" {POSTGRES_SERVER_KEEPALIVE}"
            # a plan cached while a table was empty stays a sequential scan for the life of the connection
            f" -c plan_cache_mode=force_custom_plan {own_options if isinstance(own_options, str) else ''}"
        )
        engine = create_engine(
            self.url.set(query=query),
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=self.settings.threads,
            max_overflow=self.settings.threads,
            pool_timeout=self.settings.connect_timeout_seconds,
            connect_args={
                "connect_timeout": max(2, round(self.settings.connect_timeout_seconds)),
                "application_name": session_name(process_name()),
                "options": options.strip(),
                **{key: value for key, value in POSTGRES_KEEPALIVE.items() if key not in query},
            },
        )
        event.listen(engine, "connect", _wait_for_the_disk)
        if not migrating:  # that waits for its lock, and works, as long as it takes
            seconds = self.settings.statement_timeout_seconds
            event.listen(engine, "connect", lambda connection, _entry: _end_transactions_after(connection, seconds))
            event.listen(engine, "do_connect", lambda _dialect, _entry, words, options: connect(*words, **options))
        return engine

    # ------------------------------------------------------------------ errors

    def _busy(self, sentence: str, *, code: str = "ledger.busy") -> TemporaryError:
        return TemporaryError(sentence, code=code, next_step="nothing: it is tried again", scope=Scope.SOURCE)

    def _explain(self, error: SQLAlchemyError) -> tuple[InboxSyncError | None, bool, bool]:
        """What an error means: the error to raise (None: it is a bug of ours), whether another try may help, and
        whether the transaction may have been committed all the same."""
        if isinstance(error, PoolTimeout):
            return self._busy("all connections to the ledger are in use"), False, False
        if not isinstance(error, DBAPIError):
            return None, False, False
        if isinstance(error.orig, sqlite3.Error):
            problem, transient = self._explain_sqlite(error.orig)
            return problem, transient, False
        return self._explain_postgres(error)

    def _explain_sqlite(self, error: sqlite3.Error) -> tuple[InboxSyncError | None, bool]:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if isinstance(code, int) else None
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._busy("the ledger is locked by another program at the moment"), True
        return sqlite_problem(primary, str(self.path), str(error)), False

    def _explain_postgres(self, error: DBAPIError) -> tuple[InboxSyncError | None, bool, bool]:
        lost = error.connection_invalidated
        state = getattr(error.orig, "sqlstate", None)
        if isinstance(state, str):
            if state in RETRIED_STATES:
                return self._busy("another transaction was in the way"), True, False
            if state == "57014":
                return self._busy("a statement took longer than [ledger] statement_timeout_seconds"), False, False
            if state[:2] in ("08", "57") or state in ("53300", *ENDED_STATES):
                return self._unreachable(error), lost, lost
            return postgres_problem(state, self.label, _first_line(error)), False, False
        refusal = sign_in_state(str(error.orig))
        if refusal is not None:
            return postgres_problem(refusal, self.label, _first_line(error)), False, False
        if lost or isinstance(error, InterfaceError) or _is_operational(error):
            return self._unreachable(error), lost, lost
        return None, False, False

    def _unreachable(self, error: DBAPIError) -> ConnectionFailed:
        return ConnectionFailed(
            f"the connection to {self.label} failed: {_first_line(error)}",
            next_step="check that the database server runs and can be reached from here",
            scope=Scope.SOURCE,
        )


ENDED_STATES = frozenset({"25P03", "25P04"})
"""PostgreSQL ended the session, and rolled its transaction back: it idled, or took too long."""

RETRIED_STATES = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL: serialization failure, deadlock, lock not available (appendix A of its manual)."""


def _disk_full(path: str) -> LedgerError:
    return LedgerError(
        f"the disk that holds {path} is full", code="ledger.disk_full", next_step="make room; nothing was lost"
    )


def sqlite_problem(primary: int | None, path: str, words: str) -> LedgerError | None:
    """What a result code of SQLite (sqlite.org/rescode.html) means to an operator; None where it is a bug."""
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return LedgerError(
            f"{path} is damaged, or is no SQLite database: {words}",
            code="ledger.corrupt",
            next_step="stop the daemon and restore the newest backup; keep the damaged file",
        )
    if primary == sqlite3.SQLITE_FULL:
        return _disk_full(path)
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return LedgerError(
            f"{path} cannot be written: {words}",
            code="ledger.read_only",
            next_step="give the user of the daemon the right to write the file and its directory",
        )
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        return LedgerError(
            f"{path} cannot be opened or read: {words}",
            code="ledger.path",
            next_step="check the path in [ledger] url, its rights, and the disk (WAL needs a local one)",
        )
    return None


def postgres_problem(state: str, label: str, words: str) -> LedgerError | None:
    """What an SQLSTATE means to an operator; None where it is a bug of ours."""
    if state.startswith("28"):
        return LedgerError(
            f"{label} refused the sign-in: {words}",
            code="ledger.refused",
            next_step="check user and password in [ledger] url, and the server's pg_hba.conf",
        )
    if state == "3D000":
        return LedgerError(
            f"{label} does not exist: {words}", code="ledger.missing", next_step="create it: createdb NAME"
        )
    if state == "42501":
        return LedgerError(
            f"{label} does not allow what the ledger needs: {words}",
            code="ledger.permission",
            next_step="make the user of [ledger] url the owner of the database or of its schema",
        )
    if state == "25006":
        return LedgerError(
            f"{label} is read-only (a standby?)",
            code="ledger.read_only",
            next_step="name the primary, or add ?target_session_attrs=read-write to [ledger] url",
        )
    if state in ("53100", "53200"):
        return LedgerError(f"{label} has no room left: {words}", code="ledger.disk_full", next_step="make room there")
    if state in ("XX001", "XX002"):
        return LedgerError(f"{label} is damaged: {words}", code="ledger.corrupt", next_step="restore a backup")
    return None


def sign_in_state(words: str) -> str | None:
    """The SQLSTATE behind a refused connection, which libpq only gives as text (of the server's language: what is not
    recognised counts as unreachable)."""
    for part, state in SIGN_IN_REFUSALS:
        if part in words:
            return "3D000" if state == "28000" and "database " in words and "does not exist" in words else state
    return None


SIGN_IN_REFUSALS = (
    ("does not exist", "28000"),
    ("authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("is not permitted to log in", "28000"),
    ("permission denied for database", "42501"),
)


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _wait_for_the_disk(connection: PostgresConnection, _entry: ConnectionPoolEntry) -> None:
    """A server set to synchronous_commit = off forgets its last commits when it crashes, and with them which sends were
    on the wire. Settings that wait for more than its own disk are left alone."""
    row = connection.execute("SHOW synchronous_commit").fetchone()
    if row is not None and row[0] == "off":
        connection.execute("SET synchronous_commit TO on")
    connection.commit()


def _end_transactions_after(connection: PostgresConnection, seconds: float) -> None:
    """No transaction takes longer than one statement may: what is frozen in the middle of one keeps no locks."""
    if connection.info.server_version >= POSTGRES_WITH_TRANSACTION_TIMEOUT:
        connection.execute(f"SET transaction_timeout TO {int(seconds * 1000)}")
        connection.commit()


def _is_operational(error: DBAPIError) -> bool:
    return type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout")


def _first_line(error: DBAPIError) -> str:
    lines = [line.strip() for line in str(error.orig).splitlines() if line.strip()]
    return lines[0] if lines else type(error.orig).__name__


def check_sqlite_file(path: Path, *, writer: bool) -> None:
    """Looks at the file before SQLite does, whose words say less. A writer creates it, readable by its owner only.

    Raises LedgerError naming the path, the reason and the next step.
    """
    try:
        _check_path(path)
        if writer:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY))
        with path.open("rb") as file:
            header = file.read(len(SQLITE_HEADER))
    except FileNotFoundError:
        raise LedgerError(
            f"there is no ledger at {path} yet",
            code="ledger.missing",
            next_step="inbox-sync run (or inbox-sync db upgrade) creates it; or correct [ledger] url",
        ) from None
    except PermissionError as error:
        raise LedgerError(
            f"{path} may not be {'written' if writer else 'read'} by this user",
            code="ledger.permission",
            next_step="run the command as the user of the daemon (sudo -u …), or mend the file's owner and rights",
        ) from error
    except OSError as error:
        raise sqlite_os_problem(path, error) from error
    if header and header != SQLITE_HEADER:
        raise LedgerError(
            f"{path} is no SQLite database",
            code="ledger.not_a_database",
            next_step="correct [ledger] url, or move the file away; nothing was changed in it",
        )


def _check_path(path: Path) -> None:
    if not path.parent.is_dir():
        raise LedgerError(
            f"the directory {path.parent} of the ledger does not exist",
            code="ledger.directory",
            next_step=f"create it (mkdir -p {path.parent}) or change [ledger] url",
        )
    if path.is_dir():
        raise LedgerError(f"{path} is a directory", code="ledger.path", next_step="name a file in it in [ledger] url")


def sqlite_os_problem(path: Path, error: OSError) -> LedgerError:
    """An error of the operating system about the database file, or one beside it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(str(path))
    return LedgerError(
        f"{path} cannot be opened: {error.strerror or error}",
        code="ledger.path",
        next_step="check the path in [ledger] url, its rights and the disk",
    )
