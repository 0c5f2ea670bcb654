"""When sources are looked at: passes and sweeps by APScheduler, hints by push, one pass of a source at a time.

Sources come and go while it runs (a reload), and what is under way for the others goes on undisturbed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from sync.clock import Clock
from sync.errors import InboxSyncError, Interrupted
from sync.ledger import Ledger
from sync.listing import can_load_listed
from sync.meter import PASSES, meter
from sync.passes import PassReport
from sync.push import Listener
from sync.runtime import Runtime

log = structlog.get_logger()

T = TypeVar("T")

FIRST_PASSES_SECONDS = 10.0
"""The first passes of all sources are spread over this time (or over a source's interval, if that is shorter)."""
JITTER_SHARE = 0.1
LISTENERS_END_SECONDS = 1.0
"""How long the end waits for connectors to stop waiting; their connections are closed afterwards."""
SWEEP = "sweep:"
SWEEP_RETRY_SECONDS = 900.0
"""The pause before the next try of a sweep that failed."""
SWEEP_PAUSE_SECONDS = 5.0
"""A sweep that is due when the process starts comes after the first passes have begun."""
SPOOL_PAUSE_SECONDS = 1.0
"""The pause before the next pass of a source that has more to load than the spool had room for."""
BEAT = "beat"
BEAT_SECONDS = 1.0
"""How often the scheduler shows that it is alive."""


class Schedule:
    """The jobs of a runtime's sources. `max_passes`: how many passes and sweeps run at the same time."""

    def __init__(
        self, runtime: Runtime, ledger: Ledger, clock: Clock, *, max_passes: int, grace_seconds: float
    ) -> None:
        self._runtime = runtime
        self._ledger = ledger
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._room = asyncio.Semaphore(max_passes)
        self._passes: dict[asyncio.Task[object], str] = {}
        self._listeners: dict[str, Listener] = {}
        self._listening: dict[str, asyncio.Task[None]] = {}
        self._unrecorded: dict[str, InboxSyncError] = {}
        self._leaving: set[str] = set()
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._scheduler.add_listener(_overlapped, EVENT_JOB_MAX_INSTANCES)
        self.beaten_at = clock.elapsed_seconds()
        """When the scheduler last ran a job of its own, by the clock's elapsed seconds."""

    @property
    def unrecorded(self) -> Mapping[str, InboxSyncError]:
        """Why the last pass of a source could not be recorded, as long as that is so."""
        return self._unrecorded

    async def start(self) -> None:
        """Passes of all sources from now on."""
        self._scheduler.add_job(self._beat, IntervalTrigger(seconds=BEAT_SECONDS, timezone=UTC), id=BEAT)
        await self.add(self._runtime.pollers)
        self._scheduler.start()

    async def add(self, names: Iterable[str]) -> None:
        """Passes of these sources, which the runtime has, from now on; the first ones spread over a little time."""
        every_name = list(names)
        now = datetime.now(UTC)
        for number, name in enumerate(every_name):
            every = self._runtime.pollers[name].settings.every
            spread = min(every, FIRST_PASSES_SECONDS) * number / max(1, len(every_name))
            self._scheduler.add_job(
                self._pass,
                IntervalTrigger(seconds=every, jitter=every * JITTER_SHARE, timezone=UTC),
                args=[name],
                id=name,
                next_run_time=now + timedelta(seconds=spread),
            )
        await self._add_sweeps(every_name)
        for name in every_name:
            self._listeners[name] = listener = self._listener(name)
            self._listening[name] = asyncio.create_task(listener.run(), name=f"push:{name}")

    async def remove(self, names: Collection[str]) -> None:
        """No pass of these sources from now on. One under way may end within half the grace time; then it is cut off."""
        self._leaving |= set(names)
        try:
            for job in self._scheduler.get_jobs():
                if job.id.removeprefix(SWEEP) in self._leaving:
                    job.remove()
            await self._stop_listening(names)
            await self._end_passes(names)
            for name in names:
                self._unrecorded.pop(name, None)
        finally:
            self._leaving -= set(names)

    async def end(self) -> None:
        """No pass of any source; for good."""
        self._leaving |= {*self._runtime.pollers, *self._listeners}
        if self._scheduler.running:
            self._scheduler.pause()
        await self._stop_listening(list(self._listening))
        await self._end_passes(set(self._passes.values()))
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def poll(self, name: str) -> PassReport | None:
        """A pass that an operator asked for, until everything found is loaded; the next one is planned by its outcome.
        Raises what the pass raises."""
        if name in self._leaving or name not in self._runtime.pollers:
            raise Interrupted(
                "the daemon is stopping, or reading its file again", next_step="type it again in a moment"
            )
        return await self._looked(name, self._runtime.poll_fully)

    def _beat(self) -> None:
        self.beaten_at = self._clock.elapsed_seconds()

    # ------------------------------------------------------------------ push

    def _listener(self, name: str) -> Listener:
        poller = self._runtime.pollers[name]
        return Listener(
            name,
            poller.connector,
            every_seconds=poller.settings.every,
            context=poller.waiting_context,
            look=self._pass_by_hint,
            clock=self._clock,
        )

    async def _pass_by_hint(self, name: str) -> PassReport | None:
        """A pass at once. In a task of its own, which the daemon's end waits for while it ends the listener."""
        made = asyncio.create_task(self._pass(name))
        await asyncio.wait({made})
        return made.result()

    async def _stop_listening(self, names: Collection[str]) -> None:
        tasks = [task for name in names if (task := self._listening.pop(name, None)) is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LISTENERS_END_SECONDS)
        for name in names:
            self._listeners.pop(name, None)

    # ------------------------------------------------------------------ sweeps

    async def _add_sweeps(self, names: list[str]) -> None:
        """Each source's sweep follows its last one; those never swept are spread over the interval."""
        now = datetime.now(UTC)
        able = [name for name in names if can_load_listed(self._runtime.pollers[name])]
        for number, name in enumerate(able):
            every = self._runtime.pollers[name].settings.sweep_every
            if not every:
                continue
            known = await self._ledger.call(self._ledger.sources.get, name)
            first = now + timedelta(seconds=every * (number + 1) / len(able))
            if known is not None and known.swept_at is not None:
                first = max(now + timedelta(seconds=SWEEP_PAUSE_SECONDS), known.swept_at + timedelta(seconds=every))
            self._scheduler.add_job(
                self._sweep,
                IntervalTrigger(seconds=every, jitter=every * JITTER_SHARE, timezone=UTC),
                args=[name],
                id=f"{SWEEP}{name}",
                next_run_time=first,
            )

    async def _sweep(self, name: str) -> None:
        try:
            await self._tracked(name, self._runtime.sweep)
        except asyncio.CancelledError:
            if name not in self._leaving:
                raise
            log.info("sweep.cut_short", source=name)  # by our own end: no error, as the scheduler would have it
        except InboxSyncError as error:
            log.warning("sweep.failed", source=name, code=error.code, reason=error.sentence)
            if self._scheduler.get_job(f"{SWEEP}{name}") is not None:
                wait = min(SWEEP_RETRY_SECONDS, self._runtime.pollers[name].settings.sweep_every)
                again = datetime.now(UTC) + timedelta(seconds=wait)
                self._scheduler.modify_job(f"{SWEEP}{name}", next_run_time=again)
        except Exception:
            log.exception("sweep.bug", source=name)

    # ------------------------------------------------------------------ passes

    async def _pass(self, name: str) -> PassReport | None:
        try:
            return await self._looked(name, self._runtime.poll)
        except asyncio.CancelledError:
            if name not in self._leaving:
                raise
            log.info("pass.cut_short", source=name)  # by our own end: no error, as the scheduler would have it
        except InboxSyncError as error:
            self._unrecorded[name] = error
            log.warning("pass.not_recorded", source=name, code=error.code, reason=error.sentence)
        except Exception:
            log.exception("pass.bug", source=name)
        return None

    async def _looked(self, name: str, look: Callable[[str], Awaitable[PassReport | None]]) -> PassReport | None:
        """A pass, and what follows from it."""
        report = await self._tracked(name, look)
        self._unrecorded.pop(name, None)
        if report is not None:
            meter.count(PASSES, name, _outcome(report))
            self._plan_next(name, report)
        if name in self._listeners:
            self._listeners[name].passed(report)
        return report

    async def _tracked(self, name: str, look: Callable[[str], Awaitable[T]]) -> T | None:
        """A pass or a sweep, that the daemon's end and a reload wait for. None for a source that left meanwhile."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a pass runs in a task")
        self._passes[task] = name
        try:
            async with self._room:
                return None if name in self._leaving or name not in self._runtime.pollers else await look(name)
        finally:
            self._passes.pop(task, None)

    def _plan_next(self, name: str, report: PassReport) -> None:
        """After a failed pass the next one comes later; with a full spool sooner."""
        poller = self._runtime.pollers.get(name)
        if poller is None or self._scheduler.get_job(name) is None:
            return
        if report.error is not None:
            wait = report.next_wait_seconds
        elif report.spool_full and report.deliveries:  # nothing loaded: the inbox does not drain it at the moment
            wait = min(SPOOL_PAUSE_SECONDS, poller.settings.every)
        elif self._waits_longer(name, poller.settings.every):
            wait = poller.settings.every
        else:
            return
        self._scheduler.modify_job(name, next_run_time=datetime.now(UTC) + timedelta(seconds=wait))

    def _waits_longer(self, name: str, every_seconds: float) -> bool:
        """Whether the next pass was put off by a failure that is over now."""
        job = self._scheduler.get_job(name)
        longest = timedelta(seconds=every_seconds * (1 + 2 * JITTER_SHARE))
        return job is not None and job.next_run_time > datetime.now(UTC) + longest

    async def _end_passes(self, names: Collection[str]) -> None:
        under_way = {task for task, name in self._passes.items() if name in names}
        if not under_way:
            return
        _, late = await asyncio.wait(under_way, timeout=self._grace_seconds / 2)
        if not late:
            return
        for task in late:
            task.cancel()
        for name in names:
            if (poller := self._runtime.pollers.get(name)) is not None:
                poller.abort()
        await asyncio.wait(late, timeout=1.0)


def _outcome(report: PassReport) -> str:
    if report.abandoned:
        return "abandoned"
    return "ok" if report.error is None else "failed"


def _overlapped(event: object) -> None:
    if (job := getattr(event, "job_id", "")) != BEAT:
        log.info("pass.still_running", source=job)
