"""The life of the daemon: start, passes by APScheduler, signals, systemd, the control socket, and a quiet end.

load configuration ▶ open ledger (migrate) ▶ deliver ▶ listen for commands ▶ poll on schedule ▶ READY
SIGTERM, SIGINT ▶ no new pass, no new send ▶ what is on the wire comes back ▶ leases given back ▶ end
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sync import __version__
from sync.answers import DaemonAnswer, ReloadAnswer
from sync.clock import Clock, SystemClock
from sync.config import LoadedConfig, load
from sync.control import ControlServer, socket_path
from sync.errors import InboxSyncError, TemporaryError
from sync.heap import settle
from sync.http import HttpClient
from sync.lease import new_holder
from sync.ledger import Ledger
from sync.logs import configure, keep_secret
from sync.notify import notify
from sync.operate import Operator
from sync.passes import PassReport
from sync.reload import Change, difference
from sync.retention import Retainer
from sync.runtime import Runtime
from sync.schedule import Schedule
from sync.show import bug_of
from sync.watchdog import Watchdog, still, watchdog_seconds

if TYPE_CHECKING:
    from sync.web import Gauges, WebServer

log = structlog.get_logger()

STATUS_SECONDS = 10.0
STILL_SECONDS = 120.0
"""What has not moved for so long makes `/healthz` say so."""


def run(config_path: Path) -> int:
    """Runs until SIGTERM or SIGINT. Raises ConfigError or LedgerError when it cannot start. Returns the exit code."""
    loaded = load(config_path)
    settings = loaded.settings.daemon
    configure(settings.log_level, settings.log_format)
    keep_secret(loaded.secret_values)
    settle()
    return asyncio.run(Daemon(loaded).run())


class Daemon:
    """One process that polls and delivers."""

    def __init__(self, loaded: LoadedConfig, clock: Clock | None = None) -> None:
        self._loaded = loaded
        self._clock = clock or SystemClock()
        self._grace_seconds = loaded.settings.daemon.grace_seconds
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._started_at = self._clock.now()
        self._state = "starting"
        self._fatal: InboxSyncError | None = None
        self._refused = ""
        self.changes = 0
        """How often a reload took something away: what waited for that waits in vain."""
        self.ledger: Ledger
        self.runtime: Runtime
        self._schedule: Schedule

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
        self.runtime = Runtime(self._loaded, self.ledger, clock=self._clock, holder=new_holder())
        self._schedule = Schedule(
            self.runtime,
            self.ledger,
            self._clock,
            max_passes=self._loaded.settings.daemon.max_passes,
            grace_seconds=self._grace_seconds,
        )
        operator = Operator(self._loaded, self.ledger, self._clock, daemon=self)
        server = ControlServer(socket_path(self._loaded.settings), operator)
        await server.start()
        page = await self._start_page(operator)
        try:
            await self.runtime.start()
            self.runtime.do_backfills()
            await self._schedule.start()
            self._state = "running"
            log.info(
                "daemon.ready",
                version=__version__,
                pid=os.getpid(),
                sources=len(self.runtime.pollers),
                inboxes=len(self.runtime.sides),
            )
            notify("READY=1", f"STATUS={self._status_line()}", f"MAINPID={os.getpid()}")
            self._tell_not_loaded()
            await self._until_stopped()
        finally:
            self._state = "draining"
            notify("STOPPING=1", "STATUS=finishing what is on the wire")
            async with self._reloading:  # one that is half way ends first: what entered has to be drained, too
                await self._schedule.end()
                await self.runtime.stop(self._grace_seconds)
            if page is not None:
                await page.stop()
            await server.stop()

    async def _start_page(self, operator: Operator) -> WebServer | None:
        """A page that cannot listen is told, and stops no mail."""
        settings = self._loaded.settings.web
        if settings is None:
            return None
        from sync.web import Sight, WebServer  # noqa: PLC0415  10 MB that only those need who have a page

        sight = Sight(operator, self._gauges, self._stuck, lambda: self._state == "running")
        page = WebServer(settings, sight, self._clock)
        try:
            await page.start()
        except InboxSyncError as error:
            log.error("web.not_listening", code=error.code, reason=error.sentence, next_step=error.next_step)  # noqa: TRY400  no bug of ours
            return None
        return page

    async def _gauges(self) -> Gauges:
        from sync.web import Gauges  # noqa: PLC0415  as above

        now = self._clock.now()
        renewed = await self.ledger.call(self.ledger.tokens.renewed_at)
        return Gauges(
            budgets={name: side.budget.view() for name, side in self.runtime.sides.items()},
            token_ages={name: (now - at).total_seconds() for name, at in renewed.items()},
            spooled_bytes=await self.ledger.call(self.ledger.messages.spooled_bytes),
        )

    def _stuck(self) -> list[str]:
        """What should move and does not, while the daemon runs."""
        if self._state != "running":
            return []
        return still(self._signs(), self._clock, STILL_SECONDS)

    def _signs(self) -> Mapping[str, Callable[[], float]]:
        return {"scheduler": lambda: self._schedule.beaten_at, "ledger": lambda: self.runtime.keeper.moved_at}

    def _tell_not_loaded(self) -> None:
        for name, error in self._loaded.failed_sources.items():
            log.error("source.not_loaded", source=name, code=error.code, reason=error.sentence)

    async def _until_stopped(self) -> None:
        side_tasks = [*self._feed_watchdog(), *self._watch_for_alerts(), *self._retain()]
        while not self._stop.is_set():
            for error in self.runtime.failed_tasks():
                log.error("daemon.bug", exc_info=error)
            notify(f"STATUS={self._status_line()}")
            try:
                async with asyncio.timeout(STATUS_SECONDS):
                    await self._stop.wait()
            except TimeoutError:
                continue
        for task in side_tasks:
            task.cancel()
        if side_tasks:
            await asyncio.wait(side_tasks, timeout=self._grace_seconds)

    def _watch_for_alerts(self) -> list[asyncio.Task[None]]:
        settings = self._loaded.settings.alerts
        if settings is None:
            return []
        from sync.alerts import Alerts  # noqa: PLC0415  mail is for those who asked for it

        alerts = Alerts(
            settings,
            status=Operator(self._loaded, self.ledger, self._clock, daemon=self).status,
            ledger=self.ledger,
            keeper=self.runtime.keeper,
            http=HttpClient(answer_timeout_seconds=settings.timeout_seconds),
            clock=self._clock,
        )
        return [asyncio.create_task(alerts.run(), name="alerts")]

    def _retain(self) -> list[asyncio.Task[None]]:
        days = self._loaded.settings.ledger.keep_days
        if not days:
            return []
        retainer = Retainer(days, ledger=self.ledger, keeper=self.runtime.keeper, clock=self._clock)
        return [asyncio.create_task(retainer.run(), name="retention")]

    def _feed_watchdog(self) -> list[asyncio.Task[None]]:
        seconds = watchdog_seconds()
        if seconds is None:
            return []
        return [asyncio.create_task(Watchdog(seconds, self._signs(), self._clock).run(), name="watchdog")]

    def _status_line(self) -> str:
        parked = [name for name, side in self.runtime.sides.items() if side.parked]
        sources, inboxes = len(self.runtime.pollers), len(self.runtime.sides)
        text = f"{sources} source{'s' * (sources != 1)}, {inboxes} inbox{'es' * (inboxes != 1)}"
        if parked:
            text += f"; parked: {', '.join(parked)}"
        if self._refused:
            text += f"; the new configuration was refused, the old one is kept: {self._refused}"
        return text

    async def poll(self, name: str) -> PassReport | None:
        """A pass that an operator asked for. Raises what the pass raises."""
        return await self._schedule.poll(name)

    # ------------------------------------------------------------------ signals, and what commands ask

    def _asked_to_stop(self, number: int) -> None:
        log.info("daemon.stopping", signal=signal.Signals(number).name)
        self._stop.set()

    def _asked_to_reload(self) -> None:
        self._reload_task = asyncio.create_task(self._reload_logged())

    async def _reload_logged(self) -> None:
        try:
            await self.reload()
        except InboxSyncError:
            return  # logged already
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
        return self._schedule.unrecorded

    async def reload(self) -> ReloadAnswer:
        """Reads the file again. A faulty one raises ConfigError and changes nothing; of a good one, the sources and inboxes
        that changed take over once what they have on the wire has come back, and the others do not notice. Whoever asked
        may go away: half a reload would leave a daemon that does nothing."""
        switching = asyncio.create_task(self._reload(), name="reload")
        switching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(switching)

    async def _reload(self) -> ReloadAnswer:
        async with self._reloading:
            try:
                return await self._change_over()
            except InboxSyncError as error:
                problems = list(getattr(error, "problems", ()))
                log.error("daemon.not_reloaded", code=error.code, reason=error.sentence, problems=problems)  # noqa: TRY400  no bug of ours
                raise

    async def _change_over(self) -> ReloadAnswer:
        if self._state != "running":
            raise TemporaryError(
                f"the daemon is {self._state} and cannot read its file again now",
                code="daemon.not_running",
                next_step="type it again in a moment" if self._state == "starting" else "start the daemon again",
            )
        fresh = self._read_again()
        answer = difference(self._loaded, fresh)
        change = Change.between(self._loaded, fresh)
        keep_secret(fresh.secret_values)
        self._loaded = fresh
        await self._apply(change, fresh)
        self._tell_not_loaded()
        notify(f"STATUS={self._status_line()}")
        log.info("daemon.reloaded", **{key: len(names) for key, names in answer.items() if isinstance(names, list)})
        return answer

    def _read_again(self) -> LoadedConfig:
        """The file as it is now. One that is refused stays on systemd's status line until a good one comes."""
        try:
            fresh = load(self._loaded.path)
        except InboxSyncError as error:
            self._refused = error.sentence
            notify(f"STATUS={self._status_line()}")
            raise
        self._refused = ""
        return fresh

    async def _apply(self, change: Change, fresh: LoadedConfig) -> None:
        self.changes += not change.is_nothing
        await self._schedule.remove(change.sources_leaving)
        try:
            await self.runtime.leave(change.inboxes_leaving, change.sources_leaving, self._grace_seconds)
            await self.runtime.enter(fresh, change.inboxes_entering, change.sources_entering)
            await self._schedule.add(sorted(change.sources_entering))
        except Exception as error:
            # half a configuration is of no use: the next process starts afresh
            self._fatal = error if isinstance(error, InboxSyncError) else bug_of(error)
            self._stop.set()
            raise
