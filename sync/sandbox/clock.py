"""The sandbox's time: a clock that can be replaced, and the message ids made from it."""

from __future__ import annotations

import time
from typing import Protocol

from sync.sandbox.values import MICROSECONDS


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Seconds since the epoch."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class ManualClock:
    """A clock that stands still until it is moved: for tests of expiry, lag and limits."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the time forward."""
        self._now += seconds


class MicrosecondSequence:
    """Strictly increasing epoch microseconds: the Inbox's message ids and sequence numbers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def now(self) -> int:
        """The present in microseconds, without using up a number."""
        return int(self._clock.now() * MICROSECONDS)

    def next(self, at: int | None = None) -> int:
        """A number that was never given before: the time (or `at`), or one more than the last."""
        self._last = max(self.now() if at is None else at, self._last + 1)
        return self._last

    def seen(self, number: int) -> None:
        """Never give a number up to this one: called for what a data file holds."""
        self._last = max(self._last, number)
