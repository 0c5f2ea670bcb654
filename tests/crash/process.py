"""The real program in a process of its own, forked from a server that has imported it already: a matrix of restarts
would otherwise spend its time importing. What runs in the child is `inbox-sync` with its arguments, nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.acceptance.harness import wait_for

PRELOAD = ("tests.crash.program", "sync.cli.app", "sync.daemon", "connectors.imap", "connectors.maildir")
START_SECONDS = 60.0
STOP_SECONDS = 40.0


def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    return context


def _child(arguments: Sequence[str], point: Sequence[str], environ: dict[str, str], log: str) -> None:
    """Becomes the program: its own output, its own environment."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environ)
    if point:
        from tests.crash.program import run  # noqa: PLC0415

        run([*point, "--", *arguments])
    from sync.cli import main  # noqa: PLC0415

    sys.argv[0] = "inbox-sync"
    main(list(arguments))


class Running:
    """The program at work, as a daemon if it is given no other command. `point`: POINT, mode and proof of
    `tests.crash.program`, or nothing for the program as it is."""

    def __init__(
        self,
        config: Path,
        log: Path,
        environ: dict[str, str],
        *,
        point: Sequence[str] = (),
        command: Sequence[str] = ("run",),
    ) -> None:
        self._log = log
        arguments = ["--config", str(config), *command]
        context = _server()
        process = context.Process(target=_child, args=(arguments, list(point), environ, str(log)))
        process.start()
        self._process: BaseProcess = process

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def ready(self) -> Running:
        wait_for(lambda: "daemon.ready" in self.log() or self.ended, "the daemon is ready", START_SECONDS)
        assert not self.ended, self.log()[-4000:]
        return self

    def live(self, seconds: float) -> None:
        """Lets it live so long; ending by itself is a failure."""
        self._process.join(seconds)
        assert not self.ended, f"it ended by itself ({self._process.exitcode}):\n{self.log()[-6000:]}"

    def wait(self) -> int:
        """The exit code, once it has ended by itself; negative for a signal."""
        self._process.join(STOP_SECONDS)
        assert self._process.exitcode is not None, f"still running:\n{self.log()[-4000:]}"
        return self._process.exitcode

    def stop(self) -> int:
        """SIGTERM, as systemd does it."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def frozen(self) -> bool:
        """Whether SIGSTOP has stopped it: proc(5), the state after the name."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9; harmless where it has ended."""
        self._process.kill()
        self._process.join(STOP_SECONDS)
