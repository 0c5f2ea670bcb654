"""`inbox-sync connector …`: which connectors are installed, and what they can be told."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync.cli.complete import complete_connectors
from sync.cli.invocation import AsJson, print_json

if TYPE_CHECKING:
    from sync.answers import FaultAnswer
    from sync.registry import Entry

connectors = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Connectors: which are installed, their settings."
)


@connectors.command("list")
def list_connectors(as_json: AsJson = False) -> None:
    """The installed connectors; one that cannot be used is listed with the reason."""
    from sync.registry import Registry

    entries = Registry.discover().entries()
    if as_json:
        print_json({"connectors": [_brief(entry) for entry in entries]})
        return
    from sync.cli.tables import Column, console, faults, state, table
    from sync.words import plain

    shown = table(Column("CONNECTOR", 20), Column("STATE", 12), Column("PACKAGE"), Column("WHAT IT READS", fold=True))
    for entry in entries:
        info = entry.connector.info if entry.connector else None
        word = "broken" if info is None else "experimental" if info.experimental else "ok"
        package = f"{entry.package} {entry.version}".strip()
        shown.add_row(plain(entry.name), state(word), plain(package), plain(info.summary) if info else "–")
    out = console()
    out.print(shown)
    faults(out, [(entry.name, _fault(entry)) for entry in entries if entry.error])


@connectors.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="CONNECTOR", autocompletion=complete_connectors)],
    as_json: AsJson = False,
) -> None:
    """A connector's settings: each key, what it takes, its default, and why."""
    from sync.config.schema import source_schema
    from sync.registry import Registry, capabilities_of

    registry = Registry.discover()
    connector = registry.get(name)
    entry = registry.entry(name)
    described = source_schema(name, connector)
    if as_json:
        print_json({**_brief(entry), "settings": described, "capabilities": list(capabilities_of(connector))})
        return
    from sync.cli.show_connector import show_connector
    from sync.cli.tables import console

    show_connector(console(), entry, connector)


@connectors.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called in the configuration.")],
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FOLDER", help="Where to write it. Default: inbox-sync-NAME.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """An installable package for a new connector, whose tests pass at once."""
    from sync import scaffold
    from sync.errors import ConfigError
    from sync.registry import Registry

    if name in Registry.discover().names():
        raise ConfigError(
            f'a connector called "{name}" is installed already',
            code="connector.name_taken",
            next_step="choose another name: it is what stands in the configuration",
            connector=name,
        )
    folder = into or Path(f"inbox-sync-{name.replace('_', '-')}")
    written = scaffold.write(name, folder)
    if as_json:
        print_json({"folder": str(folder), "files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f'\nNext: pip install -e "{folder}[test]", then pytest {folder} (or inbox-sync connector test {name}).')


@connectors.command("test")
def run_suite(
    name: Annotated[str, typer.Argument(metavar="CONNECTOR", autocompletion=complete_connectors)],
    select: Annotated[
        str, typer.Option("-k", metavar="WORDS", help="Only the tests with these words, as pytest's -k.")
    ] = "",
) -> None:
    """The contract suite on an installed connector, against the service that its package plays (needs pytest)."""
    from sync.contract_run import run_contract
    from sync.registry import Registry, worlds_of

    Registry.discover().get(name)
    raise typer.Exit(run_contract(name, worlds_of(name), select))


def _fault(entry: Entry) -> FaultAnswer:
    error = entry.error
    return {
        "code": error.code if error else "",
        "sentence": error.sentence if error else "",
        "next_step": error.next_step if error else "",
    }


def _brief(entry: Entry) -> dict[str, object]:
    info = entry.connector.info if entry.connector else None
    return {
        "name": entry.name,
        "package": entry.package,
        "version": entry.version,
        "state": "broken" if info is None else "ok",
        "summary": info.summary if info else "",
        "experimental": info.experimental if info else False,
        "permissions": list(info.permissions) if info else [],
        "fault": _fault(entry) if entry.error else None,
    }
