"""What goes into the ledger and what comes out of it, as plain values. No SQL, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sync.decide import Seen
from sync.errors import InboxSyncError
from sync.message import Direction, Json, Participant
from sync.states import DeliveryState, MessageState


class LeaseLost(InboxSyncError):
    """Another process holds the lease now: no intent was committed. `applied` says, for each change of a group, whether
    it was recorded all the same (answers to sends are; intents never)."""

    code = "ledger.lease_lost"
    exit_code = 75

    def __init__(self, name: str, applied: tuple[bool, ...] = ()) -> None:
        super().__init__(
            f"the lease {name} belongs to another process now",
            next_step="nothing: the other process goes on; this one stands by",
            lease=name,
        )
        self.name = name
        self.applied = applied


# ---------------------------------------------------------------------------------------------------- what is recorded


@dataclass(frozen=True, slots=True)
class View:
    """The place a batch was found in. `epoch` is `"<generation of the source>:<the stream's epoch>"`; `inbox` is where
    its messages go; `hourly_limit`: of how many messages that arrive within an hour a participant's deliveries are made
    pending (0: all); `tell_edits`: what was edited after its delivery is told by a message of its own."""

    source: str
    source_id: int
    stream_id: int
    stream_rank: int
    inbox: str
    epoch: str
    hourly_limit: int = 0
    tell_edits: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a stream stands after a batch. `epoch` as the connector names it (without the generation);
    `complete_until` None leaves what is known; `before_horizon` is added to the stream's count; `finished`: the pass
    over this stream is complete, so it has been loaded at least once. `partial`: the rest of the batch is found again,
    so that all but the epoch stays as it is."""

    cursor: Json
    epoch: str = ""
    complete_until: datetime | None = None
    before_horizon: int = 0
    finished: bool = False
    partial: bool = False


class Preview(StrEnum):
    """What `record` would make of a place."""

    KNOWN = "known"
    DUPLICATE = "duplicate"
    SKIP = "skip"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `record` did. `new_message_ids` in the order of the batch; `repeated`: places known before;
    `skipped` and `dead`: new messages by reason; `deliveries`: created and pending; `limited`: participants who have just
    sent more than an hour may bring."""

    new_message_ids: tuple[int, ...] = ()
    repeated: int = 0
    found: int = 0
    loaded: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    dead: Mapping[str, int] = field(default_factory=dict)
    deliveries: int = 0
    limited: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PassEnd:
    """How a pass of a source ended. `state`: ok, failing or parked; `counts`: numbers for `status`, by name; `loads`:
    whether what was found could be loaded, as far as there was room for it; `put_off`: those that could not."""

    ok: bool
    state: str = "ok"
    code: str = ""
    sentence: str = ""
    next_step: str = ""
    next_pass_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    loads: bool = True
    put_off: frozenset[int] = frozenset()


# ---------------------------------------------------------------------------------------------------- configured things


@dataclass(frozen=True, slots=True)
class Fault:
    """A visible fault of an inbox that does not park it."""

    code: str
    sentence: str
    since: datetime


@dataclass(frozen=True, slots=True)
class InboxRow:
    """An inbox. `state`: ok or parked; `budget`: what the budget wants to find again after a restart."""

    name: str
    site_id: str
    state: str
    code: str
    sentence: str
    next_step: str
    parked_at: datetime | None
    probe_at: datetime | None
    failures: int
    budget: Json
    app_id: str
    fault: Fault | None
    first_seen_at: datetime


REMOVED = "removed"
"""The state of a source that is not configured any more."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source. `state`: ok, failing, parked or removed; `generation` grows when its account changes, and with it every
    place gets a new name; `horizon` None: everything; `counts`: of the last pass, by name;
    `sweep`: of the last sweep, which was at `swept_at`; `forgotten_until`: before when rows may be missing, whatever the
    source (only where one source is asked for)."""

    id: int
    name: str
    inbox: str
    connector: str
    account: str
    generation: int
    horizon: datetime | None
    paused: bool
    state: str
    code: str
    sentence: str
    next_step: str
    failures: int
    last_pass_at: datetime | None
    last_good_pass_at: datetime | None
    next_pass_at: datetime | None
    counts: Mapping[str, int]
    created_at: datetime
    swept_at: datetime | None = None
    sweep: Mapping[str, int] = field(default_factory=dict)
    forgotten_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream of a source. `epoch` and `cursor` are None until something was recorded in the present account."""

    id: int
    source_id: int
    key: str
    role: str
    rank: int
    epoch: str | None
    cursor: Json
    complete_until: datetime | None
    first_loaded_at: datetime | None
    before_horizon: int


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A message whose content is still to be fetched. `stream` is the stream's key, `stream_rank` its place in the
    source; `late`: an operator asked for it again, so rules that look at its age do not count; `size` in bytes."""

    message_id: int
    stream_id: int
    stream: str
    stream_rank: int
    epoch: str
    external_id: str
    size: int | None
    arrived_at: datetime
    fetch_attempts: int
    backfill: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class ParticipantRow:
    """A participant and what it is mapped to."""

    id: int
    inbox: str
    participant: Participant
    contact_id: str | None
    conversation_id: str | None
    resolved_at: datetime | None


# ---------------------------------------------------------------------------------------------------- backfills


@dataclass(frozen=True, slots=True)
class BackfillTerms:
    """What is asked for: what arrived at `since` or later and before `until` (None: whatever was there when it was
    listed), at most `most` messages, the oldest first."""

    since: datetime
    until: datetime | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """A job. `state`: listing, bringing, done or stopped; `listed`: ids of the streams that were listed to their end;
    `counts` by name: `listed`, `known`, `left_out`, `folders_left_out`, `vanished`, `deliveries`, and messages by state
    (`skipped.REASON`); `code` is what keeps it from going on, "" when nothing does."""

    id: int
    source_id: int
    source: str
    inbox: str
    terms: BackfillTerms
    state: str
    is_open: bool
    listed: tuple[int, ...]
    counts: Mapping[str, int]
    code: str
    sentence: str
    next_step: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class BackfillItem:
    """A message that was listed and is still to be brought in. `epoch` with its generation, as in `View`."""

    id: int
    stream_id: int
    stream: str
    epoch: str
    seen: Seen


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a job is: `left` on its list; `waiting`: messages of its source's backfills that are not final (to be
    fetched, pending or on the wire); `failed`: backfilled deliveries that died or are held since it was started."""

    left: int = 0
    waiting: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a message stands, for an audit. `stands`: delivered, waiting, failed or skipped; `epoch` with its generation."""

    message_id: int
    stream_id: int
    epoch: str
    external_id: str
    arrived_at: datetime
    seen_at: datetime
    stands: str
    reason: str


# ---------------------------------------------------------------------------------------------------- leases


@dataclass(frozen=True, slots=True)
class Mapped:
    """A participant and what it was found to be in the Inbox."""

    participant_id: int
    contact_id: str | None
    conversation_id: str


@dataclass(frozen=True, slots=True)
class LeaseRef:
    """Who says that it holds a lease: checked against the row before an intent is written."""

    name: str
    holder: str
    fence: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it stands in the database; `expires_at` by the database's clock."""

    name: str
    holder: str
    fence: int
    expires_at: datetime

    @property
    def ref(self) -> LeaseRef:
        """What `Deliveries.commit` wants to see."""
        return LeaseRef(self.name, self.holder, self.fence)


# ---------------------------------------------------------------------------------------------------- what operators see


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of a story."""

    id: int
    at: datetime
    kind: str
    inbox: str | None
    source: str | None
    message_id: int | None
    delivery_id: int | None
    code: str
    detail: Json


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages. `state` is one of a message or of any of its deliveries; `failed`: dead, held and gone together;
    `since`: arrived then or later; `after_id`: only those with a smaller id (lists are newest first)."""

    state: MessageState | DeliveryState | None = None
    failed: bool = False
    reason: str | None = None
    source: str | None = None
    inbox: str | None = None
    since: datetime | None = None
    limit: int = 100
    after_id: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery with all that an operator may want to know."""

    id: int
    message_id: int
    participant_id: int
    participant: Participant
    direction: Direction | None
    state: DeliveryState
    reason: str
    code: str
    sentence: str
    late: bool
    attempt: int
    failures: int
    resends: int
    looks: int
    read_back: bool
    doubled_with: str | None
    contact_id: str | None
    conversation_id: str | None
    inbox_message_id: str | None
    sequence: int | None
    request_id: str
    seen_at: datetime
    release_at: datetime
    retry_at: datetime | None
    intent_at: datetime | None
    unknown_at: datetime | None
    look_at: datetime | None
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class MessageLine:
    """A message in a list. `subject` is None when the content is not (or no more) in the ledger."""

    id: int
    source: str
    inbox: str
    stream: str
    epoch: str
    external_id: str
    occurrence: int
    duplicate_of: int | None
    state: MessageState
    reason: str
    detail: str
    arrived_at: datetime
    written_at: datetime | None
    seen_at: datetime
    size_bytes: int | None
    fetch_attempts: int
    fetch_at: datetime | None
    backfill: bool
    late: bool
    subject: str | None
    raw_kept: bool
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True, slots=True)
class StoryRow:
    """One message, its deliveries, and what happened, in order."""

    message: MessageLine
    events: tuple[EventRow, ...]


class Moved(NamedTuple):
    """What an operator's command did to one message."""

    message_id: int
    moved: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class InboxStatus:
    """One inbox and how many of its deliveries are in which state; the oldest one that is not final, by arrival; why its
    held ones are held; since when the outcome of a send has been unknown for longest; and how many of its deliveries
    that are not final belong to backfills, by source and state."""

    inbox: InboxRow
    deliveries: Mapping[str, int]
    oldest_pending_arrived_at: datetime | None
    oldest_pending_seen_at: datetime | None
    held: Mapping[str, int] = field(default_factory=dict)
    oldest_unknown_at: datetime | None = None
    backfilled: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source; its messages by state, the skipped and dead ones by reason, and its deliveries by state."""

    source: SourceRow
    messages: Mapping[str, int]
    skipped: Mapping[str, int]
    dead: Mapping[str, int]
    before_horizon: int
    deliveries: Mapping[str, int]
    delivery_reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By state, then by reason; only those that have one."""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything `status` shows of the ledger. Totals by state."""

    inboxes: tuple[InboxStatus, ...]
    sources: tuple[SourceStatus, ...]
    messages: Mapping[str, int]
    deliveries: Mapping[str, int]
    spooled_bytes: int
