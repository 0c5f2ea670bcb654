"""Claims: which row may deliver the n-th message of a fingerprint. Held once, by a unique key of the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, Connection, Integer, Text, and_, bindparam, literal, select, update
from sqlalchemy import cast as sql_cast

from sync.ledger import schema
from sync.ledger.events import new_event, write_events
from sync.ledger.prepared import ForKeys
from sync.ledger.repository import chunks
from sync.ledger.rows import REMOVED, View
from sync.ledger.tallies import Tally
from sync.states import MessageState, Reason

_M = schema.messages.c
_S = schema.sources.c
_T = schema.streams.c


def present_epoch() -> ColumnElement[str]:
    """The name of a stream's numbering as places carry it; NULL before anything was recorded in it."""
    return sql_cast(sql_cast(_S.generation, Integer), Text) + literal(":") + _T.epoch


def can_be_fetched() -> ColumnElement[bool]:
    """Whether the id of a place still means what it meant: same account, same numbering, stream and source in use.
    Needs messages joined with streams and sources."""
    return and_(_S.state != REMOVED, _T.active, _M.epoch == present_epoch())


_HOLDERS = ForKeys(
    select(_M.claim, _M.id, _M.state, _M.stream_id, _M.epoch, can_be_fetched())
    .join(schema.streams, _T.id == _M.stream_id)
    .join(schema.sources, _S.id == _M.source_id)
    .where(_M.claim.in_(bindparam("keys", expanding=True)))
)


@dataclass(slots=True)
class Holders:
    """Who holds the claims that a batch is after. `taken`: claim → message. `stale`: held by a message that was only
    found and can never be fetched any more from where it was (renumbered, account changed, source removed): the new
    place takes over."""

    taken: dict[bytes, int] = field(default_factory=dict)
    stale: dict[bytes, int] = field(default_factory=dict)


def find_holders(tx: Connection, view: View, claims: Collection[bytes]) -> Holders:
    """The present holders of these claims."""
    holders = Holders()
    rows = cast("list[tuple[bytes, int, str, int, str, bool]]", _HOLDERS.read(tx, claims))
    for claim, message_id, state, stream_id, epoch, fetchable in rows:
        here = stream_id == view.stream_id
        stale = epoch != view.epoch if here else not fetchable
        group = holders.stale if stale and state == MessageState.FOUND else holders.taken
        group[claim] = message_id
    return holders


def free(tx: Connection, message_ids: Collection[int]) -> None:
    """These messages hold their claims no more."""
    for some in chunks(message_ids):
        tx.execute(update(schema.messages).where(_M.id.in_(some)).values(claim=None))


def replace_holders(tx: Connection, successors: Mapping[int, int], tally: Tally, now: datetime) -> None:
    """Found rows that lost their place are duplicates of their successors now (old id → new id)."""
    olds = list(successors)
    for some in chunks(olds):
        rows = tx.execute(select(_M.id, _M.source_id).where(_M.id.in_(some), _M.state == MessageState.FOUND))
        for old, source_id in rows:
            tx.execute(
                update(schema.messages)
                .where(_M.id == old)
                .values(
                    state=MessageState.SKIPPED,
                    reason=Reason.DUPLICATE,
                    detail="seen again under a new number before it was fetched",
                    duplicate_of=successors[old],
                    updated_at=now,
                )
            )
            tx.execute(
                update(schema.messages)
                .where(_M.duplicate_of == old, _M.id != successors[old])
                .values(duplicate_of=successors[old])
            )
            tally.message(source_id, MessageState.FOUND, by=-1)
            tally.message(source_id, MessageState.SKIPPED, Reason.DUPLICATE)


def hand_on(tx: Connection, message_ids: Collection[int], tally: Tally, now: datetime) -> None:
    """These messages will not be delivered for a reason that their copies do not share (gone from where they were,
    skipped for where they were found): the first copy that can be fetched takes the claim and is `found` again."""
    for some in chunks(message_ids):
        query = select(_M.id, _M.claim).where(_M.id.in_(some), _M.claim.is_not(None)).order_by(_M.id)
        holders = {message_id: claim for message_id, claim in tx.execute(query) if claim is not None}
        if not holders:
            continue
        free(tx, list(holders))
        heirs = _heirs(tx, list(holders))
        for holder, (heir, source_id, inbox, source) in heirs.items():
            tx.execute(
                update(schema.messages)
                .where(_M.id == heir)
                .values(
                    claim=holders[holder],
                    state=MessageState.FOUND,
                    reason="",
                    detail="",
                    duplicate_of=None,
                    fetch_attempts=0,
                    fetch_at=None,
                    updated_at=now,
                )
            )
            tx.execute(update(schema.messages).where(_M.duplicate_of == holder).values(duplicate_of=heir))
            tally.message(source_id, MessageState.SKIPPED, Reason.DUPLICATE, by=-1)
            tally.message(source_id, MessageState.FOUND)
            detail = {"instead_of": holder}
            write_events(
                tx, [new_event("message.took_over", now, inbox=inbox, source=source, message_id=heir, detail=detail)]
            )


def _heirs(tx: Connection, holders: Collection[int]) -> dict[int, tuple[int, int, str, str]]:
    query = (
        select(_M.duplicate_of, _M.id, _M.source_id, _S.inbox, _S.name)
        .join(schema.streams, _T.id == _M.stream_id)
        .join(schema.sources, _S.id == _M.source_id)
        .where(
            _M.duplicate_of.in_(list(holders)),
            _M.state == MessageState.SKIPPED,
            _M.reason == Reason.DUPLICATE,
            can_be_fetched(),
        )
        .order_by(_M.id)
    )
    heirs: dict[int, tuple[int, int, str, str]] = {}
    for holder, message_id, source_id, inbox, source in tx.execute(query):
        if holder is not None:
            heirs.setdefault(holder, (message_id, source_id, inbox, source))
    return heirs
