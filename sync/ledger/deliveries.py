"""Deliveries: what waits, what is on the wire, and every recorded step of one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, Row, Select, and_, exists, func, not_, or_, select, update

from sync.decide import CLOCKS_AGREE
from sync.delivery import Change, Conversation, Intent, OnTheWire, OrderKey, Release, Uploaded, Waiting
from sync.ledger import schema
from sync.ledger.commit import Commit
from sync.ledger.contents import drop_delivered
from sync.ledger.engine import Database
from sync.ledger.events import new_event, write_events
from sync.ledger.fence import lease_is_held
from sync.ledger.fetches import first_awaited, first_found
from sync.ledger.repository import Repository, chunks, reads, writes
from sync.ledger.rows import LeaseLost, LeaseRef
from sync.ledger.schema import in_state
from sync.ledger.tallies import Tally
from sync.message import Participant, ParticipantKind
from sync.states import ON_THE_WIRE_STATES, DeliveryState, MessageState

_D = schema.deliveries.c
_P = schema.participants.c
_S = schema.sources.c
_T = schema.streams.c
_M = schema.messages.c
_C = schema.conversations.c


class Deliveries(Repository):
    """The deliveries of the ledger. `keep_max_bytes` bounds the contents kept for retries."""

    def __init__(self, database: Database, keep_max_bytes: int) -> None:
        super().__init__(database)
        self._keep_max_bytes = keep_max_bytes

    # ------------------------------------------------------------------ what waits

    @reads
    def window(self, tx: Connection, inbox: str, limit: int, now: datetime) -> list[Waiting]:  # noqa: ARG002  for later
        """The first `limit` pending deliveries of an inbox: live before backfill, then in the order of lanes. Where more
        wait than that, the backfill of the lanes that live deliveries are in comes along: they wait for it."""
        rows = [_waiting(row) for row in tx.execute(window_query(inbox, limit))]
        if len(rows) < limit:
            return rows
        there = {row.delivery_id for row in rows}
        people = {row.participant_id for row in rows if not row.backfill}
        for some in chunks(people):
            for row in tx.execute(companions_query(inbox, some)):
                if row.id not in there:
                    there.add(row.id)
                    rows.append(_waiting(row))
        return rows

    @reads
    def releases(self, tx: Connection, inbox: str) -> dict[str, Release]:
        """What the deliveries of each source of the inbox need not wait for, by its name. It is known up to the least of
        its streams' `complete_until`, and not at all where a stream was never polled to its end, or a pass over several
        streams is under way (or was when its process died), so that siblings may not have been looked at since the
        newest rows came. Nothing is awaited for longer than its time from a source that is paused, or whose contents
        could not be loaded."""
        query = (
            select(
                _S.id,
                _S.name,
                _S.paused,
                _S.next_pass_at,
                func.count(_T.id),
                func.count(_T.complete_until),
                func.min(_T.complete_until),
            )
            .join(schema.streams, and_(_T.source_id == _S.id, _T.active))
            .where(_S.inbox == inbox)
            .group_by(_S.id, _S.name, _S.paused, _S.next_pass_at)
        )
        with_found = set(tx.execute(_with_found(inbox)).scalars())
        releases: dict[str, Release] = {}
        for source_id, name, paused, next_pass_at, streams, known, until in tx.execute(query).all():
            under_way = next_pass_at is None and streams > 1
            releases[name] = Release(
                known_until=until if known == streams and not under_way else None,
                found=first_found(tx, source_id) if source_id in with_found else None,
                awaited=first_awaited(tx, source_id) if source_id in with_found and not paused else None,
            )
        return releases

    @reads
    def conversations(self, tx: Connection, inbox: str, ids: Collection[str]) -> dict[str, Conversation]:
        """What is known of these conversations; those nothing was sent into are missing."""
        found: dict[str, Conversation] = {}
        for some in chunks(ids):
            query = select(_C.conversation_id, _C.last_sequence, _C.last_arrived_at, _C.last_subject_key).where(
                _C.inbox == inbox, _C.conversation_id.in_(some)
            )
            for key, *rest in tx.execute(query):
                found[key] = Conversation(inbox, key, *rest)
        return found

    # ------------------------------------------------------------------ steps

    def commit(self, lease: LeaseRef, changes: Sequence[Change | Uploaded], now: datetime) -> list[bool]:
        """Records a group of steps in one transaction. Each applies only if the delivery is still in the state and the
        attempt that it speaks of; the answer says which did.

        Intents need the lease: when another process holds it, none is written, the other steps are, and LeaseLost is
        raised (its `applied` has the answers). An intent for a conversation that has a delivery on the wire, and an
        Inbox message that another delivery holds, are refused by the database; the others of the group go on.
        """
        if not changes:
            return []

        def work(tx: Connection, again: bool) -> tuple[list[bool], bool]:  # noqa: FBT001  called by the database only
            held = not any(isinstance(change, Intent) for change in changes) or lease_is_held(tx, lease)
            commit = Commit(tx, lease, now, keep_max_bytes=self._keep_max_bytes, again=again)
            return commit.run(changes, with_intents=held), held

        results, held = self._db.write_knowing(work)
        if not held:
            raise LeaseLost(lease.name, tuple(results))
        return results

    # ------------------------------------------------------------------ on the wire

    @reads
    def on_the_wire(self, tx: Connection, inbox: str) -> list[OnTheWire]:
        """Every delivery of the inbox in `sending` or `unknown`, oldest intent first."""
        query = _wire_query(inbox).where(in_state(_D.state, *ON_THE_WIRE_STATES)).order_by(_D.intent_at, _D.id)
        return [_on_the_wire(row) for row in tx.execute(query)]

    @reads
    def rechecks(self, tx: Connection, inbox: str, now: datetime) -> list[OnTheWire]:
        """Deliveries that were sent a second time and whose conversation is to be read once more now."""
        query = (
            _wire_query(inbox)
            .where(_D.state == DeliveryState.SENT, _D.recheck_at.is_not(None), _D.recheck_at <= now)
            .order_by(_D.recheck_at, _D.id)
        )
        return [_on_the_wire(row) for row in tx.execute(query)]

    @writes
    def look_again(self, tx: Connection, delivery_id: int, at: datetime) -> None:
        """A look after a resend found no second copy, or could not be made; the next one is due then."""
        tx.execute(
            update(schema.deliveries)
            .where(_D.id == delivery_id, _D.state == DeliveryState.SENT, _D.recheck_at.is_not(None))
            .values(recheck_at=at)
        )

    @writes
    def record_recheck(self, tx: Connection, delivery_id: int, doubled_with: str | None, now: datetime) -> None:
        """The looks after a resend are over; `doubled_with`: the id of a second copy."""
        row = tx.execute(
            update(schema.deliveries)
            .where(_D.id == delivery_id, _D.state == DeliveryState.SENT)
            .values(
                recheck_at=None, request=None, doubled_with=func.coalesce(doubled_with, _D.doubled_with), updated_at=now
            )
            .returning(_D.message_id, _D.inbox, _D.inbox_message_id)
        ).one_or_none()
        if row is None:
            return
        drop_delivered(tx, [row.message_id])
        if doubled_with is not None:
            event = new_event(
                "delivery.doubled",
                now,
                inbox=row.inbox,
                message_id=row.message_id,
                delivery_id=delivery_id,
                code="inbox.doubled",
                detail={"inbox_message_id": row.inbox_message_id, "doubled_with": doubled_with},
            )
            write_events(tx, [event])

    @writes
    def note_late_answer(self, tx: Connection, delivery_id: int, inbox_message_id: str, now: datetime) -> bool:
        """An attempt that was given up has been accepted after all. Returns whether it is told as doubled now: the
        delivery was sent again, and has another message. (While that other send is on its way, it is found by the look
        that follows a resend.)"""
        row = tx.execute(
            select(_D.message_id, _D.inbox, _D.state, _D.inbox_message_id, _D.doubled_with)
            .where(_D.id == delivery_id)
            .with_for_update(key_share=True)
        ).one()
        held = select(_D.id).where(
            _D.inbox == row.inbox, or_(_D.inbox_message_id == inbox_message_id, _D.doubled_with == inbox_message_id)
        )
        if tx.execute(held.limit(1)).first() is not None:  # it was found by reading back
            return False
        doubled = row.state == DeliveryState.SENT and row.doubled_with is None
        if doubled:
            changes = {"doubled_with": inbox_message_id, "recheck_at": None, "request": None, "updated_at": now}
            tx.execute(update(schema.deliveries).where(_D.id == delivery_id).values(**changes))
            drop_delivered(tx, [row.message_id])
        event = new_event(
            "delivery.doubled" if doubled else "delivery.answered_late",
            now,
            inbox=row.inbox,
            message_id=row.message_id,
            delivery_id=delivery_id,
            code="inbox.doubled" if doubled else "",
            detail={"inbox_message_id": row.inbox_message_id, "doubled_with": inbox_message_id},
        )
        write_events(tx, [event])
        return doubled

    @reads
    def held_ids(self, tx: Connection, inbox: str, inbox_message_ids: Collection[str]) -> frozenset[str]:
        """Which of these messages of the Inbox belong to a delivery already (as its message, or as its second copy)."""
        held: set[str] = set()
        for some in chunks(inbox_message_ids):
            for column in (_D.inbox_message_id, _D.doubled_with):
                found = tx.execute(select(column).where(_D.inbox == inbox, column.in_(some))).scalars()
                held.update(one for one in found if one is not None)
        return frozenset(held)

    @writes
    def take_over(self, tx: Connection, inbox: str, lease: LeaseRef, now: datetime, at_once: bool) -> int:  # noqa: FBT001  agreed signature
        """What an earlier holder left in `sending` becomes `unknown`, to be looked for now: at once when that holder is
        proven dead, else when its answer was due. Raises LeaseLost when the lease is not ours."""
        if not lease_is_held(tx, lease):
            raise LeaseLost(lease.name)
        query = (
            select(_D.id, _D.message_id, _D.source_id, _D.attempt, _D.holder, _S.name)
            .join(schema.sources, _S.id == _D.source_id)
            .where(
                _D.inbox == inbox,
                in_state(_D.state, *ON_THE_WIRE_STATES),  # the index's condition
                _D.state == DeliveryState.SENDING,
                not_(and_(_D.holder == lease.holder, _D.fence == lease.fence)),
            )
            .order_by(_D.id)
            .with_for_update(of=schema.deliveries, key_share=True)
        )
        clock_was_set_back = _D.intent_at > now + CLOCKS_AGREE
        rows = tx.execute(query if at_once else query.where(or_(_D.answer_due_at < now, clock_was_set_back))).all()
        tally = Tally()
        for row in rows:
            tally.delivery(row.source_id, inbox, DeliveryState.SENDING, by=-1)
            tally.delivery(row.source_id, inbox, DeliveryState.UNKNOWN)
        for some in chunks([row.id for row in rows]):
            tx.execute(
                update(schema.deliveries)
                .where(_D.id.in_(some), _D.state == DeliveryState.SENDING)
                .values(
                    state=DeliveryState.UNKNOWN,
                    unknown_at=now,
                    look_at=now,
                    looks=0,
                    code="delivery.taken_over",
                    sentence="the process that sent it ended before it recorded an answer",
                    updated_at=now,
                )
            )
        events = [
            new_event(
                "delivery.taken_over",
                now,
                inbox=inbox,
                source=row.name,
                message_id=row.message_id,
                delivery_id=row.id,
                code="delivery.taken_over",
                detail={"attempt": row.attempt, "holder": row.holder},
            )
            for row in rows
        ]
        write_events(tx, events)
        tally.write(tx)
        return len(rows)


# ---------------------------------------------------------------------------------------------------- queries


def window_query(inbox: str, limit: int) -> Select[*tuple[object, ...]]:
    """Pending deliveries in order. The index gives them by (backfill, arrival); only ties are sorted."""
    return _pending_query(inbox).limit(limit)


def companions_query(inbox: str, participant_ids: Collection[int]) -> Select[*tuple[object, ...]]:
    """Pending backfill of these participants, and of those who share a conversation with them. Backfill that waits is
    bounded by its window."""
    shared = select(_P.conversation_id).where(_P.id.in_(participant_ids), _P.conversation_id.is_not(None))
    in_lane = or_(_P.id.in_(participant_ids), and_(_P.inbox == inbox, _P.conversation_id.in_(shared)))
    return _pending_query(inbox).where(_D.backfill, in_lane)


def _pending_query(inbox: str) -> Select[*tuple[object, ...]]:
    return (
        select(
            _D.id,
            _D.message_id,
            _D.participant_id,
            _P.kind,
            _P.value,
            _P.name.label("called"),
            _D.inbox,
            _S.name.label("source"),
            _D.arrived_at,
            _D.stream_rank,
            _D.seen_at,
            _D.release_at,
            _D.backfill,
            _D.late,
            _D.attempt,
            _D.failures,
            _D.updated_at,
            _D.retry_at,
            _P.contact_id,
            _P.conversation_id,
            _P.resolved_at,
            _D.request,
        )
        .join(schema.participants, _P.id == _D.participant_id)
        .join(schema.sources, _S.id == _D.source_id)
        .where(_D.inbox == inbox, in_state(_D.state, DeliveryState.PENDING))
        .order_by(_D.backfill, _D.arrived_at, _S.name, _D.stream_rank, _D.message_id, _D.id)
    )


def _waiting(row: Row[*tuple[object, ...]]) -> Waiting:
    return Waiting(
        delivery_id=row.id,
        message_id=row.message_id,
        participant_id=row.participant_id,
        participant=Participant(ParticipantKind(row.kind), row.value, row.called),
        inbox=row.inbox,
        source=row.source,
        order=OrderKey(row.arrived_at, row.source, row.stream_rank, row.message_id),
        seen_at=row.seen_at,
        release_at=row.release_at,
        backfill=row.backfill,
        late=row.late,
        attempt=row.attempt,
        failures=row.failures,
        changed_at=row.updated_at,
        retry_at=row.retry_at,
        contact_id=row.contact_id,
        conversation_id=row.conversation_id,
        resolved_at=row.resolved_at,
        request=row.request,
    )


def _on_the_wire(row: Row[*tuple[object, ...]]) -> OnTheWire:
    return OnTheWire(
        delivery_id=row.id,
        message_id=row.message_id,
        participant_id=row.participant_id,
        participant=Participant(ParticipantKind(row.kind), row.value, row.called),
        inbox=row.inbox,
        source=row.source,
        state=DeliveryState(row.state),
        attempt=row.attempt,
        conversation_id=row.conversation_id,
        contact_id=row.contact_id,
        request=row.request,
        request_hash=row.request_hash,
        sequence_mark=row.sequence_mark,
        intent_at=row.intent_at,
        answer_due_at=row.answer_due_at,
        order=OrderKey(row.arrived_at, row.source, row.stream_rank, row.message_id),
        subject_key=row.subject_key,
        holder=row.holder,
        fence=row.fence,
        unknown_at=row.unknown_at,
        look_at=row.look_at,
        changed_at=row.updated_at,
        looks=row.looks,
        resends=row.resends,
        backfill=row.backfill,
        inbox_message_id=row.inbox_message_id,
    )


def _with_found(inbox: str) -> Select[int]:
    """The sources that have something found."""
    found = exists().where(_M.source_id == _S.id, in_state(_M.state, MessageState.FOUND))
    return select(_S.id).where(_S.inbox == inbox, found)


def _wire_query(inbox: str) -> Select[*tuple[object, ...]]:
    return (
        select(
            _D.id,
            _D.message_id,
            _D.participant_id,
            _P.kind,
            _P.value,
            _P.name.label("called"),
            _D.inbox,
            _S.name.label("source"),
            _D.state,
            _D.attempt,
            _D.conversation_id,
            _D.contact_id,
            _D.request,
            _D.request_hash,
            _D.sequence_mark,
            _D.intent_at,
            _D.answer_due_at,
            _D.arrived_at,
            _D.stream_rank,
            _D.subject_key,
            _D.holder,
            _D.fence,
            _D.unknown_at,
            _D.look_at,
            _D.updated_at,
            _D.looks,
            _D.resends,
            _D.backfill,
            _D.inbox_message_id,
        )
        .join(schema.participants, _P.id == _D.participant_id)
        .join(schema.sources, _S.id == _D.source_id)
        .where(_D.inbox == inbox)
    )
