"""What operators move by hand: another try, or no more tries (`sync.states`, the last rows of its table)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, select, update

from sync.ledger import schema
from sync.ledger.claims import can_be_fetched
from sync.ledger.contents import REVIVABLE, keep_for_retry, make_pending, wait_again
from sync.ledger.events import new_event, write_events
from sync.ledger.participants import is_erased
from sync.ledger.repository import chunks
from sync.ledger.rows import Moved
from sync.ledger.tallies import Tally
from sync.states import BACKFILL_ONLY, DeliveryState, MessageState, Reason

_M = schema.messages.c
_S = schema.sources.c
_T = schema.streams.c
_D = schema.deliveries.c
_C = schema.payloads.c

DROPPABLE = (DeliveryState.PENDING, DeliveryState.UNKNOWN, DeliveryState.HELD)
BRIEFLY_ON_THE_WIRE = "its request is on the wire at this moment; try again in a minute"


@dataclass(frozen=True, slots=True)
class _Delivery:
    id: int
    source_id: int
    inbox: str
    state: str
    reason: str
    has_request: bool
    erased: bool


@dataclass(frozen=True, slots=True)
class _Message:
    id: int
    source_id: int
    source: str
    inbox: str
    state: str
    reason: str
    has_content: bool
    fetchable: bool
    deliveries: list[_Delivery] = field(default_factory=list)


def retry(
    tx: Connection, message_ids: Sequence[int], now: datetime, *, fetching: Collection[str] | None, by: str
) -> tuple[Moved, ...]:
    """Gives messages another try. Those whose content is gone are fetched again if their place still exists."""
    found = _load(tx, message_ids)
    tally = Tally()
    outcomes = []
    for message_id in message_ids:
        message = found.get(message_id)
        if message is None:
            outcomes.append(Moved(message_id, moved=False, sentence="there is no such message"))
            continue
        can_fetch = message.fetchable and (fetching is None or message.source in fetching)
        outcomes.append(_retry_one(tx, message, tally, now, can_fetch=can_fetch))
    _tell(tx, "operator.retry", outcomes, found, now, by)
    tally.write(tx)
    return tuple(outcomes)


def drop(
    tx: Connection, message_ids: Sequence[int], now: datetime, *, keep_max_bytes: int, by: str
) -> tuple[Moved, ...]:
    """Skips what is not final. Contents stay for a later change of mind, within their bound."""
    found = _load(tx, message_ids)
    tally = Tally()
    outcomes = []
    for message_id in message_ids:
        message = found.get(message_id)
        if message is None:
            outcomes.append(Moved(message_id, moved=False, sentence="there is no such message"))
            continue
        outcomes.append(_drop_one(tx, message, tally, now))
    keep_for_retry(tx, [one.message_id for one in outcomes if one.moved], now, keep_max_bytes)
    _tell(tx, "operator.drop", outcomes, found, now, by)
    tally.write(tx)
    return tuple(outcomes)


# ---------------------------------------------------------------------------------------------------- retry


def _retry_one(tx: Connection, message: _Message, tally: Tally, now: datetime, *, can_fetch: bool) -> Moved:
    if message.state == MessageState.FOUND:
        tx.execute(update(schema.messages).where(_M.id == message.id).values(fetch_at=None, updated_at=now))
        return Moved(message.id, moved=True, sentence="its content will be fetched in the next pass")
    if message.state == MessageState.SKIPPED and message.reason in BACKFILL_ONLY:
        return Moved(
            message.id, moved=False, sentence="it is older than its source brings in; only a backfill brings it"
        )
    revivable = [one for one in message.deliveries if one.state in REVIVABLE and not one.erased]
    if not revivable and (message.state == MessageState.LOADED or message.deliveries):
        return Moved(message.id, moved=False, sentence=_nothing_to_retry(message.deliveries))
    resendable = bool(message.deliveries) and all(one.has_request for one in revivable)
    if message.deliveries and (message.has_content or resendable):
        _revive(tx, message, revivable, tally, now)
        return Moved(message.id, moved=True, sentence=f"{len(revivable)} of its deliveries will be tried again")
    if can_fetch:
        _move_message(tx, message, MessageState.FOUND, tally, now)
        return Moved(message.id, moved=True, sentence="its content will be fetched again in the next pass")
    return Moved(message.id, moved=False, sentence=_cannot_fetch(message))


def _nothing_to_retry(deliveries: Sequence[_Delivery]) -> str:
    if deliveries and all(one.state == DeliveryState.SENT for one in deliveries):
        return "it was delivered"
    if any(one.erased and one.state in REVIVABLE for one in deliveries):
        return "its person was erased, and its content with it"
    return "it is on its way"


def _cannot_fetch(message: _Message) -> str:
    return (
        f'its content is not in the ledger any more, and source "{message.source}" cannot give it again'
        " (removed, renumbered, or unable to fetch a single message)"
    )


def _revive(tx: Connection, message: _Message, deliveries: Sequence[_Delivery], tally: Tally, now: datetime) -> None:
    make_pending(tx, [one.id for one in deliveries], now, now)
    for one in deliveries:
        tally.delivery(one.source_id, one.inbox, one.state, one.reason, by=-1)
        tally.delivery(one.source_id, one.inbox, DeliveryState.PENDING)
    if message.state != MessageState.LOADED:
        _move_message(tx, message, MessageState.LOADED, tally, now)
    wait_again(tx, [message.id])


def _move_message(tx: Connection, message: _Message, state: MessageState, tally: Tally, now: datetime) -> None:
    tx.execute(
        update(schema.messages)
        .where(_M.id == message.id, _M.state == message.state)
        .values(
            state=state,
            reason="",
            detail="",
            duplicate_of=None,
            late=True,
            fetch_attempts=0,
            fetch_at=None,
            updated_at=now,
        )
    )
    tally.message(message.source_id, message.state, message.reason, by=-1)
    tally.message(message.source_id, state)


# ---------------------------------------------------------------------------------------------------- drop


def _drop_one(tx: Connection, message: _Message, tally: Tally, now: datetime) -> Moved:
    if message.state == MessageState.FOUND:
        _skip_message(tx, message, tally, now)
        return Moved(message.id, moved=True, sentence="it will not be fetched")
    if message.state != MessageState.LOADED:
        return Moved(message.id, moved=False, sentence=f"it is {message.state} already")
    droppable = [one for one in message.deliveries if one.state in DROPPABLE]
    sending = any(one.state == DeliveryState.SENDING for one in message.deliveries)
    if not droppable:
        return Moved(message.id, moved=False, sentence=BRIEFLY_ON_THE_WIRE if sending else "nothing of it is waiting")
    tx.execute(
        update(schema.deliveries)
        .where(_D.id.in_([one.id for one in droppable]), _D.state.in_(DROPPABLE))
        .values(state=DeliveryState.SKIPPED, reason=Reason.OPERATOR, retry_at=None, look_at=None, updated_at=now)
    )
    for one in droppable:
        tally.delivery(one.source_id, one.inbox, one.state, one.reason, by=-1)
        tally.delivery(one.source_id, one.inbox, DeliveryState.SKIPPED, Reason.OPERATOR)
    if all(one.state in (*DROPPABLE, DeliveryState.SKIPPED) for one in message.deliveries):
        _skip_message(tx, message, tally, now)
    unclear = sum(one.state == DeliveryState.UNKNOWN for one in droppable)
    sentence = f"{len(droppable)} of its deliveries will not be sent"
    if unclear:
        sentence += f"; {unclear} may have arrived all the same"
    if sending:
        sentence += f"; of another {BRIEFLY_ON_THE_WIRE}"
    return Moved(message.id, moved=True, sentence=sentence)


def _skip_message(tx: Connection, message: _Message, tally: Tally, now: datetime) -> None:
    tx.execute(
        update(schema.messages)
        .where(_M.id == message.id, _M.state == message.state)
        .values(state=MessageState.SKIPPED, reason=Reason.OPERATOR, detail="", fetch_at=None, updated_at=now)
    )
    tally.message(message.source_id, message.state, message.reason, by=-1)
    tally.message(message.source_id, MessageState.SKIPPED, Reason.OPERATOR)


# ---------------------------------------------------------------------------------------------------- reading


def _load(tx: Connection, message_ids: Sequence[int]) -> dict[int, _Message]:
    found: dict[int, _Message] = {}
    for some in chunks(sorted(message_ids)):
        query = (
            select(
                _M.id,
                _M.source_id,
                _S.name.label("source"),
                _S.inbox,
                _M.state,
                _M.reason,
                _C.message_id.is_not(None).label("has_content"),
                can_be_fetched().label("fetchable"),
            )
            .join(schema.sources, _S.id == _M.source_id)
            .join(schema.streams, _T.id == _M.stream_id)
            .outerjoin(schema.payloads, _C.message_id == _M.id)
            .where(_M.id.in_(some))
            .order_by(_M.id)
            .with_for_update(of=schema.messages, key_share=True)
        )
        for row in tx.execute(query):
            found[row.id] = _Message(
                id=row.id,
                source_id=row.source_id,
                source=row.source,
                inbox=row.inbox,
                state=row.state,
                reason=row.reason,
                has_content=bool(row.has_content),
                fetchable=bool(row.fetchable),
            )
        deliveries = (
            select(
                _D.message_id, _D.id, _D.source_id, _D.inbox, _D.state, _D.reason, _D.request.is_not(None), is_erased()
            )
            .join(schema.participants, schema.participants.c.id == _D.participant_id)
            # Only of messages that were read above: others may have been committed since.
            .where(_D.message_id.in_([one for one in some if one in found]))
            .order_by(_D.id)
            .with_for_update(of=schema.deliveries, key_share=True)
        )
        for message_id, *rest in tx.execute(deliveries):
            found[message_id].deliveries.append(_Delivery(*rest))
    return found


def _tell(
    tx: Connection, kind: str, outcomes: Sequence[Moved], found: dict[int, _Message], now: datetime, by: str
) -> None:
    write_events(
        tx,
        [
            new_event(
                kind,
                now,
                inbox=found[one.message_id].inbox,
                source=found[one.message_id].source,
                message_id=one.message_id,
                detail={"outcome": one.sentence, **({"by": by} if by else {})},
            )
            for one in outcomes
            if one.moved
        ],
    )
