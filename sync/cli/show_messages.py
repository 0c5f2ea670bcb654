"""Messages and their stories as an operator sees them."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from sync.answers import (
    DeliveryBrief,
    DeliveryStory,
    FaultAnswer,
    MessageListAnswer,
    MessageRow,
    MessageShowAnswer,
    MoveAnswer,
)
from sync.cli.tables import WIDE, Column, faults, indented, say, state, table
from sync.words import detail_text, exact, local, plain, who


def show_messages(out: Console, answer: MessageListAnswer) -> None:
    """`message list`: a line for each message, or for each delivery where there are several."""
    if not answer["messages"]:
        say(out, "no message is like that", "dim")
        return
    wide = out.width >= WIDE
    shown = table(
        Column("ID", right=True),
        Column("ARRIVED"),
        Column("SOURCE", 16),
        Column("STATE", 14),
        Column("WHY", 34 if wide else 18),
        Column("WHO", 36 if wide else 24),
        *([Column("SUBJECT", 48)] if wide else []),
    )
    for message in answer["messages"]:
        for number, delivery in enumerate(message["deliveries"] or [None]):
            first = number == 0
            shown.add_row(
                str(message["id"]) if first else "",
                local(message["arrived_at"]) if first else "",
                plain(message["source"]) if first else "",
                _state(message, delivery),
                plain(_why(message, delivery)),
                plain(who(delivery["participant"])) if delivery else "–",
                *([plain(message["subject"] or "") if first else ""] if wide else []),
            )
    out.print(shown)
    faults(out, [entry for message in answer["messages"] for entry in _entries(message)])
    if answer["next_after_id"] is not None:
        out.print()
        say(out, f"more: --after {answer['next_after_id']}", "dim")


def _state(message: MessageRow, delivery: DeliveryBrief | None) -> Text:
    shown = state(delivery["state"] if delivery else message["state"])
    if message["late"] or (delivery and delivery["late"]):
        shown.append(" late", style="dim")
    return shown


def _why(message: MessageRow, delivery: DeliveryBrief | None) -> str:
    if delivery is None:
        return message["reason"] or "–"
    if delivery["reason"]:
        return delivery["reason"]
    if delivery["fault"] and delivery["state"] != "sent":
        return delivery["fault"]["code"]
    return "–"


def _entries(message: MessageRow) -> list[tuple[str, FaultAnswer]]:
    """What a table's line has no room for: the fault of each delivery that waits or has failed."""
    return [
        (f"message {message['id']}", fault)
        for delivery in message["deliveries"]
        if delivery["state"] not in ("sent", "skipped") and (fault := delivery["fault"]) is not None
    ]


def show_message(out: Console, answer: MessageShowAnswer) -> None:
    """`message show`: what it is, where it stands, and how it came to that."""
    heading = Text(f"message {answer['id']}  ", style="bold").append_text(state(answer["state"]))
    if answer["reason"]:
        heading.append(f"  {plain(answer['reason'])}", style="bold")
    out.print(heading)
    explanation = answer["explanation"] or answer["detail"]
    if explanation:
        indented(out, explanation)
    out.print()
    fields = {
        "subject": answer["subject"] or "",
        "source": f"{answer['source']}, into inbox {answer['inbox']}",
        "place": f"{answer['stream']} · {answer['external_id']}"
        + (f" · epoch {answer['epoch']}" if answer["epoch"] else ""),
        "arrived": exact(answer["arrived_at"]),
        "written": exact(answer["written_at"]) if answer["written_at"] else "",
        "seen": exact(answer["seen_at"]),
        "size": f"{answer['size_bytes']} bytes" if answer["size_bytes"] is not None else "",
        "duplicate of": str(answer["duplicate_of"]) if answer["duplicate_of"] is not None else "",
        "flags": ", ".join(word for word, on in (("late", answer["late"]), ("backfill", answer["backfill"])) if on),
        "raw copy": "kept" if answer["raw_kept"] else "",
    }
    _fields(out, fields)
    for delivery in answer["deliveries"]:
        out.print()
        _delivery(out, delivery)
    if answer["events"]:
        out.print()
        say(out, "what happened", "bold")
        for event in answer["events"]:
            about = f"delivery {event['delivery_id']} " if event["delivery_id"] is not None else ""
            detail = detail_text(event["detail"])
            code = f" [{event['code']}]" if event["code"] else ""
            indented(out, f"{exact(event['at'])}  {about}{event['kind']}{code}{f': {detail}' if detail else ''}")


def _delivery(out: Console, delivery: DeliveryStory) -> None:
    heading = Text(f"delivery {delivery['id']}  ", style="bold").append_text(state(delivery["state"]))
    if delivery["reason"]:
        heading.append(f"  {plain(delivery['reason'])}", style="bold")
    out.print(heading)
    name = f" ({delivery['participant_name']})" if delivery["participant_name"] else ""
    flags = [word for word, on in (("late", delivery["late"]), ("found by reading back", delivery["read_back"])) if on]
    tries = (
        f"{delivery['attempts']}, {delivery['failures']} refused"
        if delivery["attempts"] or delivery["failures"]
        else ""
    )
    fields = {
        "to": who(delivery["participant"]) + name,
        "direction": (delivery["direction"] or "").lower().replace("_", " "),
        "conversation": delivery["conversation_id"] or "",
        "contact": delivery["contact_id"] or "",
        "sent": exact(delivery["sent_at"]) if delivery["sent_at"] else "",
        "message id": delivery["inbox_message_id"] or "",
        "doubled with": delivery["doubled_with"] or "",
        "attempts": tries,
        "read back": f"looks: {delivery['looks']}, sent again: {delivery['resends']}" if delivery["looks"] else "",
        "next try": exact(delivery["retry_at"]) if delivery["retry_at"] else "",
        "released at": exact(delivery["release_at"]) if delivery["release_at"] and not delivery["sent_at"] else "",
        "request id": delivery["request_id"] or "",
        "flags": ", ".join(flags),
    }
    _fields(out, fields)
    fault = delivery["fault"]
    if fault is not None:
        line = Text("  ").append(plain(fault["code"]), style="red")
        out.print(line)
        indented(out, fault["sentence"], by=4)
        if fault["next_step"]:
            indented(out, f"→ {fault['next_step']}", style="cyan", by=4)


def _fields(out: Console, fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        if value:
            out.print(Text(f"  {name:<14}", style="dim").append(plain(value), style="default"))


def show_moves(out: Console, answer: MoveAnswer) -> None:
    """`message retry|drop`: what became of each."""
    if not answer["outcomes"]:
        say(out, "no message is like that", "dim")
        return
    for outcome in answer["outcomes"]:
        mark = Text(f"{outcome['id']:>8}  ", style="bold" if outcome["moved"] else "red")
        out.print(mark.append(plain(outcome["sentence"]), style="default"))
    moved = sum(outcome["moved"] for outcome in answer["outcomes"])
    say(out, f"{moved} of {len(answer['outcomes'])} moved", "dim")
