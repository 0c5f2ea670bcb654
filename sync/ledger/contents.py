"""Contents: the frozen messages that wait for delivery, the raw copies of those nobody could read, and the deliveries
that a loaded message becomes."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, TypeAlias

from pydantic_core import PydanticSerializationError
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from typing_extensions import TypedDict

from sync.decide import Dead, Loaded
from sync.ledger import files, schema
from sync.ledger.dialect import insert_by, insert_into
from sync.ledger.events import NewEvent, new_event, write_events
from sync.ledger.participants import ParticipantIds, is_erased, participant_ids
from sync.ledger.prepared import ForKeys, ManyTimes
from sync.ledger.rates import Arrival, count_arrivals
from sync.ledger.repository import chunks
from sync.ledger.rows import FoundRow
from sync.ledger.tallies import Tally
from sync.ledger.types import key_text, without_nul
from sync.message import Attachment, Json, Message, Participant, message_from_json, message_to_json
from sync.states import OPEN_DELIVERY_STATES, DeliveryState, Reason

_D = schema.deliveries.c
_M = schema.messages.c
_T = schema.streams.c
_P = schema.payloads.c
_R = schema.raws.c

REVIVABLE = (DeliveryState.DEAD, DeliveryState.HELD, DeliveryState.SKIPPED)
"""What an operator's retry makes pending again."""

RATE_CODE = "participant.rate_limited"


@dataclass(frozen=True, slots=True)
class Place:
    """What deliveries take over from their message. `is_new`: it had no row before, and so no content; `revived`: it may
    have deliveries from an earlier life; `hourly_limit`: see `View` (0: it is not counted)."""

    message_id: int
    source_id: int
    inbox: str
    stream_rank: int
    arrived_at: datetime
    seen_at: datetime
    backfill: bool = False
    late: bool = False
    is_new: bool = False
    revived: bool = False
    hourly_limit: int = 0


LoadedItem: TypeAlias = tuple[Place, Loaded]
DeadItem: TypeAlias = tuple[int, Dead]


class NewDelivery(TypedDict):
    """A row to insert."""

    message_id: int
    participant_id: int
    inbox: str
    source_id: int
    arrived_at: datetime
    stream_rank: int
    direction: str | None
    state: str
    reason: str
    code: str
    sentence: str
    seen_at: datetime
    release_at: datetime
    backfill: bool
    late: bool
    updated_at: datetime


# ---------------------------------------------------------------------------------------------------- loaded


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of storing contents: deliveries that are pending now, and participants who have just sent more than an
    hour may bring."""

    pending: int = 0
    limited: tuple[int, ...] = ()


def store_loaded(
    tx: Connection,
    items: Sequence[LoadedItem],
    tally: Tally,
    now: datetime,
    release_at: datetime,
    *,
    keep_max_bytes: int,
) -> Stored:
    """Stores contents and creates one delivery per participant: pending, or held when its participant sends too much."""
    if not items:
        return Stored()
    _store_payloads(tx, items, now)
    life = _revive(tx, [place for place, _ in items if place.revived], tally, now, release_at)
    told = [(place, loaded) for place, loaded in items if place.message_id not in life.erased]
    people = ((place.inbox, participant) for place, loaded in told for participant in loaded.participants)
    ids = participant_ids(tx, people)
    rows = [row for row in _new_deliveries(told, ids, now, release_at) if _pair(row) not in life.pairs]
    limits = {place.message_id: place.hourly_limit for place, _ in items}
    limited = _hold_what_is_too_much(tx, rows, limits, now)
    if rows:
        _insert_deliveries(tx.dialect.name).execute(tx, rows)
    for row in rows:
        tally.delivery(row["source_id"], row["inbox"], row["state"], row["reason"])
    held = {row["message_id"] for row in rows if row["state"] == DeliveryState.HELD}
    keep_for_retry(tx, held, now, keep_max_bytes)
    return Stored(sum(row["state"] == DeliveryState.PENDING for row in rows) + life.revived, limited)


@functools.cache
def _insert_deliveries(dialect: str) -> ManyTimes:
    return ManyTimes(insert_by(dialect, schema.deliveries).on_conflict_do_nothing())


def _hold_what_is_too_much(
    tx: Connection, rows: Sequence[NewDelivery], limits: Mapping[int, int], now: datetime
) -> tuple[int, ...]:
    """Makes those rows `held` that are more than an hour of their participant may bring. Returns the participants who have
    just become too much."""
    counted = [
        Arrival(row["message_id"], row["participant_id"], row["arrived_at"], limits[row["message_id"]])
        for row in rows
        if limits[row["message_id"]]
        and not (row["backfill"] or row["late"])
        and row["state"] == DeliveryState.PENDING  # what a forger sends must not use up the customer's share
    ]
    too_many = count_arrivals(tx, counted)
    events = [_held_event(row, now, {}) for row in rows if row["state"] == DeliveryState.HELD]
    for row in rows:
        if _pair(row) not in too_many:
            continue
        limit = limits[row["message_id"]]
        row["state"], row["reason"] = DeliveryState.HELD.value, Reason.RATE_LIMITED.value
        row["code"] = RATE_CODE
        row["sentence"] = f"more than {limit} messages of this participant arrived within an hour"
        detail: dict[str, Json] = {"limit": limit, "setting": "participant_messages_per_hour"}
        events.append(_held_event(row, now, {**detail, "count": too_many[_pair(row)]}))
    write_events(tx, events)
    return tuple(who for (message_id, who), count in too_many.items() if count == limits[message_id] + 1)


def _held_event(row: NewDelivery, now: datetime, detail: dict[str, Json]) -> NewEvent:
    return new_event(
        "delivery.held", now, inbox=row["inbox"], message_id=row["message_id"], code=row["code"], detail=detail
    )


def _pair(row: NewDelivery) -> tuple[int, int]:
    return row["message_id"], row["participant_id"]


def _new_deliveries(
    items: Sequence[LoadedItem], ids: ParticipantIds, now: datetime, release_at: datetime
) -> list[NewDelivery]:
    rows: dict[tuple[int, int], NewDelivery] = {}
    for place, loaded in items:
        direction = loaded.message.direction
        hold = loaded.hold
        for participant in loaded.participants:
            number = ids[place.inbox, participant.kind.value, key_text(participant.value)]
            rows[place.message_id, number] = {
                "message_id": place.message_id,
                "participant_id": number,
                "inbox": place.inbox,
                "source_id": place.source_id,
                "arrived_at": place.arrived_at,
                "stream_rank": place.stream_rank,
                "direction": None if direction is None else direction.value,
                "state": DeliveryState.PENDING.value if hold is None else DeliveryState.HELD.value,
                "reason": "" if hold is None else hold.reason.value,
                "code": "" if hold is None else hold.code,
                "sentence": "" if hold is None else hold.sentence,
                "seen_at": place.seen_at,
                "release_at": release_at,
                "backfill": place.backfill,
                "late": place.late,
                "updated_at": now,
            }
    return list(rows.values())


@dataclass(frozen=True, slots=True)
class _EarlierLife:
    """Deliveries that messages have already: their pairs of message and participant, how many are pending again, and the
    messages one of whose participants was erased. Of those nobody new is told: it may be the erased one."""

    pairs: frozenset[tuple[int, int]] = frozenset()
    revived: int = 0
    erased: frozenset[int] = frozenset()


def _revive(tx: Connection, places: Sequence[Place], tally: Tally, now: datetime, release_at: datetime) -> _EarlierLife:
    """Deliveries from an earlier life of these messages: those that failed are pending again."""
    if not places:
        return _EarlierLife()
    query = (
        select(
            _D.id,
            _D.message_id,
            _D.participant_id,
            _D.source_id,
            _D.inbox,
            _D.state,
            _D.reason,
            is_erased().label("erased"),
        )
        .join(schema.participants, schema.participants.c.id == _D.participant_id)
        .where(_D.message_id.in_([place.message_id for place in places]))
        .order_by(_D.id)
        .with_for_update(of=schema.deliveries, key_share=True)
    )
    rows = tx.execute(query).all()
    again = [row for row in rows if row.state in REVIVABLE and not row.erased]
    make_pending(tx, [row.id for row in again], now, release_at)
    for row in again:
        tally.delivery(row.source_id, row.inbox, row.state, row.reason, by=-1)
        tally.delivery(row.source_id, row.inbox, DeliveryState.PENDING)
    pairs = frozenset((row.message_id, row.participant_id) for row in rows)
    return _EarlierLife(pairs, len(again), frozenset(row.message_id for row in rows if row.erased))


def make_pending(tx: Connection, delivery_ids: Sequence[int], now: datetime, release_at: datetime) -> None:
    """Dead, held or skipped deliveries wait again, flagged late. A frozen request that may have been stored is kept,
    and its resend will be recognised as one."""
    for some in chunks(delivery_ids):
        tx.execute(
            update(schema.deliveries)
            .where(_D.id.in_(some), _D.state.in_(REVIVABLE))
            .values(
                state=DeliveryState.PENDING,
                reason="",
                late=True,
                failures=0,
                retry_at=None,
                release_at=release_at,
                resends=_D.resends + case((_D.request.is_not(None), 1), else_=0),
                updated_at=now,
            )
        )


def _store_payloads(tx: Connection, items: Sequence[LoadedItem], now: datetime) -> None:
    contents = files.store(tx, {place.message_id: loaded for place, loaded in items}, now)
    rows = []
    for message_id, message in contents.items():
        content = content_text(message)
        size = len(content.encode()) + files.spooled_bytes(message)
        rows.append({"message_id": message_id, "bytes": size, "content": content})
    _store_payload(tx.dialect.name).execute(tx, rows)
    files.adopt(tx, contents, [place.message_id for place, _ in items if not place.is_new])


@functools.cache
def _store_payload(dialect: str) -> ManyTimes:
    statement = insert_by(dialect, schema.payloads)
    fresh = statement.excluded
    changes = {"bytes": fresh.bytes, "content": fresh.content, "kept_at": None}
    return ManyTimes(statement.on_conflict_do_update(index_elements=["message_id"], set_=changes))


def content_text(message: Message) -> str:
    """A message as JSON text that both databases take, whatever is in it."""
    try:
        return message_to_json(message)
    except (PydanticSerializationError, UnicodeEncodeError):  # a lone surrogate that cleaning upstream missed
        return message_to_json(_scrubbed(message))


def _scrubbed(message: Message) -> Message:
    return replace(
        message,
        text=without_nul(message.text),
        subject=without_nul(message.subject),
        author=None if message.author is None else _scrubbed_participant(message.author),
        recipients=tuple(map(_scrubbed_participant, message.recipients)),
        participants=tuple(map(_scrubbed_participant, message.participants)),
        attachments=tuple(map(_scrubbed_attachment, message.attachments)),
        notes=tuple(map(without_nul, message.notes)),
        headers=tuple((without_nul(name), without_nul(value)) for name, value in message.headers),
    )


def _scrubbed_participant(participant: Participant) -> Participant:
    return replace(participant, value=key_text(participant.value), name=without_nul(participant.name))


def _scrubbed_attachment(attachment: Attachment) -> Attachment:
    return replace(
        attachment,
        filename=without_nul(attachment.filename),
        mime_type=without_nul(attachment.mime_type),
        ref=without_nul(attachment.ref),
        why_not=without_nul(attachment.why_not),
    )


# ---------------------------------------------------------------------------------------------------- reading


class _Content(NamedTuple):
    message_id: int
    content: str


_READ_CONTENTS = ForKeys(select(_P.message_id, _P.content).where(_P.message_id.in_(bindparam("keys", expanding=True))))


def read_contents(tx: Connection, message_ids: Collection[int]) -> dict[int, Message]:
    """The frozen contents that are still there."""
    rows = (_Content._make(row) for row in _READ_CONTENTS.read(tx, message_ids))
    return {row.message_id: message_from_json(row.content) for row in rows}


def spooled_bytes(tx: Connection) -> int:
    """Bytes of content that wait for delivery (an index holds all that is read)."""
    return int(tx.execute(select(func.coalesce(func.sum(_P.bytes), 0)).where(_P.kept_at.is_(None))).scalar_one())


def spooled_around(tx: Connection, row: FoundRow) -> tuple[int, int]:
    """Of what waits for delivery, the bytes that come before a found message of the same source, and those after it."""
    earlier = or_(
        _M.arrived_at < row.arrived_at,
        and_(_M.arrived_at == row.arrived_at, _T.rank < row.stream_rank),
        and_(_M.arrived_at == row.arrived_at, _T.rank == row.stream_rank, _M.id < row.message_id),
    )
    source_id = select(_T.source_id).where(_T.id == row.stream_id).scalar_subquery()
    query = (
        select(
            func.coalesce(func.sum(case((earlier, _P.bytes), else_=0)), 0),
            func.coalesce(func.sum(_P.bytes), 0),
        )
        .join(schema.messages, _M.id == _P.message_id)
        .join(schema.streams, _T.id == _M.stream_id)
        .where(_P.kept_at.is_(None), _M.source_id == source_id)
    )
    before, all_of_it = tx.execute(query).one()
    return int(before), int(all_of_it) - int(before)


# ---------------------------------------------------------------------------------------------------- raw copies


def store_dead(tx: Connection, items: Sequence[DeadItem], now: datetime, max_bytes: int) -> None:
    """Keeps the raw bytes of what could not be read; the oldest go when there are more than `max_bytes` in all."""
    if not items:
        return
    rows = [
        {"message_id": message_id, "bytes": len(dead.raw), "at": now, "why": dead.why, "raw": dead.raw}
        for message_id, dead in items
    ]
    tx.execute(insert_into(tx, schema.raws).on_conflict_do_nothing(), rows)
    _prune(tx, schema.raws, _R.message_id, _R.bytes, _R.at, max_bytes)


# ---------------------------------------------------------------------------------------------------- when all is done


_DROP_DELIVERED = ForKeys(
    delete(schema.payloads).where(
        _P.message_id.in_(bindparam("keys", expanding=True)),
        ~exists().where(_D.message_id == _P.message_id, _D.state != DeliveryState.SENT),
    )
)


def drop_delivered(tx: Connection, message_ids: Collection[int]) -> int:
    """Removes the contents of messages whose every delivery is sent, with their files. Returns how many it removed."""
    dropped = _DROP_DELIVERED.execute(tx, message_ids)
    if dropped:
        files.drop_without_content(tx, message_ids)
    return dropped


def keep_for_retry(tx: Connection, message_ids: Collection[int], now: datetime, max_bytes: int) -> None:
    """Contents of messages with nothing left to deliver, but with something that failed, stay for an operator's retry:
    outside the spool's bound, within `max_bytes` in all, the oldest going first."""
    if not message_ids:
        return
    is_open = exists().where(_D.message_id == _P.message_id, _D.state.in_(sorted(OPEN_DELIVERY_STATES)))
    for some in chunks(sorted(message_ids)):
        kept = update(schema.payloads).where(_P.message_id.in_(some), _P.kept_at.is_(None), ~is_open)
        tx.execute(kept.values(kept_at=now))
    _prune(tx, schema.payloads, _P.message_id, _P.bytes, _P.kept_at, max_bytes)


def wait_again(tx: Connection, message_ids: Collection[int]) -> None:
    """Kept contents count as waiting again."""
    for some in chunks(sorted(message_ids)):
        tx.execute(update(schema.payloads).where(_P.message_id.in_(some)).values(kept_at=None))


def _prune(
    tx: Connection,
    table: Table,
    message_id: ColumnElement[int],
    size: ColumnElement[int],
    at: ColumnElement[datetime],
    max_bytes: int,
) -> None:
    total = int(tx.execute(select(func.coalesce(func.sum(size), 0)).where(at.is_not(None))).scalar_one())
    if total <= max_bytes:
        return
    oldest: Iterable[tuple[int, int]] = tx.execute(select(message_id, size).where(at.is_not(None)).order_by(at, size))
    doomed = []
    for number, count in oldest:
        if total <= max_bytes:
            break
        doomed.append(number)
        total -= count
    for some in chunks(doomed):
        tx.execute(delete(table).where(message_id.in_(some)))
    if table is schema.payloads:
        files.drop_without_content(tx, doomed)
