"""Participants: the customers, and the contact and conversation each is mapped to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, Connection, bindparam, case, select, update

from sync.ledger import schema
from sync.ledger.dialect import insert_into
from sync.ledger.prepared import ForKeys
from sync.ledger.repository import Repository, reads, writes
from sync.ledger.rows import Mapped, ParticipantRow
from sync.ledger.types import key_text, without_nul
from sync.message import Participant, ParticipantKind

_P = schema.participants.c

ERASED = "erased:"
"""Begins the value of a participant that was erased."""

_REMEMBER = (
    update(schema.participants)
    .where(_P.id == bindparam("key"))
    .values(
        contact_id=bindparam("to_contact"), conversation_id=bindparam("to_conversation"), resolved_at=bindparam("at")
    )
)

_IDS = ForKeys(
    select(_P.value, _P.id, _P.name).where(
        _P.inbox == bindparam("inbox"), _P.kind == bindparam("kind"), _P.value.in_(bindparam("keys", expanding=True))
    )
)

ParticipantIds = dict[tuple[str, str, str], int]
"""(inbox, kind, stored value) → id."""


class Participants(Repository):
    """The participants of the ledger."""

    @reads
    def get(self, tx: Connection, participant_id: int) -> ParticipantRow | None:
        """One participant."""
        values = tx.execute(select(schema.participants).where(_P.id == participant_id)).mappings().one_or_none()
        if values is None:
            return None
        return ParticipantRow(
            id=values[_P.id],
            inbox=values[_P.inbox],
            participant=Participant(ParticipantKind(values[_P.kind]), values[_P.value], values[_P.name]),
            contact_id=values[_P.contact_id],
            conversation_id=values[_P.conversation_id],
            resolved_at=values[_P.resolved_at],
        )

    @writes
    def remember(self, tx: Connection, mapped: Sequence[Mapped], now: datetime) -> None:
        """These participants were resolved (again)."""
        rows = [
            {"key": one.participant_id, "to_contact": one.contact_id, "to_conversation": one.conversation_id, "at": now}
            for one in sorted(mapped, key=lambda one: one.participant_id)  # a common order: nobody waits in a circle
        ]
        if rows:
            tx.execute(_REMEMBER, rows)

    @writes
    def forget(self, tx: Connection, participant_id: int) -> None:
        """The mapping must be renewed before it is used again; what it was stays as a hint."""
        tx.execute(update(schema.participants).where(_P.id == participant_id).values(resolved_at=None))


def is_erased() -> ColumnElement[bool]:
    """Whether the participant was erased. Needs participants."""
    return _P.value.startswith(ERASED, autoescape=True)


def participant_ids(tx: Connection, wanted: Iterable[tuple[str, Participant]]) -> ParticipantIds:
    """The ids of participants given with their inboxes, new ones inserted, as a part of the caller's transaction. A
    name is remembered when there was none."""
    names: dict[tuple[str, str, str], str] = {}
    for inbox, participant in wanted:
        key = (inbox, participant.kind.value, key_text(participant.value))
        names[key] = names.get(key) or without_nul(participant.name)
    ids, nameless = _look_up(tx, names)
    missing = sorted(names.keys() - ids.keys())
    if missing:
        inserted = tx.execute(
            insert_into(tx, schema.participants).on_conflict_do_nothing().returning(_P.inbox, _P.kind, _P.value, _P.id),
            [{"inbox": i, "kind": k, "value": v, "name": names[i, k, v]} for i, k, v in missing],
        )
        ids |= {(inbox, kind, value): number for inbox, kind, value, number in inserted}
        raced = [key for key in missing if key not in ids]
        if raced:
            ids |= _look_up(tx, raced)[0]
    named = {ids[key]: names[key] for key in nameless if names[key]}
    if named:
        tx.execute(
            update(schema.participants)
            .where(_P.id.in_(list(named)), _P.name == "")
            .values(name=case(named, value=_P.id, else_=_P.name))
        )
    return ids


def _look_up(tx: Connection, keys: Iterable[tuple[str, str, str]]) -> tuple[ParticipantIds, list[tuple[str, str, str]]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for inbox, kind, value in keys:
        groups.setdefault((inbox, kind), []).append(value)
    ids: ParticipantIds = {}
    nameless = []
    for (inbox, kind), values in groups.items():
        rows = cast("list[tuple[str, int, str]]", _IDS.read(tx, values, inbox=inbox, kind=kind))
        for value, number, name in rows:
            ids[inbox, kind, value] = number
            if not name:
                nameless.append((inbox, kind, value))
    return ids, nameless
