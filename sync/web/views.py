"""What the pages show, from the operations' answers: names, numbers, sentences. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sync.answers import (
    DeliveryStory,
    EventAnswer,
    FaultAnswer,
    InboxAnswer,
    MessageRow,
    MessageShowAnswer,
    SourceAnswer,
    StatusAnswer,
)
from sync.budget import BudgetView
from sync.words import ago, detail_text, exact, plain, reasons, who

_TONES = {
    "ok": "good",
    "sent": "good",
    "loaded": "good",
    "unknown": "warm",
    "paused": "warm",
    "pending": "plain",
    "sending": "plain",
    "found": "plain",
    "skipped": "plain",
    "removed": "plain",
    "new": "plain",
}
"""How a state is coloured; whatever is not here is bad news."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that waits for an operator: about what, what it is, and what to do."""

    about: str
    code: str
    sentence: str
    next_step: str


def tone(state: str) -> str:
    """The class of a state's mark."""
    return _TONES.get(state, "bad")


def troubles(status: StatusAnswer) -> list[Trouble]:
    """Everything that is wrong, inboxes first."""
    found: list[Trouble] = []
    for inbox in status["inboxes"]:
        found += [_trouble(f"inbox {inbox['name']}", fault) for fault in (inbox["fault"], inbox["warning"]) if fault]
    found += [_trouble(f"source {one['name']}", fault) for one in status["sources"] if (fault := one["fault"])]
    return found


def failed(status: StatusAnswer) -> int:
    """Messages and deliveries that an operator may want to retry or drop."""
    messages = sum(one["messages"]["dead"] + one["messages"]["gone"] for one in status["sources"])
    return messages + sum(one["deliveries"]["dead"] + one["deliveries"]["held"] for one in status["sources"])


def _trouble(about: str, fault: FaultAnswer) -> Trouble:
    return Trouble(plain(about), fault["code"], plain(fault["sentence"]), plain(fault["next_step"]))


def inbox_line(inbox: InboxAnswer, budget: BudgetView | None, now: str) -> dict[str, object]:
    """An inbox in the table."""
    counts = inbox["deliveries"]
    oldest = inbox["oldest_pending_at"]
    return {
        "name": inbox["name"],
        "state": inbox["state"],
        "tone": tone("new" if inbox["state"] == "unknown" else inbox["state"]),
        "waiting": counts["pending"] + counts["sending"],
        "unknown": counts["unknown"],
        "failed": counts["dead"] + counts["held"],
        "sent": counts["sent"],
        "oldest": f"arrived {ago(oldest, now)}" if oldest else "–",
        "budget": "–" if budget is None else f"{budget.used_last_minute:,} of {budget.rate_per_minute:,.0f} a minute",
    }


def source_line(source: SourceAnswer, now: str) -> dict[str, object]:
    """A source in the table."""
    messages, deliveries = source["messages"], source["deliveries"]
    state = "paused" if source["paused"] and source["state"] != "removed" else source["state"]
    state = "new" if state == "unknown" else state
    return {
        "name": source["name"],
        "connector": source["connector"],
        "inbox": source["inbox"],
        "state": state,
        "tone": tone(state),
        "paused": source["paused"],
        "polled": ago(source["last_good_pass_at"], now),
        "next": "–" if source["paused"] else ago(source["next_pass_at"], now),
        "waiting": messages["found"] + deliveries["pending"] + deliveries["sending"] + deliveries["unknown"],
        "skipped": messages["skipped"] + deliveries["skipped"],
        "why_skipped": reasons(source["skipped"]),
        "failed": messages["dead"] + messages["gone"] + deliveries["dead"] + deliveries["held"],
        "sent": deliveries["sent"],
    }


def message_line(message: MessageRow, now: str) -> dict[str, object]:
    """A message in a list, with its deliveries."""
    deliveries = [
        {
            "who": plain(who(one["participant"])),
            "state": one["state"],
            "tone": tone(one["state"]),
            "why": one["reason"] or (one["fault"]["code"] if one["fault"] and one["state"] != "sent" else ""),
            "next": one["fault"]["next_step"] if one["fault"] and one["state"] != "sent" else "",
        }
        for one in message["deliveries"]
    ]
    return {
        "id": message["id"],
        "arrived": ago(message["arrived_at"], now),
        "arrived_at": exact(message["arrived_at"]),
        "source": message["source"],
        "state": message["state"],
        "tone": tone(message["state"]),
        "why": message["reason"],
        "subject": plain(message["subject"] or ""),
        "deliveries": deliveries,
    }


def story(message: MessageShowAnswer) -> dict[str, object]:
    """Everything about one message."""
    movable = message["state"] in ("dead", "skipped", "gone") or any(
        one["state"] in ("dead", "held") for one in message["deliveries"]
    )
    droppable = message["state"] == "found" or any(one["state"] in ("pending", "held") for one in message["deliveries"])
    facts = [
        ("Subject", message["subject"] or ""),
        ("Source", f"{message['source']}, into inbox {message['inbox']}"),
        ("Place", f"{message['stream']} · {message['external_id']}"),
        ("Arrived", exact(message["arrived_at"])),
        ("Written", exact(message["written_at"]) if message["written_at"] else ""),
        ("First seen", exact(message["seen_at"])),
        ("Size", f"{message['size_bytes']:,} bytes" if message["size_bytes"] is not None else ""),
        ("Repeats", f"message {message['duplicate_of']}" if message["duplicate_of"] is not None else ""),
        ("Flags", ", ".join(word for word, on in (("late", message["late"]), ("backfill", message["backfill"])) if on)),
        ("Raw copy", "kept" if message["raw_kept"] else ""),
    ]
    return {
        "id": message["id"],
        "state": message["state"],
        "tone": tone(message["state"]),
        "reason": message["reason"],
        "explanation": plain(message["explanation"] or message["detail"]),
        "facts": _filled(facts),
        "deliveries": [_delivery(one) for one in message["deliveries"]],
        "events": [_event(one) for one in message["events"]],
        "can_retry": movable,
        "can_drop": droppable,
    }


def _delivery(one: DeliveryStory) -> dict[str, object]:
    name = f" ({one['participant_name']})" if one["participant_name"] else ""
    facts = [
        ("To", who(one["participant"]) + name),
        ("Direction", (one["direction"] or "").lower().replace("_", " ")),
        ("Sent", exact(one["sent_at"]) if one["sent_at"] else ""),
        ("Conversation", one["conversation_id"] or ""),
        ("Contact", one["contact_id"] or ""),
        ("Inbox message", one["inbox_message_id"] or ""),
        ("Doubled with", one["doubled_with"] or ""),
        ("Attempts", f"{one['attempts']}, {one['failures']} refused" if one["attempts"] or one["failures"] else ""),
        ("Read back", f"{one['looks']} looks, sent again {one['resends']} times" if one["looks"] else ""),
        ("Next try", exact(one["retry_at"]) if one["retry_at"] else ""),
        ("Request id", one["request_id"] or ""),
    ]
    fault = one["fault"]
    return {
        "id": one["id"],
        "state": one["state"],
        "tone": tone(one["state"]),
        "reason": one["reason"],
        "facts": _filled(facts),
        "trouble": None if fault is None or one["state"] == "sent" else _trouble("", fault),
    }


def _event(one: EventAnswer) -> dict[str, object]:
    return {
        "at": exact(one["at"]),
        "kind": one["kind"],
        "code": one["code"],
        "delivery": one["delivery_id"],
        "detail": plain(detail_text(one["detail"])),
    }


def _filled(facts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, plain(value)) for name, value in facts if value]
