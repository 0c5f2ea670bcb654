"""Tokens: what a sign-in brought, one value a source. A secret: nothing of it is shown anywhere."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from sync.ledger import schema
from sync.ledger.dialect import insert_into
from sync.ledger.repository import Repository, reads, writes
from sync.ledger.sources import need_source

_T = schema.tokens.c


class Tokens(Repository):
    """The tokens of the ledger's sources."""

    @reads
    def load(self, tx: Connection, source: str) -> tuple[str | None, int]:
        """The kept value (JSON text) and its version; (None, 0) where nothing was kept."""
        query = (
            select(_T.value, _T.version)
            .join(schema.sources, schema.sources.c.id == _T.source_id)
            .where(schema.sources.c.name == source)
        )
        row = tx.execute(query).one_or_none()
        return (None, 0) if row is None else (row[0], row[1])

    @reads
    def renewed_at(self, tx: Connection) -> dict[str, datetime]:
        """When the tokens of each source were last renewed."""
        query = select(schema.sources.c.name, _T.updated_at).join(schema.sources, schema.sources.c.id == _T.source_id)
        return {row[0]: row[1] for row in tx.execute(query)}

    @writes
    def save(self, tx: Connection, source: str, value: str, version: int, now: datetime) -> bool:
        """Keeps a value in the place of that version. False: another one was kept meanwhile, and stays. Raises
        ConfigError `source.unknown`."""
        source_id = need_source(tx, source).id
        if version == 0:
            row = {"source_id": source_id, "value": value, "version": 1, "updated_at": now}
            made = insert_into(tx, schema.tokens).on_conflict_do_nothing().returning(_T.source_id)
            return tx.execute(made, row).one_or_none() is not None
        changed = (
            update(schema.tokens)
            .where(_T.source_id == source_id, _T.version == version)
            .values(value=value, version=version + 1, updated_at=now)
        )
        return tx.execute(changed).rowcount == 1
