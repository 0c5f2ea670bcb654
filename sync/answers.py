"""What an operator's commands answer, as JSON-able shapes: one vocabulary for the command line, the control socket and
the page. Pure: shapes only; `sync.operations` names the commands that give them.

Times are ISO 8601 texts in UTC (`2026-11-23T06:54:00+00:00`) or None. Ids are the ledger's. Nothing in here ever holds
a secret or a message's body. Counts by reason use the values of `sync.states.Reason` as keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict

from sync.message import Json


class FaultAnswer(TypedDict):
    """One thing that is wrong: its stable code, what it is, and what to do about it."""

    code: str
    sentence: str
    next_step: str


class Progress(TypedDict):
    """One step of a long command. `stage` is a word for what is done (`polling`, `delivering`, `checking`), `about` the
    inbox or source it is done to; `total` None where nobody can know it yet."""

    stage: str
    about: str
    done: int
    total: int | None
    sentence: str


OnProgress: TypeAlias = Callable[[Progress], None]


# --- status -----------------------------------------------------------------------------------------------------------


class DeliveryCounts(TypedDict):
    """Deliveries by state (`sync.states.DeliveryState`)."""

    pending: int
    sending: int
    unknown: int
    sent: int
    skipped: int
    held: int
    dead: int


class MessageCounts(TypedDict):
    """Messages by state (`sync.states.MessageState`)."""

    found: int
    loaded: int
    skipped: int
    gone: int
    dead: int


class DaemonAnswer(TypedDict):
    """The running daemon. `state`: `starting`, `running`, `draining`."""

    pid: int
    host: str
    started_at: str
    state: str


class LedgerAnswer(TypedDict):
    """The database: its URL without a password, its revision and the one this program brings."""

    url: str
    revision: str | None
    head: str | None


class InboxAnswer(TypedDict):
    """One inbox. `state`: `ok`, `parked` (nothing is sent until a probe succeeds), `unknown` (never used yet).
    `fault` says why it is parked; `warning` is a visible fault that parks nothing (`inbox.text_changed`)."""

    name: str
    site_id: str
    state: str
    fault: FaultAnswer | None
    warning: FaultAnswer | None
    probe_at: str | None
    deliveries: DeliveryCounts
    oldest_pending_at: str | None
    """Arrival of the oldest delivery that is not final."""


class SourceAnswer(TypedDict):
    """One source. `state`: `ok`, `failing`, `parked`, `removed` (not configured any more, rows are kept),
    `broken` (its connector could not be loaded), `unknown` (never polled yet). `paused` is the operator's doing."""

    name: str
    connector: str
    inbox: str
    state: str
    paused: bool
    fault: FaultAnswer | None
    horizon: str | None
    last_pass_at: str | None
    last_good_pass_at: str | None
    next_pass_at: str | None
    messages: MessageCounts
    skipped: dict[str, int]
    """Skipped messages by reason."""
    dead: dict[str, int]
    """Dead messages by reason."""
    before_horizon: int
    deliveries: DeliveryCounts
    delivery_reasons: NotRequired[dict[str, dict[str, int]]]
    """Deliveries that have a reason, by state and reason."""
    swept_at: str | None
    """When it was last looked through for what the service showed late."""
    sweep: dict[str, int]
    """What that found: `found` messages looked at, `new` of them recorded, `deliveries` that came of it."""


class StatusAnswer(TypedDict):
    """`status`. `daemon` is None when no daemon answers; `ok` is False when something waits for an operator.
    `backfills`: those that are not finished."""

    ok: bool
    version: str
    at: str
    daemon: DaemonAnswer | None
    ledger: LedgerAnswer
    inboxes: list[InboxAnswer]
    sources: list[SourceAnswer]
    backfills: list[BackfillAnswer]


class SourceListAnswer(TypedDict):
    """`source list`."""

    sources: list[SourceAnswer]


class SourceMoveAnswer(TypedDict):
    """`source pause|resume|rename`: the source under its (new) name, and what happened as a sentence."""

    name: str
    sentence: str


# --- check ------------------------------------------------------------------------------------------------------------


class FindingAnswer(TypedDict):
    """One line of `check`. `about` is what kind of thing was looked at and `name` which one (`inbox` `main`,
    `source` `support`; the name is "" for the configuration, the ledger and the daemon)."""

    about: Literal["configuration", "ledger", "daemon", "inbox", "source"]
    name: str
    severity: Literal["ok", "note", "warning", "error"]
    sentence: str
    next_step: str
    code: str


class CheckAnswer(TypedDict):
    """`check`. `ok` is False when a finding is an error; `exit_code` is what the command then ends with (see
    `check_exit_code`)."""

    ok: bool
    exit_code: int
    findings: list[FindingAnswer]


# --- sync -------------------------------------------------------------------------------------------------------------


class SyncSourceAnswer(TypedDict):
    """What one `sync` did for one source.

    `found`: messages the service showed; `repeated`: of these, known before; `new`: rows written now. `before_horizon`:
    older than the horizon, not even written. Deliveries: `sent` by this run; `pending`, `unknown`, `held`, `dead`: where
    this source's deliveries stand now, besides (what a backfill still sends is not pending here). `skipped` and
    `dead_messages`: messages of this run by reason. `late`: sent out of order, and flagged. A dry run sends and records
    nothing: `new` and `skipped` say what would happen.
    """

    name: str
    inbox: str
    fault: FaultAnswer | None
    found: int
    repeated: int
    new: int
    before_horizon: int
    skipped: dict[str, int]
    dead_messages: dict[str, int]
    sent: int
    late: int
    pending: int
    unknown: int
    held: int
    dead: int
    seconds: float


class PreviewAnswer(TypedDict):
    """One message of a dry run. `verdict`: `new`, `duplicate`, `skip`, `dead`; `reason` is a skip's."""

    source: str
    stream: str
    external_id: str
    arrived_at: str
    verdict: str
    reason: str
    participants: list[str]


class SyncAnswer(TypedDict):
    """`sync`. `ok` is False when a source or an inbox failed, or a delivery of this run died; `exit_code` is what the
    command then ends with (`worst_exit_code` of the errors' own). `previews` is filled by a dry run only (at most
    `PREVIEWS_MAX`, `previews_left_out` counts the rest)."""

    ok: bool
    exit_code: NotRequired[int]
    dry_run: bool
    sources: list[SyncSourceAnswer]
    inboxes: list[InboxAnswer]
    previews: list[PreviewAnswer]
    previews_left_out: int


PREVIEWS_MAX = 500
"""Messages a dry run lists one by one."""


# --- backfill and audit -----------------------------------------------------------------------------------------------


class BackfillArgs(TypedDict, total=False):
    """`backfill`: of which source, what arrived at `since` or later and before `until` (ISO times), at most `limit`
    messages. Without `since`: the one that is not finished yet. A dry run only counts."""

    source: str
    since: str | None
    until: str | None
    limit: int | None
    dry_run: bool


class BackfillAnswer(TypedDict):
    """`backfill`. `state`: `dry_run`, `none` (there never was one), `listing`, `bringing`, `done`, `stopped`.

    `listed`: messages the service has from that time and the ledger did not know, or had skipped for their age; of
    these `messages` were brought in (a dry run: would be), `skipped` and `dead` by reason, `vanished` meanwhile at the
    service, `left_out` because of `limit`, and `left` still to come. Besides, `known` before and `fresh` (the next pass's).
    `folders_left_out` could not be looked at.
    `deliveries` came of the messages; of all backfilled deliveries of the source `waiting` are not final and `failed`.
    `seconds`: what is left (a dry run: all of it) takes so long at the inbox's budget, at most.
    """

    ok: bool
    exit_code: int
    source: str
    state: str
    since: str | None
    until: str | None
    limit: int | None
    started_at: str | None
    ended_at: str | None
    listed: int
    known: int
    fresh: int
    messages: int
    skipped: dict[str, int]
    dead: dict[str, int]
    vanished: int
    left_out: int
    folders_left_out: int
    left: int
    deliveries: int
    waiting: int
    failed: int
    seconds: float
    fault: FaultAnswer | None


class AuditLine(TypedDict):
    """Messages counted together. `side`: `source` (what the service has) or `ledger` (what the ledger has). `missing`:
    they should have a row and have none."""

    side: Literal["source", "ledger"]
    what: str
    reason: str
    count: int
    missing: bool
    sentence: str


class AuditExample(TypedDict):
    """One message by name. `message_id` None: the ledger has no row."""

    what: str
    stream: str
    external_id: str
    arrived_at: str
    message_id: int | None


class AuditAnswer(TypedDict):
    """`audit`. The lines of each side add up to `at_source` and `in_ledger`; `ok` is False when something is missing.
    `left_out`: folders that were never polled to their end and so were not compared."""

    ok: bool
    exit_code: int
    source: str
    since: str
    streams: list[str]
    left_out: list[str]
    lines: list[AuditLine]
    at_source: int
    in_ledger: int
    missing: int
    examples: list[AuditExample]


# --- messages ---------------------------------------------------------------------------------------------------------


class MessageFilterArgs(TypedDict, total=False):
    """Which messages `message list` shows and `message retry|drop` act on. `state` is one of a message or of any of its
    deliveries; `failed` true stands for dead, held and gone together. `since` is an ISO time (arrival). Newest first;
    `after_id` continues a list."""

    state: str | None
    failed: bool
    reason: str | None
    source: str | None
    inbox: str | None
    since: str | None
    limit: int
    after_id: int | None


class DeliveryBrief(TypedDict):
    """A delivery in a list. `participant` is `kind:value`; `fault` the last refusal, None where there was none."""

    id: int
    participant: str
    state: str
    reason: str
    fault: FaultAnswer | None
    late: bool
    retry_at: str | None
    sent_at: str | None
    inbox_message_id: str | None


class MessageRow(TypedDict):
    """A message in a list. `subject` is None once the content is gone from the ledger."""

    id: int
    source: str
    inbox: str
    stream: str
    external_id: str
    state: str
    reason: str
    detail: str
    arrived_at: str
    written_at: str | None
    subject: str | None
    late: bool
    deliveries: list[DeliveryBrief]


class MessageListAnswer(TypedDict):
    """`message list`. `next_after_id` is None at the end."""

    messages: list[MessageRow]
    next_after_id: int | None


class DeliveryStory(TypedDict):
    """All an operator wants to know about a delivery."""

    id: int
    participant: str
    participant_name: str
    direction: str | None
    state: str
    reason: str
    fault: FaultAnswer | None
    late: bool
    attempts: int
    failures: int
    resends: int
    looks: int
    read_back: bool
    doubled_with: str | None
    contact_id: str | None
    conversation_id: str | None
    inbox_message_id: str | None
    sequence: str | None
    request_id: str | None
    seen_at: str
    release_at: str | None
    retry_at: str | None
    intent_at: str | None
    unknown_at: str | None
    sent_at: str | None


class EventAnswer(TypedDict):
    """One line of a message's story. `delivery_id` None: it is about the message."""

    at: str
    kind: str
    code: str
    delivery_id: int | None
    detail: Json


class MessageShowAnswer(TypedDict):
    """`message show`: the message, its place, its deliveries, and what happened, in order."""

    id: int
    source: str
    inbox: str
    stream: str
    epoch: str
    external_id: str
    occurrence: int
    duplicate_of: int | None
    state: str
    reason: str
    detail: str
    explanation: str
    """The decision as a sentence: why it was skipped, held or died; "" for a message on its normal way."""
    subject: str | None
    arrived_at: str
    written_at: str | None
    seen_at: str
    size_bytes: int | None
    fetch_attempts: int
    backfill: bool
    late: bool
    raw_kept: bool
    deliveries: list[DeliveryStory]
    events: list[EventAnswer]


class MoveArgs(TypedDict, total=False):
    """`message retry|drop`: either `ids`, or a `filter`; never neither. `by`: who types it, for the story."""

    ids: list[int]
    filter: MessageFilterArgs | None
    by: str


class MoveOutcome(TypedDict):
    """What became of one message. `sentence` says why not where `moved` is False."""

    id: int
    moved: bool
    sentence: str


class MoveAnswer(TypedDict):
    """`message retry|drop`. `ok` is False when a named message could not be moved."""

    ok: bool
    outcomes: list[MoveOutcome]


# --- the rest ---------------------------------------------------------------------------------------------------------


class ReloadAnswer(TypedDict):
    """`reload`: names of sources and inboxes, by what happened to them. `restart_needed` names settings that only a
    restart changes (`ledger.url`)."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]
    restart_needed: list[str]


class AuthAnswer(TypedDict):
    """`auth`. `signed_in` False: the person is to open `url` and to give back the address at which the browser ends."""

    source: str
    signed_in: bool
    url: str
    findings: list[FindingAnswer]


class EraseLine(TypedDict):
    """What was erased of one table, and what of it remains."""

    table: str
    rows: int
    remains: str


class EraseAnswer(TypedDict):
    """`erase`: what the ledger held of a person."""

    lines: list[EraseLine]
    sentence: str


class DbAnswer(TypedDict):
    """`db current|upgrade`. `state`: `current`, `behind`, `empty`, `foreign`, `newer`. `backup` is the copy
    that was made first."""

    url: str
    revision: str | None
    head: str
    state: str
    backup: str | None


class DbCopyAnswer(TypedDict):
    """`db backup|move`. `rows` by table, as counted at the target; empty where the file was copied as a whole."""

    source: str
    target: str
    rows: dict[str, int]


Answer: TypeAlias = (
    CheckAnswer
    | SyncAnswer
    | BackfillAnswer
    | AuditAnswer
    | StatusAnswer
    | MessageListAnswer
    | MessageShowAnswer
    | MoveAnswer
    | SourceListAnswer
    | SourceMoveAnswer
    | ReloadAnswer
    | AuthAnswer
    | DbAnswer
    | EraseAnswer
)


def no_delivery_counts() -> DeliveryCounts:
    """All zero."""
    return {"pending": 0, "sending": 0, "unknown": 0, "sent": 0, "skipped": 0, "held": 0, "dead": 0}


def no_message_counts() -> MessageCounts:
    """All zero."""
    return {"found": 0, "loaded": 0, "skipped": 0, "gone": 0, "dead": 0}


_WORST_FIRST = (78, 69, 1, 75, 2)


def worst_exit_code(exit_codes: Iterable[int]) -> int:
    """The exit code of a command some of whose parts failed: configuration before database before failure before what
    will pass; 0 when nothing failed."""
    found = set(exit_codes) - {0}
    return next((code for code in _WORST_FIRST if code in found), 1 if found else 0)


_EXIT_CODES = (("config.", 78), ("connector.", 78), ("ledger.", 69), ("temporary.", 75))


def check_exit_code(findings: list[FindingAnswer]) -> int:
    """0 without an error; 78 when one of them is for the file's editor, else 69 for the database, 75 for what will pass,
    1 for everything else."""
    codes = [finding["code"] for finding in findings if finding["severity"] == "error"]
    if not codes:
        return 0
    for prefix, exit_code in _EXIT_CODES:
        if any(code.startswith(prefix) for code in codes):
            return exit_code
    return 1


def summarise_check(findings: list[FindingAnswer]) -> CheckAnswer:
    """The answer of `check` from its findings."""
    exit_code = check_exit_code(findings)
    return {"ok": exit_code == 0, "exit_code": exit_code, "findings": findings}
