"""Every decision about a message or a delivery that needs no I/O: skip, identity, direction, release, retry, settling.

Pure: the clock's reading is an argument, reasons come back as data (`Skip`, `Refusal…`), and the ledger keeps them so
that `message show` can tell them. DESIGN.md §2 is the text this module puts into code; docs/design/0002-identity.md
says where it had to be made more precise.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from sync.connector import StreamRole
from sync.delivery import OnTheWire, Release, Waiting
from sync.message import FingerprintParts, Found, Message, Participant
from sync.states import Reason
from sync.text.quotes import ReplyPolicy

FUTURE_TOLERANCE = timedelta(days=1)
"""A Date header further ahead of our clock than this says nothing (failures.md 27)."""

CLOCKS_AGREE = timedelta(minutes=1)
"""How far the clocks of machines that share a ledger may be apart. What lies further ahead than this, and is past by its
nature, was written before the clock was set back: waiting for a moment reckoned from it would be waiting for nothing."""

_MESSAGE_ID = re.compile(r"<[^<>\s]{1,990}>")
DAY_BYTES = 2
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MAIL_DAY = re.compile(r"\b([0-3]?[0-9])\s+(" + "|".join(_MONTHS) + r")\s+([0-9]{4})\b", re.ASCII | re.IGNORECASE)
_ISO_DAY = re.compile(r"\b([0-9]{4})-([0-1][0-9])-([0-3][0-9])", re.ASCII)
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Skip:
    """Not to be delivered, and why."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Delivered only when an operator says so, and why."""

    reason: Reason
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Content known, and with it the direction and who it is delivered to. `hold`: its deliveries wait for an operator.
    `files`: the bytes of files that go into the ledger together with the message, which names the n-th of them (counted
    from 1) as `spooled` -n."""

    message: Message
    participants: tuple[Participant, ...]
    hold: Hold | None = None
    files: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Dead:
    """Nothing could be made of it, not even a sender: the raw bytes are kept."""

    raw: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Vanished:
    """The service has it no more."""

    why: str = ""


Verdict: TypeAlias = Loaded | Skip | Dead | Vanished
"""What loading a message's content led to."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A message at its place, as the ledger records it.

    `fingerprint` None: the service's own id is the whole identity. `claim_scope` None: the row holds no claim on its
    fingerprint (it was skipped for a reason that another copy of the message does not share). `skip` was decided from
    the headers; `content` None means it is loaded later. `version` is the service's, "" where it tells none.
    """

    external_id: str
    arrived_at: datetime
    written_at: datetime | None = None
    size: int | None = None
    fingerprint: bytes | None = None
    claim_scope: str | None = None
    skip: Skip | None = None
    content: Loaded | Skip | Dead | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which message a place holds: the `occurrence`-th of its fingerprint, with the claim to take, or the message it
    is a duplicate of."""

    occurrence: int
    claim: bytes | None = None
    duplicate_of: int | None = None


# ---------------------------------------------------------------------------------------------------- identity


def fingerprint(parts: FingerprintParts) -> bytes:
    """16 bytes over the normalised Message-ID, Date, From and Subject. Headers only, undecoded: renumbering fetches no
    body, and a better decoder in a later release changes no fingerprint. White space is folded (servers refold).

    The first two tell the day in Date, the others are a hash: what is recorded together lies together in the index, and
    a batch touches a few of its pages instead of one for each message, however many millions there are.
    """
    found = _MESSAGE_ID.search(parts.message_id)
    message_id = found[0] if found else _fold(parts.message_id)
    fields = (message_id, _fold(parts.date), _fold(parts.author), _fold(parts.subject))
    text = "\0".join(fields).encode("utf-8", "surrogatepass")
    return _day(parts.date) + hashlib.blake2b(text, digest_size=16 - DAY_BYTES).digest()


def _day(date: str) -> bytes:
    """A number that grows with the day as it is written (`12 Mar 2026`, `2026-03-12`), zero where there is none. Part of
    what identifies a message: it never changes how it reads."""
    mail = _MAIL_DAY.search(date)
    if mail is not None:
        year, month, day = int(mail[3]), _MONTHS.index(mail[2].lower()), int(mail[1])
    elif (iso := _ISO_DAY.search(date)) is not None:
        year, month, day = int(iso[1]), int(iso[2]) - 1, int(iso[3])
    else:
        return bytes(DAY_BYTES)
    return max(0, (year * 12 + month) * 31 + day).to_bytes(4, "big")[-DAY_BYTES:]


def has_message_id(parts: FingerprintParts) -> bool:
    """Whether the fingerprint is strong enough to recognise the message in another source."""
    return _MESSAGE_ID.search(parts.message_id) is not None


def claim_scope(*, inbox: str, source: str, duplicates: str, parts: FingerprintParts) -> str:
    """Within what the n-th occurrence of a fingerprint is one message: the inbox (policy `once`), or the source
    (policy `each`, and messages without a Message-ID, whose headers may agree by chance)."""
    if duplicates == "once" and has_message_id(parts):
        return f"inbox:{inbox}"
    return f"source:{inbox}:{source}"


def occurrences(seen: Sequence[Seen], in_view: Mapping[bytes, int]) -> list[int]:
    """For each place the number of its fingerprint among the places of its view (stream and epoch), counting from 1.
    `in_view` counts the places recorded before. Places without a fingerprint count as 1."""
    counts = dict(in_view)
    numbers = []
    for one in seen:
        if one.fingerprint is None:
            numbers.append(1)
            continue
        counts[one.fingerprint] = counts.get(one.fingerprint, 0) + 1
        numbers.append(counts[one.fingerprint])
    return numbers


def claim_of(one: Seen, occurrence: int) -> bytes | None:
    """The unique key that says "this is the n-th message with this fingerprint", or None where the row claims none."""
    if one.fingerprint is None or one.claim_scope is None or one.skip is not None:
        return None
    text = f"{one.claim_scope}\0{occurrence}\0".encode()
    hashed = hashlib.blake2b(text + one.fingerprint, digest_size=16 - DAY_BYTES).digest()
    return one.fingerprint[:DAY_BYTES] + hashed


def identify(seen: Sequence[Seen], numbers: Sequence[int], taken: Mapping[bytes, int]) -> list[Identity]:
    """Who each place is. `numbers` as `occurrences` gave them; `taken` maps claims to the messages that hold them.

    Same view, other id = another message even with the same fingerprint (its number differs). A new epoch, another
    folder or another source of the same scope: the n-th occurrence is the n-th known one.
    """
    identities = []
    for one, number in zip(seen, numbers, strict=True):
        claim = claim_of(one, number)
        holder = taken.get(claim) if claim is not None else None
        identities.append(Identity(number, None if holder is not None else claim, holder))
    return identities


def _fold(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


# ---------------------------------------------------------------------------------------------------- skipping


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whose words an incoming mail is, and what becomes of it by the rules about senders.

    `customer` None: nobody's. `activity`: the words that tell what kind of sender it has, when it is shown as one silent
    line. `notes` are shown with it.
    """

    customer: Participant | None
    skip: Skip | None = None
    activity: str = ""
    hold: Hold | None = None
    notes: tuple[str, ...] = ()


class Senders(Protocol):
    """The rules about senders (`sync.senders`)."""

    def is_relay(self, address: str) -> bool:
        """Whether what comes from this address is somebody else's words (a contact form's)."""

    def own_output(self, message: Message) -> Skip | None:
        """Why a message is left out as this program's own output, if it is."""

    def judge(self, message: Message, whole_text: str) -> Judgement:
        """An incoming mail. `whole_text` is its text with what it quotes."""


class AsWritten:
    """No rules: every mail is from the address in From."""

    def is_relay(self, address: str) -> bool:  # noqa: ARG002
        """Nobody writes for others."""
        return False

    def own_output(self, message: Message) -> Skip | None:  # noqa: ARG002
        """Nothing is known to be ours."""
        return None

    def judge(self, message: Message, whole_text: str) -> Judgement:  # noqa: ARG002
        """From its author, and to be delivered."""
        return Judgement(message.author)


@dataclass(frozen=True, slots=True)
class SourceRules:
    """What a source's settings and the ledger say about its messages.

    `horizon` None: everything; `horizon_slack` is how much earlier than it a message may have arrived, by a clock that
    counts in whole seconds, and still come after it. `forgotten_until`: what was written before it may have been known
    and forgotten. `known_until` is up to when the stream was complete before this
    pass (None: its first load is not finished, so nothing in it is "live"). `replies`: what is done with quoted
    messages and signatures.
    """

    inbox: str
    source: str
    role: StreamRole
    horizon: datetime | None
    horizon_slack: timedelta
    known_until: datetime | None
    max_age: timedelta
    duplicates: str
    is_own: Callable[[str], bool]
    replies: ReplyPolicy = field(default_factory=ReplyPolicy)
    senders: Senders = field(default_factory=AsWritten)
    forgotten_until: datetime | None = None
    overruled: bool = False
    """An operator asked for the message: what the rules about senders leave out, shorten or hold is delivered."""


def judge_headers(found: Found, author: str, rules: SourceRules, now: datetime) -> Skip | None:
    """Whether a message is left out for what its headers say. `author` is the bare address in From, if known."""
    written = plausible_date(found.written_at, now)
    if rules.forgotten_until is not None and written is not None and written < rules.forgotten_until:
        # Its arrival proves nothing: a copy arrives anew, and some services tell no time at all.
        return Skip(
            Reason.BEFORE_HORIZON, f"written {written:%Y-%m-%d %H:%M} UTC, of when all may be forgotten (keep_days)"
        )
    newest = max(found.arrived_at, written or found.arrived_at)
    if rules.horizon is not None and newest < rules.horizon - rules.horizon_slack:
        return Skip(Reason.BEFORE_HORIZON, f"arrived {found.arrived_at:%Y-%m-%d %H:%M} UTC, before the source's start")
    if rules.known_until is not None:
        late_by = max(
            found.arrived_at - (written or found.arrived_at),
            rules.known_until - newest,
        )
        if late_by > rules.max_age:
            return Skip(Reason.TOO_OLD, f"turned up {late_by.days} days after it was written or arrived")
    if rules.role is StreamRole.RECEIVED and author and rules.is_own(author) and not rules.senders.is_relay(author):
        return Skip(Reason.OWN_ADDRESS, "From is one of the inbox's own addresses, outside a sent folder")
    return None


def plausible_date(written_at: datetime | None, now: datetime) -> datetime | None:
    """The writer's date, unless it lies in the future."""
    return None if written_at is None or written_at > now + FUTURE_TOLERANCE else written_at


def plausible_arrival(arrived_at: datetime, now: datetime) -> datetime:
    """The arrival, unless it lies in the future: whatever came after it would be late, and not counted, until then."""
    return now if arrived_at > now + FUTURE_TOLERANCE else arrived_at


def see(found: Found, author: str, rules: SourceRules, now: datetime) -> Seen:
    """A found message as the ledger will record it, before its content is known."""
    skip = judge_headers(found, author, rules, now)
    parts = found.fingerprint
    scope = None
    if parts is not None and skip is None:
        scope = claim_scope(inbox=rules.inbox, source=rules.source, duplicates=rules.duplicates, parts=parts)
    return Seen(
        external_id=found.external_id,
        arrived_at=plausible_arrival(found.arrived_at, now),
        written_at=plausible_date(found.written_at, now),
        size=found.size,
        fingerprint=None if parts is None else fingerprint(parts),
        claim_scope=scope,
        skip=skip,
        version=found.version,
    )


MACHINE_REASONS = frozenset(
    {Reason.AUTO_REPLY, Reason.BOUNCE, Reason.MAILING_LIST, Reason.NOTIFICATION, Reason.SITE_NOTIFICATION}
)
"""Skipped because no person wrote it."""

HOLDS_NO_CLAIM = MACHINE_REASONS | {Reason.OWN_ADDRESS, Reason.INTERNAL, Reason.BEFORE_HORIZON, Reason.TOO_OLD}
"""Skipped for a reason that another copy of the same message (in a sent folder, in a source that starts earlier, not sent
through a list) need not share: such a row must not make the other copy a duplicate."""


# ---------------------------------------------------------------------------------------------------- rates

RATE_WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class HourCount:
    """Messages of a participant that arrived in the hour that began `at`."""

    at: datetime | None = None
    messages: int = 0


def count_arrival(count: HourCount, arrived_at: datetime) -> HourCount:
    """The count with one more arrival, or of a new hour that begins with it. By the time of arrival, not by ours: what
    an outage has held up does not come all at once. What arrived before the hour is not counted."""
    if count.at is None or arrived_at >= count.at + RATE_WINDOW:
        return HourCount(arrived_at, 1)
    if arrived_at < count.at:
        return count
    return HourCount(count.at, count.messages + 1)


# ---------------------------------------------------------------------------------------------------- order


def is_released(row: Waiting, release: Release | None, now: datetime) -> bool:
    """Whether a delivery need not wait for its siblings any more: its source's streams are known and loaded up to it, or
    it has waited long enough. `release`: its source's; None: nothing is known of it."""
    if waits_for_room(row, release):
        return False
    if row.backfill or now >= row.release_at or was_set_back(row.seen_at, now):
        return True
    if release is None or release.known_until is None or release.known_until < row.order.arrived_at:
        return False
    return release.found is None or row.order < release.found


def waits_for_room(row: Waiting, release: Release | None) -> bool:
    """Whether an earlier message of the source is known, and is not loaded only because the spool is full: a delivery
    waits for it as it would if it were loaded."""
    if row.backfill or row.late or release is None or release.awaited is None:
        return False
    return row.order > release.awaited


def waits_for_retry(row: Waiting, now: datetime) -> bool:
    """Whether a delivery was refused and its next try lies ahead."""
    return row.retry_at is not None and row.retry_at > now and not was_set_back(row.changed_at, now)


def was_set_back(past: datetime | None, now: datetime) -> bool:
    """Whether the clock was set back since `past`, by more than clocks differ."""
    return past is not None and past > now + CLOCKS_AGREE


# ---------------------------------------------------------------------------------------------------- retrying


@dataclass(frozen=True, slots=True)
class RetryRules:
    """The bounds of trying again after a refusal that is about one message."""

    first_seconds: float
    lane_hold_seconds: float
    max_attempts: int


def retry_after_refusal(failures: int, now: datetime, rules: RetryRules) -> datetime | None:
    """When a refused delivery is tried again, or None when it is dead.

    `failures` counts the refusals so far, this one included; delays double. All delays together hold the lane for
    `lane_hold_seconds` at most. Only they count, not the clock: an outage between two refusals makes nothing older.
    """
    if failures >= rules.max_attempts:
        return None
    delay = math.ldexp(rules.first_seconds, min(failures - 1, 30))
    held = delay - rules.first_seconds  # the sum of the delays before this one
    if held >= rules.lane_hold_seconds:
        return None
    return now + timedelta(seconds=min(delay, rules.lane_hold_seconds - held))


def backoff_seconds(failures: int, first_seconds: float, max_seconds: float) -> float:
    """The wait before the next try after `failures` failures in a row (1 or more): doubling, capped."""
    return min(max_seconds, math.ldexp(first_seconds, min(max(failures, 1) - 1, 30)))


# ---------------------------------------------------------------------------------------------------- reading back


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Not found yet; look again then."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Not found, and the Inbox has had its time to settle."""


def after_look(
    row: OnTheWire, looked_at: datetime, *, settle_seconds: float, first_look_seconds: float
) -> LookAgain | GiveUp:
    """What follows a look that found nothing. The look must have *begun* after settling to be the last one, so that a
    message that becomes visible within `settle_seconds` is always found."""
    since = row.unknown_at or row.intent_at
    if was_set_back(since, looked_at):  # how long ago it was cannot be known: the ledger begins anew with this look
        return LookAgain(looked_at + timedelta(seconds=min(settle_seconds, first_look_seconds)))
    settles_at = max(since, row.answer_due_at if row.unknown_at is None else since) + timedelta(seconds=settle_seconds)
    if looked_at >= settles_at:
        return GiveUp()
    delay = timedelta(seconds=math.ldexp(first_look_seconds, min(row.looks, 20)))
    return LookAgain(min(looked_at + delay, settles_at))


def next_recheck(
    sent_again_at: datetime, now: datetime, *, first_seconds: float, until_seconds: float
) -> datetime | None:
    """When a conversation is read again for a second copy of what was sent a second time then: after the first look
    (`first_seconds` after it) the time since then doubles, up to `until_seconds`. None: that was the last look."""
    if was_set_back(sent_again_at, now):  # how long ago it was cannot be known
        return now + timedelta(seconds=max(first_seconds, until_seconds))
    passed = (now - sent_again_at).total_seconds()
    if passed >= until_seconds:
        return None
    return sent_again_at + timedelta(seconds=min(until_seconds, max(first_seconds, 2 * passed)))
