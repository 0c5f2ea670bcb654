"""`status`, `source list` and `check` as an operator sees them."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sync.answers import CheckAnswer, FaultAnswer, InboxAnswer, SourceAnswer, SourceListAnswer, StatusAnswer
from sync.cli.show_older import backfill_line
from sync.cli.tables import WIDE, Column, faults, indented, numbers, say, state, table
from sync.words import ago, count, local, plain, reasons


def show_status(out: Console, answer: StatusAnswer) -> None:
    """One screen: who runs, the inboxes, the sources, and what waits for an operator."""
    daemon = answer["daemon"]
    now = answer["at"]
    if daemon is None:
        say(out, f"inbox-sync {answer['version']} · no daemon answers; this is what the ledger says", "bold")
    else:
        since = ago(daemon["started_at"], now).removesuffix(" ago")
        say(out, f"inbox-sync {answer['version']} · {daemon['state']} for {since} (pid {daemon['pid']})", "bold")
    ledger = answer["ledger"]
    behind = ledger["revision"] != ledger["head"]
    say(out, f"ledger {ledger['url']}{' · inbox-sync db upgrade is due' if behind else ''}", "dim")
    out.print()
    _inboxes(out, answer["inboxes"], now)
    out.print()
    _sources(out, answer["sources"], now, several=len(answer["inboxes"]) > 1)
    for source in answer["sources"]:
        late = source["sweep"].get("new", 0)
        if late:
            swept = ago(source["swept_at"], now)
            say(out, f"{source['name']}: the sweep {swept} brought in {late} that the service had shown late", "dim")
    for backfill in answer["backfills"]:
        say(out, backfill_line(backfill), "dim")
    faults(out, _faults(answer["inboxes"], answer["sources"]))


def _inboxes(out: Console, inboxes: list[InboxAnswer], now: str) -> None:
    if not inboxes:
        say(out, "no inbox has been used yet", "dim")
        return
    shown = table(
        Column("INBOX", 20),
        Column("STATE", 10),
        *numbers("WAITING", "UNKNOWN", "FAILED", "SENT"),
        Column("OLDEST WAITING"),
    )
    for inbox in inboxes:
        counts = inbox["deliveries"]
        shown.add_row(
            plain(inbox["name"]),
            state(inbox["state"]),
            count(counts["pending"] + counts["sending"]),
            count(counts["unknown"]),
            count(counts["dead"] + counts["held"]),
            count(counts["sent"]),
            "arrived " + ago(inbox["oldest_pending_at"], now) if inbox["oldest_pending_at"] else "–",
        )
    out.print(shown)


def _sources(out: Console, sources: list[SourceAnswer], now: str, *, several: bool) -> None:
    if not sources:
        say(out, "no source has been used yet", "dim")
        return
    wide = out.width >= WIDE
    shown = table(
        Column("SOURCE", 20),
        *([Column("INBOX", 14)] if several else []),
        *([Column("CONNECTOR", 12)] if wide else []),
        Column("STATE", 10),
        Column("POLLED"),
        Column("NEXT"),
        *numbers("WAITING", "SKIPPED", "FAILED", "SENT"),
    )
    for source in sources:
        messages, deliveries = source["messages"], source["deliveries"]
        shown.add_row(
            plain(source["name"]),
            *([plain(source["inbox"])] if several else []),
            *([plain(source["connector"])] if wide else []),
            _state_of(source),
            ago(source["last_good_pass_at"], now),
            "–" if source["paused"] else ago(source["next_pass_at"], now),
            count(messages["found"] + deliveries["pending"] + deliveries["sending"] + deliveries["unknown"]),
            count(messages["skipped"] + deliveries["skipped"]),
            count(messages["dead"] + messages["gone"] + deliveries["dead"] + deliveries["held"]),
            count(deliveries["sent"]),
        )
    out.print(shown)


def _faults(inboxes: list[InboxAnswer], sources: list[SourceAnswer]) -> list[tuple[str, FaultAnswer]]:
    found: list[tuple[str, FaultAnswer]] = []
    for inbox in inboxes:
        found += [(f"inbox {inbox['name']}", fault) for fault in (inbox["fault"], inbox["warning"]) if fault]
    found += [(f"source {source['name']}", fault) for source in sources if (fault := source["fault"])]
    return found


def _state_of(source: SourceAnswer) -> Text:
    if source["paused"] and source["state"] != "removed":
        return state("paused")
    return Text("new", style="cyan") if source["state"] == "unknown" else state(source["state"])


def show_sources(out: Console, answer: SourceListAnswer) -> None:
    """`source list`: each source with where it starts and why it skipped what."""
    if not answer["sources"]:
        say(out, "no source is configured", "dim")
        return
    shown = table(
        Column("SOURCE", 20),
        Column("CONNECTOR", 12),
        Column("INBOX", 14),
        Column("STATE", 10),
        Column("STARTS AT"),
        *numbers("SENT"),
        Column("SKIPPED, DEAD", fold=True),
    )
    for source in answer["sources"]:
        why = [reasons(source["skipped"]), reasons({f"dead: {key}": n for key, n in source["dead"].items()})]
        if source["before_horizon"]:
            why.append(f"{source['before_horizon']} older than its start")
        shown.add_row(
            plain(source["name"]),
            plain(source["connector"]),
            plain(source["inbox"]),
            _state_of(source),
            local(source["horizon"]),
            count(source["deliveries"]["sent"]),
            plain(", ".join(part for part in why if part)) or "–",
        )
    out.print(shown)
    faults(out, _faults([], answer["sources"]))


def show_check(out: Console, answer: CheckAnswer) -> None:
    """`check`: everything that was looked at, by what it is about, and how it ended."""
    heading = ""
    for finding in answer["findings"]:
        about = f"{finding['about']} {finding['name']}".strip()
        if about != heading:
            say(out, about, "bold")
            heading = about
        mark = state(finding["severity"])
        mark.pad_right(9 - len(mark))
        line = Text("  ").append_text(mark).append(plain(finding["sentence"]))
        if finding["code"] and finding["severity"] not in ("ok", "note"):
            line.append(f"  [{plain(finding['code'])}]", style="dim")
        _hanging(out, line)
        if finding["next_step"]:
            indented(out, f"→ {finding['next_step']}", style="cyan", by=11)
    counts = {word: sum(one["severity"] == word for one in answer["findings"]) for word in ("error", "warning")}
    out.print()
    if not counts["error"] and not counts["warning"]:
        say(out, "everything is in order", "green")
    else:
        words = [f"{number} {word}{'s' if number > 1 else ''}" for word, number in counts.items() if number]
        say(out, ", ".join(words), "bold red" if counts["error"] else "bold yellow")


def _hanging(out: Console, line: Text) -> None:
    """A line whose continuation stands below its text, not below its mark."""
    head, rest = line[:11], line[11:]
    wrapped = rest.wrap(out, max(out.width - 11, 20))
    for number, part in enumerate(wrapped):
        out.print(Text.assemble(head if number == 0 else " " * 11, part))
