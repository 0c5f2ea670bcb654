"""What was skipped for its age only, judged anew because a backfill asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from sync.decide import Identity, Seen, claim_of, identify
from sync.ledger import claims, schema
from sync.ledger.repository import chunks
from sync.ledger.rows import View
from sync.ledger.tallies import Tally
from sync.states import BACKFILL_ONLY, MessageState, Reason

_M = schema.messages.c


@dataclass(frozen=True, slots=True)
class Aged:
    """A message that was skipped for its age: its row, the reason, and which occurrence of its fingerprint it is."""

    message_id: int
    reason: str
    occurrence: int


def find_aged(tx: Connection, message_ids: Sequence[int]) -> dict[int, Aged]:
    """Those of these messages that only a backfill brings in."""
    found: dict[int, Aged] = {}
    for some in chunks(message_ids):
        query = select(_M.id, _M.reason, _M.occurrence).where(
            _M.id.in_(some), _M.state == MessageState.SKIPPED, _M.reason.in_(sorted(BACKFILL_ONLY))
        )
        found |= {row.id: Aged(*row) for row in tx.execute(query)}
    return found


def revive(
    tx: Connection, view: View, asked: Mapping[int, Seen], aged: Mapping[int, Aged], tally: Tally, now: datetime
) -> frozenset[int]:
    """Makes aged messages `found` again, or skipped for what else is to be said about them. `asked`: by message id, how
    they are seen now. Returns those that are found."""
    rows = [(aged[message_id], seen) for message_id, seen in sorted(asked.items()) if message_id in aged]
    if not rows:
        return frozenset()
    seen = [one for _, one in rows]
    numbers = [row.occurrence for row, _ in rows]
    wanted = {claim for one, number in zip(seen, numbers, strict=True) if (claim := claim_of(one, number)) is not None}
    holders = claims.find_holders(tx, view, wanted)
    if holders.stale:
        claims.free(tx, list(holders.stale.values()))
    successors: dict[int, int] = {}
    found = set()
    for (row, one), identity in zip(rows, identify(seen, numbers, holders.taken), strict=True):
        state, reason = _move(tx, row, one, identity, now)
        tally.message(view.source_id, MessageState.SKIPPED, row.reason, by=-1)
        tally.message(view.source_id, state, reason)
        if state is MessageState.FOUND:
            found.add(row.message_id)
            if identity.claim in holders.stale:
                successors[holders.stale[identity.claim]] = row.message_id
    if successors:
        claims.replace_holders(tx, successors, tally, now)
    return frozenset(found)


def _move(tx: Connection, row: Aged, one: Seen, identity: Identity, now: datetime) -> tuple[MessageState, str]:
    state, reason, detail = MessageState.FOUND, "", ""
    if identity.duplicate_of is not None:
        state, reason = MessageState.SKIPPED, Reason.DUPLICATE.value
    elif one.skip is not None:
        state, reason, detail = MessageState.SKIPPED, one.skip.reason.value, one.skip.detail
    tx.execute(
        update(schema.messages)
        .where(_M.id == row.message_id)
        .values(
            state=state,
            reason=reason,
            detail=detail,
            claim=identity.claim,
            duplicate_of=identity.duplicate_of,
            backfill=True,
            fetch_attempts=0,
            fetch_at=None,
            updated_at=now,
        )
    )
    return state, reason
