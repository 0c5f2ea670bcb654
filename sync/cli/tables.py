"""The frame of every table: columns, widths, and faults below it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sync.answers import FaultAnswer
from sync.words import plain

PIPED_WIDTH = 120
"""Columns when standard output is no terminal and COLUMNS says nothing."""
WIDE = 110
"""From here on there is room for what a narrow terminal must do without."""

_STYLES = {
    "ok": "green",
    "sent": "green",
    "running": "green",
    "current": "green",
    "pending": "cyan",
    "loaded": "cyan",
    "found": "cyan",
    "sending": "cyan",
    "skipped": "dim",
    "paused": "yellow",
    "unknown": "yellow",
    "held": "yellow",
    "note": "cyan",
    "warning": "yellow",
    "failing": "yellow",
    "draining": "yellow",
    "gone": "yellow",
    "parked": "red",
    "broken": "red",
    "dead": "red",
    "error": "red",
    "removed": "dim",
}


def console(stream: TextIO | None = None) -> Console:
    """Where tables go: standard output, with no markup, so that foreign text stays text."""
    out = sys.stdout if stream is None else stream
    width = None if out.isatty() or os.environ.get("COLUMNS") else PIPED_WIDTH
    return Console(file=out, width=width, highlight=False, markup=False, emoji=False)


def state(word: str) -> Text:
    """A state in its colour."""
    return Text(plain(word), style=_STYLES.get(word.split(" ", maxsplit=1)[0], ""))


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, most characters (None: as many as it takes), and how what is too long is handled."""

    name: str
    most: int | None = None
    right: bool = False
    fold: bool = False


def numbers(*names: str) -> list[Column]:
    """Columns of counts."""
    return [Column(name, right=True) for name in names]


def table(*columns: Column) -> Table:
    """A table without lines."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(
            column.name,
            justify="right" if column.right else "left",
            max_width=column.most,
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
        )
    return made


def say(out: Console, text: str | Text, style: str = "") -> None:
    """One line."""
    out.print(Text(plain(text), style=style) if isinstance(text, str) else text, soft_wrap=False)


def faults(out: Console, found: Sequence[tuple[str, FaultAnswer]]) -> None:
    """What is wrong, and what to do about it: one entry each, below a table. Equal faults are told once."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for about, fault in found:
        grouped.setdefault((fault["code"], fault["sentence"], fault["next_step"]), []).append(about)
    for (code, sentence, next_step), abouts in grouped.items():
        out.print()
        heading = Text(plain(", ".join(abouts)), style="bold")
        heading.append(f"  {plain(code)}", style="red")
        out.print(heading)
        indented(out, sentence)
        if next_step:
            indented(out, f"→ {next_step}", style="cyan")


def indented(out: Console, text: str, style: str = "", by: int = 2) -> None:
    """A paragraph, wrapped, a little to the right."""
    out.print(Padding(Text(plain(text), style=style), (0, 0, 0, by), expand=False))
