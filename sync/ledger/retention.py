"""Forgetting old rows, so that it can never cause a duplicate: first every source's horizon moves up to the time before
which rows go, and only what lies before it by arrival *and* date goes. Nothing that was written before it is brought in
any more (`sync.decide.judge_headers`), whatever renumbers, moves or copies it, and no backfill reaches there. What has no
date is kept: its arrival may be another one the next time it is seen, and would make a new message of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, and_, delete, or_, select, update

from sync.ledger import schema
from sync.ledger.notes import read_note, write_note
from sync.ledger.repository import Repository, reads, writes
from sync.ledger.tallies import Tally
from sync.states import FINAL_DELIVERY_STATES, FINAL_MESSAGE_STATES, MessageState

FORGOTTEN_UNTIL = "forgotten_until"
"""The note that says before which time rows may be missing."""
ROWS = 1000
"""Messages looked at in one transaction."""

_M = schema.messages.c
_D = schema.deliveries.c
_E = schema.events.c
_S = schema.sources.c
_ENDED = frozenset({*FINAL_MESSAGE_STATES, MessageState.LOADED})


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one step did. `last_id`: where the next one goes on; None at the end."""

    last_id: int | None
    messages: int = 0
    deliveries: int = 0


class Retention(Repository):
    """Old rows."""

    @reads
    def forgotten_until(self, tx: Connection) -> datetime | None:
        """Before which time rows may be missing; None while everything is kept."""
        return read_forgotten_until(tx)

    @writes
    def move_horizons(self, tx: Connection, before: datetime) -> None:
        """Nothing from before this time is wanted from any source from now on."""
        known = read_forgotten_until(tx)
        if known is None or known < before:
            write_note(tx, FORGOTTEN_UNTIL, before.astimezone(UTC).isoformat())
        earlier = or_(_S.horizon.is_(None), _S.horizon < before)
        tx.execute(update(schema.sources).where(earlier).values(horizon=before))

    @writes
    def forget(self, tx: Connection, after_id: int, before: datetime) -> Forgotten:
        """Looks at the next messages by id, and forgets those that are old and final."""
        is_old = and_(_M.state.in_(sorted(_ENDED)), _M.arrived_at < before, _M.written_at < before)
        query = select(_M.id, is_old.label("is_old")).where(_M.id > after_id)
        looked_at = tx.execute(query.order_by(_M.id).limit(ROWS)).all()
        if not looked_at:
            return Forgotten(None)
        # Only these are locked: a lock is a write on PostgreSQL, and most rows stay.
        candidates = select(_M.id, _M.source_id, _M.state, _M.reason).where(
            _M.id.in_([row.id for row in looked_at if row.is_old]), is_old
        )
        old = {row.id: row for row in tx.execute(candidates.with_for_update(skip_locked=True))}
        deliveries = tx.execute(
            select(_D.id, _D.message_id, _D.source_id, _D.inbox, _D.state, _D.reason).where(
                _D.message_id.in_(list(old))
            )
        ).all()
        for one in deliveries:
            if one.state not in FINAL_DELIVERY_STATES:
                old.pop(one.message_id, None)
        gone = [one for one in deliveries if one.message_id in old]
        tally = Tally()
        for row in old.values():
            tally.message(row.source_id, row.state, row.reason, by=-1)
        for one in gone:
            tally.delivery(one.source_id, one.inbox, one.state, one.reason, by=-1)
        _delete(tx, list(old))
        tally.write(tx)
        return Forgotten(looked_at[-1].id, len(old), len(gone))

    @writes
    def forget_events(self, tx: Connection, before: datetime) -> int:
        """Events that are about no message, from before this time; some of them, 0 at the end."""
        old = select(_E.id).where(_E.at < before, _E.message_id.is_(None)).limit(ROWS)
        return tx.execute(delete(schema.events).where(_E.id.in_(old))).rowcount


def _delete(tx: Connection, ids: Sequence[int]) -> None:
    if not ids:
        return
    tx.execute(update(schema.messages).where(_M.duplicate_of.in_(ids)).values(duplicate_of=None))
    tx.execute(delete(schema.events).where(_E.message_id.in_(ids)))
    tx.execute(delete(schema.deliveries).where(_D.message_id.in_(ids)))
    tx.execute(delete(schema.messages).where(_M.id.in_(ids)))


def read_forgotten_until(tx: Connection) -> datetime | None:
    """Within a transaction of another noun's."""
    kept = read_note(tx, FORGOTTEN_UNTIL)
    return None if kept is None else datetime.fromisoformat(kept)
