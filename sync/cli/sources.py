"""`inbox-sync source …`."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from sync.cli.ask import ask
from sync.cli.complete import complete_sources
from sync.cli.invocation import AsJson, invocation_of, print_json

if TYPE_CHECKING:
    from sync.answers import SourceListAnswer, SourceMoveAnswer
    from sync.message import Json

sources = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sources: how they are, pausing, renaming.")

Name = Annotated[str, typer.Argument(metavar="SOURCE", autocompletion=complete_sources)]


@sources.command("list")
def list_sources(context: typer.Context, as_json: AsJson = False) -> None:
    """The sources, where each starts, and why it skipped what."""
    answer = cast("SourceListAnswer", ask(invocation_of(context), "source_list"))
    if as_json:
        print_json(answer)
        return
    from sync.cli.show_status import show_sources
    from sync.cli.tables import console

    show_sources(console(), answer)


@sources.command("pause")
def pause(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Poll a source no more, until it is resumed. What it found already is still delivered."""
    _move(context, "source_pause", {"name": name}, as_json=as_json)


@sources.command("resume")
def resume(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Poll a paused source again."""
    _move(context, "source_resume", {"name": name}, as_json=as_json)


@sources.command("rename")
def rename(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name in the ledger.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name in the file.", autocompletion=complete_sources)],
    as_json: AsJson = False,
) -> None:
    """Keep a source's history when its section gets another name, so that nothing is sent twice."""
    _move(context, "source_rename", {"old": old, "new": new}, as_json=as_json)


def _move(context: typer.Context, command: str, args: dict[str, Json], *, as_json: bool) -> None:
    answer = cast("SourceMoveAnswer", ask(invocation_of(context), command, args))
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer["sentence"])
