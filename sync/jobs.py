"""The open backfills of the ledger, each at work behind its source's passes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog

from sync.backfill import Backfiller, Step
from sync.clock import Clock
from sync.decide import backoff_seconds
from sync.errors import InboxSyncError
from sync.lease import HeldLease
from sync.ledger import Backfill, LeaseLost, LeaseRef, Ledger
from sync.listing import can_load_listed, cannot_list
from sync.passes import MAX_BACKOFF_SECONDS
from sync.poll import Poller
from sync.show import bug_of

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""How often the ledger is asked for jobs that nobody told this process of (those of another one that ended)."""
PAUSE_SECONDS = 0.5
"""The pause of a job that waits for room."""
RETRY_SECONDS = 2.0
"""The first retry after its source failed; later ones double it."""
NO_FAULT = ("", "", "")


class BackfillJobs:
    """Does the jobs of these pollers' sources. `take_lease` says whether a source is ours (not None), `wake` tells its
    inbox that there is something to send."""

    def __init__(
        self,
        pollers: Mapping[str, Poller],
        ledger: Ledger,
        clock: Clock,
        *,
        take_lease: Callable[[str], Awaitable[HeldLease | None]],
        wake: Callable[[str], None],
        spool_max_bytes: int,
    ) -> None:
        self._pollers = pollers
        self._ledger = ledger
        self._clock = clock
        self._take_lease = take_lease
        self._wake = wake
        self._spool_max_bytes = spool_max_bytes
        self._running: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    def look(self) -> None:
        """There may be a new job."""
        self._news.set()

    async def run(self) -> None:
        """For ever: one task for each open job."""
        try:
            while True:
                self._news.clear()
                with contextlib.suppress(InboxSyncError):
                    for job in await self._ledger.call(self._ledger.backfills.open):
                        self._start(job.source)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
        finally:
            await self.stop(list(self._running))

    async def stop(self, names: Collection[str]) -> None:
        """Leaves the jobs of these sources as they are, for whoever goes on with them."""
        tasks = [task for name in names if (task := self._running.pop(name, None)) is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, name: str) -> None:
        running = self._running.get(name)
        if name in self._pollers and (running is None or running.done()):
            self._running[name] = asyncio.create_task(self._do(name), name=f"backfill:{name}")

    async def _do(self, name: str) -> None:
        """Does a source's open job until it is done or stopped, or the source is paused or somebody else's."""
        failures = 0
        while (mine := await self._open_job(name)) is not None:
            job, lease = mine
            fault: InboxSyncError | None = None
            step = Step.WAITS
            try:
                step = await self._step(job, lease.ref)
            except LeaseLost:
                log.warning("source.lease_lost", source=name)
                lease.lost.set()
                continue
            except InboxSyncError as error:
                fault = error
            except Exception as error:
                log.exception("backfill.bug", source=name)
                fault = bug_of(error)
            if fault is not None or job.code:
                await self._tell(job, fault, lease.ref)
            if fault is not None:
                failures += 1
                log.warning("backfill.failed", source=name, code=fault.code, reason=fault.sentence)
                await self._clock.sleep(backoff_seconds(failures, RETRY_SECONDS, MAX_BACKOFF_SECONDS))
                continue
            failures = 0
            if step is Step.WORKED:
                self._wake(name)
            elif step is Step.WAITS:
                await self._clock.sleep(PAUSE_SECONDS)

    async def _open_job(self, name: str) -> tuple[Backfill, HeldLease] | None:
        try:
            job = await self._ledger.call(self._ledger.backfills.latest, name)
            source = await self._ledger.call(self._ledger.sources.get, name)
            if job is None or not job.is_open or source is None or source.paused:
                return None
            lease = await self._take_lease(name)
        except InboxSyncError as error:
            log.warning("backfill.ledger_unavailable", source=name, code=error.code)
            return None
        return None if lease is None else (job, lease)

    async def _step(self, job: Backfill, lease: LeaseRef) -> Step:
        poller = self._pollers[job.source]
        backfiller = Backfiller(poller, self._clock, spool_max_bytes=self._spool_max_bytes, lease=lease)
        if not can_load_listed(poller):
            raise cannot_list(poller)
        source = await self._ledger.call(self._ledger.sources.get, job.source)
        return Step.WAITS if source is None else await backfiller.step(job, source)

    async def _tell(self, job: Backfill, fault: InboxSyncError | None, lease: LeaseRef) -> None:
        told = NO_FAULT if fault is None else (fault.code, fault.sentence, fault.next_step)
        with contextlib.suppress(InboxSyncError):
            await self._ledger.call(self._ledger.backfills.tell, job.id, told, self._clock.now(), lease=lease)
