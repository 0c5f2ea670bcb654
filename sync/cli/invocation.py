"""What one call of the program carries from the options before the command to the command itself."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sync.errors import InboxSyncError

_EXIT_CODES = {
    "command.arguments": 2,
    "command.unknown": 2,
    "message.unknown": 1,
    "erase.unknown": 1,
    "source.unknown": 2,
    "source.exists": 2,
    "backfill.running": 1,
    "backfill.none": 1,
    "backfill.forgotten": 2,
    "backfill.not_polled": 1,
    "source.cannot_list": 1,
}
"""Errors about what was typed, which are no faults of the configuration file."""


@dataclass(slots=True)
class Invocation:
    """`config` is what `--config` said; `as_json` is set by the command's own `--json`."""

    config: Path | None = None
    verbose: bool = False
    as_json: bool = False

    @property
    def config_path(self) -> Path:
        """The file to read: `--config`, else `$INBOX_SYNC_CONFIG`, else the default."""
        if self.config is not None:
            return self.config
        from sync.config import default_path

        return default_path(os.environ)


def invocation_of(context: typer.Context) -> Invocation:
    """The invocation a command belongs to."""
    root = context.find_root()
    if not isinstance(root.obj, Invocation):  # while completing, nobody has given one
        root.obj = Invocation()
    return root.obj


def _remember_json(context: typer.Context, value: bool) -> bool:
    invocation_of(context).as_json = value
    return value


AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.", callback=_remember_json)]
"""`--json`, on every command that reads."""


def print_json(document: object) -> None:
    """One document on standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def report(error: InboxSyncError, *, as_json: bool = False) -> int:
    """Tells an error on standard error (and as a document on standard output with `as_json`). Returns the exit code."""
    from sync.words import plain

    problems = [str(problem) for problem in getattr(error, "problems", ())]
    exit_code = _EXIT_CODES.get(error.code, error.exit_code)
    if as_json:
        fault = {"code": error.code, "sentence": error.sentence, "next_step": error.next_step}
        print_json({"error": {**fault, "problems": problems, "exit_code": exit_code}})
    styled = sys.stderr.isatty()
    mark = typer.style("error:", fg="red", bold=True) if styled else "error:"
    typer.echo(f"{mark} {plain(error.sentence)} [{error.code}]", err=True)
    for problem in problems:
        typer.echo(f"  {plain(problem)}", err=True)
    if error.next_step:
        typer.echo(f"next step: {plain(error.next_step)}", err=True)
    return exit_code


def typing_user() -> str:
    """Who types: the user behind sudo, where there is one. Kept with what the command does."""
    import os
    import pwd

    behind = os.environ.get("SUDO_USER", "")
    if behind and os.geteuid() == 0:
        return behind
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
