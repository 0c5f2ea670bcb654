"""Bringing a database to the revision that this program needs. Alembic is imported only when there is something to do:
a daemon whose database is current reads one row."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from sync.errors import LedgerError
from sync.ledger.engine import OWNER_ONLY, Database, check_sqlite_file
from sync.ledger.lockfile import WriterLock, give_to_owner
from sync.settings import LedgerSettings

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""Every revision there ever was, oldest first. A test holds this to `alembic/versions`."""

HEAD = REVISIONS[-1]

UPGRADE_LOCK = 7_303_014_201_688_217_441
"""The PostgreSQL advisory lock under which one process at a time migrates; any constant that no other program uses."""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What a database is at. `state`: current, behind, empty or newer; `backup` is the copy made before a change."""

    url: str
    revision: str | None
    head: str
    state: str
    backup: Path | None = None


def migrations_dir() -> Path:
    """Where the migrations are: in a wheel `sync/migrations`, in the source tree `alembic`."""
    package = Path(__file__).parent.parent
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parent / "alembic"


def alembic_config() -> Config:
    """Alembic's configuration, without a file. Give the connection as `attributes["connection"]`."""
    from alembic.config import Config  # noqa: PLC0415  11 MB that a running daemon does not need

    config = Config()
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def look(database: Database) -> SchemaState:
    """What the database is at; changes nothing. Raises LedgerError when it cannot be used."""
    return database.first_contact(lambda tx: _look(tx, database.label))


def _look(tx: Connection, label: str) -> SchemaState:
    tables = inspect(tx).get_table_names()
    if "alembic_version" not in tables:
        if "deliveries" in tables or "messages" in tables:
            raise LedgerError(
                f"{label} has tables of the ledger but no revision: another program made them, or a restore was cut short",
                code="ledger.foreign",
                next_step="give inbox-sync a database of its own, or restore a whole backup",
            )
        return SchemaState(label, None, HEAD, "foreign" if tables else "empty")
    revision = tx.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is None:
        return SchemaState(label, None, HEAD, "empty")
    if revision not in REVISIONS:
        return SchemaState(label, revision, HEAD, "newer")
    return SchemaState(label, revision, HEAD, "current" if revision == HEAD else "behind")


def refuse_newer(state: SchemaState) -> None:
    """Raises LedgerError `ledger.newer` for a database that a later release has been at."""
    if state.state == "newer":
        raise LedgerError(
            f"the ledger {state.url} is at revision {state.revision}, which this program (revision {state.head}) does"
            " not know: a newer inbox-sync has used it",
            code="ledger.newer",
            next_step="install that release again, or restore the backup that was made before its upgrade",
        )


def require_current(database: Database) -> None:
    """For readers: raises LedgerError unless the database is at head."""
    state = look(database)
    refuse_newer(state)
    if state.state == "current":
        return
    if state.state in ("empty", "foreign"):
        raise LedgerError(
            f"there is no ledger in {state.url} yet",
            code="ledger.missing",
            next_step="inbox-sync run (or inbox-sync db upgrade) creates it; or correct [ledger] url",
        )
    raise _old(state)


def prepare(database: Database, now: datetime) -> SchemaState:
    """For the daemon: an empty database and an old SQLite file are brought to head (the file after a backup copy); an
    old PostgreSQL database is refused, since other daemons may be using it."""
    state = look(database)
    refuse_newer(state)
    if state.state == "current":
        return state
    if not database.is_sqlite and state.state != "empty":
        raise _old(state)
    return _upgrade(database, state, now)


def upgrade(settings: LedgerSettings, now: datetime) -> SchemaState:
    """`db upgrade`: brings the database to head, whatever it is; takes the lock of its kind. `revision` in the answer
    is the one after. Raises LedgerError."""
    database = Database(settings)
    lock = WriterLock(database.path) if database.path else None
    try:
        if database.path is not None:
            check_sqlite_file(database.path, writer=True)
        if lock is not None:
            lock.take(now)
        state = look(database)
        refuse_newer(state)
        return state if state.state == "current" else _upgrade(database, state, now)
    finally:
        if lock is not None:
            lock.release()
        database.close()


def current(settings: LedgerSettings) -> SchemaState:
    """`db current`: what the database is at."""
    database = Database(settings)
    try:
        if database.path is not None:
            check_sqlite_file(database.path, writer=False)
        return look(database)
    finally:
        database.close()


def vacuum(settings: LedgerSettings, now: datetime) -> tuple[int, int]:
    """`db vacuum`: gives the room of forgotten rows in a SQLite file back to the disk. Bytes of the file before and
    after. Nobody else may be at work with it. Raises LedgerError; on PostgreSQL too, which does it by itself."""
    database = Database(settings)
    if database.path is None:
        database.close()
        raise LedgerError(
            f"{database.label} needs no vacuum: PostgreSQL does it by itself",
            code="ledger.vacuum",
            next_step="nothing; see autovacuum in its manual",
        )
    lock = WriterLock(database.path)
    try:
        check_sqlite_file(database.path, writer=False)
        lock.take(now)
        require_current(database)
        before = database.path.stat().st_size
        connection = database.engine.raw_connection()  # VACUUM runs outside of transactions
        try:
            connection.cursor().execute("VACUUM")
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise LedgerError(
                f"{database.path} cannot be made smaller: {error}",
                code="ledger.vacuum",
                next_step="make room for a second copy of the ledger on its disk; nothing was changed",
            ) from error
        finally:
            connection.close()
        return before, database.path.stat().st_size
    finally:
        lock.release()
        database.close()


def backup_sqlite(database: Database, target: Path) -> Path:
    """A consistent copy of a SQLite ledger beside it, readable by its owner only. Raises LedgerError."""
    try:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
        if database.path is not None:
            give_to_owner(fd, database.path)
        os.close(fd)
    except OSError as error:
        raise LedgerError(
            f"the backup copy {target} cannot be written: {error.strerror}",
            code="ledger.backup",
            next_step="make room and give the daemon's user the right to write the directory",
        ) from error
    connection = database.engine.raw_connection()  # VACUUM runs outside of transactions
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise LedgerError(
            f"the backup copy {target} cannot be made: {error}",
            code="ledger.backup",
            next_step="make room for a second copy of the ledger, or move the ledger to a bigger disk",
        ) from error
    finally:
        connection.close()
    return target


def _old(state: SchemaState) -> LedgerError:
    return LedgerError(
        f"the ledger {state.url} is at revision {state.revision or 'none'}, and this program needs {state.head}",
        code="ledger.old",
        next_step="stop every daemon that uses it, then run: inbox-sync db upgrade",
    )


def _upgrade(database: Database, state: SchemaState, now: datetime) -> SchemaState:
    backup = None
    if database.path is not None and state.revision is not None:
        name = f"{database.path.name}.{state.revision}-{now:%Y%m%dT%H%M%S%f}.backup"
        backup = backup_sqlite(database, database.path.with_name(name))
    migrating = Database(database.settings, migrating=True)
    try:
        with _one_at_a_time(migrating):
            refuse_newer(look(migrating))
            _run(migrating)
        after = look(migrating)
    finally:
        migrating.close()
    database.close()  # its connections may remember what the tables were
    return SchemaState(after.url, after.revision, after.head, after.state, backup)


def _run(database: Database) -> None:
    from alembic import command  # noqa: PLC0415  11 MB that a running daemon does not need

    config = alembic_config()
    config.attributes["connection"] = database.engine
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        problem = database.explain(error)
        if problem is None:
            raise
        raise problem from error


@contextmanager
def _one_at_a_time(database: Database) -> Iterator[None]:
    """On PostgreSQL a lock for the length of a transaction of its own: it works behind a pooler, and is gone when this
    process is. On SQLite the file's writer lock has done it."""
    if database.is_sqlite:
        yield
        return
    with database.engine.connect() as connection, connection.begin():
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))
        yield
