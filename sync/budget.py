"""The request budget of one inbox: an even rate with a small burst, fair, lowered when the service says 429.

A bucket of `burst` tokens fills at `rate_per_minute`, so that within any 60 seconds at most rate + burst tokens are
given out. It starts with at most one token: what was spent in the minute before a restart is not spent again. Nothing
in here knows HTTP or the real clock; the clock is a constructor argument.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from sync.clock import Clock
from sync.message import Json

MINUTE_SECONDS: Final = 60.0
FIRST_PAUSE_SECONDS: Final = 2.0
"""Pause after a 429 without Retry-After; doubled while they go on."""
MAX_PAUSE_SECONDS: Final = 60.0
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
"""A longer Retry-After is taken for a mistake: after this a request finds out."""
LOWER_FACTOR: Final = 0.9
LOWEST_SHARE: Final = 0.05
"""The rate never falls below this share of the configured one, so that it can find out when more is allowed again."""
QUIET_SECONDS: Final = 60.0
"""Time without a 429 after which the rate grows again and pauses start short again."""
REGROW_SHARE_PER_MINUTE: Final = 0.01
SLOT_SECONDS: Final = 1.0
_ENOUGH: Final = 1.0 - 1e-9
"""A token, allowing for the rounding of a clock in floating point."""


class Priority(IntEnum):
    """Who is served first when several wait; first come, first served within one."""

    URGENT = 0
    """Reading back, probes: what settles something that is already under way."""
    LIVE = 1
    BACKFILL = 2


@dataclass(frozen=True, slots=True)
class BudgetView:
    """For `status`: all numbers per minute or in seconds. `share` is the part of the configured rate that was used in
    the last minute (0 to about 1)."""

    configured_per_minute: float
    rate_per_minute: float
    used_last_minute: int
    refused_last_minute: int
    share: float
    waiting: int
    paused_seconds: float


class _Recent:
    """Counts events of the last minute in slots of a second."""

    def __init__(self) -> None:
        self._slots: deque[tuple[int, int]] = deque()
        self._total = 0

    def add(self, now: float, count: int = 1) -> None:
        slot = math.floor(now / SLOT_SECONDS)
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1] = (slot, self._slots[-1][1] + count)
        else:
            self._slots.append((slot, count))
        self._total += count
        self.total(now)

    def total(self, now: float) -> int:
        oldest = math.floor((now - MINUTE_SECONDS) / SLOT_SECONDS)
        while self._slots and self._slots[0][0] <= oldest:
            self._total -= self._slots.popleft()[1]
        return self._total


class Budget:
    """`await take()` before every request; `throttled()` after every 429. For one event loop."""

    def __init__(
        self,
        rate_per_minute: float,
        burst: int = 3,
        *,
        clock: Clock,
    ) -> None:
        if rate_per_minute <= 0 or burst < 1:
            raise ValueError("a budget needs a rate above 0 and a burst of at least 1")
        self._configured = rate_per_minute
        self._burst = burst
        self._clock = clock
        self._rate = rate_per_minute
        self._tokens = 1.0
        self._filled_at = clock.elapsed_seconds()
        self._paused_until = -math.inf
        self._pauses = 0
        self._used, self._refused = _Recent(), _Recent()
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = 0
        self._pump: asyncio.Task[None] | None = None

    async def take(self, priority: Priority = Priority.LIVE) -> None:
        """Waits for a token. A cancelled wait costs none."""
        if not self._queue and self._wait_seconds() <= 0:
            self._spend()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._queue, (priority, self._number, turn))
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._serve(), name="budget")
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._tokens = min(self._burst, self._tokens + 1)
                self._used.add(self._clock.elapsed_seconds(), -1)
            else:
                self._stop_serving_nobody()
            raise

    def _stop_serving_nobody(self) -> None:
        pump = self._pump
        if pump is None or any(not turn.done() for *_, turn in self._queue):
            return
        self._pump = None
        self._queue.clear()
        pump.cancel()

    async def _serve(self) -> None:
        try:
            while self._queue:
                if self._queue[0][2].done():
                    heapq.heappop(self._queue)
                elif (wait := self._wait_seconds()) > 0:
                    await self._clock.sleep(wait)
                else:
                    self._spend()
                    heapq.heappop(self._queue)[2].set_result(None)
        finally:
            if self._pump is asyncio.current_task():
                self._pump = None

    def _spend(self) -> None:
        self._tokens -= 1
        self._used.add(self._clock.elapsed_seconds())

    def _wait_seconds(self) -> float:
        """Until the next token; fills the bucket up to now."""
        now = self._clock.elapsed_seconds()
        if now < self._paused_until:
            self._filled_at = now
            return self._paused_until - now
        self._regrow(now)
        since = max(self._filled_at, self._paused_until)
        self._tokens = min(float(self._burst), self._tokens + max(0.0, now - since) * self._rate / MINUTE_SECONDS)
        self._filled_at = now
        return 0.0 if self._tokens >= _ENOUGH else (1.0 - self._tokens) * MINUTE_SECONDS / self._rate

    def _regrow(self, now: float) -> None:
        grown_from = max(self._paused_until + QUIET_SECONDS, self._filled_at)
        if self._rate < self._configured and now > grown_from:
            step = (now - grown_from) / MINUTE_SECONDS * REGROW_SHARE_PER_MINUTE * self._configured
            self._rate = min(self._configured, self._rate + step)

    def throttled(self, retry_after_seconds: float | None = None) -> None:
        """The service refused a request for its rate. Pauses everybody, and lowers the rate once for all the refusals
        that belong together (those that come while it pauses)."""
        now = self._clock.elapsed_seconds()
        self._refused.add(now)
        belongs_to_the_last = now < self._paused_until
        if not belongs_to_the_last:
            self._pauses = self._pauses + 1 if now - self._paused_until < QUIET_SECONDS else 0
            self._rate = max(self._configured * LOWEST_SHARE, min(self._rate, self._accepted_rate(now)) * LOWER_FACTOR)
            self._tokens = 0.0
        pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._pauses, 10))
        if retry_after_seconds is not None and retry_after_seconds >= 0:
            pause = min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)
        self._paused_until = max(self._paused_until, now + pause)

    def _accepted_rate(self, now: float) -> float:
        """What was let through in the last minute, where that minute was busy enough to tell; else the present rate."""
        accepted = self._used.total(now) - self._refused.total(now)
        return float(accepted) if accepted > self._configured / 2 else self._rate

    def view(self) -> BudgetView:
        """How the budget stands now."""
        now = self._clock.elapsed_seconds()
        self._wait_seconds()
        used = self._used.total(now)
        return BudgetView(
            configured_per_minute=self._configured,
            rate_per_minute=self._rate,
            used_last_minute=used,
            refused_last_minute=self._refused.total(now),
            share=used / self._configured,
            waiting=sum(1 for *_, turn in self._queue if not turn.done()),
            paused_seconds=max(0.0, self._paused_until - now),
        )

    def state(self) -> Json:
        """What a later process should know: kept in the ledger, read by `restore`."""
        view = self.view()
        return {
            "at": self._clock.now().timestamp(),
            "tokens": self._tokens,
            "rate_share": self._rate / self._configured,
            "paused_seconds": view.paused_seconds,
        }

    def restore(self, state: Json) -> None:
        """Takes over what `state` gave in an earlier process. Whatever it says, at most one token is there at once: it
        may be older than the last request before a crash. Anything unreadable is ignored."""
        if not isinstance(state, dict):
            return
        at, tokens, share, paused = (
            _number(state.get(key)) for key in ("at", "tokens", "rate_share", "paused_seconds")
        )
        elapsed = 0.0 if at is None else max(0.0, self._clock.now().timestamp() - at)
        now = self._clock.elapsed_seconds()
        if share is not None:
            self._rate = min(1.0, max(LOWEST_SHARE, share)) * self._configured
            if share < 1.0:
                self._paused_until = now
        if paused is not None and paused > elapsed:
            self._paused_until = now + min(paused, MAX_RETRY_AFTER_SECONDS) - elapsed
        if tokens is not None:
            self._tokens = min(1.0, max(0.0, tokens + elapsed * self._rate / MINUTE_SECONDS))
        self._filled_at = now


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
