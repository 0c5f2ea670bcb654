"""Tallies: how many messages and deliveries of a source are in which state, moved together with the rows themselves."""

from __future__ import annotations

import functools
from collections import Counter
from typing import NamedTuple

from sqlalchemy import Connection, select

from sync.ledger import schema
from sync.ledger.dialect import insert_by
from sync.ledger.prepared import ManyTimes

MESSAGE = "message"
DELIVERY = "delivery"

_T = schema.tallies.c


class TallyKey(NamedTuple):
    """What is counted. `inbox` is "" for messages."""

    source_id: int
    inbox: str
    kind: str
    state: str
    reason: str


class Tally:
    """The changes of one transaction. Written last, in the order of its keys: transactions that meet in the same rows
    wait for each other briefly and never in a circle."""

    def __init__(self) -> None:
        self._changes: Counter[TallyKey] = Counter()

    def message(self, source_id: int, state: str, reason: str = "", *, by: int = 1) -> None:
        """`by` more messages are in this state."""
        self._changes[TallyKey(source_id, "", MESSAGE, state, reason)] += by

    def delivery(self, source_id: int, inbox: str, state: str, reason: str = "", *, by: int = 1) -> None:
        """`by` more deliveries are in this state."""
        self._changes[TallyKey(source_id, inbox, DELIVERY, state, reason)] += by

    def write(self, tx: Connection) -> None:
        """Adds the changes to the table."""
        rows = [{**key._asdict(), "count": by} for key, by in sorted(self._changes.items()) if by]
        if not rows:
            return
        _add(tx.dialect.name).execute(tx, rows)


@functools.cache
def _add(dialect: str) -> ManyTimes:
    statement = insert_by(dialect, schema.tallies)
    changes = {"count": _T.count + statement.excluded.count}
    keys = ["source_id", "inbox", "kind", "state", "reason"]
    return ManyTimes(statement.on_conflict_do_update(index_elements=keys, set_=changes))


def read_tallies(tx: Connection) -> dict[TallyKey, int]:
    """Everything that is counted, without zeros."""
    query = select(_T.source_id, _T.inbox, _T.kind, _T.state, _T.reason, _T.count).where(_T.count != 0)
    return {TallyKey(*row[:5]): row[5] for row in tx.execute(query)}
