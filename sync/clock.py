"""Time as an argument: the wall clock, a clock that counts suspend, and waiting. The only module that reads clocks."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the loops know of time. Tests bring one that they turn by hand."""

    def now(self) -> datetime:
        """The wall clock, UTC and aware."""
        ...

    def elapsed_seconds(self) -> float:
        """Seconds since some moment; goes on while the machine is suspended, so that a lease is not overslept."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits; cancellable."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The wall clock, UTC and aware."""
        return datetime.now(UTC)

    def elapsed_seconds(self) -> float:
        """CLOCK_BOOTTIME (clock_gettime(2)): unlike CLOCK_MONOTONIC it counts the time a machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Waits on the event loop."""
        await asyncio.sleep(seconds)
