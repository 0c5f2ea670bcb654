"""One daemon of the state machine: the program's own runtime in a loop of its own, with traps at which it ends or stops."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from sync.config import LoadedConfig
from sync.config.load import SourceConfig
from sync.connector import Connector, ConnectorConfig
from sync.errors import InboxSyncError
from sync.ledger import Ledger
from sync.runtime import Runtime
from sync.sandbox.settings import DEFAULT_API_KEY, DEFAULT_SITE_ID
from sync.settings import DaemonSettings, InboxSettings, Settings, SourceSettings
from tests.property.mailbox import OWN, Mailbox, ScriptedConnector
from tests.property.site import BASE_URL, Site, Wire
from tests.property.world import BEGAN, Loop, World, WorldClock

INBOX, SOURCE = "main", "mail"
LEDGER_SECONDS = 0.001
"""How long a transaction waits to begin, and its answer to come."""
AWAKE_SECONDS = 5.0
SETTLE_SECONDS = 8.0
LEASE_SECONDS = 9.0
MAX_RESENDS = 3
MAX_ATTEMPTS = 5
REQUESTS_PER_MINUTE, BURST = 600.0, 3
HORIZON_SECONDS = 1800.0
"""The source starts then; what arrived before is only a backfill's."""

INBOX_SETTINGS = InboxSettings(
    site_id=DEFAULT_SITE_ID,
    api_key=SecretStr(DEFAULT_API_KEY),
    base_url=BASE_URL,
    own_addresses=(OWN,),
    requests_per_minute=REQUESTS_PER_MINUTE,
    burst_requests=BURST,
    lanes=4,
    connect_timeout_seconds=1.0,
    answer_timeout_seconds=3.0,
    unknown_settle_seconds=SETTLE_SECONDS,
    doubled_look_seconds=4 * SETTLE_SECONDS,
    first_look_seconds=0.5,
    max_resends=MAX_RESENDS,
    mapping_ttl_hours=60 / 3600,
    lane_hold_seconds=20.0,
    retry_first_seconds=1.0,
    max_attempts=MAX_ATTEMPTS,
    park_after_failures=4,
    probe_seconds=2.0,
    probe_max_seconds=10.0,
)
SOURCE_SETTINGS = SourceSettings(
    connector="scripted",
    inbox=INBOX,
    every=12.0,
    start=BEGAN + timedelta(seconds=HORIZON_SECONDS),
    backfill_window=3,
    order_wait_seconds=4.0,
    pass_timeout_seconds=10.0,
    max_fetch_attempts=4,
    park_probe_seconds=10.0,
)
SETTINGS = Settings(
    daemon=DaemonSettings(lease_seconds=LEASE_SECONDS),
    inbox={INBOX: INBOX_SETTINGS},
    sources={SOURCE: SOURCE_SETTINGS},
)
"""Smaller than the defaults, their ratios kept."""


@dataclass(frozen=True, slots=True)
class _Scripted(SourceConfig):
    make: Callable[[], Connector]

    def build(self) -> Connector:
        return self.make()


@dataclass(eq=False)
class Trap:
    """At the `left`-th time that `occasion` comes, `action` is done."""

    occasion: str
    left: int
    action: Callable[[], None]


class Process:
    """A daemon: started, frozen and woken, killed. `observe` is told of each transaction that was committed."""

    def __init__(
        self, world: World, site: Site, mailbox: Mailbox, ledger: Ledger, holder: str, observe: Callable[[str], None]
    ) -> None:
        self._world = world
        self._ledger = ledger
        self._observe = observe
        self._waiting: list[Callable[[], None]] = []
        self.alive = True
        self.frozen = False
        self.woke_at = -AWAKE_SECONDS
        self._hint = asyncio.Event()
        self.traps: list[Trap] = []
        self.loop = Loop(world)
        self.loop.executor = self._execute
        source = _Scripted(
            SOURCE,
            INBOX,
            SOURCE_SETTINGS,
            ScriptedConnector,
            ConnectorConfig(),
            make=lambda: ScriptedConnector(mailbox, world),
        )
        loaded = LoadedConfig(Path("machine.toml"), SETTINGS, {SOURCE: source}, {})
        self.runtime = Runtime(loaded, ledger, clock=WorldClock(world), holder=holder)
        for side in self.runtime.sides.values():
            side._http._transport = Wire(site, self.come)
        self.main = self.loop.create_task(self._work())
        self._sweeps: list[asyncio.Task[None]] = []
        world.running.append(self.loop)

    async def _work(self) -> None:
        await self.runtime.start()
        self.runtime.do_backfills()
        while True:
            wait = SOURCE_SETTINGS.every
            try:
                report = await self.runtime.poll(SOURCE)
            except InboxSyncError:
                pass
            else:
                wait = report.next_wait_seconds if report is not None else wait
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._hint.wait()
            self._hint.clear()

    def hint(self) -> None:
        """There is something new in the mailbox: it is polled at once."""
        if self.alive:
            self.loop.call_soon(self._hint.set)

    def look_for_backfills(self) -> None:
        """There may be a new job."""
        if self.alive:
            self.loop.call_soon(self.runtime.backfills.look)

    def sweep(self) -> None:
        """The mailbox is looked through now, beside its passes."""

        async def work() -> None:
            with suppress(InboxSyncError):
                await self.runtime.sweep(SOURCE)

        if self.alive:
            self.loop.call_soon(lambda: self._sweeps.append(self.loop.create_task(work())))

    # ------------------------------------------------------------------ its end, and its sleep

    def kill(self) -> None:
        """Nothing of it runs any more, and nothing is tidied up."""
        if not self.alive:
            return
        self.alive = False
        self._waiting.clear()
        if self.loop in self._world.running:
            self._world.running.remove(self.loop)
        if self._ledger._lock is not None:
            self._ledger._lock.release()  # the kernel does

    def freeze(self, seconds: float) -> None:
        """Stands still for so long."""
        if not self.alive or self.frozen:
            return
        self.frozen = True
        self._world.running.remove(self.loop)
        self._world.after(seconds, self.wake)

    def wake(self) -> None:
        if not self.alive or not self.frozen:
            return
        self.frozen, self.woke_at = False, self._world.now
        self._world.running.append(self.loop)
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            self._world.after(0.0, work)

    @property
    def drowsy(self) -> bool:
        """Asleep, or not long enough awake to have done what it was about to do."""
        return self.alive and (self.frozen or self._world.now < self.woke_at + AWAKE_SECONDS)

    def bury(self) -> None:
        """Ends the tasks of a killed process; none of them reaches anything any more."""
        self.kill()
        elsewhere = World()
        elsewhere.now = self._world.now
        self.loop._world = elsewhere
        self.loop.executor = lambda _work, _future: None
        for _ in range(1000):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            elsewhere.now = max(elsewhere.now, self.loop.due_at or 0.0)
            self.loop.turn()
        self.loop.close()
        self._ledger.close()

    # ------------------------------------------------------------------ traps

    def come(self, occasion: str) -> None:
        """An occasion: the traps that waited for it are sprung, as soon as the present turn of the loop ends."""
        self._spring(occasion, lambda action: self._world.after(0.0, action))

    def _spring(self, occasion: str, act: Callable[[Callable[[], None]], None]) -> None:
        for trap in list(self.traps):
            if trap.occasion != occasion:
                continue
            trap.left -= 1
            if trap.left <= 0:
                self.traps.remove(trap)
                act(trap.action)

    # ------------------------------------------------------------------ the ledger's threads

    def _execute(self, work: Callable[[], object], future: asyncio.Future[object]) -> None:
        name = _name_of(work)
        self._world.after(LEDGER_SECONDS, lambda: self._begin(name, work, future))

    def _begin(self, name: str, work: Callable[[], object], future: asyncio.Future[object]) -> None:
        if not self.frozen:
            self._spring(f"before {name}", lambda action: action())
        if not self.alive:
            return
        if self.frozen:
            self._waiting.append(lambda: self._begin(name, work, future))
            return
        result: object = None
        error: Exception | None = None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001  it belongs to the caller
            error = caught
        self._observe(name)
        self._spring(f"after {name}", lambda action: action())

        def answer() -> None:
            if future.done() or self.loop.is_closed():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        if self.alive:
            self._world.after(LEDGER_SECONDS, lambda: None if not self.alive else self.loop.call_soon(answer))


def _name_of(work: Callable[[], object]) -> str:
    """Which of the ledger's methods it is (`Ledger.call` hands over a partial of a partial)."""
    if isinstance(work, functools.partial) and work.args and isinstance(work.args[0], functools.partial):
        return str(getattr(work.args[0].func, "__name__", ""))
    return ""
