"""systemd's watchdog, fed by real progress (sd_watchdog_enabled(3), sd_notify(3) `WATCHDOG=1`).

What has to move: the event loop (or nothing here runs), the scheduler, and the ledger. A source that hangs is none of
it: its pass is abandoned at its deadline, and a restart would not help. Nor is a database that answers with errors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import structlog

from sync.clock import Clock
from sync.notify import notify

log = structlog.get_logger()

FEEDS_PER_TIME = 4
"""How often the watchdog is fed within the time after which it would bite."""


def watchdog_seconds(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """The time within which systemd wants to hear of this process (`WatchdogSec=`); None where it does not."""
    mine = str(os.getpid() if pid is None else pid)
    if environ.get("WATCHDOG_PID", mine) != mine:
        return None
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "")) / 1_000_000
    except ValueError:
        return None
    return seconds if seconds > 0 else None


def still(moved_at: Mapping[str, Callable[[], float]], clock: Clock, seconds: float) -> list[str]:
    """What has not moved for so long. `moved_at` gives, for each thing, when it last did, by the clock's elapsed seconds."""
    now = clock.elapsed_seconds()
    return [name for name, last in moved_at.items() if now - last() > seconds]


class Watchdog:
    """Tells systemd that all is moving, as long as it is. Each thing that has to move (see `still`) may stand still for
    `every_seconds`."""

    def __init__(
        self,
        every_seconds: float,
        moved_at: Mapping[str, Callable[[], float]],
        clock: Clock,
        tell: Callable[[str], object] = notify,
    ) -> None:
        self._every_seconds = every_seconds
        self._moved_at = moved_at
        self._clock = clock
        self._tell = tell
        self._stuck: list[str] = []

    async def run(self) -> None:
        """For ever."""
        while True:
            self.feed()
            await self._clock.sleep(self._every_seconds / FEEDS_PER_TIME)

    def feed(self) -> bool:
        """Tells systemd, unless something stands still; what it is, is logged once."""
        stuck = still(self._moved_at, self._clock, self._every_seconds)
        if stuck and stuck != self._stuck:
            log.error("watchdog.not_fed", stuck=stuck, after_seconds=self._every_seconds)
        elif self._stuck and not stuck:
            log.info("watchdog.fed_again")
        self._stuck = stuck
        if not stuck:
            self._tell("WATCHDOG=1")
        return not stuck
