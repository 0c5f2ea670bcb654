"""`inbox-sync config …`: the two files that help to write the configuration."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sync.words import plain

if TYPE_CHECKING:
    from sync.connector import Connector

configuration = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The configuration file: an example, its schema."
)


@configuration.command("example")
def example() -> None:
    """Every key with its default, its unit and a line of why, ready to be filled in."""
    from sync.config.example import example_text

    typer.echo(example_text(_usable()), nl=False)


@configuration.command("schema")
def schema() -> None:
    """The JSON schema, for editors: first line of the file #:schema ./config.schema.json"""
    from sync.config.schema import schema_text

    typer.echo(schema_text(_usable()), nl=False)


def _usable() -> dict[str, type[Connector]]:
    """The connectors that can be loaded; the others are told on standard error."""
    from sync.registry import Registry

    usable = {}
    for entry in Registry.discover().entries():
        if entry.connector is not None:
            usable[entry.name] = entry.connector
        elif entry.error is not None:
            typer.echo(f"left out: {plain(entry.error.sentence)}", err=True)
    return usable
