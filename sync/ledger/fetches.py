"""Messages whose content is still to be fetched, and those that turned out to be gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, Integer, Row, Select, bindparam, not_, or_, select, update

from sync.decide import CLOCKS_AGREE, Vanished
from sync.delivery import OrderKey
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

_IN_ORDER = (_M.arrived_at, _T.rank, _M.id)
"""How the messages of one source are delivered (`OrderKey`)."""


_DUE = (
    select(
        _M.id,
        _M.stream_id,
        _T.key,
        _T.rank,
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
        _S.name == bindparam("source"),
        in_state(_M.state, MessageState.FOUND),
        # or its next try lies ahead only because the clock was set back since
        or_(_M.fetch_at.is_(None), _M.fetch_at <= bindparam("now"), _M.updated_at > bindparam("ahead")),
        can_be_fetched(),
    )
    .order_by(_M.backfill, *_IN_ORDER)
    .limit(bindparam("most", type_=Integer))
)


def due_fetches(tx: Connection, source: str, now: datetime, limit: int) -> list[FoundRow]:
    """Found messages of a source whose turn it is, in the order in which they are delivered. Ids of an old numbering are
    not among them."""
    values = {"source": source, "now": now, "ahead": now + CLOCKS_AGREE, "most": limit}
    return [_found_row(row) for row in tx.execute(_DUE, values)]


def _found_row(row: Row[*tuple[object, ...]]) -> FoundRow:
    return FoundRow(
        message_id=row.id,
        stream_id=row.stream_id,
        stream=row.key,
        stream_rank=row.rank,
        epoch=row.epoch,
        external_id=row.external_id,
        size=row.size_bytes,
        arrived_at=row.arrived_at,
        fetch_attempts=row.fetch_attempts,
        backfill=row.backfill,
        late=row.late,
    )


def first_found(tx: Connection, source_id: int) -> OrderKey | None:
    """The place of the first message of a source whose content is still to be loaded."""
    row = tx.execute(_first(source_id)).one_or_none()
    return None if row is None else _place(row)


def first_awaited(tx: Connection, source_id: int) -> OrderKey | None:
    """The place of the first message of a source that lacks nothing but room in the spool. None also where the source's
    contents could not be loaded when that was last tried."""
    row = tx.execute(_first_untried(source_id)).one_or_none()
    return None if row is None or row.fetch_at is not None else _place(row)


def hold_up_nothing(tx: Connection, source_id: int, put_off: Collection[int], now: datetime) -> None:
    """The contents of a source cannot be loaded now: nothing waits longer than its time for what was found there, until
    the first of it is loaded; and nothing does for those that are `put_off`. Not counted as their failure."""
    first = tx.execute(_first_untried(source_id)).one_or_none()
    for some in chunks(sorted({*put_off, *([] if first is None else [first.id])})):
        tx.execute(
            update(schema.messages)
            .where(_M.id.in_(some), in_state(_M.state, MessageState.FOUND), _M.fetch_at.is_(None))
            .values(fetch_at=now, updated_at=now)
        )


def _first(source_id: int) -> Select[*tuple[object, ...]]:
    return (
        select(_M.id, _M.arrived_at, _S.name, _T.rank, _M.fetch_at)
        .join(schema.streams, _T.id == _M.stream_id)
        .join(schema.sources, _S.id == _M.source_id)
        .where(_M.source_id == source_id, in_state(_M.state, MessageState.FOUND), can_be_fetched())
        .order_by(*_IN_ORDER)
        .limit(1)
    )


def _first_untried(source_id: int) -> Select[*tuple[object, ...]]:
    """Of live messages that no operator asked for; those that failed by themselves are waited for no longer than they
    always were."""
    return _first(source_id).where(_M.fetch_attempts == 0, not_(_M.late), not_(_M.backfill))


def _place(row: Row[*tuple[object, ...]]) -> OrderKey:
    return OrderKey(row.arrived_at, row.name, row.rank, row.id)


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
