"""What becomes of a message that was found, once its content was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from sync.decide import HOLDS_NO_CLAIM, Dead, Loaded, Skip, Vanished, Verdict
from sync.ledger import claims, schema
from sync.ledger.contents import Place, Stored, store_dead, store_loaded
from sync.ledger.events import new_event, write_events
from sync.ledger.repository import chunks
from sync.ledger.tallies import Tally
from sync.states import MessageState, Reason

_M = schema.messages.c
_S = schema.sources.c
_T = schema.streams.c

_MOVE = (
    update(schema.messages)
    .where(_M.id == bindparam("key"), _M.state == MessageState.FOUND)
    .values(
        state=bindparam("to_state"),
        reason=bindparam("to_reason"),
        detail=bindparam("to_detail"),
        fetch_at=None,
        updated_at=bindparam("at"),
    )
)


def settle(
    tx: Connection,
    verdicts: Mapping[int, Verdict],
    tally: Tally,
    *,
    now: datetime,
    release_at: datetime,
    raw_max_bytes: int,
    hourly_limit: int,
) -> Stored:
    """Moves found messages to where their contents lead. Messages that are not `found` any more are left alone."""
    places = _found(tx, verdicts, hourly_limit)
    if not places:
        return Stored()
    moves, loaded, raws, freed, events = [], [], [], [], []
    for message_id, place in places.items():
        verdict = verdicts[message_id]
        state, reason, detail = standing(verdict)
        moves.append({"key": message_id, "to_state": state, "to_reason": reason, "to_detail": detail, "at": now})
        tally.message(place.source_id, MessageState.FOUND, by=-1)
        tally.message(place.source_id, state, reason)
        match verdict:
            case Loaded():
                loaded.append((place, verdict))
            case Dead():
                raws.append((message_id, verdict))
            case Vanished():
                freed.append(message_id)
            case Skip():
                freed += [message_id] if verdict.reason in HOLDS_NO_CLAIM else []
        if isinstance(verdict, Dead | Vanished):
            events.append(
                new_event(
                    f"message.{state}",
                    now,
                    inbox=place.inbox,
                    message_id=message_id,
                    code=reason,
                    detail={"why": detail},
                )
            )
    tx.execute(_MOVE, moves)
    stored = store_loaded(tx, loaded, tally, now, release_at, keep_max_bytes=raw_max_bytes)
    store_dead(tx, raws, now, raw_max_bytes)
    if freed:
        claims.hand_on(tx, freed, tally, now)
    write_events(tx, events)
    return stored


def standing(verdict: Verdict) -> tuple[MessageState, str, str]:
    """State, reason and detail that a verdict leads to."""
    match verdict:
        case Loaded():
            return MessageState.LOADED, "", ""
        case Skip(reason, detail):
            return MessageState.SKIPPED, reason, detail
        case Dead(_, why):
            return MessageState.DEAD, Reason.UNREADABLE, why
        case Vanished(why):
            return MessageState.GONE, Reason.VANISHED, why


def _found(tx: Connection, verdicts: Mapping[int, Verdict], hourly_limit: int) -> dict[int, Place]:
    places = {}
    for some in chunks(sorted(verdicts)):
        query = (
            select(
                _M.id,
                _M.source_id,
                _S.inbox,
                _T.rank,
                _M.arrived_at,
                _M.seen_at,
                _M.backfill,
                _M.late,
                _T.first_loaded_at,
            )
            .join(schema.streams, _T.id == _M.stream_id)
            .join(schema.sources, _S.id == _M.source_id)
            .where(_M.id.in_(some), _M.state == MessageState.FOUND)
            .order_by(_M.id)
            .with_for_update(of=schema.messages, key_share=True)
        )
        for row in tx.execute(query):
            places[row.id] = Place(
                message_id=row.id,
                source_id=row.source_id,
                inbox=row.inbox,
                stream_rank=row.rank,
                arrived_at=row.arrived_at,
                seen_at=row.seen_at,
                backfill=row.backfill,
                late=row.late,
                revived=row.late,
                hourly_limit=hourly_limit if _is_live(row.first_loaded_at, row.seen_at) else 0,
            )
    return places


def _is_live(first_loaded_at: datetime | None, seen_at: datetime) -> bool:
    """Whether a message was first seen after its stream was loaded for the first time."""
    return first_loaded_at is not None and seen_at > first_loaded_at
