"""Messages that their service changed after they were recorded (docs/design/0012-rest-kit.md, "Versions").

What is not to be delivered any more, in its new version, is withdrawn as far as it waits (`sync.ledger.withdrawals`).
Else, before anything of a message was sent, its content is exchanged. The attempt of each delivery is counted up with it: a
send that is being prepared from the old content fails at its intent, as if another process had been faster, and is
prepared anew. Afterwards the edit is recorded, and told as a message of its own where the source's settings say so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from sync.decide import Loaded, Seen, Skip
from sync.ledger import files, schema
from sync.ledger.contents import content_text
from sync.ledger.events import new_event, write_events
from sync.ledger.repository import chunks
from sync.ledger.tallies import Tally
from sync.ledger.types import key_text
from sync.ledger.withdrawals import UNSENT, show_again, withdraw
from sync.states import DeliveryState, MessageState, Reason

_D = schema.deliveries.c
_M = schema.messages.c
_P = schema.participants.c
_C = schema.payloads.c

EDITED = "Edited message"
"""The words of the activity that tells an edit."""
WITHDRAWN = "its service took it back before it was delivered, and it is not delivered"

_NEW_VERSION = (
    update(schema.messages)
    .where(_M.id == bindparam("key"))
    .values(version=bindparam("to_version"), updated_at=bindparam("at"))
)
_NEW_CONTENT = (
    update(schema.payloads)
    .where(_C.message_id == bindparam("key"))
    .values(content=bindparam("to_content"), bytes=bindparam("to_bytes"))
)


@dataclass(frozen=True, slots=True)
class Edit:
    """A known message that was seen in another version. `old` "": none was known."""

    message_id: int
    state: str
    old: str
    seen: Seen


def replaceable(
    tx: Connection, message_ids: Collection[int], *, lock: bool = False
) -> dict[int, frozenset[tuple[str, str]]]:
    """Those of these messages of which nothing was sent and whose content is there, each with its participants (kind and
    value). `lock`: they stay so until the transaction ends."""
    found: dict[int, set[tuple[str, str]]] = {}
    sent: set[int] = set()
    for some in chunks(sorted(message_ids)):
        query = (
            select(_D.message_id, _D.state, _D.request.is_not(None).label("frozen"), _P.kind, _P.value)
            .join(schema.participants, _P.id == _D.participant_id)
            .join(schema.payloads, _C.message_id == _D.message_id)
            .where(_D.message_id.in_(some))
            .order_by(_D.id)
        )
        if lock:
            query = query.with_for_update(of=schema.deliveries, key_share=True)
        for row in tx.execute(query):
            found.setdefault(row.message_id, set()).add((row.kind, row.value))
            if row.frozen or row.state not in UNSENT:
                sent.add(row.message_id)
    return {message_id: frozenset(people) for message_id, people in found.items() if message_id not in sent}


@dataclass(frozen=True, slots=True)
class Edited:
    """What came of edits: messages that tell of those that came too late, and messages that are to be delivered after
    all (`found` again)."""

    told: tuple[Seen, ...] = ()
    shown: frozenset[int] = frozenset()


def record_edits(
    tx: Connection, inbox: str, edits: Sequence[Edit], tally: Tally, now: datetime, *, tell: bool
) -> Edited:
    """Withdraws, exchanges contents, records what came too late, and tells of it if `tell`."""
    if not edits:
        return Edited()
    tx.execute(_NEW_VERSION, [{"key": one.message_id, "to_version": one.seen.version, "at": now} for one in edits])
    loaded = [one for one in edits if one.state == MessageState.LOADED]
    unwanted = {one.message_id: why for one in loaded if (why := _why_not(one)) is not None}
    withdrawn = withdraw(tx, unwanted, tally, now)
    changed = [one for one in loaded if one.old or one.message_id in withdrawn]
    kept = [one.message_id for one in changed if one.message_id not in unwanted]
    open_ones = replaceable(tx, kept, lock=True) if kept else {}
    fresh = {
        one.message_id: one.seen.content
        for one in changed
        if isinstance(one.seen.content, Loaded) and _people(one.seen.content) == open_ones.get(one.message_id)
    }
    _exchange(tx, fresh, now)
    shown = show_again(tx, [one.message_id for one in edits if _is_wanted_now(one)], tally, now)
    outcomes = {one.message_id: _outcome(one, fresh, open_ones) for one in changed}
    outcomes |= {key: f"{WITHDRAWN}: {unwanted[key].detail}" for key in withdrawn}
    outcomes |= dict.fromkeys(shown, "it had been left out, was edited at its service, and is judged anew")
    write_events(
        tx,
        [
            new_event("message.edited", now, inbox=inbox, message_id=key, detail={"outcome": outcome})
            for key, outcome in outcomes.items()
        ],
    )
    late = [one for one in changed if one.message_id not in open_ones and one.message_id not in unwanted]
    told = (_telling(one.seen, now) for one in late) if tell else ()
    return Edited(tuple(one for one in told if one is not None), shown)


def _why_not(edit: Edit) -> Skip | None:
    """Why a message is not to be delivered any more."""
    content = edit.seen.content
    if isinstance(content, Skip):
        return content
    if edit.old and isinstance(content, Loaded) and not content.message.text.strip():
        return None if content.message.attachments else Skip(Reason.VANISHED, "its words were taken out at its service")
    return None


def _is_wanted_now(edit: Edit) -> bool:
    """Whether a message that was left out may be one that is to be delivered."""
    if edit.state != MessageState.SKIPPED or not edit.old or edit.seen.skip is not None:
        return False
    return edit.seen.content is None or (isinstance(edit.seen.content, Loaded) and _why_not(edit) is None)


def _exchange(tx: Connection, fresh: Mapping[int, Loaded], now: datetime) -> None:
    if not fresh:
        return
    messages = files.store(tx, fresh, now)
    contents = {message_id: content_text(message) for message_id, message in messages.items()}
    tx.execute(
        _NEW_CONTENT,
        [
            {
                "key": message_id,
                "to_content": contents[message_id],
                "to_bytes": len(contents[message_id].encode()) + files.spooled_bytes(message),
            }
            for message_id, message in messages.items()
        ],
    )
    files.adopt(tx, messages, messages.keys())
    for some in chunks(sorted(fresh)):
        moved = update(schema.deliveries).where(_D.message_id.in_(some), _D.state == DeliveryState.PENDING)
        tx.execute(moved.values(attempt=_D.attempt + 1, updated_at=now))


def _people(loaded: Loaded) -> frozenset[tuple[str, str]]:
    return frozenset((one.kind.value, key_text(one.value)) for one in loaded.participants)


def _outcome(one: Edit, fresh: Mapping[int, Loaded], open_ones: Mapping[int, object]) -> str:
    if one.message_id in fresh:
        return "it was edited at its service before it was delivered: the new words are delivered"
    if one.message_id in open_ones:
        return "it was edited at its service before it was delivered, but its new content does not fit: the old is"
    return "it was edited at its service after it was delivered: the Inbox keeps the old words"


def _telling(seen: Seen, now: datetime) -> Seen | None:
    """The message that tells of an edit: one silent line, at its own place, now."""
    content = seen.content
    if not isinstance(content, Loaded):
        return None
    message = replace(content.message, activity=EDITED, attachments=(), sent_at=None, original="")
    return Seen(
        external_id=f"{seen.external_id}#{seen.version}",
        arrived_at=now,
        written_at=now,
        content=replace(content, message=message, files=()),
    )
