"""`inbox-sync db …`: the database's revision, copies of it, and moving it."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync.cli.invocation import AsJson, invocation_of, print_json
from sync.words import plain

if TYPE_CHECKING:
    from sync.answers import DbAnswer, DbCopyAnswer
    from sync.ledger import SchemaState
    from sync.ledger.copying import Copied

database = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The database: its revision, bringing it up to date, copying and moving it.",
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


@database.command("backup")
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to make; it must not exist yet.", dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Copy the ledger into a SQLite file of its own, while daemons go on working."""
    from datetime import UTC, datetime

    from sync.config import load_core
    from sync.ledger import copying

    settings = load_core(invocation_of(context).config_path).ledger
    copied = copying.backup(settings, file, datetime.now(UTC), _counting(as_json=as_json))
    _show_copied(copied, f"the copy is {copied.target}", as_json=as_json)


@database.command("move")
def move(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(help="The empty database to move to: postgresql://user@host/name, or sqlite:////path.")
    ],
    as_json: AsJson = False,
) -> None:
    """Move the ledger into another, empty database. Stop every daemon first; the old one is not used again."""
    from datetime import UTC, datetime

    from sync.config import load_core
    from sync.ledger import copying

    settings = load_core(invocation_of(context).config_path).ledger
    target = settings.model_copy(update={"url": url})
    copied = copying.move(settings, target, datetime.now(UTC), _counting(as_json=as_json))
    _show_copied(copied, f'now write [ledger] url = "{copied.target}" (with its password)', as_json=as_json)


@database.command("vacuum")
def vacuum(context: typer.Context, as_json: AsJson = False) -> None:
    """Give the room of forgotten rows in a SQLite file back to the disk. Stop the daemon first."""
    from datetime import UTC, datetime

    from sync.config import load_core
    from sync.ledger import migrate

    before, after = migrate.vacuum(load_core(invocation_of(context).config_path).ledger, datetime.now(UTC))
    if as_json:
        print_json({"bytes_before": before, "bytes_after": after})
    else:
        typer.echo(f"{before:,} bytes before, {after:,} now")


def _counting(*, as_json: bool) -> Callable[[str, int], None]:
    """Tells each table that has arrived, since a large ledger takes minutes."""
    return lambda name, rows: None if as_json else typer.echo(f"{rows:>12,} {name}")


def _show_copied(copied: Copied, sentence: str, *, as_json: bool) -> None:
    answer: DbCopyAnswer = {"source": copied.source, "target": copied.target, "rows": dict(copied.rows)}
    if as_json:
        print_json(answer)
        return
    if copied.rows:
        typer.echo(f"{sum(copied.rows.values()):>12,} rows in all, counted again where they arrived")
    typer.echo(plain(sentence))


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
