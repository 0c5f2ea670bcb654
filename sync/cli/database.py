"""`inbox-sync db …`: the database's revision."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sync.cli.invocation import AsJson, invocation_of, print_json
from sync.cli.words import plain

if TYPE_CHECKING:
    from sync.answers import DbAnswer
    from sync.ledger import SchemaState

database = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The database: its revision, bringing it up to date.",
)


@database.command("current")
def current(context: typer.Context, as_json: AsJson = False) -> None:
    """The database's revision and the one this program brings. Changes nothing."""
    from sync.config import load_core
    from sync.ledger import migrate

    state = migrate.current(load_core(invocation_of(context).config_path).ledger)
    _show(_answer(state), as_json=as_json)


@database.command("upgrade")
def upgrade(context: typer.Context, as_json: AsJson = False) -> None:
    """Bring the database to this program's revision; of a SQLite file a copy is kept."""
    from datetime import UTC, datetime

    from sync.config import load_core
    from sync.ledger import migrate

    state = migrate.upgrade(load_core(invocation_of(context).config_path).ledger, datetime.now(UTC))
    _show(_answer(state), as_json=as_json)


def _answer(state: SchemaState) -> DbAnswer:
    return {
        "url": state.url,
        "revision": state.revision,
        "head": state.head,
        "state": state.state,
        "backup": str(state.backup) if state.backup else None,
    }


def _show(answer: DbAnswer, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    words = {
        "current": "is up to date",
        "behind": "is older than this program: inbox-sync db upgrade",
        "empty": "is empty: inbox-sync db upgrade, or just run",
        "foreign": "holds tables of another program: give inbox-sync one of its own",
        "newer": "is newer than this program: install the newer inbox-sync",
    }
    typer.echo(f"{plain(answer['url'])} {words.get(answer['state'], answer['state'])}")
    typer.echo(f"revision {answer['revision'] or 'none'}, this program brings {answer['head']}")
    if answer["backup"]:
        typer.echo(f"a copy of the database as it was: {answer['backup']}")
