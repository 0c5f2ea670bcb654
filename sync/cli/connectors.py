"""`inbox-sync connector …`: which connectors are installed, and what they can be told."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

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
    from sync.registry import Registry

    registry = Registry.discover()
    connector = registry.get(name)
    entry = registry.entry(name)
    described = source_schema(name, connector)
    if as_json:
        print_json({**_brief(entry), "settings": described})
        return
    from sync.cli.show_connector import show_connector
    from sync.cli.tables import console

    show_connector(console(), entry, connector)


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
