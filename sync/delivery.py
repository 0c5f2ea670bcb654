"""A delivery: one message on its way to one participant, and every change the ledger records of it. Pure.

The loops decide a `Change`; `sync.ledger.deliveries.commit` writes a group of them in one transaction. Each change
names the attempt it speaks of (the number of the intent), so that an answer that comes after a take-over can never be
booked on another attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias

from sync.message import Participant
from sync.states import DeliveryState, Reason


class OrderKey(NamedTuple):
    """The place of a delivery in its lane (DESIGN.md §2, Order): arrival at the service, source, position in the stream.
    `stream_rank` is the stream's place in the source (received before sent at equal times), `message_id` grows with
    the position in the stream."""

    arrived_at: datetime
    source: str
    stream_rank: int
    message_id: int


@dataclass(frozen=True, slots=True)
class Release:
    """What a source's deliveries need not wait for any more.

    `known_until` is up to which arrival all its streams are known (None: nothing is), `found` the place of the first
    message that has a row and whose content is still to be loaded: up to these two a delivery goes before its time is
    up. `awaited` is the first of those that lack nothing but room in the spool: what comes after it waits for it, however
    long.
    """

    known_until: datetime | None = None
    found: OrderKey | None = None
    awaited: OrderKey | None = None

    def both(self, other: Release) -> Release:
        """What both allow."""
        until = None
        if self.known_until is not None and other.known_until is not None:
            until = min(self.known_until, other.known_until)
        return Release(until, _first(self.found, other.found), _first(self.awaited, other.awaited))


def _first(one: OrderKey | None, other: OrderKey | None) -> OrderKey | None:
    return min((place for place in (one, other) if place is not None), default=None)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pending delivery as the deliverer sees it.

    `attempt` counts intents so far, `failures` only message-scoped refusals. `changed_at` is when the ledger last moved
    it; `retry_at` is set while the delivery waits after a refusal; `release_at` is when it stops waiting for its sibling
    streams; `conversation_id` None means its participant is not resolved yet. `request` is the frozen request of an
    attempt whose outcome was unknown: it is sent again as it was, so that reading back can recognise either copy.
    """

    delivery_id: int
    message_id: int
    participant_id: int
    participant: Participant
    inbox: str
    source: str
    order: OrderKey
    seen_at: datetime
    release_at: datetime
    backfill: bool = False
    late: bool = False
    attempt: int = 0
    failures: int = 0
    changed_at: datetime | None = None
    retry_at: datetime | None = None
    contact_id: str | None = None
    conversation_id: str | None = None
    resolved_at: datetime | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True)
class OnTheWire:
    """A delivery in `sending` or `unknown`, with all that reading back needs.

    `request` is the frozen request body (JSON text), `request_hash` its canonical hash, `sequence_mark` the highest
    sequence known in the conversation at the intent, `intent_at` when it was committed, `unknown_at` when its outcome
    became unknown, `looks` how often it was read back without finding it, `inbox_message_id` the Inbox's id of one that was
    sent and whose conversation is looked at again for a second copy.
    """

    delivery_id: int
    message_id: int
    participant_id: int
    participant: Participant
    inbox: str
    source: str
    state: DeliveryState
    attempt: int
    conversation_id: str
    contact_id: str | None
    request: str
    request_hash: str
    sequence_mark: int
    intent_at: datetime
    answer_due_at: datetime
    order: OrderKey
    subject_key: str = ""
    holder: str = ""
    fence: int = 0
    unknown_at: datetime | None = None
    look_at: datetime | None = None
    changed_at: datetime | None = None
    looks: int = 0
    resends: int = 0
    backfill: bool = False
    inbox_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the ledger knows of a conversation: the highest sequence seen in it, the order key's time of the newest
    delivery sent into it, and the subject key of the last one."""

    inbox: str
    conversation_id: str
    last_sequence: int = 0
    last_arrived_at: datetime | None = None
    last_subject_key: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """pending → sending. Committed before the first byte."""

    delivery_id: int
    attempt: int
    at: datetime
    conversation_id: str
    request: str
    request_hash: str
    sequence_mark: int
    answer_due_at: datetime
    subject_key: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """sending or unknown → sent. `read_back`: found in the conversation instead of in the answer."""

    delivery_id: int
    attempt: int
    at: datetime
    inbox_message_id: str
    sequence: int
    request_id: str = ""
    read_back: bool = False


@dataclass(frozen=True, slots=True)
class NotWritten:
    """sending → pending, not counted: no byte was written, or a 401 or 429 said so. The frozen request is dropped, unless an
    earlier attempt may have been stored (`resends` > 0)."""

    delivery_id: int
    attempt: int
    at: datetime
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Refused:
    """sending or pending → pending(retry_at), or dead(reason) when `retry_at` is None: this message was refused."""

    delivery_id: int
    attempt: int
    at: datetime
    code: str
    sentence: str
    retry_at: datetime | None
    reason: Reason = Reason.REFUSED
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Unclear:
    """sending → unknown."""

    delivery_id: int
    attempt: int
    at: datetime
    code: str
    sentence: str
    look_at: datetime


@dataclass(frozen=True, slots=True)
class Looked:
    """unknown stays unknown: read back and not found; look again at `look_at`. Where the clock was set back since it
    became unknown, the time to settle begins anew."""

    delivery_id: int
    attempt: int
    at: datetime
    look_at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """unknown → held (`why_held` for its story), or pending (counted as a resend) with looks from `recheck_at` on for a
    second copy."""

    delivery_id: int
    attempt: int
    at: datetime
    hold: bool
    recheck_at: datetime | None = None
    why_held: str = ""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The Inbox has these files of a message since `at`: the ledger's number of each, and what the Inbox calls it. No step
    of a delivery; it is written with those of others, before the intent that names the files."""

    files: tuple[tuple[int, str], ...]
    at: datetime


Change: TypeAlias = Intent | Accepted | NotWritten | Refused | Unclear | Looked | Settled
"""One recorded step of a delivery."""
