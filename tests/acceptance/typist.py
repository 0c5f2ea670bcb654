"""Types commands quickly: a process that has imported the program already, and forks for each command.

Importing everything takes longer than most commands do. Each command is still a process of its own, with its own
arguments, environment and exit code. `python tests/acceptance/typist.py` speaks JSON lines with `Typist`.
"""

# ruff: noqa: PLC0415  only the forking side imports the program

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

ALARM_SECONDS = 90
"""A command that does not end is ended."""
ROOT = Path(__file__).parent.parent.parent


class Request(TypedDict):
    """One command: where its output goes, and what its environment is."""

    args: list[str]
    env: dict[str, str]
    out: str
    err: str


class Typist:
    """The asking side. One command at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        atexit.register(self.close)

    def type(self, args: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of `inbox-sync` with these arguments."""
        with self._lock, tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            request: Request = {"args": list(args), "env": dict(env), "out": str(out), "err": str(err)}
            if self._process.stdin is None or self._process.stdout is None:
                raise RuntimeError("started with pipes")
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            return code, out.read_text(errors="replace"), err.read_text(errors="replace")

    def close(self) -> None:
        """Ends the process."""
        with self._process as process:
            if process.stdin is not None:
                process.stdin.close()


@functools.cache
def typist() -> Typist:
    """The one of this test run."""
    return Typist()


def _serve() -> None:
    import sync.cli.app
    import sync.cli.show_messages
    import sync.cli.show_status
    import sync.cli.show_sync
    import sync.operate  # noqa: F401

    for line in sys.stdin:
        request: Request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(request: Request) -> None:
    code = 70
    signal.alarm(ALARM_SECONDS)
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in ((1, request["out"]), (2, request["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  the command's own
        sys.stdout, sys.stderr = (open(number, "w", closefd=False, encoding="utf-8") for number in (1, 2))  # noqa: SIM115
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["inbox-sync", *request["args"]]
        code = _main(request["args"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main(args: list[str]) -> int:
    from sync.cli import main

    try:
        main(args)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    _serve()
