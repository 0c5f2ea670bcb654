"""Messages whose content is still to be fetched, and those that turned out to be gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, Row, or_, select, update

from sync.decide import CLOCKS_AGREE, Vanished
from sync.ledger import schema
from sync.ledger.claims import can_be_fetched
from sync.ledger.repository import chunks
from sync.ledger.rows import FoundRow
from sync.ledger.schema import in_state
from sync.ledger.settle import settle
from sync.ledger.tallies import Tally
from sync.states import MessageState

_M = schema.messages.c
_S = schema.sources.c
_T = schema.streams.c


def due_fetches(tx: Connection, source: str, now: datetime, limit: int) -> list[FoundRow]:
    """Found messages of a source whose turn it is, in order of arrival. Ids of an old numbering are not among them."""
    query = (
        select(
            _M.id,
            _M.stream_id,
            _T.key,
            _M.epoch,
            _M.external_id,
            _M.size_bytes,
            _M.arrived_at,
            _M.fetch_attempts,
            _M.backfill,
            _M.late,
        )
        .join(schema.streams, _T.id == _M.stream_id)
        .join(schema.sources, _S.id == _M.source_id)
        .where(
            _S.name == source,
            in_state(_M.state, MessageState.FOUND),
            # or its next try lies ahead only because the clock was set back since
            or_(_M.fetch_at.is_(None), _M.fetch_at <= now, _M.updated_at > now + CLOCKS_AGREE),
            can_be_fetched(),
        )
        .order_by(_M.arrived_at, _M.id)
        .limit(limit)
    )
    return [_found_row(row) for row in tx.execute(query)]


def _found_row(row: Row[*tuple[object, ...]]) -> FoundRow:
    return FoundRow(
        message_id=row.id,
        stream_id=row.stream_id,
        stream=row.key,
        epoch=row.epoch,
        external_id=row.external_id,
        size=row.size_bytes,
        arrived_at=row.arrived_at,
        fetch_attempts=row.fetch_attempts,
        backfill=row.backfill,
        late=row.late,
    )


def count_failures(
    tx: Connection,
    message_ids: Collection[int],
    tally: Tally,
    now: datetime,
    next_fetch_at: datetime,
    max_attempts: int,
) -> list[int]:
    """One more fetch brought nothing. Returns those that count as gone now."""
    gone: dict[int, str] = {}
    for some in chunks(sorted(message_ids)):
        query = (
            select(_M.id, _M.fetch_attempts)
            .where(_M.id.in_(some), _M.state == MessageState.FOUND)
            .order_by(_M.id)
            .with_for_update(key_share=True)
        )
        rows = tx.execute(query).all()
        for message_id, attempts in rows:
            if attempts + 1 >= max_attempts:
                gone[message_id] = f"listed, but not given in {attempts + 1} tries"
        tx.execute(
            update(schema.messages)
            .where(_M.id.in_([message_id for message_id, _ in rows]))
            .values(fetch_attempts=_M.fetch_attempts + 1, fetch_at=next_fetch_at, updated_at=now)
        )
    vanish_all(tx, gone, tally, now)
    return sorted(gone)


def vanish_all(tx: Connection, reasons: Mapping[int, str], tally: Tally, now: datetime) -> None:
    """These found messages are gone, each for its reason."""
    verdicts = {message_id: Vanished(why) for message_id, why in reasons.items()}
    settle(tx, verdicts, tally, now=now, release_at=now, raw_max_bytes=0, hourly_limit=0)
