"""`connector show` as an operator sees it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sync.cli.tables import indented, say
from sync.config.example import describe_keys
from sync.connector import Connector
from sync.registry import CAPABILITIES, Entry, capabilities_of
from sync.words import plain


def show_connector(out: Console, entry: Entry, connector: type[Connector]) -> None:
    """What it reads, what it needs, and its keys."""
    info = connector.info
    say(out, f"{entry.name} · {entry.package} {entry.version}".rstrip(), "bold")
    indented(out, info.summary)
    if info.experimental:
        indented(out, "experimental: it has never met a live account", style="yellow")
    for permission in info.permissions:
        indented(out, f"needs: {permission}")
    for capability in capabilities_of(connector):
        indented(out, f"can {CAPABILITIES[capability]}")
    out.print()
    say(out, "keys of [sources.NAME], besides those that every source has (inbox-sync config example)", "dim")
    for key in describe_keys(entry.name, connector.Config):
        line = Text(f"{plain(key.name)} = {plain(key.value)}", style="bold" if key.required else "")
        note = "required" if key.required else "default" if key.has_default else "not set by default"
        out.print(line.append(f"   {note}", style="yellow" if key.required else "dim"))
        if key.about:
            indented(out, key.about, style="dim")
