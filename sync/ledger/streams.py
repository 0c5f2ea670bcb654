"""Streams: where each part of a source stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from sync.ledger import schema
from sync.ledger.dialect import insert_into
from sync.ledger.fence import need_lease
from sync.ledger.repository import Repository, reads, writes
from sync.ledger.rows import LeaseRef, StreamRow
from sync.ledger.sources import need_source
from sync.ledger.types import key_text

_T = schema.streams.c

_PRESENT = select(schema.streams).where(_T.source_id == bindparam("source_id"), _T.active)


class Streams(Repository):
    """The streams of the ledger's sources."""

    @writes
    def load(
        self,
        tx: Connection,
        source: str,
        wanted: Sequence[tuple[str, str, int]],
        now: datetime,
        lease: LeaseRef | None = None,
    ) -> list[StreamRow]:
        """The rows of a source's present streams, given as (key, role, rank), in that order. Streams of the source that
        are not named hold up nothing any more; they come back as they were when they are named again. Raises LeaseLost
        when another process polls the source by now."""
        need_lease(tx, lease)
        source_id = need_source(tx, source).id
        keys = [key_text(key) for key, _, _ in wanted]
        present = _present(tx, source_id)
        if {(row.key, row.role, row.rank) for row in present.values()} == {
            (key, role, rank) for key, (_, role, rank) in zip(keys, wanted, strict=True)
        }:
            return [present[key] for key in keys]
        rows = [
            {"source_id": source_id, "key": key, "role": role, "rank": rank, "active": True, "updated_at": now}
            for key, (_, role, rank) in zip(keys, wanted, strict=True)
        ]
        if rows:
            statement = insert_into(tx, schema.streams)
            fresh = statement.excluded
            tx.execute(
                statement.on_conflict_do_update(
                    index_elements=["source_id", "key"],
                    set_={"role": fresh.role, "rank": fresh.rank, "active": True},
                ),
                rows,
            )
        tx.execute(
            update(schema.streams).where(_T.source_id == source_id, _T.key.not_in(keys), _T.active).values(active=False)
        )
        by_key = _present(tx, source_id)
        return [by_key[key] for key in keys]

    @reads
    def ids_of_source(self, tx: Connection, source: str) -> dict[int, str]:
        """Every stream the source ever had: its key by its id."""
        query = (
            select(_T.id, _T.key)
            .join(schema.sources, schema.sources.c.id == _T.source_id)
            .where(schema.sources.c.name == source)
        )
        return {row.id: row.key for row in tx.execute(query)}

    @reads
    def of_source(self, tx: Connection, source: str) -> list[StreamRow]:
        """The streams of a source that it had when it was last polled; none of a source that is not known."""
        query = (
            select(schema.streams)
            .join(schema.sources, schema.sources.c.id == _T.source_id)
            .where(schema.sources.c.name == source, _T.active)
            .order_by(_T.rank)
        )
        return [_stream(values) for values in tx.execute(query).mappings()]


def _present(tx: Connection, source_id: int) -> dict[str, StreamRow]:
    found = tx.execute(_PRESENT, {"source_id": source_id}).mappings()
    return {row.key: row for row in map(_stream, found)}


def _stream(values: RowMapping) -> StreamRow:
    cursor = values[_T.cursor]
    return StreamRow(
        id=values[_T.id],
        source_id=values[_T.source_id],
        key=values[_T.key],
        role=values[_T.role],
        rank=values[_T.rank],
        epoch=values[_T.epoch],
        cursor=None if cursor is None else json.loads(cursor),
        complete_until=values[_T.complete_until],
        first_loaded_at=values[_T.first_loaded_at],
        before_horizon=values[_T.before_horizon],
    )
