"""Events: what happened outside the normal way, as `message show` tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, insert, select
from typing_extensions import TypedDict

from sync.ledger import schema
from sync.ledger.repository import Repository, reads, writes
from sync.ledger.rows import EventRow
from sync.ledger.types import without_nul
from sync.message import Json

_E = schema.events.c

RECENT_MAX = 10_000


class NewEvent(TypedDict):
    """A row to write; `detail` is JSON text (`detail_text`)."""

    at: datetime
    kind: str
    inbox: str | None
    source: str | None
    message_id: int | None
    delivery_id: int | None
    code: str
    detail: str


def new_event(
    kind: str,
    at: datetime,
    *,
    inbox: str | None = None,
    source: str | None = None,
    message_id: int | None = None,
    delivery_id: int | None = None,
    code: str = "",
    detail: Mapping[str, Json] | None = None,
) -> NewEvent:
    """An event as `write_events` takes it."""
    return {
        "at": at,
        "kind": kind,
        "inbox": inbox,
        "source": source,
        "message_id": message_id,
        "delivery_id": delivery_id,
        "code": without_nul(code),
        "detail": json.dumps(dict(detail or {})),  # ASCII: no NUL, no surrogate can get through
    }


def write_events(tx: Connection, events: Sequence[NewEvent]) -> None:
    """Writes events as a part of the caller's transaction."""
    if events:
        tx.execute(insert(schema.events), [dict(event) for event in events])


class Events(Repository):
    """The events of the ledger."""

    @writes
    def add(
        self,
        tx: Connection,
        kind: str,
        now: datetime,
        *,
        inbox: str | None = None,
        source: str | None = None,
        message_id: int | None = None,
        delivery_id: int | None = None,
        code: str = "",
        detail: Mapping[str, Json] | None = None,
    ) -> None:
        """Writes one event. `kind` is `<noun>.<what happened>`; `detail` holds no secrets and no bodies."""
        event = new_event(
            kind,
            now,
            inbox=inbox,
            source=source,
            message_id=message_id,
            delivery_id=delivery_id,
            code=code,
            detail=detail,
        )
        write_events(tx, [event])

    @reads
    def of_message(self, tx: Connection, message_id: int) -> tuple[EventRow, ...]:
        """A message's events, and those of its deliveries, in order."""
        return events_of(tx, message_id)

    @reads
    def recent(self, tx: Connection, limit: int) -> tuple[EventRow, ...]:
        """The newest events, newest first."""
        query = select(schema.events).order_by(_E.id.desc()).limit(min(limit, RECENT_MAX))
        return tuple(_event(row) for row in tx.execute(query).mappings())


def events_of(tx: Connection, message_id: int) -> tuple[EventRow, ...]:
    """A message's events in order, as a part of the caller's transaction."""
    query = select(schema.events).where(_E.message_id == message_id).order_by(_E.id)
    return tuple(_event(row) for row in tx.execute(query).mappings())


def _event(values: RowMapping) -> EventRow:
    return EventRow(
        id=values[_E.id],
        at=values[_E.at],
        kind=values[_E.kind],
        inbox=values[_E.inbox],
        source=values[_E.source],
        message_id=values[_E.message_id],
        delivery_id=values[_E.delivery_id],
        code=values[_E.code],
        detail=json.loads(values[_E.detail]),
    )
