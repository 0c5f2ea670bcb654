"""What operators read about messages: lists and stories."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, exists, or_, select

from sync.ledger import schema
from sync.ledger.events import events_of
from sync.ledger.repository import chunks
from sync.ledger.rows import DeliveryRow, MessageFilter, MessageLine, StoryRow
from sync.ledger.schema import in_state
from sync.message import Direction, Participant, ParticipantKind
from sync.states import DeliveryState, MessageState

_M = schema.messages.c
_S = schema.sources.c
_T = schema.streams.c
_D = schema.deliveries.c
_P = schema.participants.c
_C = schema.payloads.c
_R = schema.raws.c

LIST_MAX = 10_000
"""Messages in one list at most."""

FAILED_MESSAGES = (MessageState.DEAD, MessageState.GONE)
FAILED_DELIVERIES = (DeliveryState.DEAD, DeliveryState.HELD)


def ids_of(tx: Connection, which: Collection[int] | MessageFilter) -> list[int]:
    """The ids that a command is about: those given, or those that the filter finds, oldest first."""
    if isinstance(which, MessageFilter):
        return sorted(_matching(tx, which))
    return list(dict.fromkeys(which))


def list_messages(tx: Connection, wanted: MessageFilter) -> tuple[MessageLine, ...]:
    """Messages and their deliveries, newest first."""
    return _lines(tx, _matching(tx, wanted))


def tell(tx: Connection, message_id: int) -> StoryRow | None:
    """One message's story."""
    lines = _lines(tx, [message_id])
    return StoryRow(lines[0], events_of(tx, message_id)) if lines else None


def _matching(tx: Connection, wanted: MessageFilter) -> list[int]:
    query = select(_M.id).order_by(_M.id.desc()).limit(max(0, min(wanted.limit, LIST_MAX)))
    conditions: list[ColumnElement[bool]] = []
    if wanted.failed:
        # both halves have a partial index: a ledger of millions with three failures answers at once
        failed = (
            select(_M.id)
            .where(in_state(_M.state, *FAILED_MESSAGES))
            .union(select(_D.message_id).where(in_state(_D.state, *FAILED_DELIVERIES)))
        )
        conditions.append(_M.id.in_(failed))
    if wanted.state is not None:
        conditions.append(_state_is(wanted.state))
    if wanted.reason is not None:
        conditions.append(or_(_M.reason == wanted.reason, _has_delivery(_D.reason == wanted.reason)))
    if wanted.source is not None or wanted.inbox is not None:
        query = query.join(schema.sources, _S.id == _M.source_id)
    if wanted.source is not None:
        conditions.append(_S.name == wanted.source)
    if wanted.inbox is not None:
        conditions.append(_S.inbox == wanted.inbox)
    if wanted.since is not None:
        conditions.append(_M.arrived_at >= wanted.since)
    if wanted.after_id is not None:
        conditions.append(_M.id < wanted.after_id)
    return list(tx.execute(query.where(*conditions)).scalars())


def _state_is(state: MessageState | DeliveryState) -> ColumnElement[bool]:
    """By value: `dead` and `skipped` are states of both."""
    conditions: list[ColumnElement[bool]] = []
    if state.value in set(MessageState):
        conditions.append(_M.state == state.value)
    if state.value in set(DeliveryState):
        conditions.append(_has_delivery(_D.state == state.value))
    return or_(*conditions)


def _has_delivery(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(and_(_D.message_id == _M.id, condition))


# ---------------------------------------------------------------------------------------------------- rows


def _lines(tx: Connection, message_ids: Sequence[int]) -> tuple[MessageLine, ...]:
    lines: dict[int, MessageLine] = {}
    for some in chunks(message_ids):
        deliveries = _deliveries(tx, some)
        contents = dict(tx.execute(select(_C.message_id, _C.content).where(_C.message_id.in_(some))).all())
        raws = set(tx.execute(select(_R.message_id).where(_R.message_id.in_(some))).scalars())
        query = (
            select(schema.messages, _S.name.label("source_name"), _S.inbox.label("inbox"), _T.key.label("stream_key"))
            .join(schema.sources, _S.id == _M.source_id)
            .join(schema.streams, _T.id == _M.stream_id)
            .where(_M.id.in_(some))
        )
        for row in tx.execute(query).mappings():
            number = row[_M.id]
            lines[number] = _line(row, contents.get(number), number in raws, tuple(deliveries.get(number, ())))
    return tuple(lines[message_id] for message_id in message_ids if message_id in lines)


def _line(
    values: RowMapping,
    content: str | None,
    raw_kept: bool,  # noqa: FBT001  a column
    deliveries: tuple[DeliveryRow, ...],
) -> MessageLine:
    return MessageLine(
        id=values[_M.id],
        source=values["source_name"],
        inbox=values["inbox"],
        stream=values["stream_key"],
        epoch=values[_M.epoch],
        external_id=values[_M.external_id],
        occurrence=values[_M.occurrence],
        duplicate_of=values[_M.duplicate_of],
        state=MessageState(values[_M.state]),
        reason=values[_M.reason],
        detail=values[_M.detail],
        arrived_at=values[_M.arrived_at],
        written_at=values[_M.written_at],
        seen_at=values[_M.seen_at],
        size_bytes=values[_M.size_bytes],
        fetch_attempts=values[_M.fetch_attempts],
        fetch_at=values[_M.fetch_at],
        backfill=values[_M.backfill],
        late=values[_M.late],
        subject=None if content is None else str(json.loads(content).get("subject", "")),
        raw_kept=raw_kept,
        deliveries=deliveries,
    )


def _deliveries(tx: Connection, message_ids: Collection[int]) -> dict[int, list[DeliveryRow]]:
    query = (
        select(schema.deliveries, _P.kind, _P.value, _P.name, _P.contact_id.label("mapped_contact"))
        .join(schema.participants, _P.id == _D.participant_id)
        .where(_D.message_id.in_(list(message_ids)))
        .order_by(_D.id)
    )
    found: dict[int, list[DeliveryRow]] = {}
    for row in tx.execute(query).mappings():
        delivery = _delivery(row)
        found.setdefault(delivery.message_id, []).append(delivery)
    return found


def _delivery(values: RowMapping) -> DeliveryRow:
    direction = values[_D.direction]
    return DeliveryRow(
        id=values[_D.id],
        message_id=values[_D.message_id],
        participant_id=values[_D.participant_id],
        participant=Participant(ParticipantKind(values[_P.kind]), values[_P.value], values[_P.name]),
        direction=None if direction is None else Direction(direction),
        state=DeliveryState(values[_D.state]),
        reason=values[_D.reason],
        code=values[_D.code],
        sentence=values[_D.sentence],
        late=values[_D.late],
        attempt=values[_D.attempt],
        failures=values[_D.failures],
        resends=values[_D.resends],
        looks=values[_D.looks],
        read_back=values[_D.read_back],
        doubled_with=values[_D.doubled_with],
        contact_id=values[_D.contact_id] or values["mapped_contact"],
        conversation_id=values[_D.conversation_id],
        inbox_message_id=values[_D.inbox_message_id],
        sequence=values[_D.sequence],
        request_id=values[_D.request_id],
        seen_at=values[_D.seen_at],
        release_at=values[_D.release_at],
        retry_at=values[_D.retry_at],
        intent_at=values[_D.intent_at],
        unknown_at=values[_D.unknown_at],
        look_at=values[_D.look_at],
        sent_at=values[_D.sent_at],
    )
