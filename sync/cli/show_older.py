"""A backfill and an audit, as an operator sees them."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sync.answers import AuditAnswer, AuditLine, BackfillAnswer
from sync.cli.tables import Column, faults, indented, say, table
from sync.words import local, plain, reasons, span

_STATES = {
    "listing": "is being listed",
    "bringing": "is being brought in",
    "done": "is done",
    "stopped": "was stopped",
}


def show_backfill(out: Console, answer: BackfillAnswer) -> None:
    """How a backfill is, or what it would do."""
    source, state = plain(answer["source"]), answer["state"]
    if state == "none":
        say(out, f"{source} never had a backfill")
        return
    dry = state == "dry_run"
    until = f" until {local(answer['until'])}" if answer["until"] else ""
    most = f", at most {answer['limit']} messages" if answer["limit"] else ""
    heading = "dry run: nothing was sent or recorded" if dry else _STATES[state]
    say(out, f"backfill of {source} since {local(answer['since'])}{until}{most}: {heading}", "bold")
    shown = table(Column("MESSAGES", right=True), Column(""))
    for number, words in _lines(answer, dry=dry):
        if number:
            shown.add_row(str(number), Text(plain(words)))
    out.print(shown)
    if dry:
        requests = f"about {span(answer['seconds'])} at the inbox's budget, if nothing else uses it"
        say(out, f"bringing them in takes {requests}; what only their contents tell is left out then, too")
    elif state in ("listing", "bringing"):
        say(
            out,
            f"{answer['deliveries']} deliveries so far, {answer['waiting']} of them wait, {answer['failed']} failed",
        )
        if answer["left"]:
            say(out, f"about {span(answer['seconds'])} to go at the inbox's budget", "dim")
    else:
        say(out, f"{answer['deliveries']} deliveries, {answer['waiting']} of them wait, {answer['failed']} failed")
    if answer["failed"]:
        say(out, "→ inbox-sync message list --failed shows what failed and why", "cyan")
    if answer["fault"]:
        faults(out, [(f"source {source}", answer["fault"])])


def backfill_line(answer: BackfillAnswer) -> str:
    """How far an unfinished backfill is, for `status`."""
    begun = f"{plain(answer['source'])}: backfill since {local(answer['since'])}"
    if answer["state"] == "listing":
        told = f"{begun} is listing, {answer['listed']} so far"
    else:
        told = f"{begun}, {answer['left']} to load, {answer['waiting']} to send, about {span(answer['seconds'])} to go"
    fault = answer["fault"]
    return told if fault is None else f"{told}; it waits: {fault['sentence']} ({fault['code']})"


def _lines(answer: BackfillAnswer, *, dry: bool) -> list[tuple[int, str]]:
    return [
        (answer["messages"], "would be sent" if dry else "brought in"),
        (sum(answer["skipped"].values()), f"skipped: {reasons(answer['skipped'])}"),
        (sum(answer["dead"].values()), f"dead: {reasons(answer['dead'])}"),
        (answer["vanished"], "gone at the source before they could be loaded"),
        (answer["left_out"], "beyond --limit"),
        (answer["folders_left_out"], "folders that could not be looked at: they were never polled to their end"),
        (answer["left"], "still to come"),
        (answer["known"], "known to the ledger, left as they are"),
        (answer["fresh"], "so recent that the next pass brings them in"),
    ]


def show_audit(out: Console, answer: AuditAnswer) -> None:
    """Both sides with their totals, what is missing by name, and the verdict."""
    source = plain(answer["source"])
    say(out, f"{source} since {local(answer['since'])}, {len(answer['streams'])} folders", "bold")
    for side, heading, total in (
        ("source", "THE SOURCE HAS", answer["at_source"]),
        ("ledger", "THE LEDGER HAS", answer["in_ledger"]),
    ):
        _side(out, heading, [line for line in answer["lines"] if line["side"] == side], total)
    if answer["examples"]:
        named = table(
            Column("FOLDER", 20), Column("ID", 24), Column("ARRIVED"), Column("MESSAGE", right=True), Column("")
        )
        for one in answer["examples"]:
            number = "–" if one["message_id"] is None else str(one["message_id"])
            named.add_row(
                plain(one["stream"]), plain(one["external_id"]), local(one["arrived_at"]), number, Text(one["what"])
            )
        out.print(named)
        out.print()
    for name in answer["left_out"]:
        say(out, f"{plain(name)} was never polled to its end and is not compared", "yellow")
    if answer["missing"]:
        say(
            out,
            f"{answer['missing']} missing: the source has them, and nothing says why the ledger has not",
            "bold red",
        )
        indented(out, f"→ inbox-sync backfill {source} --since … brings them in now", style="cyan")
    else:
        say(out, "nothing is missing", "green")


def _side(out: Console, heading: str, lines: list[AuditLine], total: int) -> None:
    shown = table(Column(heading, right=True), Column("", 24), Column("", 16), Column("", fold=True))
    for line in lines:
        style = "bold red" if line["missing"] else ""
        words = (str(line["count"]), line["what"], line["reason"], line["sentence"])
        shown.add_row(*(Text(plain(word), style=style) for word in words))
    shown.add_row(Text(str(total), style="bold"), Text("in all", style="bold"), "", "")
    out.print(shown)
    out.print()
