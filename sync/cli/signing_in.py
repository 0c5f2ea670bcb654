"""`inbox-sync auth`: what the person in front of the terminal is told, and asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import typer

from sync.cli.ask import ask
from sync.cli.invocation import Invocation, print_json

if TYPE_CHECKING:
    from sync.answers import AuthAnswer

PASTE = (
    "Open this address in a browser, on any machine, and sign in as the mailbox's owner:\n\n  {url}\n\n"
    "At the end the browser cannot open a page on 127.0.0.1. That is right: copy the whole address of that page.\n"
)


def sign_in(invocation: Invocation, source: str, *, as_json: bool) -> int:
    """Leads through a sign-in; the command's exit code."""
    answer = cast("AuthAnswer", ask(invocation, "auth", {"source": source}))
    if not answer["signed_in"]:
        typer.echo(PASTE.format(url=answer["url"]), err=True)
        pasted = str(typer.prompt("The address", err=True))
        answer = cast("AuthAnswer", ask(invocation, "auth", {"source": source, "answer": pasted}))
    bad = [finding for finding in answer["findings"] if finding["severity"] == "error"]
    if as_json:
        print_json(answer)
        return 1 if bad else 0
    typer.echo(f"{source}: signed in")
    for finding in answer["findings"]:
        typer.echo(f"  {finding['severity']}: {finding['sentence']}")
        if finding["severity"] == "error" and finding["next_step"]:
            typer.echo(f"    {finding['next_step']}")
    return 1 if bad else 0
