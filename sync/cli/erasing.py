"""`inbox-sync erase`."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import typer

from sync.cli.ask import ask
from sync.cli.invocation import Invocation, print_json
from sync.errors import ConfigError

if TYPE_CHECKING:
    from sync.answers import EraseAnswer


def erase(invocation: Invocation, address: str, *, yes: bool, as_json: bool) -> None:
    """Asks once more, erases, and tells what remains. Raises what the operation raises."""
    if not yes:
        _ask_once_more()
    answer = cast("EraseAnswer", ask(invocation, "erase", {"value": address}))
    if as_json:
        print_json(answer)
        return
    from sync.cli.tables import Column, console, numbers, say, table

    out = console()
    shown = table(Column("TABLE", 14), *numbers("ROWS"), Column("WHAT REMAINS", fold=True))
    for line in answer["lines"]:
        shown.add_row(line["table"], str(line["rows"]), line["remains"] or "nothing")
    out.print(shown)
    out.print()
    say(out, answer["sentence"])


def _ask_once_more() -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            "erasing cannot be taken back, and nobody can be asked", code="command.arguments", next_step="add --yes"
        )
    typer.confirm("Erase this person from the ledger? It cannot be taken back.", abort=True)
