"""`inbox-sync message …`: what failed, its story, another try."""

# ruff: noqa: PLC0415, PLR0917  options are parameters, and imports wait until they are needed, so that --help is quick

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sync.cli.ask import ask
from sync.cli.complete import complete_sources
from sync.cli.invocation import AsJson, invocation_of, print_json, typing_user

if TYPE_CHECKING:
    from sync.answers import MessageFilterArgs, MessageListAnswer, MessageShowAnswer, MoveAnswer
    from sync.message import Json

messages = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Messages: what failed, its story, another try."
)

LIST_LIMIT = 50


def _known_state(value: str | None) -> str | None:
    from sync.registry import near_names
    from sync.states import DeliveryState, MessageState

    names = sorted({*(state.value for state in MessageState), *(state.value for state in DeliveryState)})
    if value is None or value in names:
        return value
    near = near_names(value, names)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    raise typer.BadParameter(f'"{value}" is no state.{hint} There are: {", ".join(names)}')


def _known_reason(value: str | None) -> str | None:
    from sync.registry import near_names
    from sync.states import Reason

    names = sorted(reason.value for reason in Reason)
    if value is None or value in names:
        return value
    near = near_names(value, names)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    raise typer.BadParameter(f'"{value}" is no reason.{hint} There are: {", ".join(names)}')


def _moment(value: str | None) -> str | None:
    from sync.words import since

    if value is None:
        return None
    try:
        return since(value, datetime.now(UTC)).isoformat()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f'"{value}" is no time: write 2026-11-01, 2026-11-01T12:30, or 2h, 3d') from None


State = Annotated[
    str | None,
    typer.Option("--state", metavar="STATE", help="In this state, itself or a delivery.", callback=_known_state),
]
Failed = Annotated[bool, typer.Option("--failed", help="Dead, held or gone.")]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="REASON", help="For this reason.", callback=_known_reason)
]
Source = Annotated[
    str | None,
    typer.Option("--source", "-s", metavar="S", help="From this source.", autocompletion=complete_sources),
]
Inbox = Annotated[str | None, typer.Option("--inbox", metavar="I", help="For this inbox.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="Arrived since: 2026-11-01, or 2h, 3d ago.", callback=_moment),
]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Ids, as message list shows them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@messages.command("list")
def list_messages(
    context: typer.Context,
    state: State = None,
    failed: Failed = False,
    reason: ReasonOption = None,
    source: Source = None,
    inbox: Inbox = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = LIST_LIMIT,
    after: Annotated[
        int | None, typer.Option("--after", metavar="ID", help="Go on with what is older than this.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Messages, the newest first."""
    wanted = _filter(state=state, failed=failed, reason=reason, source=source, inbox=inbox, since=since)
    wanted["limit"] = limit
    if after is not None:
        wanted["after_id"] = after
    answer = cast("MessageListAnswer", ask(invocation_of(context), "message_list", cast("dict[str, Json]", wanted)))
    if as_json:
        print_json(answer)
        return
    from sync.cli.show_messages import show_messages
    from sync.cli.tables import console

    show_messages(console(), answer)


@messages.command("show")
def show(
    context: typer.Context,
    message_id: Annotated[int, typer.Argument(metavar="ID", help="As message list shows it.")],
    as_json: AsJson = False,
) -> None:
    """A message's story: where it came from, what was decided and why, every attempt."""
    answer = cast("MessageShowAnswer", ask(invocation_of(context), "message_show", {"id": message_id}))
    if as_json:
        print_json(answer)
        return
    from sync.cli.show_messages import show_message
    from sync.cli.tables import console

    show_message(console(), answer)


@messages.command("retry")
def retry(
    context: typer.Context,
    ids: Ids = None,
    state: State = None,
    failed: Failed = False,
    reason: ReasonOption = None,
    source: Source = None,
    inbox: Inbox = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Another try for what is dead, skipped, held or gone: by ids, or all that the options describe."""
    wanted = _filter(state=state, failed=failed, reason=reason, source=source, inbox=inbox, since=since)
    _move(context, "message_retry", ids, wanted, as_json=as_json)


@messages.command("drop")
def drop(
    context: typer.Context,
    ids: Ids = None,
    state: State = None,
    failed: Failed = False,
    reason: ReasonOption = None,
    source: Source = None,
    inbox: Inbox = None,
    since: Since = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give up what is not final yet: by ids, or all that the options describe. It is never sent."""
    wanted = _filter(state=state, failed=failed, reason=reason, source=source, inbox=inbox, since=since)
    if wanted and not ids and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("dropping all that the options describe needs --yes")
        typer.confirm("Drop every message that the options describe?", abort=True)
    _move(context, "message_drop", ids, wanted, as_json=as_json)


def _filter(
    *,
    state: str | None,
    failed: bool,
    reason: str | None,
    source: str | None,
    inbox: str | None,
    since: str | None,
) -> MessageFilterArgs:
    wanted: MessageFilterArgs = {}
    if state is not None:
        wanted["state"] = state
    if failed:
        wanted["failed"] = True
    if reason is not None:
        wanted["reason"] = reason
    if source is not None:
        wanted["source"] = source
    if inbox is not None:
        wanted["inbox"] = inbox
    if since is not None:
        wanted["since"] = since
    return wanted


def _move(
    context: typer.Context, command: str, ids: list[int] | None, wanted: MessageFilterArgs, *, as_json: bool
) -> None:
    if bool(ids) == bool(wanted):
        raise typer.BadParameter("say which messages: either their ids, or options such as --failed --source S")
    args: dict[str, Json] = {"ids": list(ids)} if ids else {"filter": cast("dict[str, Json]", wanted)}
    args["by"] = typing_user()
    answer = cast("MoveAnswer", ask(invocation_of(context), command, args))
    if as_json:
        print_json(answer)
    else:
        from sync.cli.show_messages import show_moves
        from sync.cli.tables import console

        show_moves(console(), answer)
    if not answer["ok"]:
        raise typer.Exit(1)
