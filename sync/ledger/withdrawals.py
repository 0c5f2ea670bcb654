"""Messages that their service takes back before they are delivered: made internal, redacted to nothing, left out by the
source's settings. And those that it shows after all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from sync.decide import HOLDS_NO_CLAIM, Skip
from sync.ledger import claims, files, schema
from sync.ledger.repository import chunks
from sync.ledger.tallies import Tally
from sync.states import DeliveryState, MessageState, Reason

_D = schema.deliveries.c
_M = schema.messages.c
_C = schema.payloads.c

UNSENT = frozenset({DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD, DeliveryState.SKIPPED})
"""Where nothing is on the wire. Without a frozen request nothing was sent, either: one that may have been stored is kept."""
WAITING = frozenset({DeliveryState.PENDING, DeliveryState.HELD})
REVERSIBLE = frozenset({Reason.INTERNAL, Reason.VANISHED})
"""Skipped for what the service said of the message, which it may say otherwise later."""


@dataclass(frozen=True, slots=True)
class _Delivery:
    id: int
    message_id: int
    source_id: int
    inbox: str
    state: str
    reason: str
    may_be_sent: bool


def withdraw(tx: Connection, reasons: Mapping[int, Skip], tally: Tally, now: datetime) -> frozenset[int]:
    """Skips what waits of these messages, each for its reason; what is on the wire is left alone. Returns those of which
    something waited. Of a message of which nothing was sent the content goes, too: a retry loads and judges it anew."""
    by_message: dict[int, list[_Delivery]] = {}
    for one in _deliveries(tx, reasons):
        by_message.setdefault(one.message_id, []).append(one)
    withdrawn = set()
    for message_id, deliveries in by_message.items():
        waiting = [one for one in deliveries if one.state in WAITING and not one.may_be_sent]
        is_whole = all(one.state in UNSENT and not one.may_be_sent for one in deliveries)
        _skip_deliveries(tx, waiting, reasons[message_id], tally, now)
        if is_whole:
            _skip_message(tx, message_id, deliveries[0].source_id, reasons[message_id], tally, now)
        if is_whole or waiting:
            withdrawn.add(message_id)
    return frozenset(withdrawn)


def show_again(tx: Connection, message_ids: Collection[int], tally: Tally, now: datetime) -> frozenset[int]:
    """Messages that were skipped for what their service says otherwise now are found again, late. Returns those."""
    shown: set[int] = set()
    for some in chunks(sorted(message_ids)):
        query = (
            select(_M.id, _M.source_id, _M.reason)
            .where(
                _M.id.in_(some),
                _M.state == MessageState.SKIPPED,
                _M.reason.in_(sorted(REVERSIBLE)),
                _M.fingerprint.is_(None),  # a mail's copy may have taken over meanwhile
            )
            .order_by(_M.id)
            .with_for_update(key_share=True)
        )
        rows = tx.execute(query).all()
        for row in rows:
            tally.message(row.source_id, MessageState.SKIPPED, row.reason, by=-1)
            tally.message(row.source_id, MessageState.FOUND)
        ids = [row.id for row in rows]
        if ids:
            again = update(schema.messages).where(_M.id.in_(ids))
            tx.execute(
                again.values(
                    state=MessageState.FOUND,
                    reason="",
                    detail="",
                    late=True,
                    fetch_attempts=0,
                    fetch_at=None,
                    updated_at=now,
                )
            )
        shown.update(ids)
    return frozenset(shown)


def _deliveries(tx: Connection, message_ids: Collection[int]) -> list[_Delivery]:
    found: list[_Delivery] = []
    for some in chunks(sorted(message_ids)):
        query = (
            select(_D.id, _D.message_id, _D.source_id, _D.inbox, _D.state, _D.reason, _D.request.is_not(None))
            .where(_D.message_id.in_(some))
            .order_by(_D.id)
            .with_for_update(key_share=True)
        )
        found += [_Delivery(*row) for row in tx.execute(query)]
    return found


def _skip_deliveries(tx: Connection, deliveries: Collection[_Delivery], why: Skip, tally: Tally, now: datetime) -> None:
    if not deliveries:
        return
    waiting = update(schema.deliveries).where(_D.id.in_([one.id for one in deliveries]), _D.state.in_(sorted(WAITING)))
    tx.execute(waiting.values(state=DeliveryState.SKIPPED, reason=why.reason, retry_at=None, updated_at=now))
    for one in deliveries:
        tally.delivery(one.source_id, one.inbox, one.state, one.reason, by=-1)
        tally.delivery(one.source_id, one.inbox, DeliveryState.SKIPPED, why.reason)


def _skip_message(tx: Connection, message_id: int, source_id: int, why: Skip, tally: Tally, now: datetime) -> None:
    skipped = update(schema.messages).where(_M.id == message_id, _M.state == MessageState.LOADED)
    tx.execute(skipped.values(state=MessageState.SKIPPED, reason=why.reason, detail=why.detail, updated_at=now))
    tally.message(source_id, MessageState.LOADED, by=-1)
    tally.message(source_id, MessageState.SKIPPED, why.reason)
    tx.execute(delete(schema.payloads).where(_C.message_id == message_id))
    files.drop_without_content(tx, [message_id])
    if why.reason in HOLDS_NO_CLAIM:
        claims.hand_on(tx, [message_id], tally, now)
