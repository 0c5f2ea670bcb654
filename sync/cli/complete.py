"""Completion of names an operator has chosen. Fails silently: a shell must never show an error while typing."""

# ruff: noqa: PLC0415  imports wait until they are needed

from __future__ import annotations

import contextlib

import typer

from sync.cli.invocation import invocation_of


def complete_sources(context: typer.Context, incomplete: str) -> list[str]:
    """Sources of the configuration file."""
    with contextlib.suppress(Exception):
        import tomllib

        from sync.cli.invocation import Invocation

        given = context.find_root().params.get("config")
        path = Invocation(config=given).config_path if given else invocation_of(context).config_path
        found = tomllib.loads(path.read_text("utf-8")).get("sources", {})
        return [name for name in found if name.startswith(incomplete)]
    return []


def complete_connectors(incomplete: str) -> list[str]:
    """Connectors that are installed."""
    with contextlib.suppress(Exception):
        from sync.registry import Registry

        return [name for name in Registry.discover().names() if name.startswith(incomplete)]
    return []
