"""Leases: who may poll a source or deliver into an inbox. Each change of holder raises the fence.

The clock is the database's on PostgreSQL (several machines), this machine's on SQLite. A holder counts its own deadline
from before it asked, so that it stops no later than the row says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, case, func, literal, or_, select, text, true, update

from sync.ledger import schema
from sync.ledger.dialect import insert_into, is_postgres
from sync.ledger.engine import Database, process_name, session_name
from sync.ledger.repository import Repository, chunks, reads, writes
from sync.ledger.rows import Lease
from sync.ledger.types import UtcDateTime

_L = schema.leases.c


class Leases(Repository):
    """The leases of the ledger. `now` reads the clock that counts on SQLite."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        super().__init__(database)
        self._now = now

    @writes
    def take(self, tx: Connection, name: str, holder: str, ttl_seconds: float, *, force: bool = False) -> Lease | None:
        """Takes or keeps a lease; None while another holder has it. `holder` is unique per process start, or a
        restarted process would inherit the old fence. `force` takes it from anybody: only for who can prove that the
        former holder is dead (the kernel lock of a SQLite file). On PostgreSQL the transactions that are left open in
        sessions of a holder whose time is over are ended with them: a frozen process must not keep its locks."""
        now, ends = self._times(tx, ttl_seconds)
        if is_postgres(tx):
            _cut_off(tx, name)
        mine = _L.holder == holder
        statement = insert_into(tx, schema.leases).values(name=name, holder=holder, fence=1, expires_at=ends)
        row = tx.execute(
            statement.on_conflict_do_update(
                index_elements=["name"],
                set_={
                    "holder": holder,
                    "expires_at": ends,
                    "fence": case((mine, _L.fence), else_=_L.fence + 1),
                },
                where=true() if force else or_(mine, _L.expires_at <= now),
            ).returning(_L.name, _L.holder, _L.fence, _L.expires_at)
        ).one_or_none()
        return None if row is None else Lease(*row)

    @writes
    def renew(self, tx: Connection, names: Collection[str], holder: str, ttl_seconds: float) -> dict[str, Lease]:
        """Keeps those of these leases that are still ours, all at once: a thousand transactions would take longer than a
        lease lasts. Returns them by name."""
        _, ends = self._times(tx, ttl_seconds)
        renewed: dict[str, Lease] = {}
        for some in chunks(names):
            statement = (
                update(schema.leases)
                .where(_L.name.in_(some), _L.holder == holder)
                .values(expires_at=ends)
                .returning(_L.name, _L.holder, _L.fence, _L.expires_at)
            )
            renewed |= {row.name: Lease(*row) for row in tx.execute(statement)}
        return renewed

    @writes
    def release(self, tx: Connection, name: str, holder: str, fence: int) -> bool:
        """Gives a lease back, so that the next holder need not wait. The row stays, for its fence."""
        now, _ = self._times(tx, 0.0)
        result = tx.execute(
            update(schema.leases)
            .where(_L.name == name, _L.holder == holder, _L.fence == fence)
            .values(holder="", expires_at=now)
        )
        return result.rowcount == 1

    @reads
    def get(self, tx: Connection, name: str) -> Lease | None:
        """The lease as it stands, whoever holds it (holder "" when it was given back)."""
        row = tx.execute(select(_L.name, _L.holder, _L.fence, _L.expires_at).where(_L.name == name)).one_or_none()
        return None if row is None else Lease(*row)

    @reads
    def seconds_left(self, tx: Connection, name: str) -> float:
        """Until the lease ends, by the clock that counts; 0 or less when it has ended, or was never taken."""
        now, _ = self._times(tx, 0.0)
        row = tx.execute(select(_L.expires_at, now.label("now")).where(_L.name == name)).one_or_none()
        return 0.0 if row is None else float((row.expires_at - row.now).total_seconds())

    def _times(self, tx: Connection, ttl_seconds: float) -> tuple[ColumnElement[datetime], ColumnElement[datetime]]:
        ttl = timedelta(seconds=ttl_seconds)
        if is_postgres(tx):
            now: ColumnElement[datetime] = func.clock_timestamp(type_=UtcDateTime())
            return now, now + literal(ttl)
        here = self._now()
        return literal(here, UtcDateTime()), literal(here + ttl, UtcDateTime())


_END_TRANSACTIONS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND usename = current_user AND application_name = :session AND xact_start IS NOT NULL"
)
"""A role may end its own sessions (PostgreSQL's manual, 9.28.2)."""


def _cut_off(tx: Connection, name: str) -> None:
    ended = select(_L.holder).where(_L.name == name, _L.holder != "", _L.expires_at <= func.clock_timestamp())
    holder = tx.execute(ended).scalar()
    if holder is None:
        return
    process = holder.rpartition(":")[0]
    if process and process != process_name():
        tx.execute(_END_TRANSACTIONS, {"session": session_name(process)})
