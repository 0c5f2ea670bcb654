"""What a demo looks like: a progress bar on a terminal, plain lines elsewhere, then tables or one JSON document.

Progress goes to standard error, the result to standard output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from sync.demo.play import DemoResult
    from sync.demo.verdict import ConversationVerdict, Outcomes

PLAIN_STEP_SHARE = 0.25
"""Off a terminal, a line is written each time this share of the deliveries has arrived."""

_WORDS = {
    "before_horizon": "older than the configured start",
    "duplicate": "the same mail in two mailboxes",
    "own_address": "From claims to be the shop itself",
    "site_notification": "the site's own notice; what it tells is in the Inbox already",
    "no_identity": "nobody to talk to: no sender",
    "unreadable": "no header and no sender; the raw bytes are kept",
}


class Show:
    """Tells the story of one demo."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._out = Console(highlight=False, soft_wrap=not Console().is_terminal)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._told = 0

    def page(self, url: str, *, stays: bool) -> None:
        """Where the Inbox can be looked at."""
        until = "until Ctrl-C" if stays else "while the demo runs; with --keep it stays"
        self._say(f"The Inbox has a page at {url}/ ({until}).")

    def begins(self, expected: Outcomes) -> None:
        """The first words."""
        self._say(
            f"{expected.mails} mails in two mailboxes must become {expected.deliveries} messages in it, "
            "each once and in order."
        )

    @contextmanager
    def progress(self, total: int) -> Iterator[None]:
        """The bar, while deliveries arrive."""
        self._total = total
        if not self._err.is_terminal:
            yield
            return
        columns = (TextColumn("delivering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._err) as bar:
            self._bar, self._task = bar, bar.add_task("delivering", total=total)
            yield
        self._bar = self._task = None

    def arrived(self, count: int) -> None:
        """How many messages the Inbox holds now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=count)
        elif count - self._told >= self._total * PLAIN_STEP_SHARE or (count == self._total and count != self._told):
            self._told = count
            self._say(f"{count} of {self._total} delivered")

    def killed(self, arrived: int) -> None:
        """The daemon has just died."""
        self._say(f"kill -9 after {arrived} messages; the daemon is started again.")

    def result(self, result: DemoResult) -> None:
        """The whole result."""
        if self._json:
            self._out.print_json(json.dumps(_as_json(result)), indent=2)
            return
        self._out.print(_outcomes(result))
        self._out.print(_conversations(result.conversations))
        for problem in result.problems:
            self._out.print(f"[bold red]wrong[/]  {problem}")
        if not result.problems:
            self._out.print(
                f"[bold green]Every delivery arrived exactly once and in order[/] in {result.seconds} s, "
                f"with a kill -9 after {result.killed_after}."
            )

    def staying(self, page: str) -> None:
        """The page stays up."""
        self._say(f"The Inbox's page stays at {page}/ until Ctrl-C.")

    def kept(self, folder: Path) -> None:
        """Something went wrong: where to look."""
        self._say(f"Mail, configuration, ledger and logs of this demo are kept in {folder}; start with daemon.log.")

    def _say(self, sentence: str) -> None:
        self._err.print(sentence)


def _outcomes(result: DemoResult) -> Table:
    counted = result.outcomes
    table = Table(title="What became of the mail", title_justify="left")
    table.add_column("mails")
    table.add_column("count", justify="right")
    table.add_column("why")
    table.add_row("found", str(counted.mails))
    delivered = counted.mails - sum(counted.skipped.values()) - sum(counted.dead.values())
    table.add_row("sent", str(delivered), f"as {counted.deliveries} deliveries: one mail can reach several customers")
    for word, reasons in (("skipped", counted.skipped), ("dead", counted.dead)):
        for reason, count in sorted(reasons.items()):
            table.add_row(word, str(count), f"{reason}: {_WORDS[reason]}" if reason in _WORDS else reason)
    return table


def _conversations(conversations: tuple[ConversationVerdict, ...]) -> Table:
    table = Table(title="Conversations in the Inbox", title_justify="left")
    table.add_column("customer")
    table.add_column("messages", justify="right")
    table.add_column("")
    for one in conversations:
        mark = "[green]each once, in order[/]" if one.ok else f"[bold red]wrong[/], expected {one.expected}"
        table.add_row(one.customer, str(one.shown), mark)
    return table


def _as_json(result: DemoResult) -> dict[str, object]:
    return {
        "ok": not result.problems,
        "seconds": result.seconds,
        "killed_after": result.killed_after,
        "page": result.page,
        "outcomes": asdict(result.outcomes),
        "expected": asdict(result.expected),
        "conversations": [asdict(one) | {"ok": one.ok} for one in result.conversations],
        "problems": list(result.problems),
    }
