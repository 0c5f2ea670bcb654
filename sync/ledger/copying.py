"""The whole ledger from one database into another: `db move`, and `db backup` of a PostgreSQL ledger.

The source is read in one snapshot, the target written in one transaction: a copy is whole, or it is not there. What
identifies rows is copied as it is, and numbering goes on where the source's would have, so that no id is given twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from sync.errors import InboxSyncError, LedgerError
from sync.ledger import migrate, schema
from sync.ledger.engine import Database, check_sqlite_file
from sync.ledger.lockfile import WriterLock
from sync.settings import LedgerSettings

ROWS = 1000
"""Rows that are read and written together; none of them holds more than a MiB."""
MOVED_TO = "moved_to"
"""The key of `meta` that says where a ledger has gone."""
_SEQUENCES = table("sqlite_sequence", column("name", Text), column("seq", Integer))

OnTable = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied: rows by table, and from where to where (no secrets)."""

    source: str
    target: str
    rows: Mapping[str, int]


def move(source: LedgerSettings, target: LedgerSettings, now: datetime, on_table: OnTable) -> Copied:
    """`db move`: copies the ledger into an empty database, and marks the old one, which no daemon uses from then on.

    Nobody may be at work with the source: on SQLite its lock is taken, on PostgreSQL no lease may be held. Raises
    LedgerError, with nothing changed.
    """
    old, new = Database(source, migrating=True), Database(target, migrating=True)
    locks: list[WriterLock] = []
    try:
        _refuse_the_same(old, new)
        for database, writer in ((old, False), (new, True)):
            if database.path is not None:
                check_sqlite_file(database.path, writer=writer)
                lock = WriterLock(database.path)
                lock.take(now)
                locks.append(lock)
        migrate.require_current(old)
        old.read(lambda tx: _refuse_leased(tx, old, now))
        migrate.prepare(new, now)
        before = old.write(lambda tx: _mark(tx, new.label))
        try:
            return _copy(old, new, on_table)
        except BaseException:
            old.write(lambda tx: _mark(tx, before))
            raise
    finally:
        for lock in locks:
            lock.release()
        old.close()
        new.close()


def backup(source: LedgerSettings, target: Path, now: datetime, on_table: OnTable) -> Copied:
    """`db backup`: a consistent copy of the ledger as a SQLite file, whoever is at work with it meanwhile. The file must
    not exist yet; its owner alone may read it. Raises LedgerError, and leaves no half copy."""
    old = Database(source, migrating=True)
    try:
        if old.path is not None:
            check_sqlite_file(old.path, writer=False)
        migrate.require_current(old)
        _refuse_existing(target)
        if old.is_sqlite:
            migrate.backup_sqlite(old, target)
            return Copied(old.label, str(target), {})
        try:
            return _copy_into_file(old, source, target, now, on_table)
        except BaseException:
            for name in (target.name, f"{target.name}-wal", f"{target.name}-shm"):
                target.with_name(name).unlink(missing_ok=True)
            raise
    finally:
        old.close()


def _copy_into_file(old: Database, source: LedgerSettings, target: Path, now: datetime, on_table: OnTable) -> Copied:
    new = Database(source.model_copy(update={"url": f"sqlite:///{target.absolute()}"}), migrating=True)
    try:
        check_sqlite_file(Path(target.absolute()), writer=True)
        migrate.prepare(new, now)
        return _copy(old, new, on_table)
    finally:
        new.close()


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise LedgerError(
            f"{target} exists already", code="ledger.backup", next_step="name a file that does not exist yet"
        )


def refuse_moved(database: Database) -> None:
    """Raises LedgerError `ledger.moved` for a ledger that `db move` has left behind."""
    target = database.first_contact(_moved_to)
    if target is not None:
        raise LedgerError(
            f"the ledger {database.label} was moved to {target}: working on with this one would send everything again",
            code="ledger.moved",
            next_step=f'write the new place into the configuration: [ledger] url = "{target}" (with its password)',
        )


def _moved_to(tx: Connection) -> str | None:
    value = tx.execute(select(schema.meta.c.value).where(schema.meta.c.key == MOVED_TO)).scalar()
    return value if isinstance(value, str) else None


def _mark(tx: Connection, target: str | None) -> str | None:
    before = _moved_to(tx)
    tx.execute(delete(schema.meta).where(schema.meta.c.key == MOVED_TO))
    if target is not None:
        tx.execute(insert(schema.meta).values(key=MOVED_TO, value=target))
    return before


def _refuse_the_same(old: Database, new: Database) -> None:
    if old.label == new.label:
        raise LedgerError(
            f"the ledger is in {old.label} already", code="ledger.same", next_step="name another database to move it to"
        )


def _refuse_leased(tx: Connection, database: Database, now: datetime) -> None:
    """A lease that has not run out belongs to a daemon at work. On SQLite the lock has told already."""
    if database.is_sqlite:
        return
    holders = tx.execute(
        select(schema.leases.c.holder).where(schema.leases.c.expires_at > now).order_by(schema.leases.c.holder)
    ).scalars()
    holder = next(iter(holders), None)
    if holder is not None:
        raise LedgerError(
            f"{holder} works with the ledger {database.label}",
            code="ledger.locked",
            next_step="stop every daemon first; the leases of one that was killed end within lease_seconds",
        )


def _copy(old: Database, new: Database, on_table: OnTable) -> Copied:
    rows: dict[str, int] = {}
    reading = old.engine.execution_options(
        **({"sqlite_begin": "DEFERRED"} if old.is_sqlite else {"isolation_level": "REPEATABLE READ"})
    )
    try:
        with reading.connect() as source, source.begin(), new.engine.connect() as target, target.begin():
            _refuse_filled(target, new)
            for each in schema.metadata.sorted_tables:
                rows[each.name] = _copy_table(each, source, target)
                _number_on(each, source, target)
                on_table(each.name, rows[each.name])
            _compare(target, rows)
    except SQLAlchemyError as error:
        problem: InboxSyncError | None = new.explain(error)
        if problem is None:
            raise
        raise problem from error
    return Copied(old.label, new.label, rows)


def _refuse_filled(target: Connection, database: Database) -> None:
    for each in schema.metadata.sorted_tables:
        if target.execute(select(literal(1)).select_from(each).limit(1)).first() is not None:
            raise LedgerError(
                f"{database.label} holds a ledger already", code="ledger.not_empty", next_step="name an empty database"
            )


def _copy_table(each: Table, source: Connection, target: Connection) -> int:
    """All rows of a table. What refers to another row of the same table is filled in afterwards: that row may follow
    later."""
    within = [key.parent.name for key in each.foreign_keys if key.column.table is each]
    count = 0
    for rows in _parts(source, select(each).order_by(*each.primary_key.columns)):
        kept = [row for row in rows if each is not schema.meta or row["key"] != MOVED_TO]
        if kept:
            target.execute(insert(each), [{**row, **dict.fromkeys(within)} for row in kept])
        count += len(kept)
    for name in within:
        refers_to, key = each.c[name], _number_of(each)
        refer = update(each).where(key == bindparam("_row")).values({name: bindparam("_refers_to")})
        query = select(key.label("_row"), refers_to.label("_refers_to")).where(refers_to.is_not(None))
        for rows in _parts(source, query):
            target.execute(refer, rows)
    return count


def _parts(source: Connection, query: Select[*tuple[object, ...]]) -> Iterator[list[dict[str, object]]]:
    result = source.execution_options(yield_per=ROWS).execute(query)
    for part in result.mappings().partitions(ROWS):
        yield [dict(row) for row in part]


def _number_of(each: Table) -> Column[int]:
    (key,) = each.primary_key.columns
    return key


def _number_on(each: Table, source: Connection, target: Connection) -> None:
    """An id that was given once is not given again, although its row may be gone."""
    if each.autoincrement_column is None:
        return
    last = _last_number(each, source)
    if last is None:
        return
    if target.dialect.name == "postgresql":
        target.execute(select(func.setval(func.pg_get_serial_sequence(each.name, _number_of(each).name), last)))
        return
    target.execute(delete(_SEQUENCES).where(_SEQUENCES.c.name == each.name))
    target.execute(insert(_SEQUENCES).values(name=each.name, seq=last))


def _last_number(each: Table, source: Connection) -> int | None:
    if source.dialect.name != "postgresql":
        return source.execute(select(_SEQUENCES.c.seq).where(_SEQUENCES.c.name == each.name)).scalar()
    name = source.execute(select(func.pg_get_serial_sequence(each.name, _number_of(each).name))).scalar()
    return source.execute(text(f"SELECT CASE WHEN is_called THEN last_value END FROM {name}")).scalar()  # noqa: S608  the server's own name


def _compare(target: Connection, rows: Mapping[str, int]) -> None:
    for each in schema.metadata.sorted_tables:
        there = target.execute(select(func.count()).select_from(each)).scalar_one()
        if there != rows[each.name]:
            raise LedgerError(
                f"of {rows[each.name]} rows of {each.name} {there} arrived",
                code="ledger.copy",
                next_step="nothing was changed; report it, and go on with the old ledger",
            )
