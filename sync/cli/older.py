"""`inbox-sync backfill` and `inbox-sync audit`."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sync.cli.ask import ask, is_daemon_running
from sync.cli.complete import complete_sources
from sync.cli.invocation import AsJson, invocation_of, print_json
from sync.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from sync.answers import AuditAnswer, BackfillAnswer
    from sync.message import Json

Source = Annotated[str, typer.Argument(metavar="SOURCE", autocompletion=complete_sources)]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="D", help="What arrived then or later: 2026-01-31, 2026-01-31T12:30, or 30d."),
]


def backfill(
    context: typer.Context,
    source: Source,
    *,
    since: Since = None,
    until: Annotated[str | None, typer.Option("--until", metavar="D", help="…and before this.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many messages, the oldest first.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only: send nothing, record nothing.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show how far it is; change nothing.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End it. What it has brought in is still sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring in what came before a source's start: silently, in order, behind live mail. Without --since: go on with the
    one that is not finished."""
    if status + stop + dry_run > 1 or ((status or stop) and (since or until or limit)):
        raise _wrong("of --dry-run, --status and --stop only one is meant, and the last two go alone", "see --help")
    command = "backfill_status" if status else "backfill_stop" if stop else "backfill"
    args: dict[str, Json] = {"source": source}
    if command == "backfill":
        args |= {"since": _moment(since), "until": _moment(until), "limit": limit, "dry_run": dry_run}
    try:
        answer = cast("BackfillAnswer", ask(invocation_of(context), command, args))
    except Interrupted as left:
        raise _left(context, source, left, dry_run=dry_run) from None
    if as_json:
        print_json(answer)
    else:
        from sync.cli.show_older import show_backfill
        from sync.cli.tables import console

        show_backfill(console(), answer)
    raise typer.Exit(answer["exit_code"])


def audit(
    context: typer.Context,
    source: Source,
    since: Annotated[
        str,
        typer.Option("--since", metavar="D", help="What arrived then or later: 2026-01-31, 2026-01-31T12:30, or 30d."),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare a source with the ledger, both ways: what has no row and why, and what is no longer there. Ends with 1 if
    a message is missing that should be there."""
    args: dict[str, Json] = {"source": source, "since": _moment(since)}
    answer = cast("AuditAnswer", ask(invocation_of(context), "audit", args))
    if as_json:
        print_json(answer)
    else:
        from sync.cli.show_older import show_audit
        from sync.cli.tables import console

        show_audit(console(), answer)
    raise typer.Exit(answer["exit_code"])


def _moment(text: str | None) -> str | None:
    from sync.words import since

    if text is None:
        return None
    try:
        return since(text, datetime.now(UTC)).astimezone(UTC).isoformat()
    except ValueError:
        raise _wrong(f'"{text}" is no time', "write 2026-01-31 or 30d; see --help") from None


def _wrong(sentence: str, next_step: str) -> ConfigError:
    return ConfigError(sentence, code="command.arguments", next_step=next_step)


def _left(context: typer.Context, source: str, left: Interrupted, *, dry_run: bool) -> Interrupted:
    """What Ctrl-C means for a backfill: it stops the watching."""
    if dry_run:
        return left
    if is_daemon_running(invocation_of(context)):
        return Interrupted(
            f"the daemon goes on with the backfill of {source}",
            next_step=f"inbox-sync backfill {source} --status shows it, --stop ends it",
        )
    return Interrupted(
        f"the backfill of {source} rests",
        next_step=f"inbox-sync backfill {source}, or the daemon when it is started, goes on with it; --stop ends it",
    )
