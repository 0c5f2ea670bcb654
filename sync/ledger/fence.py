"""The fence: whether who is about to write an intent, or what a pass found, still holds the lease. It is asked first in
a transaction: who waits at it keeps nobody else waiting."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from sync.ledger import schema
from sync.ledger.rows import LeaseLost, LeaseRef

_L = schema.leases.c


_HOLDER = select(_L.holder, _L.fence).where(_L.name == bindparam("lease")).with_for_update(read=True)


def lease_is_held(tx: Connection, lease: LeaseRef) -> bool:
    """Whether holder and fence match. On PostgreSQL nobody can take the lease before this transaction ends."""
    row = tx.execute(_HOLDER, {"lease": lease.name}).one_or_none()
    return row is not None and (row.holder, row.fence) == (lease.holder, lease.fence)


def need_lease(tx: Connection, lease: LeaseRef | None) -> None:
    """Raises LeaseLost unless it is held. None: nobody else can be at work (a test, or an operator's own pass)."""
    if lease is not None and not lease_is_held(tx, lease):
        raise LeaseLost(lease.name)
