"""The overview: what `status` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from sync.ledger import schema
from sync.ledger.contents import spooled_bytes
from sync.ledger.inboxes import all_inboxes
from sync.ledger.repository import Repository, reads
from sync.ledger.rows import InboxRow, InboxStatus, SourceRow, SourceStatus, Status
from sync.ledger.schema import in_state
from sync.ledger.sources import all_sources
from sync.ledger.tallies import DELIVERY, MESSAGE, TallyKey, read_tallies
from sync.states import ON_THE_WIRE_STATES, DeliveryState, MessageState

_D = schema.deliveries.c
_S = schema.sources.c
_T = schema.streams.c


class Overview(Repository):
    """How everything is."""

    @reads
    def status(self, tx: Connection) -> Status:
        """Every inbox and source with its counts, from the tallies: quick on a ledger of any size."""
        tallies = read_tallies(tx)
        inboxes = tuple(_inbox_status(tx, row, tallies) for row in all_inboxes(tx))
        before = dict(tx.execute(select(_T.source_id, func.sum(_T.before_horizon)).group_by(_T.source_id)).all())
        sources = tuple(_source_status(row, tallies, int(before.get(row.id, 0))) for row in all_sources(tx))
        return Status(
            inboxes=inboxes,
            sources=sources,
            messages=_by_state(MessageState, ((key, n) for key, n in tallies.items() if key.kind == MESSAGE)),
            deliveries=_by_state(DeliveryState, ((key, n) for key, n in tallies.items() if key.kind == DELIVERY)),
            spooled_bytes=spooled_bytes(tx),
        )

    @reads
    def doubled(self, tx: Connection) -> dict[str, int]:
        """Deliveries that are in an inbox twice, by inbox."""
        query = select(_D.inbox, func.count()).where(_D.doubled_with.is_not(None)).group_by(_D.inbox)
        return {row[0]: row[1] for row in tx.execute(query)}


def _inbox_status(tx: Connection, row: InboxRow, tallies: Mapping[TallyKey, int]) -> InboxStatus:
    mine = [(key, n) for key, n in tallies.items() if key.kind == DELIVERY and key.inbox == row.name]
    # one query for each partial index that begins with the inbox
    oldest = [
        tx.execute(select(func.min(_D.arrived_at), func.min(_D.seen_at)).where(_D.inbox == row.name, condition)).one()
        for condition in (in_state(_D.state, DeliveryState.PENDING), in_state(_D.state, *ON_THE_WIRE_STATES))
    ]
    return InboxStatus(
        inbox=row,
        deliveries=_by_state(DeliveryState, mine),
        oldest_pending_arrived_at=min((arrived for arrived, _ in oldest if arrived is not None), default=None),
        oldest_pending_seen_at=min((seen for _, seen in oldest if seen is not None), default=None),
        held=_by_reason(DeliveryState.HELD, mine),
        oldest_unknown_at=tx.execute(
            select(func.min(_D.unknown_at)).where(
                _D.inbox == row.name, in_state(_D.state, *ON_THE_WIRE_STATES), _D.state == DeliveryState.UNKNOWN
            )
        ).scalar_one(),
        backfilled=_backfilled(tx, row.name),
    )


def _backfilled(tx: Connection, inbox: str) -> Mapping[str, Mapping[str, int]]:
    """Bounded by the windows of backfills; each part has a partial index."""
    counts: dict[str, dict[str, int]] = {}
    for states in ((DeliveryState.PENDING,), tuple(ON_THE_WIRE_STATES)):
        query = (
            select(_S.name, _D.state, func.count())
            .join(schema.sources, _S.id == _D.source_id)
            .where(_D.inbox == inbox, in_state(_D.state, *states), _D.backfill)
            .group_by(_S.name, _D.state)
        )
        for source, state, count in tx.execute(query):
            counts.setdefault(source, {})[state] = count
    return counts


def _source_status(row: SourceRow, tallies: Mapping[TallyKey, int], before_horizon: int) -> SourceStatus:
    mine = [(key, n) for key, n in tallies.items() if key.source_id == row.id]
    messages = [(key, n) for key, n in mine if key.kind == MESSAGE]
    deliveries = [(key, n) for key, n in mine if key.kind == DELIVERY]
    reasons = {
        state.value: _by_reason(state, ((key, n) for key, n in deliveries if key.reason)) for state in DeliveryState
    }
    return SourceStatus(
        source=row,
        messages=_by_state(MessageState, messages),
        skipped=_by_reason(MessageState.SKIPPED, messages),
        dead=_by_reason(MessageState.DEAD, messages),
        before_horizon=before_horizon,
        deliveries=_by_state(DeliveryState, deliveries),
        delivery_reasons={state: counts for state, counts in reasons.items() if counts},
    )


def _by_state(
    states: type[MessageState] | type[DeliveryState], tallies: Iterable[tuple[TallyKey, int]]
) -> dict[str, int]:
    counts = dict.fromkeys((state.value for state in states), 0)
    for key, n in tallies:
        counts[key.state] = counts.get(key.state, 0) + n
    return counts


def _by_reason(state: MessageState | DeliveryState, tallies: Iterable[tuple[TallyKey, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for key, n in tallies:
        if key.state == state:
            counts[key.reason] += n
    return dict(counts)
