"""Rows of the ledger as the answers operators get. Pure: words and shapes, no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sync.answers import (
    DeliveryBrief,
    DeliveryCounts,
    DeliveryStory,
    EventAnswer,
    FaultAnswer,
    InboxAnswer,
    MessageCounts,
    MessageRow,
    MessageShowAnswer,
    SourceAnswer,
    no_delivery_counts,
    no_message_counts,
)
from sync.errors import InboxSyncError
from sync.ledger import DeliveryRow, EventRow, InboxStatus, MessageLine, SourceStatus, StoryRow
from sync.message import Participant
from sync.states import Reason

REASONS: dict[str, str] = {
    Reason.BEFORE_HORIZON: "it came before the source's start; only a backfill brings it",
    Reason.TOO_OLD: "it turned up long after it was written (max_age_days)",
    Reason.DUPLICATE: "the same message is known from another place",
    Reason.LOOP: "it is this program's own output",
    Reason.OWN_ADDRESS: "its sender is one of the inbox's own addresses, outside a sent folder",
    Reason.NO_IDENTITY: "it names no customer",
    Reason.POLICY: "a rule leaves it out",
    Reason.OPERATOR: "an operator dropped it",
    Reason.VANISHED: "the service listed it and did not have it any more",
    Reason.UNREADABLE: "nothing could be made of it, not even a sender; its raw bytes are kept",
    Reason.REFUSED: "the Inbox refused it",
    Reason.HELD_TOO_LONG: "it was refused for as long as it may hold its conversation (lane_hold_seconds)",
    Reason.RATE_LIMITED: "too many messages of this participant arrived within an hour (participant_messages_per_hour)",
    Reason.UNVERIFIED_SENDER: "the address in From is not proven to be its sender's (unverified_senders)",
    Reason.INTERNAL: "it went from one of the inbox's own addresses to others",
    Reason.AUTO_REPLY: "a program answered it, not a person (auto_replies)",
    Reason.BOUNCE: "it reports a failed delivery (bounces)",
    Reason.MAILING_LIST: "it came through a mailing list (mailing_lists)",
    Reason.NOTIFICATION: "a program wrote it (notifications)",
    Reason.SITE_NOTIFICATION: "the site's own notice; what it tells is in the Inbox (site_notifications)",
    Reason.OUTCOME_UNKNOWN: "its send was never answered nor found, and sending it again might double it",
}
"""What each reason means, in a sentence for operators."""


LONG_UNKNOWN = timedelta(minutes=15)
"""A send whose outcome is unknown for longer than this is more than one that settles."""


def moment(at: datetime | None) -> str | None:
    """ISO 8601 text."""
    return None if at is None else at.isoformat()


def fault_of(error: InboxSyncError) -> FaultAnswer:
    """An error as an answer's fault."""
    return {"code": error.code, "sentence": error.sentence, "next_step": error.next_step}


def bug_of(error: Exception) -> InboxSyncError:
    """What was raised in spite of the contract. Its text may hold anything, and stays in the log."""
    return InboxSyncError(
        f"a fault of the program or of a connector: {type(error).__name__}",
        code="internal.error",
        next_step="report it with what the log says (--verbose on the command line)",
    )


def _fault(code: str, sentence: str, next_step: str = "") -> FaultAnswer | None:
    return {"code": code, "sentence": sentence, "next_step": next_step} if code else None


def delivery_counts(counts: Mapping[str, int]) -> DeliveryCounts:
    """Counts by state, those missing as zero."""
    zero = no_delivery_counts()
    return {
        "pending": counts.get("pending", zero["pending"]),
        "sending": counts.get("sending", 0),
        "unknown": counts.get("unknown", 0),
        "sent": counts.get("sent", 0),
        "skipped": counts.get("skipped", 0),
        "held": counts.get("held", 0),
        "dead": counts.get("dead", 0),
    }


def message_counts(counts: Mapping[str, int]) -> MessageCounts:
    """Counts by state, those missing as zero."""
    return {
        "found": counts.get("found", 0),
        "loaded": counts.get("loaded", 0),
        "skipped": counts.get("skipped", 0),
        "gone": counts.get("gone", 0),
        "dead": counts.get("dead", 0),
    }


def inbox_answer(row: InboxStatus, now: datetime) -> InboxAnswer:
    """An inbox for `status`."""
    inbox = row.inbox
    return {
        "name": inbox.name,
        "site_id": inbox.site_id,
        "state": inbox.state,
        "fault": _fault(inbox.code, inbox.sentence, inbox.next_step) if inbox.state == "parked" else None,
        "warning": _warning(row, now),
        "probe_at": moment(inbox.probe_at) if inbox.state == "parked" else None,
        "deliveries": delivery_counts(row.deliveries),
        "oldest_pending_at": moment(row.oldest_pending_arrived_at),
    }


def _warning(row: InboxStatus, now: datetime) -> FaultAnswer | None:
    """What an operator should look at although deliveries go on; the gravest gives the code."""
    found: list[FaultAnswer] = []
    if row.inbox.fault is not None:
        found.append({"code": row.inbox.fault.code, "sentence": row.inbox.fault.sentence, "next_step": ""})
    if row.oldest_unknown_at is not None and now - row.oldest_unknown_at > LONG_UNKNOWN:
        found.append(
            {
                "code": "inbox.not_read_back",
                "sentence": "a conversation cannot be read back, so that nobody knows what became of a send since "
                f"{row.oldest_unknown_at:%Y-%m-%d %H:%M} UTC; nothing more is sent into it",
                "next_step": "inbox-sync message list --state unknown; it is looked for again and again, or dropped",
            }
        )
    limited = row.held.get(Reason.RATE_LIMITED, 0)
    if limited:
        found.append(
            {
                "code": "participant.rate_limited",
                "sentence": f"{limited} deliveries are held: one participant sent more within an hour than "
                "participant_messages_per_hour allows",
                "next_step": "inbox-sync message list --reason rate_limited; then retry or drop them",
            }
        )
    unverified = row.held.get(Reason.UNVERIFIED_SENDER, 0)
    if unverified:
        found.append(
            {
                "code": "sender.unverified",
                "sentence": f"{unverified} deliveries are held: their From is not proven to be the sender's",
                "next_step": "inbox-sync message list --reason unverified_sender; then retry or drop them",
            }
        )
    if not found:
        return None
    steps = [one["next_step"] for one in found if one["next_step"]]
    return {
        "code": found[0]["code"],
        "sentence": "; ".join(one["sentence"] for one in found),
        "next_step": "; ".join(steps),
    }


def source_answer(row: SourceStatus) -> SourceAnswer:
    """A source for `status`, as the ledger knows it."""
    source = row.source
    return {
        "name": source.name,
        "connector": source.connector,
        "inbox": source.inbox,
        "state": source.state,
        "paused": source.paused,
        "fault": _fault(source.code, source.sentence, source.next_step),
        "horizon": moment(source.horizon),
        "last_pass_at": moment(source.last_pass_at),
        "last_good_pass_at": moment(source.last_good_pass_at),
        "next_pass_at": moment(source.next_pass_at),
        "messages": message_counts(row.messages),
        "skipped": dict(row.skipped),
        "dead": dict(row.dead),
        "before_horizon": row.before_horizon,
        "deliveries": delivery_counts(row.deliveries),
        "delivery_reasons": {state: dict(reasons) for state, reasons in row.delivery_reasons.items()},
        "swept_at": moment(source.swept_at),
        "sweep": dict(source.sweep),
    }


def unknown_source_answer(name: str, connector: str, inbox: str) -> SourceAnswer:
    """A source that the file names and the ledger has never seen."""
    return {
        "name": name,
        "connector": connector,
        "inbox": inbox,
        "state": "unknown",
        "paused": False,
        "fault": None,
        "horizon": None,
        "last_pass_at": None,
        "last_good_pass_at": None,
        "next_pass_at": None,
        "messages": no_message_counts(),
        "skipped": {},
        "dead": {},
        "before_horizon": 0,
        "deliveries": no_delivery_counts(),
        "delivery_reasons": {},
        "swept_at": None,
        "sweep": {},
    }


def message_row(line: MessageLine) -> MessageRow:
    """A message in a list."""
    return {
        "id": line.id,
        "source": line.source,
        "inbox": line.inbox,
        "stream": line.stream,
        "external_id": line.external_id,
        "state": line.state.value,
        "reason": line.reason,
        "detail": line.detail,
        "arrived_at": line.arrived_at.isoformat(),
        "written_at": moment(line.written_at),
        "subject": line.subject,
        "late": line.late,
        "deliveries": [_delivery_brief(delivery) for delivery in line.deliveries],
    }


def message_story(story: StoryRow) -> MessageShowAnswer:
    """All about one message."""
    line = story.message
    return {
        "id": line.id,
        "source": line.source,
        "inbox": line.inbox,
        "stream": line.stream,
        "epoch": line.epoch,
        "external_id": line.external_id,
        "occurrence": line.occurrence,
        "duplicate_of": line.duplicate_of,
        "state": line.state.value,
        "reason": line.reason,
        "detail": line.detail,
        "explanation": explain(line.reason, line.detail),
        "subject": line.subject,
        "arrived_at": line.arrived_at.isoformat(),
        "written_at": moment(line.written_at),
        "seen_at": line.seen_at.isoformat(),
        "size_bytes": line.size_bytes,
        "fetch_attempts": line.fetch_attempts,
        "backfill": line.backfill,
        "late": line.late,
        "raw_kept": line.raw_kept,
        "deliveries": [_delivery_story(delivery) for delivery in line.deliveries],
        "events": [_event(event) for event in story.events],
    }


def explain(reason: str, detail: str) -> str:
    """A reason as a sentence, with what was special in this case."""
    sentence = REASONS.get(reason, "")
    return f"{sentence}: {detail}" if sentence and detail else sentence or detail


def _who(participant: Participant) -> str:
    return f"{participant.kind.value}:{participant.value}"


def _delivery_brief(row: DeliveryRow) -> DeliveryBrief:
    return {
        "id": row.id,
        "participant": _who(row.participant),
        "state": row.state.value,
        "reason": row.reason,
        "fault": _fault(row.code, row.sentence),
        "late": row.late,
        "retry_at": moment(row.retry_at),
        "sent_at": moment(row.sent_at),
        "inbox_message_id": row.inbox_message_id,
    }


def _delivery_story(row: DeliveryRow) -> DeliveryStory:
    return {
        "id": row.id,
        "participant": _who(row.participant),
        "participant_name": row.participant.name,
        "direction": None if row.direction is None else row.direction.value,
        "state": row.state.value,
        "reason": row.reason,
        "fault": _fault(row.code, row.sentence),
        "late": row.late,
        "attempts": row.attempt,
        "failures": row.failures,
        "resends": row.resends,
        "looks": row.looks,
        "read_back": row.read_back,
        "doubled_with": row.doubled_with,
        "contact_id": row.contact_id,
        "conversation_id": row.conversation_id,
        "inbox_message_id": row.inbox_message_id,
        "sequence": None if row.sequence is None else str(row.sequence),
        "request_id": row.request_id or None,
        "seen_at": row.seen_at.isoformat(),
        "release_at": moment(row.release_at),
        "retry_at": moment(row.retry_at),
        "intent_at": moment(row.intent_at),
        "unknown_at": moment(row.unknown_at),
        "sent_at": moment(row.sent_at),
    }


def _event(row: EventRow) -> EventAnswer:
    return {
        "at": row.at.isoformat(),
        "kind": row.kind,
        "code": row.code,
        "delivery_id": row.delivery_id,
        "detail": row.detail,
    }
