"""Virtual time for several processes at once: each has an event loop of its own, all share one clock that jumps.

Nothing here waits, starts a thread or opens a connection, and the same steps always come in the same order. A process
can be frozen (its loop stands still while time passes, as under SIGSTOP) or given up (it never runs again, as under
SIGKILL); what it had handed to the network or to the database goes its way all the same.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Protocol, TypeAlias

BEGAN = datetime(2026, 3, 12, 14, 3, tzinfo=UTC)
MAX_TURNS = 2_000_000
"""Turns of loops within one run of the world: more means that something turns without waiting."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


FileObject: TypeAlias = "int | HasFileno"


class _NoSelector(selectors.BaseSelector):
    """Nothing to wait for: there are no sockets in this world."""

    def register(self, fileobj: FileObject, events: int, data: object = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: FileObject) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []

    def get_key(self, fileobj: FileObject) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[FileObject, selectors.SelectorKey]:
        return {}


class Loop(asyncio.SelectorEventLoop):
    """The event loop of one process. `executor` runs what the process hands to a thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.executor: Callable[[Callable[[], object], asyncio.Future[object]], None] = _at_once
        super().__init__(_NoSelector())

    def time(self) -> float:
        return self._world.now

    def run_in_executor(  # type: ignore[override]
        self, _executor: object, func: Callable[[], object], *args: object
    ) -> asyncio.Future[object]:
        future: asyncio.Future[object] = self.create_future()
        assert not args
        self.executor(func, future)
        return future

    @property
    def due_at(self) -> float | None:
        """When something of it wants to run; None when nothing ever does."""
        if self._ready:  # type: ignore[attr-defined]
            return self._world.now
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return timers[0].when() if timers else None

    def turn(self) -> None:
        """Runs once what is due."""
        self.stop()
        self.run_forever()


def _at_once(work: Callable[[], object], future: asyncio.Future[object]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001  it belongs to the caller
        future.set_exception(error)


class World:
    """The clock, what happens outside of processes (`at`), and the loops of those that run."""

    def __init__(self) -> None:
        self.now = 0.0
        self.running: list[Loop] = []
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._last = 0

    def wall_clock(self) -> datetime:
        return BEGAN + timedelta(seconds=self.now)

    def at(self, when: float, event: Callable[[], object]) -> None:
        """`event` happens then, whatever becomes of the process that began it."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), event))

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        self.at(self.now + seconds, event)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Lets time pass; True as soon as `until` holds (asked whenever time moves)."""
        end = self.now + seconds
        for _ in range(MAX_TURNS):
            if not self._turn_one():
                if until():
                    return True
                moment = self._next_moment()
                if moment is None or moment > end:
                    self.now = end
                    return until()
                self.now = max(self.now, moment)
        raise AssertionError("something turns without ever waiting")

    def _turn_one(self) -> bool:
        """Whether something was due now, and ran. Loops take turns."""
        if self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
            return True
        for step in range(len(self.running)):
            number = (self._last + 1 + step) % len(self.running)
            due_at = self.running[number].due_at
            if due_at is not None and due_at <= self.now:
                self._last = number
                self.running[number].turn()
                return True
        return False

    def _next_moment(self) -> float | None:
        moments = [due_at for loop in self.running if (due_at := loop.due_at) is not None]
        if self._events:
            moments.append(self._events[0][0])
        return min(moments, default=None)


class WorldClock:
    """The world's time, as the program reads it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        return self._world.wall_clock()

    def elapsed_seconds(self) -> float:
        return self._world.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class SiteClock:
    """The world's time, as the sandbox reads it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        return BEGAN.timestamp() + self._world.now
