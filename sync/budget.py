"""The request budget of one inbox: an even rate with a small burst, fair, lowered when the service says 429.

A bucket of `burst` tokens fills at `rate_per_minute`, so that within any 60 seconds at most rate + burst tokens are
given out. It starts with at most one token: what was spent in the minute before a restart is not spent again. A service
that allows less than the setting is found out by its refusals: the rate falls to just below what got through, is held
there, and then grows, slowly at first, until it is refused again. Nothing in here knows HTTP or the real clock; the
clock is a constructor argument.
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
"""Pause after a 429 without Retry-After; doubled while nothing gets through in between."""
MAX_PAUSE_SECONDS: Final = 60.0
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
"""A longer Retry-After is taken for a mistake: after this a request finds out."""
BELOW_ACCEPTED_SHARE: Final = 0.01
"""Where a busy minute tells how much the service takes, the rate falls by this part of it,"""
BELOW_ACCEPTED_PER_MINUTE: Final = 1.0
"""and by one request a minute at least: requests on their way come a little closer together than they were sent."""
TELLING_SHARE: Final = 0.25
"""A minute in which this share of the rate got through tells how much the service takes."""
LOWER_FACTOR: Final = 0.9
"""Where it does not tell, or where the last lowering was not enough, to this part of what it was."""
LOWEST_SHARE: Final = 0.05
"""The rate never falls below this share of the configured one, so that it can find out when more is allowed again."""
HOLD_SECONDS: Final = 60.0
"""Time without a 429 after which a lowered rate grows again. Doubled each time growing led to a 429, up to:"""
MAX_HOLD_SECONDS: Final = 600.0
REGROW_SHARE_PER_MINUTE: Final = 0.01
"""How fast a rate grows in its first minute, as a share of the configured one: twice as fast in the second, and so on."""
MAX_REGROW_SHARE_PER_MINUTE: Final = 0.16
MAX_GROWTH_SECONDS: Final = 3600.0
"""After this any rate has grown back to the configured one."""
SLOT_SECONDS: Final = 1.0
_ENOUGH: Final = 1.0 - 1e-9
"""A token, allowing for the rounding of a clock in floating point."""
_ROUNDING: Final = 1e-6


class Priority(IntEnum):
    """Who is served first when several wait; first come, first served within one."""

    URGENT = 0
    """Reading back, probes: what settles something that is already under way."""
    LIVE = 1


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

    def by_age(self, now: float) -> Json:
        """The counts, each with how many seconds ago it was."""
        self.total(now)
        return [[now - slot * SLOT_SECONDS, count] for slot, count in self._slots]

    def restore(self, kept: Json, now: float, elapsed_seconds: float) -> None:
        """Takes over what `by_age` gave so long ago. Whatever is unreadable is left out."""
        if self._slots or not isinstance(kept, list):
            return
        for one in kept[: math.ceil(MINUTE_SECONDS / SLOT_SECONDS) + 1]:
            age, count = (_number(part) for part in one) if isinstance(one, list) and len(one) == 2 else (None, None)
            if age is not None and count is not None and 0 <= age + elapsed_seconds < MINUTE_SECONDS:
                self.add(now - age - elapsed_seconds, int(count))

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
        """Pauses since something got through."""
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._hold_seconds = HOLD_SECONDS
        self._held_until = -math.inf
        self._grown_at = clock.elapsed_seconds()
        self._lowered_at = -math.inf
        self._used, self._passed, self._refused = _Recent(), _Recent(), _Recent()
        self.lowered = asyncio.Event()
        """Set whenever a refusal lowered the rate: a good moment to keep `state`. Whoever waits for it clears it."""
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
        """Lets a lowered rate grow from where it was held: each minute twice as fast as in the one before."""
        at = max(self._grown_at, self._held_until)
        while self._rate < self._configured and at < now:
            minutes = math.floor((at - self._held_until) / MINUTE_SECONDS + _ROUNDING)
            until = min(now, self._held_until + (minutes + 1) * MINUTE_SECONDS)
            share = min(MAX_REGROW_SHARE_PER_MINUTE, REGROW_SHARE_PER_MINUTE * 2.0 ** min(minutes, 10))
            grown = self._rate + (until - at) / MINUTE_SECONDS * share * self._configured
            self._rate = min(self._configured, grown)
            at = until
        self._grown_at = now
        if self._rate >= self._configured:
            self._hold_seconds = HOLD_SECONDS

    def passed(self) -> None:
        """The service answered a request with anything but a refusal for its rate."""
        now = self._clock.elapsed_seconds()
        self._passed.add(now)
        if now >= self._paused_until:  # one that was on its way before the pause says nothing about the time after it
            self._pauses = 0

    def throttled(self, retry_after_seconds: float | None = None) -> None:
        """The service refused a request for its rate. Pauses everybody, and lowers the rate once for all the refusals
        that belong together (those that come while it pauses)."""
        now = self._clock.elapsed_seconds()
        self._refused.add(now)
        if now >= self._paused_until:
            self._lower(now)
        pause = self._pause_seconds
        if retry_after_seconds is not None and retry_after_seconds >= 0:
            pause = min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)
        self._paused_until = max(self._paused_until, now + pause)
        self._held_until = self._paused_until + self._hold_seconds

    def _lower(self, now: float) -> None:
        """What got through in the last minute is what the service takes, if it was enough to tell; where something got
        through and was refused again soon after, that was still too much."""
        if now - self._paused_until > MINUTE_SECONDS:
            self._pauses = 0
        self._pause_seconds = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._pauses, 10))
        self._pauses += 1
        self._tokens = 0.0
        self._regrow(now)
        if self._pauses > 1:
            return  # nothing got through since: it was the pause that was too short
        passed = self._passed.total(now)
        lowered = self._rate * LOWER_FACTOR
        if passed > self._rate * TELLING_SHARE and now - self._lowered_at > MINUTE_SECONDS:
            takes = min(self._rate, passed)
            lowered = takes - max(BELOW_ACCEPTED_PER_MINUTE, takes * BELOW_ACCEPTED_SHARE)
        if self._held_until < now and self._rate < self._configured:  # growing led to this: not so soon the next time
            self._hold_seconds = min(MAX_HOLD_SECONDS, self._hold_seconds * 2)
        self._rate = max(self._configured * LOWEST_SHARE, lowered)
        self._lowered_at = now
        self.lowered.set()

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
            "held_seconds": max(-MAX_GROWTH_SECONDS, self._held_until - self._clock.elapsed_seconds()),
            "hold_seconds": self._hold_seconds,
            "passed": self._passed.by_age(self._clock.elapsed_seconds()),
        }

    def restore(self, state: Json) -> None:
        """Takes over what `state` gave in an earlier process. Whatever it says, at most one token is there at once: it
        may be older than the last request before a crash. Anything unreadable is ignored."""
        if not isinstance(state, dict):
            return
        at, tokens, share, paused, held, hold = (
            _number(state.get(key))
            for key in ("at", "tokens", "rate_share", "paused_seconds", "held_seconds", "hold_seconds")
        )
        elapsed = 0.0 if at is None else max(0.0, self._clock.now().timestamp() - at)
        now = self._clock.elapsed_seconds()
        self._passed.restore(state.get("passed"), now, elapsed)
        if share is not None:
            self._rate = min(1.0, max(LOWEST_SHARE, share)) * self._configured
            held = 0.0 if held is None else min(MAX_HOLD_SECONDS, max(-MAX_GROWTH_SECONDS, held))
            self._held_until = now + held - elapsed
            self._grown_at = now - elapsed
            self._hold_seconds = min(MAX_HOLD_SECONDS, max(HOLD_SECONDS, hold or 0.0))
        if paused is not None and paused > elapsed:
            self._paused_until = now + min(paused, MAX_RETRY_AFTER_SECONDS) - elapsed
        if tokens is not None:
            self._tokens = min(1.0, max(0.0, tokens + elapsed * self._rate / MINUTE_SECONDS))
        self._filled_at = now


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
