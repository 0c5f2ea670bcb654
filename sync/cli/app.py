"""The commands of `inbox-sync` and their options."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sync.cli.ask import ask
from sync.cli.complete import complete_sources
from sync.cli.connectors import connectors
from sync.cli.database import database
from sync.cli.files import configuration
from sync.cli.invocation import AsJson, invocation_of, print_json
from sync.cli.messages import messages
from sync.cli.older import audit, backfill
from sync.cli.sources import sources

if TYPE_CHECKING:
    from sync.answers import CheckAnswer, ReloadAnswer, StatusAnswer, SyncAnswer

EPILOG = "Exit codes: 0 ok, 1 failure, 2 usage, 69 unavailable (database, daemon), 75 temporary, 78 configuration."

app = typer.Typer(
    name="inbox-sync",
    help="Brings mail and helpdesk messages into a Wix site's Inbox: every message once, in order, in the right"
    " conversation, or a line that says why not.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(messages, name="message")
app.add_typer(sources, name="source")
app.add_typer(connectors, name="connector")
app.add_typer(database, name="db")
app.add_typer(configuration, name="config")


def _version(value: bool) -> None:
    if value:
        from sync import __version__

        typer.echo(f"inbox-sync {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="The configuration file. Default: $INBOX_SYNC_CONFIG, else /etc/inbox-sync/config.toml.",
            show_default=False,
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is going on, on standard error.")] = False,
    _version_wanted: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Keeps what was said before the command."""
    invocation = invocation_of(context)
    invocation.config, invocation.verbose = config, verbose


@app.command(short_help="Run the daemon.")
def run(context: typer.Context) -> None:
    """Run the daemon: poll the sources, deliver into the inboxes, until SIGTERM or Ctrl-C."""
    from sync.heap import keep_one_arena, lean_imports

    keep_one_arena()
    with lean_imports():
        from sync.daemon import run as run_daemon

    raise typer.Exit(run_daemon(invocation_of(context).config_path))


@app.command()
def sync(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Option("--source", "-s", metavar="S", help="Only this source.", autocompletion=complete_sources),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look only: send nothing, record nothing, show what would happen.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Poll once and deliver what was found; then end."""
    answer = cast("SyncAnswer", ask(invocation_of(context), "sync", {"source": source, "dry_run": dry_run}))
    if as_json:
        print_json(answer)
    else:
        from sync.cli.show_sync import show_sync
        from sync.cli.tables import console

        show_sync(console(), answer)
    raise typer.Exit(answer.get("exit_code", 0 if answer["ok"] else 1))


app.command(short_help="Bring in what came before a source's start.")(backfill)
app.command(short_help="Compare a source with the ledger, both ways.")(audit)


@app.command(short_help="Look at everything the file names; say what to mend.")
def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Look at the file, the database, every inbox and every source; say what to mend, and how."""
    answer = cast("CheckAnswer", ask(invocation_of(context), "check"))
    if as_json:
        print_json(answer)
    else:
        from sync.cli.show_status import show_check
        from sync.cli.tables import console

        show_check(console(), answer)
    raise typer.Exit(answer["exit_code"])


@app.command(short_help="Sign in for a source that uses OAuth.")
def auth(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", autocompletion=complete_sources)],
    as_json: AsJson = False,
) -> None:
    """Sign in for a source that uses OAuth (Gmail, Microsoft 365): once, as the mailbox's owner."""
    from sync.cli.signing_in import sign_in

    raise typer.Exit(sign_in(invocation_of(context), source, as_json=as_json))


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """How everything is, on one screen. WAITING will be sent by itself; FAILED waits for you."""
    answer = cast("StatusAnswer", ask(invocation_of(context), "status"))
    if as_json:
        print_json(answer)
    else:
        from sync.cli.show_status import show_status
        from sync.cli.tables import console

        show_status(console(), answer)


@app.command()
def reload(context: typer.Context, as_json: AsJson = False) -> None:
    """Make the running daemon read its file again. A faulty file changes nothing."""
    answer = cast("ReloadAnswer", ask(invocation_of(context), "reload"))
    if as_json:
        print_json(answer)
        return
    named = [f"{word}: {', '.join(names)}" for word in ("added", "changed", "removed") if (names := answer[word])]
    typer.echo("\n".join(named) or "nothing has changed")
    if answer["restart_needed"]:
        typer.echo(f"restart the daemon for: {', '.join(answer['restart_needed'])}", err=True)


@app.command(short_help="Erase what the ledger holds of a person.")
def erase(
    context: typer.Context,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="An address, a phone number, or a service's own id.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase what the ledger holds of a person, once nothing of theirs is under way. What was sent stays in the Inbox."""
    from sync.cli.erasing import erase as erase_person

    erase_person(invocation_of(context), address, yes=yes, as_json=as_json)


@app.command(short_help="Bring sample mail into a sandbox Inbox before your eyes.")
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the page up until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="The page's port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    as_json: AsJson = False,
) -> None:
    """Bring a folder of real mail into a sandbox Inbox before your eyes; needs no account and no server."""
    from sync.demo import DemoOptions
    from sync.demo import run as run_demo

    raise typer.Exit(run_demo(DemoOptions(keep=keep, json=as_json, port=port)))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 8025,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that keeps the data. Default: memory.")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(metavar="ID", help="A site's id; may be repeated.")] = None,
    api_key: Annotated[str | None, typer.Option(metavar="KEY", help="The API key to accept.")] = None,
    switch: Annotated[
        list[str] | None, typer.Option(metavar="NAME=JSON", help="A switch of the emulator; may be repeated.")
    ] = None,
) -> None:
    """Run an Inbox emulator with a page to look at, for trials. One JSON line says where it listens."""
    from sync.sandbox.__main__ import main as run_sandbox

    arguments = ["--port", str(port)]
    arguments += ["--data", str(data)] if data is not None else []
    arguments += ["--api-key", api_key] if api_key is not None else []
    for name, values in (("--site", site), ("--switch", switch)):
        for value in values or []:
            arguments += [name, value]
    raise typer.Exit(run_sandbox(arguments))
