"""The command line: words and tables only. What commands do is in `sync.operations`.

Heavy modules (the database, pydantic models, HTTP) are imported by the command that needs them, so that `--help` and
completion answer at once.
"""

# ruff: noqa: PLC0415  `import sync.cli` alone must stay cheap

from __future__ import annotations

import io
import sys


def main(arguments: list[str] | None = None) -> None:
    """The command `inbox-sync`. Ends the process with the exit codes of DESIGN.md §6; errors of ours are told as
    sentences, never as tracebacks."""
    from sync.cli.app import app
    from sync.cli.invocation import Invocation, report
    from sync.errors import InboxSyncError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows ?, and the command goes on
    invocation = Invocation()
    try:
        app(arguments, prog_name="inbox-sync", obj=invocation)
    except InboxSyncError as error:
        sys.exit(report(error, as_json=invocation.as_json))
    except Exception as error:  # noqa: BLE001  a bug: told as one, with the part of its traceback that is ours
        sys.exit(_bug(error))


def _bug(error: Exception) -> int:
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/typer/" not in frame.filename]
    sys.stderr.write("".join(traceback.format_list(frames)))
    sys.stderr.write(f"error: a fault of inbox-sync itself: {type(error).__name__}: {error} [internal.error]\n")
    sys.stderr.write("next step: report it with the lines above\n")
    return 1
