"""How many messages of a participant arrived within an hour: the backstop against programs that answer each other.

The count stands in the participant's row and is moved in the transaction that records the messages, so that neither a
restart nor a second daemon begins anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from sync.decide import HourCount, count_arrival
from sync.ledger import schema
from sync.ledger.repository import chunks

_P = schema.participants.c

_WRITE = (
    update(schema.participants)
    .where(_P.id == bindparam("key"))
    .values(hour_at=bindparam("to_hour_at"), hour_count=bindparam("to_hour_count"))
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message of a participant that counts, and how many an hour may bring."""

    message_id: int
    participant_id: int
    arrived_at: datetime
    limit: int


def count_arrivals(tx: Connection, arrivals: Sequence[Arrival]) -> Mapping[tuple[int, int], int]:
    """Counts them in the order of arrival. Returns which (message, participant) were too many, each with how many there
    were in its hour by then."""
    if not arrivals:
        return {}
    counts = _read(tx, {one.participant_id for one in arrivals})
    before = dict(counts)
    too_many: dict[tuple[int, int], int] = {}
    for one in sorted(arrivals, key=lambda one: (one.arrived_at, one.message_id)):
        count = counts[one.participant_id] = count_arrival(counts[one.participant_id], one.arrived_at)
        if count.at is not None and count.at <= one.arrived_at and count.messages > one.limit:
            too_many[one.message_id, one.participant_id] = count.messages
    changed = [
        {"key": key, "to_hour_at": count.at, "to_hour_count": count.messages}
        for key, count in sorted(counts.items())
        if count != before[key]
    ]
    if changed:
        tx.execute(_WRITE, changed)
    return too_many


def _read(tx: Connection, participant_ids: Collection[int]) -> dict[int, HourCount]:
    counts: dict[int, HourCount] = {}
    for some in chunks(sorted(participant_ids)):
        query = select(_P.id, _P.hour_at, _P.hour_count).where(_P.id.in_(some)).order_by(_P.id)
        counts |= {row.id: HourCount(row.hour_at, row.hour_count) for row in tx.execute(query.with_for_update())}
    return counts
