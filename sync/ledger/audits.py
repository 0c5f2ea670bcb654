"""What an audit asks the ledger: how listed messages stand, and which rows there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, Row, Select, select, tuple_

from sync.ledger import schema
from sync.ledger.repository import Repository, chunks, reads
from sync.ledger.rows import Standing
from sync.ledger.types import key_text
from sync.states import OPEN_DELIVERY_STATES, DeliveryState, MessageState

_M = schema.messages.c
_D = schema.deliveries.c

DELIVERED, WAITING, FAILED, SKIPPED = "delivered", "waiting", "failed", "skipped"


class Audits(Repository):
    """Reads for audits."""

    @reads
    def standings(self, tx: Connection, stream_id: int, epoch: str, ids: Sequence[str]) -> tuple[Standing, ...]:
        """How those of these ids stand that have a row. `epoch` with its generation, as in `View`."""
        found: list[Standing] = []
        for some in chunks({key_text(one) for one in ids}):
            where = (_M.stream_id == stream_id, _M.epoch == epoch, _M.external_id.in_(some))
            found += _standings(tx, tx.execute(_rows().where(*where)).all())
        return tuple(found)

    @reads
    def page(
        self, tx: Connection, stream_id: int, since: datetime, after: tuple[str, str], limit: int
    ) -> tuple[Standing, ...]:
        """The stream's rows that arrived at `since` or later, in the order of (epoch, id), after that place."""
        query = (
            _rows()
            .where(
                _M.stream_id == stream_id,
                tuple_(_M.epoch, _M.external_id) > tuple_(*after),
                _M.arrived_at >= since,
            )
            .order_by(None)
            .order_by(_M.epoch, _M.external_id)
            .limit(limit)
        )
        return tuple(_standings(tx, tx.execute(query).all()))


def _rows() -> Select[*tuple[object, ...]]:
    return select(
        _M.id, _M.stream_id, _M.epoch, _M.external_id, _M.arrived_at, _M.seen_at, _M.state, _M.reason
    ).order_by(_M.id)


def _standings(tx: Connection, rows: Sequence[Row[*tuple[object, ...]]]) -> list[Standing]:
    loaded = [row.id for row in rows if row.state == MessageState.LOADED]
    deliveries: dict[int, list[tuple[str, str]]] = {}
    for some in chunks(loaded):
        query = select(_D.message_id, _D.state, _D.reason).where(_D.message_id.in_(some))
        for message_id, state, reason in tx.execute(query):
            deliveries.setdefault(message_id, []).append((state, reason))
    return [
        Standing(
            row.id,
            row.stream_id,
            row.epoch,
            row.external_id,
            row.arrived_at,
            row.seen_at,
            *_stands(row.state, row.reason, deliveries.get(row.id, ())),
        )
        for row in rows
    ]


def _stands(state: str, reason: str, deliveries: Collection[tuple[str, str]]) -> tuple[str, str]:
    """A message's standing in one word, and the reason: what is wrong with one of its deliveries comes first."""
    if state == MessageState.FOUND:
        return WAITING, ""
    if state != MessageState.LOADED:
        return (SKIPPED if state == MessageState.SKIPPED else FAILED), reason
    for wanted, word in (
        ((DeliveryState.DEAD, DeliveryState.HELD), FAILED),
        (tuple(OPEN_DELIVERY_STATES), WAITING),
        ((DeliveryState.SKIPPED,), SKIPPED),
    ):
        found = [why for one, why in deliveries if one in wanted]
        if found:
            return word, found[0]
    return DELIVERED, ""
