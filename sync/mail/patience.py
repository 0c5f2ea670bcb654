"""A bound on the time that reading one mail may take.

The readers are written to be linear, and tests hold them to it; this is for the mail that proves us wrong. A mail that
keeps a reader busy for ever would keep its source busy for ever, in every pass. So the work is interrupted when its
thread has *computed* for too long: waiting, a busy machine and a suspended process do not count, so that no mail is given
up because of them. What holds the interpreter itself (one regular expression on one text) cannot be interrupted.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

CHECK_SECONDS: Final = 0.1
"""How often the work at hand is looked at, while there is any."""

T = TypeVar("T")


class TooLong(BaseException):
    """Raised into the work. No `except Exception` in the middle of it may take it for a fault of its own."""


class _Work:
    """What one thread does, and how long it may compute."""

    __slots__ = ("interrupted", "seconds", "thread", "until")

    def __init__(self, seconds: float) -> None:
        self.thread = threading.get_ident()
        self.seconds = seconds
        self.until: float | None = None
        self.interrupted = False

    def is_over(self) -> bool:
        """Whether its thread has computed for too long since this was first asked. (Most work is done before that: to ask
        at its beginning would cost more than the rest of this module.)"""
        now = time.clock_gettime(time.pthread_getcpuclockid(self.thread))
        if self.until is None:
            self.until = now + self.seconds
        return now > self.until


_lock = threading.Lock()
_at_work: set[_Work] = set()
_is_watched = False


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns. Raises TooLong when it has computed for `seconds` (measured for the thread; looked at every
    tenth of a second). Any thread may call it; calls within one another end with the first that is over."""
    mine = _Work(seconds)
    try:
        try:
            _begin(mine)
            return work()
        finally:
            _end(mine)
    except TooLong:
        _end(mine)  # it may have been interrupted in the middle of ending
        raise


def _begin(work: _Work) -> None:
    global _is_watched  # noqa: PLW0603  one watcher for the process, as long as there is work
    with _lock:
        _at_work.add(work)
        if _is_watched:
            return
        _is_watched = True
    threading.Thread(target=_watch, name="patience", daemon=True).start()


def _end(work: _Work) -> None:
    with _lock:
        _at_work.discard(work)
        if work.interrupted:  # and perhaps too late to be noticed: it must not be raised into what comes next
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(work.thread), None)


def _watch() -> None:
    global _is_watched  # noqa: PLW0603
    while True:
        time.sleep(CHECK_SECONDS)
        with _lock:
            if not _at_work:
                _is_watched = False
                return
            for work in _at_work:
                if not work.interrupted and work.is_over():
                    work.interrupted = True
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(work.thread), ctypes.py_object(TooLong))
