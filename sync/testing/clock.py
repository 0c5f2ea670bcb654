"""A clock that stands still until a test turns it."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

START = datetime(2026, 3, 12, 14, 3, tzinfo=UTC)


class FakeClock:
    """Wall clock, elapsed time and sleep, for whatever takes a clock. `advance` wakes the sleepers it passes, in the
    order of their times."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._elapsed_seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now(self) -> datetime:
        """The time it shows, UTC."""
        return self._now

    def elapsed_seconds(self) -> float:
        """Seconds turned since it was made."""
        return self._elapsed_seconds

    @property
    def sleeping(self) -> int:
        """How many wait in `sleep`."""
        return sum(not future.done() for _until, _number, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Waits until the clock has been turned that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_seconds + seconds, next(self._numbers), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Turns the clock; everybody whose time has come runs until they wait again."""
        target = self._elapsed_seconds + seconds
        await _let_others_run()
        while self._sleepers and self._sleepers[0][0] <= target:
            until, _number, future = heapq.heappop(self._sleepers)
            self._turn_to(until)
            if not future.done():
                future.set_result(None)
                await _let_others_run()
        self._turn_to(target)
        await _let_others_run()

    def set(self, now: datetime) -> None:
        """Sets the wall clock, as an operator or NTP does: no time passes."""
        self._now = now

    def _turn_to(self, elapsed_seconds: float) -> None:
        self._now += timedelta(seconds=elapsed_seconds - self._elapsed_seconds)
        self._elapsed_seconds = elapsed_seconds


async def _let_others_run(rounds: int = 10) -> None:
    for _round in range(rounds):
        await asyncio.sleep(0)
