"""Progress of a long command on a terminal; nothing anywhere else."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sync.answers import OnProgress, Progress

_LONG = frozenset({"check", "sync", "backfill", "audit"})


@contextlib.contextmanager
def shown(command: str) -> Iterator[OnProgress]:
    """A place for the progress of `command`: a bar on standard error while it runs, gone afterwards."""
    if command == "auth":
        yield _spoken()
        return
    if command not in _LONG or not sys.stderr.isatty():
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from sync.words import plain

    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
    with bars:
        task = bars.add_task("starting", total=None)

        def on_progress(progress: Progress) -> None:
            total = progress["total"] or None
            bars.update(task, description=plain(progress["sentence"])[:48], completed=progress["done"], total=total)

        yield on_progress


def _spoken() -> OnProgress:
    """Each new sentence on standard error, whole: a person has to act on it."""
    said: set[str] = set()

    def on_progress(progress: Progress) -> None:
        sentence = progress["sentence"]
        if sentence not in said:
            said.add(sentence)
            sys.stderr.write(f"{_sentence(sentence)}\n")
            sys.stderr.flush()

    return on_progress


def _sentence(sentence: str) -> str:
    """What came from outside, without control characters; a capital first."""
    from sync.words import plain

    cleaned = plain(sentence)
    return cleaned[:1].upper() + cleaned[1:]
