"""The two processes of a demo: the sandbox and the daemon."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sync.control import request
from sync.demo.mailboxes import DemoFolder
from sync.errors import InboxSyncError, LedgerError
from sync.message import Json

SANDBOX_START_SECONDS = 30.0
STOP_SECONDS = 30.0
"""How long a process may take to end after SIGTERM; a daemon's grace is shorter."""
LOG_TAIL_BYTES = 2000


class DemoError(InboxSyncError):
    """The demo could not be played to its end."""

    code = "demo.failed"


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes after this: a process that is half started belongs to nobody who could end it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = threading.Event()
    before = signal.signal(signal.SIGINT, lambda _number, _frame: pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed.is_set():
        raise KeyboardInterrupt


class Process:
    """A child process in a process group of its own (Ctrl-C on the terminal is for the demo), logging to a file."""

    def __init__(self, name: str, arguments: list[str], log: Path, cwd: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; all it says goes to the log."""
        self._start(None)

    def start_talking(self) -> IO[bytes]:
        """Starts it; gives its standard output."""
        self._start(subprocess.PIPE)
        if self._popen is None or self._popen.stdout is None:
            raise DemoError(f"{self.name} has no output")
        return self._popen.stdout

    def _start(self, stdout: int | None) -> None:
        with self._log.open("ab") as log, _uninterrupted():
            self._popen = subprocess.Popen(  # noqa: S603  our own modules, no shell
                [sys.executable, "-m", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                cwd=self._cwd,
                process_group=0,
            )

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL if that does not help; its exit code (negative: the signal), None if it never ran."""
        return self._end(signal.SIGTERM)

    def wait(self) -> None:
        """Until it ends by itself."""
        if self._popen is not None:
            self._popen.wait()

    def _end(self, number: signal.Signals) -> int | None:
        if self._popen is None:
            return None
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        try:
            code = self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            code = self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        return code

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()


@dataclass(frozen=True, slots=True)
class SandboxAddress:
    """What the sandbox says when it listens."""

    url: str
    site_id: str
    api_key: str


def start_sandbox(folder: DemoFolder, port: int) -> tuple[Process, SandboxAddress]:
    """A sandbox on this machine's loopback address (port 0: a free one). Raises DemoError when it does not start."""
    arguments = ["sync.sandbox", "--port", str(port), "--data", str(folder.sandbox_data)]
    process = Process("the sandbox", arguments, folder.sandbox_log, folder.path)
    try:
        output = process.start_talking()
        ready = json.loads(_first_line(output, SANDBOX_START_SECONDS))
        return process, SandboxAddress(str(ready["url"]), str(ready["site_id"]), str(ready["api_key"]))
    except (ValueError, KeyError, TimeoutError) as error:
        process.stop()
        raise DemoError(
            f"the sandbox did not start: {process.last_words() or error}", next_step=f"see {folder.sandbox_log}"
        ) from error
    except BaseException:
        process.stop()
        raise


def daemon_process(folder: DemoFolder) -> Process:
    """The daemon, exactly as `inbox-sync run` starts it; not started yet."""
    arguments = ["sync.cli", "--config", str(folder.config), "run"]
    return Process("the daemon", arguments, folder.daemon_log, folder.path)


def ask_daemon(folder: DemoFolder, command: str) -> Json:
    """What a reading command answers, asked over the daemon's control socket; None while no daemon answers there."""
    try:
        for frame in request(folder.control_socket, command, {}):
            if "result" in frame:
                return frame["result"]
    except LedgerError:
        return None
    return None


def _first_line(output: IO[bytes], timeout_seconds: float) -> bytes:
    deadline = time.monotonic() + timeout_seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([output], [], [], left)[0]:
            return output.readline()
    raise TimeoutError("it said nothing")
