"""Understanding the mails of a backlog on a second core.

Python computes on one core at a time, and reading a mail is most of what a mail costs. So a large batch is read by a
process beside this one, which is started when it is needed and ends when nothing came for a while: a daemon whose sources
are quiet never has it. It is given octets, and nothing else: neither files nor secrets. What it cannot do is done here.
A mail that keeps it busy for ever, which could not be interrupted within this process (`sync.mail.patience`), is given
up, and the process with it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from sync.mail import MailFiles, Understood, given_up, understand_with_files
from sync.message import Message, Unreadable

BACKLOG_MAILS: Final = 50
"""Fewer are read here: starting the process takes as long as reading some hundred."""
QUIET_SECONDS: Final = 30.0
"""After which the process ends, when nothing comes."""
STUCK_SECONDS: Final = 60.0
"""Computing on one mail: three times as much as reading gives a mail by itself."""
STARTS_IN_VAIN: Final = 3
"""After so many in a row the process is not started any more: there is something that keeps it from working."""
LOOK_SECONDS: Final = 1.0
"""How often a mail that takes long is looked at."""
READ_BYTES: Final = 256 * 1024
_LENGTH_BYTES: Final = 8
_KEPT_VARIABLES: Final = ("PYTHON", "LC_", "LANG", "PATH", "MALLOC_", "TZ")
"""Beginnings of the names of environment variables that the process is given."""

_Places: TypeAlias = dict[str, tuple[int, int, str]]
_Answer: TypeAlias = tuple[Message | Unreadable, _Places | None]


@dataclass(frozen=True, slots=True)
class Mail:
    """What `sync.mail.understand_with_files` takes."""

    raw: bytes
    limit_bytes: int
    full_size: int | None = None

    def understand(self) -> Understood:
        """Reads it."""
        return understand_with_files(self.raw, limit_bytes=self.limit_bytes, full_size=self.full_size)


def understand_each(mails: Sequence[Mail]) -> Iterator[Understood]:
    """What `understand_with_files` says of each, in order. Blocks, and never raises. One batch at a time has the second
    process; others that come meanwhile are read by their own threads."""
    helps = len(mails) >= BACKLOG_MAILS and _beside.in_vain < STARTS_IN_VAIN and _has_second_core()
    if not helps or not _beside.taken.acquire(blocking=False):
        yield from (mail.understand() for mail in mails)
        return
    try:
        yield from _beside.understand_each(mails)
    finally:
        _beside.taken.release()


def _has_second_core() -> bool:
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) > 1


class _StuckError(Exception):
    """A mail took too long."""


class _Beside:
    """The process while there is one, and who has it."""

    def __init__(self) -> None:
        self.taken = threading.Lock()
        self.reader: _Reader | None = None
        self.in_vain = 0
        """Processes in a row that did not come to work."""

    def understand_each(self, mails: Sequence[Mail]) -> Iterator[Understood]:
        done = 0
        try:
            while done < len(mails):
                if self.in_vain >= STARTS_IN_VAIN:
                    mail, done = mails[done], done + 1
                    yield mail.understand()
                    continue
                try:
                    with closing(self._reader_at_hand().read(mails[done:])) as answers:
                        for answer in answers:
                            mail, done = mails[done], done + 1
                            yield _understood(mail, answer)
                    self.in_vain = 0
                except _StuckError:
                    self.end()
                    mail, done = mails[done], done + 1
                    yield Understood(given_up(mail.raw, STUCK_SECONDS))
                except (OSError, EOFError):  # not started, or killed: perhaps to stop all of us, so no mail's fault
                    started = self.reader is not None and self.reader.has_started
                    self.in_vain = 0 if started else self.in_vain + 1
                    self.end()
                    mail, done = mails[done], done + 1
                    yield mail.understand()
        finally:
            if done < len(mails):
                self.end()  # answers that nobody waits for must not be taken for others

    def _reader_at_hand(self) -> _Reader:
        if self.reader is not None and self.reader.has_ended():
            self.end()
        if self.reader is None:
            self.reader = _Reader()
        return self.reader

    def end(self) -> None:
        """Ends the process."""
        if self.reader is not None:
            self.reader.end()
            self.reader = None


_beside = _Beside()
atexit.register(_beside.end)


def _understood(mail: Mail, answer: _Answer) -> Understood:
    content, places = answer
    return Understood(content, None if places is None else MailFiles(mail.raw, places))


class _Reader:
    """The process as this one sees it. Raises OSError when it cannot be started."""

    def __init__(self) -> None:
        environ = {name: value for name, value in os.environ.items() if name.startswith(_KEPT_VARIABLES)}
        self._process = subprocess.Popen(  # noqa: S603  this program itself
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what fails there is done here, and told as ever
            bufsize=0,
            env=environ,
        )
        self.has_started = False
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise OSError("a process without pipes")
        self._to, self._from = stdin.fileno(), _Messages(stdout.fileno())
        self._waiter = threading.Thread(target=self._process.wait, name="backlog-end", daemon=True)
        self._waiter.start()  # or it stays a zombie when it ends by itself

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def read(self, mails: Sequence[Mail]) -> Generator[_Answer]:
        """The answers, in order. Raises _StuckError, and OSError or EOFError when the process is gone."""
        feeder = threading.Thread(target=self._feed, args=(mails,), name="backlog", daemon=True)
        feeder.start()
        try:
            while not self.has_started:  # its imports are no mail's computing
                self.has_started = self._from.next(LOOK_SECONDS) is not None
            for _ in mails:
                yield self._answer()
        except BaseException:
            self._process.kill()  # so that nobody writes to it for ever
            raise
        finally:
            feeder.join()

    def _feed(self, mails: Sequence[Mail]) -> None:
        try:
            for mail in mails:
                _write(self._to, mail)
        except OSError:
            return  # who waits for the answers will know

    def _answer(self) -> _Answer:
        until: float | None = None
        while (answer := self._from.next(LOOK_SECONDS)) is None:
            computed = self._computed_seconds()
            if until is None:
                until = computed + STUCK_SECONDS
            if computed > until:
                raise _StuckError
        return cast("_Answer", answer)  # it is what `main` writes

    def _computed_seconds(self) -> float:
        """The CPU time of the process, where the system tells it: a busy machine makes nothing stuck."""
        if sys.platform != "linux":
            return time.monotonic()
        return time.clock_gettime((~self._process.pid << 3) | 2)  # clock_getcpuclockid(3)

    def end(self) -> None:
        """Kills it, waits for that, and closes its pipes."""
        self._process.kill()
        self._waiter.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class _Messages:
    """Objects that come through a pipe, from a process of our own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._received = bytearray()

    def next(self, timeout_seconds: float) -> object | None:
        """The next one; None when it does not come in time. Raises EOFError at the end."""
        while not self._has_whole():
            if not self._poll.poll(timeout_seconds * 1000):
                return None
            some = os.read(self._fd, READ_BYTES)
            if not some:
                raise EOFError
            self._received += some
        end = _LENGTH_BYTES + int.from_bytes(self._received[:_LENGTH_BYTES])
        found: object = pickle.loads(memoryview(self._received)[_LENGTH_BYTES:end])  # noqa: S301  our own
        del self._received[:end]
        return found

    def _has_whole(self) -> bool:
        received = self._received
        return len(received) >= _LENGTH_BYTES and len(received) >= _LENGTH_BYTES + int.from_bytes(
            received[:_LENGTH_BYTES]
        )


def _write(fd: int, item: object) -> None:
    data = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
    rest = memoryview(len(data).to_bytes(_LENGTH_BYTES) + data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def serve(mails_fd: int, answers_fd: int) -> None:
    """Answers mails until no more can come, or none came for a while."""
    mails = _Messages(mails_fd)
    try:
        _write(answers_fd, "started")
        while isinstance(mail := mails.next(QUIET_SECONDS), Mail):
            understood = mail.understand()
            _write(answers_fd, (understood.content, None if understood.files is None else understood.files.places))
    except (EOFError, BrokenPipeError):
        return


def main() -> None:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which closes our input when it ends
    serve(sys.stdin.fileno(), sys.stdout.fileno())
