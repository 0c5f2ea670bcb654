"""Whether an inbox takes anything now: a row of server errors parks it, and a read decides when it is well again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from sync.clock import Clock
from sync.decide import backoff_seconds
from sync.errors import AuthError, InboxSyncError, LedgerError, TemporaryError
from sync.ledger import Ledger
from sync.settings import InboxSettings

log = structlog.get_logger()


NOT_PERMITTED = "inbox.not_permitted"
"""Said of sends alone it survives every probe: only a send that is answered ends it (docs/design/0004)."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Why an inbox is parked and when it is probed next."""

    code: str
    sentence: str
    next_step: str
    probe_at: datetime


def _always() -> bool:
    return True


class InboxHealth:
    """One inbox's. `parked` is None while it takes deliveries. `is_ours`: whether this process still is the one that
    delivers; what fails in a process that was frozen and replaced says nothing about the inbox."""

    def __init__(
        self,
        inbox: str,
        settings: InboxSettings,
        ledger: Ledger,
        clock: Clock,
        is_ours: Callable[[], bool] = _always,
    ) -> None:
        self._is_ours = is_ours
        self._inbox = inbox
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._failures = 0
        self._failed_sends = 0
        self._probes = 0
        self.parked: Parked | None = None
        self._told = False
        self.on_trial = False
        """A read works again since it was parked, but no send was answered yet: one at a time is tried."""
        self._sends_forbidden = False
        """It was parked because sends are not permitted: that a read works says nothing about it."""
        self._sent_at: datetime | None = None
        self._well_since: datetime | None = None

    async def load(self) -> None:
        """An inbox that was parked when the last process ended is probed at once."""
        row = await self._ledger.call(self._ledger.inboxes.get, self._inbox)
        if row is not None and row.state == "parked":
            self.parked = Parked(row.code, row.sentence, row.next_step, self._clock.now())

    def worked(self) -> None:
        """A read (or another call that can be repeated) was answered properly. This says nothing about sends."""
        self._failures = 0

    async def sent(self) -> None:
        """A send was answered, be it with a refusal of that message."""
        self._sent_at = self._clock.now()
        if self.on_trial:
            self._well_since = self._sent_at
        self._failures = self._failed_sends = self._probes = 0
        self.on_trial = False
        if self._sends_forbidden and self.parked is None:
            with suppress(LedgerError, TemporaryError):  # then the next one tells it
                await self._tell_well()

    def blames_message(self, failed_at: datetime) -> bool:
        """Whether a send that failed then is to be blamed on its message: the Inbox was not failing altogether, and
        other sends got through since. Else an outage would use up what waits."""
        if self._sent_at is None or self.on_trial or self.parked is not None:
            return False
        return self._sent_at > failed_at and (self._well_since is None or failed_at > self._well_since)

    async def failed(
        self, error: InboxSyncError, *, sending: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        """A call failed for a reason that concerns the whole inbox. Sign-in and permission faults park at once, and so
        does a send on trial; others after `park_after_failures` in a row, sends counted by themselves."""
        if not self._is_ours():
            return
        self._failures += 1
        self._failed_sends += sending
        on_trial = sending and self.on_trial
        in_a_row = max(self._failures, self._failed_sends)
        at_once = on_trial or isinstance(error, AuthError)
        if self.parked is not None or (not at_once and in_a_row < self._settings.park_after_failures):
            return
        self._probes = self._probes + 1 if on_trial else 0
        self._sends_forbidden = sending and error.code == NOT_PERMITTED
        await self._park(error, max(self._wait_seconds(error), retry_after_seconds or 0.0))

    async def probed(self, error: InboxSyncError | None) -> None:
        """What the probe of a parked inbox found."""
        if self.parked is None:
            return
        if not self._is_ours():
            wait = timedelta(seconds=self._settings.probe_seconds)
            self.parked = replace(self.parked, probe_at=self._clock.now() + wait)
            return
        if error is None:
            parked = self.parked
            try:
                if not self._sends_forbidden:
                    await self._tell_well()
            except (LedgerError, TemporaryError):  # it stays parked for both, and is probed again
                wait = timedelta(seconds=self._settings.probe_seconds)
                self.parked = replace(parked, probe_at=self._clock.now() + wait)
                raise
            self.parked = None
            self.on_trial = True
            self._failures = self._failed_sends = 0
            return
        self._probes += 1
        await self._park(error, self._wait_seconds(error))

    async def _tell_well(self) -> None:
        await self._ledger.call(self._ledger.inboxes.unpark, self._inbox, self._clock.now())
        self._told = self._sends_forbidden = False
        log.info("inbox.well_again", inbox=self._inbox)

    def _wait_seconds(self, error: InboxSyncError) -> float:
        first, most = self._settings.probe_seconds, self._settings.probe_max_seconds
        return most if isinstance(error, AuthError) else backoff_seconds(self._probes + 1, first, most)

    async def _park(self, error: InboxSyncError, wait_seconds: float) -> None:
        now = self._clock.now()
        self.parked = Parked(error.code, error.sentence, error.next_step, now + timedelta(seconds=wait_seconds))
        await self._ledger.call(
            self._ledger.inboxes.park,
            self._inbox,
            error.code,
            error.sentence,
            error.next_step,
            self.parked.probe_at,
            now,
        )
        if not self._told:
            self._told = True
            log.error("inbox.parked", inbox=self._inbox, code=error.code, reason=error.sentence)
