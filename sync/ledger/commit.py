"""The group commit: steps of many deliveries in one transaction, each guarded by state and attempt.

The rows are read (and on PostgreSQL locked) once, in the order of their ids; what does not fit is refused in Python,
the rest is written by one statement per kind of step, each with its guard in the WHERE. The unique keys have the last
word: a group they refuse is written again one by one, so that only the guilty step fails.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection, Update, and_, bindparam, case, func, null, or_, select, update
from sqlalchemy.exc import IntegrityError

from sync.delivery import Accepted, Change, Intent, Looked, NotWritten, Refused, Settled, Unclear, Uploaded
from sync.ledger import schema
from sync.ledger.contents import drop_delivered, keep_for_retry
from sync.ledger.dialect import insert_by, savepoint
from sync.ledger.events import NewEvent, new_event, write_events
from sync.ledger.prepared import ForKeys, ManyTimes
from sync.ledger.rows import LeaseRef
from sync.ledger.schema import in_state
from sync.ledger.tallies import Tally
from sync.ledger.types import UtcDateTime
from sync.message import Json
from sync.states import DeliveryState, Reason

_D = schema.deliveries.c
_P = schema.participants.c
_C = schema.conversations.c
_State = DeliveryState

_A = schema.attachments.c

Parameters: TypeAlias = dict[str, object]


class Before(NamedTuple):
    """A delivery as it was before a step."""

    id: int
    message_id: int
    source_id: int
    inbox: str
    arrived_at: datetime
    state: str
    reason: str
    attempt: int
    conversation_id: str | None
    subject_key: str
    holder: str
    fence: int
    inbox_message_id: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A change together with the row it is about, as it was before."""

    index: int
    change: Change
    row: Before


# ---------------------------------------------------------------------------------------------------- statements


def _guarded(*states: DeliveryState) -> Update:
    return update(schema.deliveries).where(
        _D.id == bindparam("key"), _D.attempt == bindparam("guard"), in_state(_D.state, *states)
    )


_KEPT_REQUEST = case((_D.resends > 0, _D.request), else_=null())
"""A refused or unwritten request is rendered anew, unless an earlier attempt of it may have been stored."""

_RESENT = and_(_D.resends > 0, _D.conversation_id == bindparam("to_conversation"))

_INTENT = _guarded(_State.PENDING).values(
    state=_State.SENDING,
    attempt=_D.attempt + 1,
    conversation_id=bindparam("to_conversation"),
    contact_id=select(_P.contact_id).where(_P.id == _D.participant_id).scalar_subquery(),
    request=bindparam("to_request"),
    request_hash=bindparam("to_hash"),
    # after a resend either copy counts as found: the window begins at the first attempt
    sequence_mark=case(
        (and_(_RESENT, _D.sequence_mark < bindparam("to_mark")), _D.sequence_mark), else_=bindparam("to_mark")
    ),
    intent_at=case(
        (_D.resends > 0, func.coalesce(_D.intent_at, bindparam("at", type_=UtcDateTime))),
        else_=bindparam("at", type_=UtcDateTime),
    ),
    answer_due_at=bindparam("due"),
    subject_key=bindparam("to_subject"),
    late=or_(_D.late, bindparam("to_late")),
    holder=bindparam("to_holder"),
    fence=bindparam("to_fence"),
    retry_at=None,
    unknown_at=None,
    look_at=None,
    looks=0,
    updated_at=bindparam("at"),
)

_ACCEPTED = _guarded(_State.SENDING, _State.UNKNOWN).values(
    state=_State.SENT,
    reason="",
    inbox_message_id=bindparam("to_inbox_message"),
    sequence=bindparam("to_sequence"),
    request_id=bindparam("to_request_id"),
    read_back=bindparam("to_read_back"),
    request=case((_D.recheck_at.is_not(None), _D.request), else_=null()),
    retry_at=None,
    look_at=None,
    sent_at=bindparam("at"),
    updated_at=bindparam("at"),
)

_NOT_WRITTEN = _guarded(_State.SENDING).values(
    state=_State.PENDING,
    code=bindparam("to_code"),
    sentence=bindparam("to_sentence"),
    request=_KEPT_REQUEST,
    updated_at=bindparam("at"),
)

_REFUSED = _guarded(_State.SENDING, _State.PENDING).values(
    state=bindparam("to_state"),
    reason=bindparam("to_reason"),
    code=bindparam("to_code"),
    sentence=bindparam("to_sentence"),
    request_id=bindparam("to_request_id"),
    failures=_D.failures + 1,
    retry_at=bindparam("to_retry_at"),
    request=_KEPT_REQUEST,
    updated_at=bindparam("at"),
)

_UNCLEAR = _guarded(_State.SENDING).values(
    state=_State.UNKNOWN,
    code=bindparam("to_code"),
    sentence=bindparam("to_sentence"),
    unknown_at=bindparam("at"),
    look_at=bindparam("to_look_at"),
    looks=0,
    updated_at=bindparam("at"),
)

_LOOKED = _guarded(_State.UNKNOWN).values(
    look_at=bindparam("to_look_at"),
    looks=_D.looks + 1,
    unknown_at=case(
        (_D.unknown_at > bindparam("at", type_=UtcDateTime), bindparam("at", type_=UtcDateTime)), else_=_D.unknown_at
    ),
    updated_at=bindparam("at"),
)

_SETTLED = _guarded(_State.UNKNOWN).values(
    state=bindparam("to_state"),
    reason=bindparam("to_reason"),
    resends=_D.resends + bindparam("to_resends"),
    recheck_at=bindparam("to_recheck_at"),
    retry_at=None,
    look_at=None,
    updated_at=bindparam("at"),
)


_STATEMENTS: dict[type, ManyTimes] = {
    Intent: ManyTimes(_INTENT),
    Accepted: ManyTimes(_ACCEPTED),
    NotWritten: ManyTimes(_NOT_WRITTEN),
    Refused: ManyTimes(_REFUSED),
    Unclear: ManyTimes(_UNCLEAR),
    Looked: ManyTimes(_LOOKED),
    Settled: ManyTimes(_SETTLED),
}


_ROWS = ForKeys(
    select(*(_D[name] for name in Before._fields))
    .where(_D.id.in_(bindparam("keys", expanding=True)))
    .order_by(_D.id)
    .with_for_update(key_share=True)
)

_UPLOADED = ManyTimes(
    update(schema.attachments)
    .where(_A.id == bindparam("key"))
    .values(file_id=bindparam("to_file_id"), uploaded_at=bindparam("at"))
)

_FAILED = select(_D.message_id).where(
    _D.message_id.in_(bindparam("keys", expanding=True)), _D.state.in_([_State.DEAD, _State.HELD])
)


@functools.cache
def _learn(dialect: str) -> ManyTimes:
    """What a conversation is known by after a send into it."""
    statement = insert_by(dialect, schema.conversations)
    fresh = statement.excluded
    newer = or_(_C.last_arrived_at.is_(None), _C.last_arrived_at < fresh.last_arrived_at)
    changes = {
        "last_sequence": case((_C.last_sequence < fresh.last_sequence, fresh.last_sequence), else_=_C.last_sequence),
        "last_arrived_at": case((newer, fresh.last_arrived_at), else_=_C.last_arrived_at),
        "last_subject_key": fresh.last_subject_key,
    }
    return ManyTimes(statement.on_conflict_do_update(index_elements=["inbox", "conversation_id"], set_=changes))


# ---------------------------------------------------------------------------------------------------- the commit


class Commit:
    """One group within one transaction. `again`: an earlier try may have been committed unheard."""

    def __init__(self, tx: Connection, lease: LeaseRef, now: datetime, *, keep_max_bytes: int, again: bool) -> None:
        self._tx = tx
        self._lease = lease
        self._now = now
        self._keep_max_bytes = keep_max_bytes
        self._again = again
        self._tally = Tally()
        self._events: list[NewEvent] = []
        self._kept: set[int] = set()

    def run(self, changes: Sequence[Change | Uploaded], *, with_intents: bool) -> list[bool]:
        """Applies what can be applied; says which of the changes that is."""
        results = [False] * len(changes)
        uploads: list[Uploaded] = []
        left: list[tuple[int, Change]] = []
        for index, one in enumerate(changes):
            if isinstance(one, Uploaded):
                uploads.append(one)
                results[index] = True
            elif with_intents or not isinstance(one, Intent):
                left.append((index, one))
        self._remember(uploads)
        while left:  # almost always one round: a delivery rarely has two steps in one group
            first: dict[int, tuple[int, Change]] = {}
            for pair in left:
                first.setdefault(pair[1].delivery_id, pair)
            left = [pair for pair in left if first[pair[1].delivery_id] is not pair]
            self._round(list(first.values()), results)
        if self._kept:
            keep_for_retry(self._tx, self._kept, self._now, self._keep_max_bytes)
        write_events(self._tx, self._events)
        self._tally.write(self._tx)
        return results

    def _remember(self, uploads: Sequence[Uploaded]) -> None:
        named = sorted((key, file_id, one.at) for one in uploads for key, file_id in one.files)
        if named:
            rows = [{"key": key, "to_file_id": file_id, "at": at} for key, file_id, at in named]
            _UPLOADED.execute(self._tx, rows)

    def _round(self, changes: Sequence[tuple[int, Change]], results: list[bool]) -> None:
        rows = self._rows([one.delivery_id for _, one in changes])
        groups: dict[type, list[Step]] = {}
        for index, one in changes:
            row = rows.get(one.delivery_id)
            if row is not None and _fits(one, row):
                groups.setdefault(type(one), []).append(Step(index, one, row))
            elif row is not None and self._again and self._is_done(one, row):
                results[index] = True
        # what frees a conversation goes before what takes one
        for kind in (Accepted, NotWritten, Refused, Unclear, Looked, Settled, Intent):
            steps = groups.get(kind, [])
            if steps:
                done = self._write(steps)
                self._after(done)
                for step in done:
                    results[step.index] = True

    def _rows(self, delivery_ids: Sequence[int]) -> dict[int, Before]:
        rows = (Before._make(row) for row in _ROWS.read(self._tx, delivery_ids))
        return {row.id: row for row in rows}

    def _is_done(self, change: Change, row: Before) -> bool:
        """Whether our own earlier try of this transaction was committed without our hearing so."""
        if isinstance(change, Intent):
            mine = (row.holder, row.fence) == (self._lease.holder, self._lease.fence)
            return mine and bool(row.state == _State.SENDING and row.attempt == change.attempt)
        if isinstance(change, Accepted):
            return bool(row.state == _State.SENT and row.inbox_message_id == change.inbox_message_id)
        return False

    # ------------------------------------------------------------------ writing

    def _write(self, steps: Sequence[Step]) -> list[Step]:
        statement = _STATEMENTS[type(steps[0].change)]
        steps = self._not_doubled(steps)
        values = [self._parameters(step) for step in steps]
        if not values:
            return []
        try:
            with savepoint(self._tx):
                self._execute(statement, values)
                return list(steps)
        except IntegrityError:
            return [step for step, value in zip(steps, values, strict=True) if self._write_one(statement, value)]

    def _write_one(self, statement: ManyTimes, value: Parameters) -> bool:
        try:
            with savepoint(self._tx):
                self._execute(statement, [value])
        except IntegrityError:
            return False
        return True

    def _execute(self, statement: ManyTimes, values: Sequence[Parameters]) -> None:
        count = statement.execute(self._tx, values)
        if count != len(values):
            raise RuntimeError(f"{len(values)} locked deliveries were to change, {count} did")

    def _parameters(self, step: Step) -> Parameters:
        values = _values(step.change)
        values |= {"key": step.change.delivery_id, "guard": step.row.attempt, "at": step.change.at}
        if isinstance(step.change, Intent):
            values |= {"to_holder": self._lease.holder, "to_fence": self._lease.fence}
        return values

    def _not_doubled(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Leaves out adoptions of what is known as another delivery's second copy."""
        adopted = {
            step.change.inbox_message_id
            for step in steps
            if isinstance(step.change, Accepted) and step.change.read_back
        }
        if not adopted:
            return steps
        inbox = steps[0].row.inbox
        query = select(_D.doubled_with).where(_D.inbox == inbox, _D.doubled_with.in_(adopted))
        doubled = set(self._tx.execute(query).scalars())
        return [
            step
            for step in steps
            if not (isinstance(step.change, Accepted) and step.change.inbox_message_id in doubled)
        ]

    # ------------------------------------------------------------------ what follows

    def _after(self, steps: Sequence[Step]) -> None:
        accepted: list[tuple[Accepted, Before]] = []
        for step in steps:
            state, reason = _target(step.change)
            row = step.row
            if (state, reason) != (row.state, row.reason):
                self._tally.delivery(row.source_id, row.inbox, row.state, row.reason, by=-1)
                self._tally.delivery(row.source_id, row.inbox, state, reason)
            if state in (_State.DEAD, _State.HELD):
                self._kept.add(row.message_id)
            if isinstance(step.change, Accepted):
                accepted.append((step.change, row))
            self._tell(step.change, row)
        if accepted:
            self._learn_conversations(accepted)
            message_ids = {row.message_id for _, row in accepted}
            if drop_delivered(self._tx, message_ids) < len(message_ids):
                self._keep_failed(message_ids)

    def _keep_failed(self, message_ids: set[int]) -> None:
        """A message whose last open delivery was sent may have another that failed."""
        self._kept.update(self._tx.execute(_FAILED, {"keys": sorted(message_ids)}).scalars())

    def _learn_conversations(self, accepted: Sequence[tuple[Accepted, Before]]) -> None:
        known: dict[tuple[str, str | None], Parameters] = {}
        for change, row in accepted:
            known[row.inbox, row.conversation_id] = {
                "inbox": row.inbox,
                "conversation_id": row.conversation_id,
                "last_sequence": change.sequence,
                "last_arrived_at": row.arrived_at,
                "last_subject_key": row.subject_key,
            }
        _learn(self._tx.dialect.name).execute(self._tx, [known[key] for key in sorted(known, key=str)])

    def _tell(self, change: Change, row: Before) -> None:
        told = _story(change)
        if told is None:
            return
        kind, code, detail = told
        self._events.append(
            new_event(
                kind,
                change.at,
                inbox=row.inbox,
                message_id=row.message_id,
                delivery_id=row.id,
                code=code,
                detail={"attempt": change.attempt, **detail},
            )
        )


# ---------------------------------------------------------------------------------------------------- per kind


def _fits(change: Change, row: Before) -> bool:
    """Whether a delivery is in the state and the attempt that a change speaks of."""
    if isinstance(change, Intent):
        return bool(row.state == _State.PENDING and row.attempt == change.attempt - 1)
    return bool(row.attempt == change.attempt and row.state in _FROM[type(change)])


_FROM: dict[type, frozenset[str]] = {
    Accepted: frozenset({_State.SENDING, _State.UNKNOWN}),
    NotWritten: frozenset({_State.SENDING}),
    Refused: frozenset({_State.SENDING, _State.PENDING}),
    Unclear: frozenset({_State.SENDING}),
    Looked: frozenset({_State.UNKNOWN}),
    Settled: frozenset({_State.UNKNOWN}),
}


def _target(change: Change) -> tuple[DeliveryState, str]:
    """State and reason after a change."""
    match change:
        case Intent():
            return _State.SENDING, ""
        case Accepted():
            return _State.SENT, ""
        case NotWritten():
            return _State.PENDING, ""
        case Refused(retry_at=None, reason=reason):
            return _State.DEAD, reason
        case Refused():
            return _State.PENDING, ""
        case Unclear() | Looked():
            return _State.UNKNOWN, ""
        case Settled(hold=True):
            return _State.HELD, Reason.OUTCOME_UNKNOWN
        case Settled():
            return _State.PENDING, ""


def _values(change: Change) -> Parameters:
    match change:
        case Intent():
            return {
                "to_conversation": change.conversation_id,
                "to_request": change.request,
                "to_hash": change.request_hash,
                "to_mark": change.sequence_mark,
                "due": change.answer_due_at,
                "to_subject": change.subject_key,
                "to_late": change.late,
            }
        case Accepted():
            return {
                "to_inbox_message": change.inbox_message_id,
                "to_sequence": change.sequence,
                "to_request_id": change.request_id,
                "to_read_back": change.read_back,
            }
        case NotWritten():
            return {"to_code": change.code, "to_sentence": change.sentence}
        case Refused():
            state, reason = _target(change)
            return {
                "to_state": state,
                "to_reason": reason,
                "to_code": change.code,
                "to_sentence": change.sentence,
                "to_request_id": change.request_id,
                "to_retry_at": change.retry_at,
            }
        case Unclear():
            return {"to_code": change.code, "to_sentence": change.sentence, "to_look_at": change.look_at}
        case Looked():
            return {"to_look_at": change.look_at}
        case Settled():
            state, reason = _target(change)
            return {
                "to_state": state,
                "to_reason": reason,
                "to_resends": 0 if change.hold else 1,
                "to_recheck_at": change.recheck_at,
            }


def _story(change: Change) -> tuple[str, str, dict[str, Json]] | None:
    """What a story tells of a change: kind, code, detail. The normal way (intent, accepted) is not told."""
    match change:
        case Intent():
            return None
        case Accepted():
            detail: dict[str, Json] = {"inbox_message_id": change.inbox_message_id}
            return ("delivery.read_back", "", detail) if change.read_back else None
        case NotWritten():
            return "delivery.not_written", change.code, {"sentence": change.sentence}
        case Refused():
            retry_at = None if change.retry_at is None else change.retry_at.isoformat()
            kind = "delivery.dead" if retry_at is None else "delivery.refused"
            detail = {"sentence": change.sentence, "retry_at": retry_at, "request_id": change.request_id}
            return kind, change.code, detail
        case Unclear():
            return "delivery.unknown", change.code, {"sentence": change.sentence}
        case Looked():
            return "delivery.looked", "", {"look_at": change.look_at.isoformat()}
        case Settled(hold=True):
            return "delivery.held", Reason.OUTCOME_UNKNOWN, {"why": change.why_held}
        case Settled():
            return "delivery.resend", "", {}
