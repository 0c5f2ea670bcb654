"""Leases: who may poll a source, who may deliver into an inbox. The ledger keeps them; this module keeps them alive.

A lease is held until a deadline by a clock that counts suspend. The holder asks `valid()` as the last step before the
first byte of a send: a process that slept through its lease does not write (DESIGN.md §2, Sending, step 2).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection

import structlog

from sync.clock import Clock
from sync.errors import InboxSyncError
from sync.ledger import LeaseRef, Ledger, process_name

log = structlog.get_logger()

RENEWALS_PER_LEASE = 3
"""A lease is renewed this many times before it would run out, and asked for as often by who waits for it."""
STAND_BY_GRAIN_SECONDS = 0.01
"""Added to what is left of another's lease: it must have ended."""


def new_holder() -> str:
    """A holder's name: host, process id, and what makes it unique per process start, since a restarted process must
    never inherit the old fence."""
    return f"{process_name()}:{secrets.token_hex(8)}"


class HeldLease:
    """One lease of ours."""

    def __init__(self, ref: LeaseRef, clock: Clock, deadline: float) -> None:
        self.ref = ref
        self._clock = clock
        self._deadline = deadline
        self.lost = asyncio.Event()

    def valid(self) -> bool:
        """Whether nobody else can have taken it yet."""
        return not self.lost.is_set() and self._clock.elapsed_seconds() < self._deadline

    def extend(self, deadline: float) -> None:
        """The ledger has renewed it."""
        self._deadline = deadline


class LeaseKeeper:
    """Takes and renews the leases of one process."""

    def __init__(self, ledger: Ledger, clock: Clock, *, lease_seconds: float, alone: bool, holder: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._alone = alone
        self.holder = holder
        self._held: dict[str, HeldLease] = {}
        self.moved_at = clock.elapsed_seconds()
        """When the ledger last answered a renewal, be it with an error, by the clock's elapsed seconds."""

    async def take(self, name: str) -> HeldLease | None:
        """The lease `name`, or None while another process holds it. `alone` (a kernel lock proves that nobody else
        uses the database): a lease left behind by a dead process is taken at once."""
        held = self._held.get(name)
        if held is not None and held.valid():
            return held
        started = self._clock.elapsed_seconds()
        lease = await self._ledger.call(
            self._ledger.leases.take, name, self.holder, self._lease_seconds, force=self._alone
        )
        if lease is None:
            return None
        held = HeldLease(LeaseRef(name, self.holder, lease.fence), self._clock, started + self._lease_seconds)
        self._held[name] = held
        return held

    async def stand_by(self, name: str) -> None:
        """Waits until it is time to ask for a lease again that another process holds: at its end, and now and then
        before, since it may be given back."""
        left = await self._ledger.call(self._ledger.leases.seconds_left, name)
        await self._clock.sleep(min(self._lease_seconds / RENEWALS_PER_LEASE, max(0.0, left) + STAND_BY_GRAIN_SECONDS))

    async def run(self) -> None:
        """Renews everything, for ever."""
        while True:
            await self._clock.sleep(self._lease_seconds / RENEWALS_PER_LEASE)
            try:
                await self._renew(dict(self._held))
            except Exception:
                log.exception("lease.bug")  # without a keeper nothing would ever be sent again

    async def release_all(self) -> None:
        """Gives everything back, so that the next process need not wait."""
        await self.release(list(self._held))

    async def release(self, names: Collection[str]) -> None:
        """Gives these back, as far as they are held."""
        for name in names:
            lease = self._held.pop(name, None)
            if lease is None:
                continue
            lease.lost.set()
            try:
                await self._ledger.call(self._ledger.leases.release, name, self.holder, lease.ref.fence)
            except InboxSyncError as error:
                log.warning("lease.not_released", lease=name, code=error.code)

    async def _renew(self, held: dict[str, HeldLease]) -> None:
        started = self._clock.elapsed_seconds()
        try:
            leases = await self._ledger.call(self._ledger.leases.renew, list(held), self.holder, self._lease_seconds)
        except InboxSyncError as error:
            log.warning("lease.not_renewed", leases=len(held), code=error.code)
            return
        finally:
            self.moved_at = self._clock.elapsed_seconds()
        for name, ours in held.items():
            lease = leases.get(name)
            if lease is not None and lease.fence == ours.ref.fence:
                ours.extend(started + self._lease_seconds)
            else:
                log.warning("lease.lost", lease=name)
                ours.lost.set()
                if self._held.get(name) is ours:
                    del self._held[name]
