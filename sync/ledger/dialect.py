"""The few words in which the two databases differ."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

Upsert = postgresql.Insert | sqlite.Insert
"""An INSERT that can say ON CONFLICT."""


def insert_into(tx: Connection, table: Table) -> Upsert:
    """An INSERT with `on_conflict_do_nothing` and `on_conflict_do_update`. Never execute it with an empty list:
    SQLAlchemy would insert one row of defaults."""
    return insert_by(tx.dialect.name, table)


def insert_by(dialect: str, table: Table) -> Upsert:
    """`insert_into` for statements that are made once for each database, by its name."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@contextlib.contextmanager
def savepoint(tx: Connection) -> Iterator[None]:
    """What is written within is taken back when the unique keys refuse it, and the transaction goes on; whatever else
    fails there ends the transaction. Cheaper than `begin_nested`, which compiles its statement anew each time; never
    within another."""
    tx.exec_driver_sql("SAVEPOINT step")
    try:
        yield
    except IntegrityError:
        tx.exec_driver_sql("ROLLBACK TO SAVEPOINT step")
        tx.exec_driver_sql("RELEASE SAVEPOINT step")
        raise
    tx.exec_driver_sql("RELEASE SAVEPOINT step")


def is_postgres(tx: Connection) -> bool:
    """Whether other processes may write at the same time (on SQLite there is one writer)."""
    return tx.dialect.name == "postgresql"


def lock_until_end(tx: Connection, name: str) -> None:
    """Lets one transaction at a time go past here for this name. SQLite's writers are alone anyway."""
    if is_postgres(tx):
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        tx.execute(select(func.pg_advisory_xact_lock(number)))
