"""The life of the daemon: start, passes by APScheduler, signals, systemd, the control socket, and a quiet end.

load configuration ▶ open ledger (migrate) ▶ deliver ▶ listen for commands ▶ poll on schedule ▶ READY
SIGTERM, SIGINT ▶ no new pass, no new send ▶ what is on the wire comes back ▶ leases given back ▶ end
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from sync import __version__
from sync.answers import DaemonAnswer, ReloadAnswer
from sync.clock import Clock, SystemClock
from sync.config import LoadedConfig, load
from sync.control import ControlServer, socket_path
from sync.errors import InboxSyncError, Interrupted, TemporaryError
from sync.lease import new_holder
from sync.ledger import Ledger
from sync.listing import can_load_listed
from sync.logs import configure, keep_secret
from sync.notify import notify
from sync.operate import Operator
from sync.passes import PassReport
from sync.poll import Poller
from sync.push import Listener
from sync.runtime import Runtime

log = structlog.get_logger()

T = TypeVar("T")

FIRST_PASSES_SECONDS = 10.0
"""The first passes of all sources are spread over this time (or over a source's interval, if that is shorter)."""
JITTER_SHARE = 0.1
STATUS_SECONDS = 10.0
LISTENERS_END_SECONDS = 1.0
"""How long the end waits for connectors to stop waiting; their connections are closed afterwards."""
SWEEP = "sweep:"
SWEEP_RETRY_SECONDS = 900.0
"""The pause before the next try of a sweep that failed."""
SWEEP_PAUSE_SECONDS = 5.0
"""A sweep that is due when the process starts comes after the first passes have begun."""
SPOOL_PAUSE_SECONDS = 1.0
"""The pause before the next pass of a source that has more to load than the spool had room for."""


def run(config_path: Path) -> int:
    """Runs until SIGTERM or SIGINT. Raises ConfigError or LedgerError when it cannot start. Returns the exit code."""
    loaded = load(config_path)
    settings = loaded.settings.daemon
    configure(settings.log_level, settings.log_format)
    keep_secret(loaded.secret_values)
    return asyncio.run(Daemon(loaded).run())


class Daemon:
    """One process that polls and delivers."""

    def __init__(self, loaded: LoadedConfig, clock: Clock | None = None) -> None:
        self._loaded = loaded
        self._clock = clock or SystemClock()
        self._holder = new_holder()
        self._stop = asyncio.Event()
        self._passes: set[asyncio.Task[object]] = set()
        self._room = asyncio.Semaphore(loaded.settings.daemon.max_passes)
        self._listeners: dict[str, Listener] = {}
        self._listening: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._started_at = self._clock.now()
        self._state = "starting"
        self._ending = False
        self._fatal: InboxSyncError | None = None
        self._unrecorded: dict[str, InboxSyncError] = {}
        self.ledger: Ledger
        self.runtime: Runtime
        self._scheduler: AsyncIOScheduler

    async def run(self) -> int:
        """The whole life."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        self.ledger = await asyncio.to_thread(Ledger.open, self._loaded.settings.ledger, writer=True)
        try:
            await self._live()
        finally:
            self.ledger.close()
        if self._fatal is not None:
            raise self._fatal
        log.info("daemon.stopped")
        return 0

    async def _live(self) -> None:
        self.runtime = Runtime(self._loaded, self.ledger, clock=self._clock, holder=self._holder)
        operator = Operator(self._loaded, self.ledger, self._clock, daemon=self)
        server = ControlServer(socket_path(self._loaded.settings), operator)
        await server.start()
        try:
            await self.runtime.start()
            self.runtime.do_backfills()
            await self._schedule()
            self._state = "running"
            log.info(
                "daemon.ready",
                version=__version__,
                pid=os.getpid(),
                sources=len(self.runtime.pollers),
                inboxes=len(self.runtime.sides),
            )
            notify("READY=1", f"STATUS={self._status_line()}", f"MAINPID={os.getpid()}")
            for name, error in self._loaded.failed_sources.items():
                log.error("source.not_loaded", source=name, code=error.code, reason=error.sentence)
            await self._until_stopped()
        finally:
            self._state = "draining"
            notify("STOPPING=1", "STATUS=finishing what is on the wire")
            async with self._reloading:  # one that is half way ends first: its new runtime has to be drained, too
                await self._end_passes()
                await self.runtime.stop(self._loaded.settings.daemon.grace_seconds)
            await server.stop()

    async def _until_stopped(self) -> None:
        while not self._stop.is_set():
            for error in self.runtime.failed_tasks():
                log.error("daemon.bug", exc_info=error)
            notify(f"STATUS={self._status_line()}")
            try:
                async with asyncio.timeout(STATUS_SECONDS):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def _status_line(self) -> str:
        parked = [name for name, side in self.runtime.sides.items() if side.parked]
        sources, inboxes = len(self.runtime.pollers), len(self.runtime.sides)
        text = f"{sources} source{'s' * (sources != 1)}, {inboxes} inbox{'es' * (inboxes != 1)}"
        return f"{text}; parked: {', '.join(parked)}" if parked else text

    # ------------------------------------------------------------------ passes

    async def _schedule(self) -> None:
        self._ending = False
        self._unrecorded.clear()
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._scheduler.add_listener(self._overlapped, EVENT_JOB_MAX_INSTANCES)
        now = datetime.now(UTC)
        for number, (name, poller) in enumerate(self.runtime.pollers.items()):
            every = poller.settings.every
            spread = min(every, FIRST_PASSES_SECONDS) * number / max(1, len(self.runtime.pollers))
            self._scheduler.add_job(
                self._pass,
                IntervalTrigger(seconds=every, jitter=every * JITTER_SHARE, timezone=UTC),
                args=[name],
                id=name,
                next_run_time=now + timedelta(seconds=spread),
            )
        await self._schedule_sweeps()
        self._scheduler.start()
        self._listeners = {name: self._listener(poller) for name, poller in self.runtime.pollers.items()}
        self._listening = {asyncio.create_task(one.run(), name="push") for one in self._listeners.values()}

    def _listener(self, poller: Poller) -> Listener:
        return Listener(
            poller.name,
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

    async def _schedule_sweeps(self) -> None:
        """Each source's sweep follows its last one; those never swept are spread over the interval."""
        now = datetime.now(UTC)
        able = [name for name, poller in self.runtime.pollers.items() if can_load_listed(poller)]
        for number, name in enumerate(able):
            every = self.runtime.pollers[name].settings.sweep_every
            if not every:
                continue
            known = await self.ledger.call(self.ledger.sources.get, name)
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
            await self._tracked(self.runtime.sweep(name))
        except asyncio.CancelledError:
            if not self._ending:
                raise
            log.info("sweep.cut_short", source=name)  # by our own end: no error, as the scheduler would have it
        except InboxSyncError as error:
            log.warning("sweep.failed", source=name, code=error.code, reason=error.sentence)
            if self._scheduler.get_job(f"{SWEEP}{name}") is not None:
                wait = min(SWEEP_RETRY_SECONDS, self.runtime.pollers[name].settings.sweep_every)
                again = datetime.now(UTC) + timedelta(seconds=wait)
                self._scheduler.modify_job(f"{SWEEP}{name}", next_run_time=again)
        except Exception:
            log.exception("sweep.bug", source=name)

    async def _pass(self, name: str) -> PassReport | None:
        try:
            return await self._looked(name, self.runtime.poll)
        except asyncio.CancelledError:
            if not self._ending:
                raise
            log.info("pass.cut_short", source=name)  # by our own end: no error, as the scheduler would have it
        except InboxSyncError as error:
            self._unrecorded[name] = error
            log.warning("pass.not_recorded", source=name, code=error.code, reason=error.sentence)
        except Exception:
            log.exception("pass.bug", source=name)
        return None

    async def poll(self, name: str) -> PassReport | None:
        """A pass that an operator asked for, until everything found is loaded; the next one is planned by its outcome.
        Raises what the pass raises."""
        if self._ending:
            raise Interrupted(
                "the daemon is stopping, or reading its file again", next_step="type it again in a moment"
            )
        return await self._looked(name, self.runtime.poll_fully)

    async def _looked(self, name: str, work: Callable[[str], Awaitable[PassReport | None]]) -> PassReport | None:
        """A pass, and what follows from it."""
        report = await self._tracked(work(name))
        self._unrecorded.pop(name, None)
        if report is not None:
            self._plan_next(name, report)
        if name in self._listeners:
            self._listeners[name].passed(report)
        return report

    async def _tracked(self, work: Awaitable[T]) -> T:
        """A pass or a sweep, that the daemon's end and a reload wait for."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a pass runs in a task")
        self._passes.add(task)
        try:
            async with self._room:
                return await work
        finally:
            self._passes.discard(task)

    def _plan_next(self, name: str, report: PassReport) -> None:
        """After a failed pass the next one comes later; with a full spool sooner."""
        poller = self.runtime.pollers.get(name)
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

    def _overlapped(self, event: object) -> None:
        log.info("pass.still_running", source=getattr(event, "job_id", ""))

    async def _end_passes(self) -> None:
        self._ending = True
        for listening in self._listening:
            listening.cancel()
        if self._listening:
            await asyncio.wait(self._listening, timeout=LISTENERS_END_SECONDS)
        scheduled = hasattr(self, "_scheduler") and self._scheduler.running
        if scheduled:
            self._scheduler.pause()
        if self._passes:
            _, late = await asyncio.wait(self._passes, timeout=self._loaded.settings.daemon.grace_seconds / 2)
            for task in late:
                task.cancel()
            if late:
                for poller in self.runtime.pollers.values():
                    poller.abort()
                await asyncio.wait(late, timeout=1.0)
        if scheduled:
            self._scheduler.shutdown(wait=False)

    # ------------------------------------------------------------------ signals, and what commands ask

    def _asked_to_stop(self, number: int) -> None:
        log.info("daemon.stopping", signal=signal.Signals(number).name)
        self._stop.set()

    def _asked_to_reload(self) -> None:
        self._reload_task = asyncio.create_task(self._reload_logged())

    async def _reload_logged(self) -> None:
        try:
            await self.reload()
        except InboxSyncError as error:
            problems = list(getattr(error, "problems", ()))
            log.error("daemon.not_reloaded", code=error.code, reason=error.sentence, problems=problems)  # noqa: TRY400  no bug of ours
            notify(f"STATUS=the new configuration was refused, the old one is kept: {error.sentence}")
        except Exception:
            log.exception("daemon.bug", doing="reload")

    @property
    def loaded(self) -> LoadedConfig:
        """The configuration that is at work."""
        return self._loaded

    def describe(self) -> DaemonAnswer:
        """Who this process is."""
        return {
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "started_at": self._started_at.isoformat(),
            "state": self._state,
        }

    @property
    def unrecorded(self) -> Mapping[str, InboxSyncError]:
        """Why the last pass of a source could not be recorded, as long as that is so."""
        return self._unrecorded

    async def reload(self) -> ReloadAnswer:
        """Reads the file again. A faulty one raises ConfigError and changes nothing; a good one takes over once what is
        on the wire has come back. Whoever asked may go away: half a reload would leave a daemon that does nothing."""
        switching = asyncio.create_task(self._reload(), name="reload")
        switching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(switching)

    async def _reload(self) -> ReloadAnswer:
        async with self._reloading:
            if self._state != "running":
                raise TemporaryError(
                    f"the daemon is {self._state} and cannot read its file again now",
                    code="daemon.not_running",
                    next_step="type it again in a moment" if self._state == "starting" else "start the daemon again",
                )
            fresh = load(self._loaded.path)
            answer = _difference(self._loaded, fresh)
            keep_secret(fresh.secret_values)
            runtime = Runtime(fresh, self.ledger, clock=self._clock, holder=new_holder())
            await self._end_passes()
            await self.runtime.stop(self._loaded.settings.daemon.grace_seconds)
            self._loaded, self.runtime = fresh, runtime
            try:
                await self.runtime.start()
                self.runtime.do_backfills()
            except InboxSyncError as error:
                self._fatal = error  # without a runtime this process is of no use: the next one starts afresh
                self._stop.set()
                raise
            await self._schedule()
            log.info("daemon.reloaded", **{key: len(names) for key, names in answer.items() if isinstance(names, list)})
            return answer


def _difference(old: LoadedConfig, new: LoadedConfig) -> ReloadAnswer:
    before = {**old.settings.inbox, **old.settings.sources}
    after = {**new.settings.inbox, **new.settings.sources}
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    changed |= {
        name for name in old.connectors.keys() & new.connectors.keys() if old.connectors[name] != new.connectors[name]
    }
    fixed = [
        name
        for name, was, is_now in (
            ("ledger", old.settings.ledger, new.settings.ledger),
            ("daemon", old.settings.daemon, new.settings.daemon),
        )
        if was != is_now
    ]
    return {
        "added": sorted(after.keys() - before.keys()),
        "changed": sorted(changed),
        "removed": sorted(before.keys() - after.keys()),
        "unchanged": sorted((before.keys() & after.keys()) - changed),
        "restart_needed": fixed,
    }
