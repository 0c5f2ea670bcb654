"""Forgetting what is older than `[ledger] keep_days`, once a day, a little at a time, by one of the daemons."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from sync.clock import Clock
from sync.errors import InboxSyncError
from sync.lease import LeaseKeeper
from sync.ledger import Ledger

log = structlog.get_logger()

LEASE = "retention"
DONE_AT = "retention_done_at"
EVERY = timedelta(days=1)
LEAP = timedelta(days=30)
"""A clock that is further than this from the last round is not believed before a pass of today has gone well."""
LOOK_SECONDS = 600.0
"""How often it is asked whether a day has passed: restarts do not begin it anew."""
PAUSE_SECONDS = 0.05
"""Between two transactions: whoever delivers comes first."""


class Retainer:
    """Keeps `keep_days` of the ledger."""

    def __init__(self, keep_days: float, *, ledger: Ledger, keeper: LeaseKeeper, clock: Clock) -> None:
        self._keep = timedelta(days=keep_days)
        self._ledger = ledger
        self._keeper = keeper
        self._clock = clock
        self._leapt_at: float | None = None

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                if (
                    await self._is_due()
                    and not await self._is_backfilling()
                    and await self._keeper.take(LEASE) is not None
                ):
                    await self.forget()
            except InboxSyncError as error:
                log.warning("retention.postponed", code=error.code)
            except Exception:
                log.exception("retention.bug")

    async def forget(self) -> None:
        """One whole round."""
        now = self._clock.now()
        before = now - self._keep
        retention = self._ledger.retention
        await self._ledger.call(retention.move_horizons, before)
        last_id: int | None = 0
        messages = deliveries = 0
        while last_id is not None:
            step = await self._ledger.call(retention.forget, last_id, before)
            messages += step.messages
            deliveries += step.deliveries
            last_id = step.last_id
            await self._clock.sleep(PAUSE_SECONDS)
        while await self._ledger.call(retention.forget_events, before):
            await self._clock.sleep(PAUSE_SECONDS)
        await self._ledger.call(self._ledger.notes.put, DONE_AT, now.isoformat())
        log.info("retention.done", before=before.isoformat(), messages=messages, deliveries=deliveries)

    async def _is_due(self) -> bool:
        kept = await self._ledger.call(self._ledger.notes.get, DONE_AT)
        if kept is None:
            return True
        passed = self._clock.now() - datetime.fromisoformat(kept)
        if not -LEAP < passed < LEAP and not await self._is_believed():
            log.warning("retention.clock_leapt", since_last_round_days=round(passed / timedelta(days=1)))
            return False
        return passed >= EVERY or passed < timedelta(0)

    async def _is_believed(self) -> bool:
        """Whether some source was polled well within the last day by this very clock, long enough after it leapt that an
        operator could have seen it: a machine that starts with a wrong date sets it right within minutes."""
        now = self._clock.now()
        self._leapt_at = self._leapt_at or self._clock.elapsed_seconds()
        waited = timedelta(seconds=self._clock.elapsed_seconds() - self._leapt_at)
        passes = [one.last_good_pass_at for one in await self._ledger.call(self._ledger.sources.all)]
        return waited >= EVERY and any(at is not None and timedelta(0) <= now - at < EVERY for at in passes)

    async def _is_backfilling(self) -> bool:
        """What a backfill brings in from before is not to be forgotten under its hands."""
        return bool(await self._ledger.call(self._ledger.backfills.open))
