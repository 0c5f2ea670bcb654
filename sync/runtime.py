"""Everything that works for one configuration: a poller per source, a delivery side per inbox, and their leases.

The daemon keeps one for months; `sync` typed without a daemon makes one for a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Iterator
from dataclasses import dataclass

import structlog

from sync.budget import Budget
from sync.clock import Clock
from sync.config import LoadedConfig
from sync.deliver import Deliverer, probe_when_parked
from sync.errors import InboxSyncError
from sync.health import InboxHealth
from sync.http import HttpClient
from sync.inbox import InboxClient
from sync.jobs import BackfillJobs
from sync.lease import HeldLease, LeaseKeeper
from sync.ledger import LeaseLost, Ledger
from sync.listing import can_load_listed
from sync.mail.address import OwnAddresses
from sync.passes import PassReport
from sync.poll import Poller
from sync.reconcile import Reconciler
from sync.settings import InboxSettings
from sync.sweep import sweep

log = structlog.get_logger()

RESTART_SECONDS = 5.0
"""Pause before a delivery side that failed on a bug is started again."""
RESTARTS_TO_GIVE_UP = 3
"""Failures in a row, each soon after the start, after which a typed `sync` does not wait for a delivery side."""
GOOD_START_SECONDS = 60.0
"""A delivery side that ran for so long did not fail soon after its start."""
BUDGET_SAVE_SECONDS = 10.0
SPOOL_WAIT_SECONDS = 0.2
CLOSE_SECONDS = 5.0
"""How long a connector may take to say good-bye."""


@dataclass(slots=True)
class _Serving:
    """What runs while the inbox's lease is held."""

    deliverer: Deliverer
    reconciler: Reconciler
    health: InboxHealth


class InboxSide:
    """Delivery into one inbox, whenever this process holds its lease."""

    def __init__(
        self,
        name: str,
        settings: InboxSettings,
        *,
        ledger: Ledger,
        keeper: LeaseKeeper,
        badges: dict[str, str],
        clock: Clock,
        alone: bool,
        lease_seconds: float,
    ) -> None:
        self.name = name
        self.settings = settings
        self._ledger = ledger
        self._keeper = keeper
        self._badges = badges
        self._clock = clock
        self._alone = alone
        self._lease_seconds = lease_seconds
        self.budget = Budget(settings.requests_per_minute, settings.burst_requests, clock=clock)
        self._http = HttpClient(
            connect_timeout_seconds=settings.connect_timeout_seconds,
            answer_timeout_seconds=settings.answer_timeout_seconds,
            connections=settings.lanes,
        )
        self.client = InboxClient(name, settings, http=self._http, budget=self.budget, clock=clock)
        self.serving: _Serving | None = None
        self._failed_starts = 0
        self.trouble: InboxSyncError | None = None
        """Why it ends again and again soon after its start; None while it does not."""

    @property
    def parked(self) -> bool:
        """Whether the inbox takes nothing now."""
        return self.serving is not None and self.serving.health.parked is not None

    def show_as(self, badges: dict[str, str]) -> None:
        """What messages of each source are marked with, from the next one on."""
        self._badges.clear()
        self._badges.update(badges)

    def wake(self) -> None:
        """The ledger has news for this inbox."""
        if self.serving is not None:
            self.serving.deliverer.wake()

    async def run(self) -> None:
        """Delivers while the lease is held, waits for it otherwise; for ever."""
        while True:
            lease: HeldLease | None = None
            began = self._clock.elapsed_seconds()
            try:
                lease = await self._keeper.take(f"inbox:{self.name}")
                if lease is None:
                    await self._keeper.stand_by(f"inbox:{self.name}")
                    continue
                await self._serve(lease)
            except* LeaseLost:
                log.warning("inbox.lease_lost", inbox=self.name)
                if lease is not None:
                    lease.lost.set()  # whoever noticed it: it must be asked for anew
            except* InboxSyncError as errors:
                log.warning("inbox.interrupted", inbox=self.name, reason=str(errors.exceptions[0]))
                self._failed(errors.exceptions[0], began)
                await self._clock.sleep(RESTART_SECONDS)
            except* Exception as errors:
                log.exception("inbox.bug", inbox=self.name, exc_info=errors.exceptions[0])
                self._failed(errors.exceptions[0], began)
                await self._clock.sleep(RESTART_SECONDS)

    def _failed(self, error: Exception, began: float) -> None:
        soon = self._clock.elapsed_seconds() - began < GOOD_START_SECONDS
        self._failed_starts = self._failed_starts + 1 if soon else 1
        if self._failed_starts < RESTARTS_TO_GIVE_UP:
            self.trouble = None
        elif isinstance(error, InboxSyncError):
            self.trouble = error
        else:
            self.trouble = InboxSyncError(
                f"delivering into {self.name} fails again and again: {type(error).__name__}",
                code="internal.error",
                next_step="report it with what the log says; what waits stays in the ledger",
                inbox=self.name,
            )

    async def stop(self, grace_seconds: float) -> None:
        """Starts no further send and lets those on the wire come back."""
        if self.serving is not None:
            await self.serving.deliverer.stop(grace_seconds)
            with contextlib.suppress(InboxSyncError):
                await self._save_budget()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.client.aclose()
        await self._http.aclose()

    async def is_quiet(self, *, with_backfill: bool = True) -> bool:
        """Whether nothing of this inbox can move now: all is final, or waits for a retry, or the inbox is parked. Without
        `with_backfill`: nothing but backfills."""
        serving = self.serving
        if serving is None:
            return False
        if serving.health.parked is not None:
            return True
        if not serving.deliverer.is_quiet(with_backfill=with_backfill) or serving.reconciler.busy:
            return False
        wire = await self._ledger.call(self._ledger.deliveries.on_the_wire, self.name)
        return not any(with_backfill or not row.backfill for row in wire)

    async def _serve(self, lease: HeldLease) -> None:
        health = InboxHealth(self.name, self.settings, self._ledger, self._clock, lease.valid)
        await health.load()
        await self._load_budget()
        deliverer = Deliverer(
            self.name,
            self.settings,
            client=self.client,
            ledger=self._ledger,
            lease=lease,
            health=health,
            badges=self._badges,
            clock=self._clock,
        )
        reconciler = Reconciler(
            self.name,
            self.settings,
            client=self.client,
            ledger=self._ledger,
            lease=lease,
            health=health,
            news=deliverer.news_for_reconcile,
            clock=self._clock,
            alone=self._alone,
        )
        reconciler.on_moved = deliverer.wake
        reconciler.is_at_work = deliverer.is_at_work
        await reconciler.take_over()
        self.serving = _Serving(deliverer, reconciler, health)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(deliverer.run())
                group.create_task(reconciler.run())
                group.create_task(probe_when_parked(self.client, health, self._clock, deliverer.wake))
                group.create_task(self._save_budget_for_ever(lease))
        finally:
            self.serving = None

    async def _load_budget(self) -> None:
        row = await self._ledger.call(self._ledger.inboxes.load, self.name, self.settings.site_id, self._clock.now())
        if row.budget is not None:
            self.budget.restore(row.budget)

    async def _save_budget(self) -> None:
        await self._ledger.call(self._ledger.inboxes.save_budget, self.name, self.budget.state())

    async def _save_budget_for_ever(self, lease: HeldLease) -> None:
        """Now and then, and at once when a refusal lowered the rate: a kill -9 must not forget what it taught."""
        lowered = self.budget.lowered
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BUDGET_SAVE_SECONDS):
                    await lowered.wait()
            lowered.clear()
            if lease.valid():  # else it is another one's to say what was used
                with contextlib.suppress(InboxSyncError):
                    await self._save_budget()


class Runtime:
    """The pollers and delivery sides of a configuration over one ledger."""

    def __init__(self, loaded: LoadedConfig, ledger: Ledger, *, clock: Clock, holder: str) -> None:
        self.loaded = loaded
        self.ledger = ledger
        self.clock = clock
        self.alone = ledger.exclusive
        settings = loaded.settings
        self.keeper = LeaseKeeper(
            ledger, clock, lease_seconds=settings.daemon.lease_seconds, alone=self.alone, holder=holder
        )
        self.sides = {name: self._side(name, inbox) for name, inbox in settings.inbox.items()}
        self._http = HttpClient()
        self.pollers = {name: self._poller(name) for name in loaded.sources}
        self.backfills = BackfillJobs(
            self.pollers,
            ledger,
            clock,
            take_lease=lambda name: self.keeper.take(f"source:{name}"),
            wake=self._wake_for,
            spool_max_bytes=settings.ledger.spool_max_bytes,
        )
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _side(self, name: str, settings: InboxSettings) -> InboxSide:
        return InboxSide(
            name,
            settings,
            ledger=self.ledger,
            keeper=self.keeper,
            badges=self._badges(name),
            clock=self.clock,
            alone=self.alone,
            lease_seconds=self.loaded.settings.daemon.lease_seconds,
        )

    def _badges(self, inbox: str) -> dict[str, str]:
        sources = {key: source for key, source in self.loaded.settings.sources.items() if source.inbox == inbox}
        return {key: source.badge if source.badge is not None else key for key, source in sources.items()}

    def _poller(self, name: str) -> Poller:
        source = self.loaded.sources[name]
        return Poller(
            name,
            source.settings,
            inbox=source.inbox,
            connector=source.build(),
            own_addresses=OwnAddresses(self.loaded.settings.inbox[source.inbox].own_addresses),
            ledger=self.ledger,
            spool_max_bytes=self.loaded.settings.ledger.spool_max_bytes,
            http=self._http,
            clock=self.clock,
        )

    async def start(self) -> None:
        """Makes inboxes and sources known to the ledger, and delivers from now on."""
        self._spawn(self.keeper.run(), "leases")
        await self._introduce(self.sides, self.pollers)

    async def _introduce(self, inboxes: Collection[str], sources: Collection[str]) -> None:
        now = self.clock.now()
        for name in inboxes:
            await self.ledger.call(self.ledger.inboxes.load, name, self.sides[name].settings.site_id, now)
        for name in sources:
            await self.pollers[name].load()
        await self.ledger.call(self.ledger.sources.mark_removed, set(self.loaded.settings.sources), now)
        for name in inboxes:
            self._spawn(self.sides[name].run(), f"inbox:{name}")

    async def leave(self, inboxes: Collection[str], sources: Collection[str], grace_seconds: float) -> None:
        """Works no more for these, whose passes have ended: what is on the wire comes back, connections are closed and
        leases given back. The others go on."""
        pollers = {name: self.pollers.pop(name) for name in sources}
        await self.backfills.stop(sources)
        for poller in pollers.values():
            await _close_connector(poller)
        await asyncio.gather(*(self.sides[name].stop(grace_seconds) for name in inboxes))
        await self._end_tasks([f"inbox:{name}" for name in inboxes])
        for name in inboxes:
            await self.sides.pop(name).aclose()
        await self.keeper.release([*(f"source:{name}" for name in sources), *(f"inbox:{name}" for name in inboxes)])

    async def enter(self, loaded: LoadedConfig, inboxes: Collection[str], sources: Collection[str]) -> None:
        """Works for these too, as `loaded` has them; what is left of the old configuration is as it was."""
        self.loaded = loaded
        for name in inboxes:
            self.sides[name] = self._side(name, loaded.settings.inbox[name])
        for name in sources:
            self.pollers[name] = self._poller(name)
        for name, side in self.sides.items():
            side.show_as(self._badges(name))
        await self._introduce(inboxes, sources)
        self.backfills.look()

    async def poll(self, name: str) -> PassReport | None:
        """One pass of one source, and word to its inbox. None while it is paused or another process holds it."""
        known = await self.ledger.call(self.ledger.sources.get, name)
        if known is not None and known.paused:
            return None
        lease = await self.keeper.take(f"source:{name}")
        if lease is None:
            return None
        poller = self.pollers[name]
        try:
            report = await poller.run_pass(None if self.alone else lease.ref)
        except LeaseLost:
            log.warning("source.lease_lost", source=name)
            lease.lost.set()
            return None
        self._wake_for(name)
        return report

    async def poll_fully(self, name: str) -> PassReport | None:
        """Passes until everything found is loaded: one, unless the spool fills up in between."""
        report: PassReport | None = None
        while True:
            waited = await self.ledger.call(self.ledger.messages.spooled_bytes)
            last = await self.poll(name)
            if last is None:
                return report
            report = last if report is None else report.plus(last)
            made_nothing = not (last.deliveries or last.new)
            full = last.spool_full and last.error is None
            if not full or not await self._has_room(name, waited if made_nothing else None):
                return report

    async def sweep(self, name: str) -> None:
        """Looks a source through for what came to light late. Nothing while it is paused, another process holds it, or
        its connector cannot. Raises what the connector raises."""
        poller = self.pollers[name]
        known = await self.ledger.call(self.ledger.sources.get, name)
        if known is None or known.paused or not can_load_listed(poller):
            return
        lease = await self.keeper.take(f"source:{name}")
        if lease is None:
            return
        try:
            report = await sweep(poller, known, self.clock, lease.ref)
        except LeaseLost:
            log.warning("source.lease_lost", source=name)
            lease.lost.set()
            return
        if report.deliveries:
            self._wake_for(name)

    def _wake_for(self, source: str) -> None:
        """Word to a source's inbox, unless a reload is exchanging it at this moment: the new side looks for itself."""
        poller = self.pollers.get(source)
        side = None if poller is None else self.sides.get(poller.inbox)
        if side is not None:
            side.wake()

    def do_backfills(self) -> None:
        """Does the ledger's open backfills from now on."""
        self._spawn(self.backfills.run(), "backfills")

    async def _has_room(self, source: str, waited_bytes: int | None) -> bool:
        """Waits until the spool has room again. False when it stays full, because nothing of this inbox can move now.
        `waited_bytes`: what waited in it before a pass that found room for nothing; some of that has to go first."""
        poller = self.pollers[source]
        while True:
            side = self.sides.get(poller.inbox)  # a reload may exchange it
            quiet = side is not None and await side.is_quiet()
            waiting = await self.ledger.call(self.ledger.messages.spooled_bytes)
            has_moved = waited_bytes is None or waiting < waited_bytes
            if has_moved and await poller.fetcher.has_room():
                return True
            if quiet:
                return False
            await self.clock.sleep(SPOOL_WAIT_SECONDS)

    async def stop(self, grace_seconds: float) -> None:
        """Drains the delivery sides, closes connectors and connections, gives the leases back."""
        await asyncio.gather(*(side.stop(grace_seconds) for side in self.sides.values()))
        await self._end_tasks(list(self._tasks))
        await self.aclose()
        await self.keeper.release_all()

    async def _end_tasks(self, names: Collection[str]) -> None:
        tasks = [task for name in names if (task := self._tasks.pop(name, None)) is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Closes connectors and connections."""
        for poller in self.pollers.values():
            await _close_connector(poller)
        for side in self.sides.values():
            await side.aclose()
        await self._http.aclose()

    def failed_tasks(self) -> Iterator[BaseException]:
        """Errors that ended what should run for ever."""
        for name, task in list(self._tasks.items()):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                del self._tasks[name]
                yield error

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        self._tasks[name] = asyncio.create_task(work, name=name)


async def _close_connector(poller: Poller) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await poller.connector.aclose()
    except Exception as error:  # noqa: BLE001  a connector may fail in any way; the others are closed all the same
        log.warning("source.not_closed", source=poller.name, reason=type(error).__name__)
        poller.abort()
