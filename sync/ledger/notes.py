"""Notes: small texts that have to survive a restart and are no noun of their own."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from sync.ledger import schema
from sync.ledger.dialect import insert_into
from sync.ledger.repository import Repository, reads, writes

_M = schema.meta.c


class Notes(Repository):
    """By key."""

    @reads
    def get(self, tx: Connection, key: str) -> str | None:
        """The note, None where there is none."""
        return read_note(tx, key)

    @writes
    def put(self, tx: Connection, key: str, value: str) -> None:
        """Writes it in the place of the one before."""
        write_note(tx, key, value)


def read_note(tx: Connection, key: str) -> str | None:
    """Within a transaction of another noun's."""
    return tx.execute(select(_M.value).where(_M.key == key)).scalar()


def write_note(tx: Connection, key: str, value: str) -> None:
    """The same, for writing."""
    tx.execute(delete(schema.meta).where(_M.key == key))
    tx.execute(insert_into(tx, schema.meta), [{"key": key, "value": value}])
