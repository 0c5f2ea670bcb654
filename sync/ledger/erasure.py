"""Erasing what the ledger holds of a person. What keeps messages from being sent twice stays, without the person: rows
about places, fingerprints (hashes), and a participant under a keyed hash in place of the address."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Table, delete, func, select, update

from sync.ledger import schema
from sync.ledger.events import new_event, write_events
from sync.ledger.notes import read_note, write_note
from sync.ledger.participants import ERASED
from sync.ledger.repository import Repository, chunks, reads, writes
from sync.states import OPEN_DELIVERY_STATES

SECRET_KEY = "erasure_secret"  # noqa: S105  the name of a note, no secret
SECRET_BYTES = 32
RAWS_AT_ONCE = 50

_P = schema.participants.c
_D = schema.deliveries.c
_E = schema.events.c
_PAYLOADS, _RAWS, _ATTACHMENTS = schema.payloads, schema.raws, schema.attachments


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done: rows by table that were removed or emptied."""

    rows: dict[str, int] = field(default_factory=dict)


class Erasure(Repository):
    """By the value of a participant: a normalised address, a phone number, a service's own id."""

    @reads
    def under_way(self, tx: Connection, value: str) -> int | None:
        """Deliveries of this person's messages that are not final; None where the ledger does not know the person."""
        people = _people(tx, value)
        if not people:
            return None
        return _waiting(tx, people)

    @writes
    def erase(self, tx: Connection, value: str, now: datetime) -> Erased | None:
        """Erases the person in one transaction. None when a delivery is under way (by now), or nobody is known."""
        people = _people(tx, value)
        if not people or _waiting(tx, people):
            return None
        rows: dict[str, int] = {}
        found = tx.execute(
            select(_D.id, _D.message_id, _D.inbox, _D.conversation_id).where(_D.participant_id.in_(people))
        )
        deliveries = found.all()
        messages = sorted({row.message_id for row in deliveries})
        mapped = tx.execute(select(_P.inbox, _P.conversation_id).where(_P.id.in_(people))).all()
        rows["conversations"] = _forget_conversations(
            tx, {(row.inbox, row.conversation_id) for row in (*deliveries, *mapped)}
        )
        rows["deliveries"] = _empty_deliveries(tx, people)
        rows["attachments"] = _remove(tx, _ATTACHMENTS, messages)
        rows["payloads"] = _remove(tx, _PAYLOADS, messages) + _remove_mentions(tx, value)
        rows["raws"] = _remove(tx, _RAWS, messages) + _remove_raw_mentions(tx, value)
        rows["messages"] = _empty_details(tx, messages)
        rows["events"] = _empty_events(tx, messages, value)
        rows["participants"] = _rename(tx, people, value)
        write_events(tx, [new_event("operator.erased", now, detail={"deliveries": len(deliveries)})])
        return Erased(rows)


def _people(tx: Connection, value: str) -> list[int]:
    return list(tx.execute(select(_P.id).where(_P.value == value)).scalars())


def _waiting(tx: Connection, people: Sequence[int]) -> int:
    """Deliveries that are not final, of these people and of everybody else a message of theirs goes to: they need its
    content."""
    theirs = select(_D.message_id).where(_D.participant_id.in_(people))
    query = select(func.count()).where(_D.message_id.in_(theirs), _D.state.in_(sorted(OPEN_DELIVERY_STATES)))
    return tx.execute(query).scalar_one()


def _remove(tx: Connection, table: Table, messages: Sequence[int]) -> int:
    return sum(tx.execute(delete(table).where(table.c.message_id.in_(some))).rowcount for some in chunks(messages))


def _remove_mentions(tx: Connection, value: str) -> int:
    """Contents that are only kept for a retry, and name the person among others."""
    kept = _PAYLOADS.c.kept_at.is_not(None)
    mentioned = func.lower(_PAYLOADS.c.content).contains(value.lower(), autoescape=True)
    return tx.execute(delete(_PAYLOADS).where(kept, mentioned)).rowcount


def _remove_raw_mentions(tx: Connection, value: str) -> int:
    wanted = value.lower().encode()
    ids = list(tx.execute(select(_RAWS.c.message_id).order_by(_RAWS.c.message_id)).scalars())
    hits: list[int] = []
    for start in range(0, len(ids), RAWS_AT_ONCE):
        query = select(_RAWS.c.message_id, _RAWS.c.raw).where(_RAWS.c.message_id.in_(ids[start : start + RAWS_AT_ONCE]))
        hits += [row.message_id for row in tx.execute(query) if wanted in bytes(row.raw).lower()]
    return _remove(tx, _RAWS, hits)


def _forget_conversations(tx: Connection, places: set[tuple[str, str | None]]) -> int:
    table = schema.conversations
    count = 0
    for inbox, conversation in sorted((inbox, one) for inbox, one in places if one is not None):
        gone = delete(table).where(table.c.inbox == inbox, table.c.conversation_id == conversation)
        count += tx.execute(gone).rowcount
    return count


def _empty_deliveries(tx: Connection, people: Sequence[int]) -> int:
    emptied = {
        "request": None,
        "request_hash": None,
        "sentence": "",
        "subject_key": "",
        "contact_id": None,
        "conversation_id": None,
        "recheck_at": None,
    }
    return tx.execute(update(schema.deliveries).where(_D.participant_id.in_(people)).values(**emptied)).rowcount


def _empty_details(tx: Connection, messages: Sequence[int]) -> int:
    table = schema.messages
    return sum(
        tx.execute(update(table).where(table.c.id.in_(some)).values(detail="")).rowcount for some in chunks(messages)
    )


def _empty_events(tx: Connection, messages: Sequence[int], value: str) -> int:
    count = 0
    for some in chunks(messages):
        count += tx.execute(update(schema.events).where(_E.message_id.in_(some)).values(detail="{}")).rowcount
    mentioned = func.lower(_E.detail).contains(value.lower(), autoescape=True)
    return count + tx.execute(update(schema.events).where(mentioned).values(detail="{}")).rowcount


def _rename(tx: Connection, people: Sequence[int], value: str) -> int:
    key = read_note(tx, SECRET_KEY)
    if key is None:
        key = secrets.token_hex(SECRET_BYTES)
        write_note(tx, SECRET_KEY, key)
    for number in people:
        text = f"{number}:{value}".encode()
        digest = hmac.new(bytes.fromhex(key), text, hashlib.sha256).hexdigest()
        nobody = {
            "value": f"{ERASED}{digest}",
            "name": "",
            "contact_id": None,
            "conversation_id": None,
            "resolved_at": None,
        }
        tx.execute(update(schema.participants).where(_P.id == number).values(**nobody))
    return len(people)
