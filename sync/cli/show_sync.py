"""What a `sync` did, as an operator sees it."""

from __future__ import annotations

from rich.console import Console

from sync.answers import FaultAnswer, PreviewAnswer, SyncAnswer, SyncSourceAnswer
from sync.cli.tables import WIDE, Column, faults, numbers, say, state, table
from sync.words import count, local, plain, reasons, span


def show_sync(out: Console, answer: SyncAnswer) -> None:
    """A line for each source, why something was skipped, and what failed."""
    if answer["dry_run"]:
        _previews(out, answer["previews"], answer["previews_left_out"])
        say(out, "dry run: nothing was sent or recorded; NEW is what a sync would bring in", "bold")
    _sources(out, answer["sources"], dry_run=answer["dry_run"])
    for source in answer["sources"]:
        _why(out, source)
    found: list[tuple[str, FaultAnswer]] = [
        (f"source {source['name']}", fault) for source in answer["sources"] if (fault := source["fault"])
    ]
    for inbox in answer["inboxes"]:
        found += [(f"inbox {inbox['name']}", fault) for fault in (inbox["fault"], inbox["warning"]) if fault]
    faults(out, found)
    if any(source["dead"] or source["held"] for source in answer["sources"]):
        out.print()
        say(out, "→ inbox-sync message list --failed shows what failed and why", "cyan")


def _sources(out: Console, sources: list[SyncSourceAnswer], *, dry_run: bool) -> None:
    if not sources:
        say(out, "no source is configured", "dim")
        return
    wide = out.width >= WIDE
    sent = [] if dry_run else numbers("SENT", "WAITING", "UNKNOWN", "FAILED")
    shown = table(
        Column("SOURCE", 20),
        *([Column("INBOX", 14)] if wide else []),
        *numbers("FOUND", "NEW", "SKIPPED"),
        *sent,
        *(numbers("LATE") if wide and not dry_run else []),
        Column("TIME", right=True),
    )
    for source in sources:
        failed = source["dead"] + source["held"] + sum(source["dead_messages"].values())
        deliveries = [source["sent"], source["pending"], source["unknown"], failed]
        shown.add_row(
            plain(source["name"]),
            *([plain(source["inbox"])] if wide else []),
            count(source["found"]),
            count(source["new"]),
            count(sum(source["skipped"].values())),
            *([] if dry_run else [count(number) for number in deliveries]),
            *([count(source["late"])] if wide and not dry_run else []),
            span(source["seconds"]),
        )
    out.print(shown)


def _why(out: Console, source: SyncSourceAnswer) -> None:
    parts = []
    if source["skipped"]:
        parts.append(f"skipped {reasons(source['skipped'])}")
    if source["dead_messages"]:
        parts.append(f"dead {reasons(source['dead_messages'])}")
    if source["repeated"]:
        parts.append(f"{source['repeated']} known before")
    if source["before_horizon"]:
        parts.append(f"{source['before_horizon']} older than its start, left alone")
    if parts:
        say(out, f"{source['name']}: {'; '.join(parts)}", "dim")


def _previews(out: Console, previews: list[PreviewAnswer], left_out: int) -> None:
    if not previews:
        return
    shown = table(
        Column("SOURCE", 16),
        Column("STREAM", 16),
        Column("ID", 14),
        Column("ARRIVED"),
        Column("WOULD BE"),
        Column("WHO", 40),
    )
    for preview in previews:
        verdict = preview["verdict"] + (f" ({preview['reason']})" if preview["reason"] else "")
        shown.add_row(
            plain(preview["source"]),
            plain(preview["stream"]),
            plain(preview["external_id"]),
            local(preview["arrived_at"]),
            state(plain(verdict)),
            plain(", ".join(preview["participants"])) or "–",
        )
    out.print(shown)
    if left_out:
        say(out, f"… and {left_out} more", "dim")
    out.print()
