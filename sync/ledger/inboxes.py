"""Inboxes: whether one takes messages, and what has to survive a restart of its client."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import Connection, RowMapping, delete, select, update

from sync.errors import ConfigError
from sync.ledger import schema
from sync.ledger.dialect import insert_into
from sync.ledger.events import new_event, write_events
from sync.ledger.repository import Repository, reads, writes
from sync.ledger.rows import Fault, InboxRow
from sync.message import Json

_I = schema.inboxes.c
_FAULT: TypeAdapter[Fault] = TypeAdapter(Fault)


class Inboxes(Repository):
    """The inboxes of the ledger."""

    @writes
    def load(self, tx: Connection, name: str, site_id: str, now: datetime) -> InboxRow:
        """Makes a configured inbox known. Another site under the same name has other contacts and conversations: what
        is remembered of them is forgotten."""
        tx.execute(
            insert_into(tx, schema.inboxes).on_conflict_do_nothing(),
            [{"name": name, "site_id": site_id, "first_seen_at": now}],
        )
        row = _need(tx, name)
        if row.site_id != site_id:
            tx.execute(
                update(schema.inboxes)
                .where(_I.name == name)
                .values(site_id=site_id, app_id=None, budget=None, fault=None)
            )
            participants = schema.participants
            tx.execute(
                update(participants)
                .where(participants.c.inbox == name)
                .values(contact_id=None, conversation_id=None, resolved_at=None)
            )
            tx.execute(delete(schema.conversations).where(schema.conversations.c.inbox == name))
            write_events(tx, [new_event("inbox.site_changed", now, inbox=name)])
            row = _need(tx, name)
        return row

    @reads
    def get(self, tx: Connection, name: str) -> InboxRow | None:
        """The inbox, None when the ledger has not met it."""
        return _get(tx, name)

    @reads
    def all(self, tx: Connection) -> tuple[InboxRow, ...]:
        """Every inbox, by name."""
        return all_inboxes(tx)

    @writes
    def park(
        self,
        tx: Connection,
        name: str,
        code: str,
        sentence: str,
        next_step: str,
        probe_at: datetime | None,
        now: datetime,
    ) -> None:
        """Nothing is sent until a probe succeeds. Parking a parked inbox counts one more failure."""
        row = _need(tx, name)
        first = row.state != "parked"
        tx.execute(
            update(schema.inboxes)
            .where(_I.name == name)
            .values(
                state="parked",
                code=code,
                sentence=sentence,
                next_step=next_step,
                parked_at=now if first else row.parked_at,
                probe_at=probe_at,
                failures=row.failures + 1,
            )
        )
        if first:
            write_events(tx, [new_event("inbox.parked", now, inbox=name, code=code, detail={"sentence": sentence})])

    @writes
    def unpark(self, tx: Connection, name: str, now: datetime) -> None:
        """The inbox answers again."""
        row = _need(tx, name)
        if row.state == "ok":
            return
        tx.execute(
            update(schema.inboxes)
            .where(_I.name == name)
            .values(state="ok", code="", sentence="", next_step="", parked_at=None, probe_at=None, failures=0)
        )
        write_events(tx, [new_event("inbox.unparked", now, inbox=name)])

    @writes
    def save_budget(self, tx: Connection, name: str, budget: Json) -> None:
        """Keeps what the budget needs to know after a restart."""
        tx.execute(update(schema.inboxes).where(_I.name == name).values(budget=json.dumps(budget)))

    @writes
    def note_app_id(self, tx: Connection, name: str, app_id: str) -> None:
        """Keeps the app id that the Inbox gives our messages, by which read-back knows them."""
        tx.execute(
            update(schema.inboxes).where(_I.name == name, _I.app_id.is_distinct_from(app_id)).values(app_id=app_id)
        )

    @writes
    def set_fault(self, tx: Connection, name: str, code: str, sentence: str, now: datetime) -> None:
        """Shows a fault that parks nothing. The first time is remembered."""
        row = _need(tx, name)
        if row.fault is not None and row.fault.code == code:
            return
        fault = _FAULT.dump_json(Fault(code, sentence, now)).decode()
        tx.execute(update(schema.inboxes).where(_I.name == name).values(fault=fault))
        write_events(tx, [new_event("inbox.fault", now, inbox=name, code=code, detail={"sentence": sentence})])

    @writes
    def take_back_fault(self, tx: Connection, name: str, code: str) -> None:
        """The fault `code` is over, if it is the one that is shown."""
        row = _get(tx, name)
        if row is not None and row.fault is not None and row.fault.code == code:
            tx.execute(update(schema.inboxes).where(_I.name == name).values(fault=None))


def all_inboxes(tx: Connection) -> tuple[InboxRow, ...]:
    """Every inbox, as a part of the caller's transaction."""
    return tuple(map(_inbox, tx.execute(select(schema.inboxes).order_by(_I.name)).mappings()))


def _get(tx: Connection, name: str) -> InboxRow | None:
    row = tx.execute(select(schema.inboxes).where(_I.name == name)).mappings().one_or_none()
    return None if row is None else _inbox(row)


def _need(tx: Connection, name: str) -> InboxRow:
    row = _get(tx, name)
    if row is None:
        raise ConfigError(f'the ledger knows no inbox "{name}"', code="inbox.unknown", inbox=name)
    return row


def _inbox(values: RowMapping) -> InboxRow:
    budget, fault = values[_I.budget], values[_I.fault]
    return InboxRow(
        name=values[_I.name],
        site_id=values[_I.site_id],
        state=values[_I.state],
        code=values[_I.code],
        sentence=values[_I.sentence],
        next_step=values[_I.next_step],
        parked_at=values[_I.parked_at],
        probe_at=values[_I.probe_at],
        failures=values[_I.failures],
        budget=None if budget is None else json.loads(budget),
        app_id=values[_I.app_id] or "",
        fault=None if fault is None else _FAULT.validate_json(fault),
        first_seen_at=values[_I.first_seen_at],
    )
