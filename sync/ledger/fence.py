"""The fence: whether who is about to write an intent still holds the lease."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from sync.ledger import schema
from sync.ledger.rows import LeaseRef

_L = schema.leases.c


_HOLDER = select(_L.holder, _L.fence).where(_L.name == bindparam("lease")).with_for_update(read=True)


def lease_is_held(tx: Connection, lease: LeaseRef) -> bool:
    """Whether holder and fence match. On PostgreSQL nobody can take the lease before this transaction ends."""
    row = tx.execute(_HOLDER, {"lease": lease.name}).one_or_none()
    return row is not None and (row.holder, row.fence) == (lease.holder, lease.fence)
