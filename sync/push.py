"""Push: a source whose connector can wait for news (`sync.connector.Waits`) gets a pass as soon as there may be some.

A hint makes a pass come sooner and nothing else: the plain poll goes on beside it at its interval, under the same lease
and one pass at a time. A source waits only while its passes go well, so that a service in trouble sees no more of us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sync.clock import Clock
from sync.connector import Connector, PassContext, Waits
from sync.decide import backoff_seconds
from sync.errors import InboxSyncError, TemporaryError
from sync.passes import MAX_BACKOFF_SECONDS, PassReport

log = structlog.get_logger()

HINT_GAP_SECONDS = 0.1
"""Between a pass that a hint started and the next one: what is announced meanwhile is looked for together. Grows while
hints bring nothing, up to the source's interval."""
RETRY_SECONDS = 5.0
"""The first delay after `wait` failed; doubled while it goes on failing."""
STEADY_SECONDS = 60.0
"""A wait that held for so long before it failed was a good one: servers end connections now and then."""
NOT_OFFERED_SECONDS = 3600.0
"""How long until a connector that has nothing to wait for is asked again."""


class Listener:
    """Waits at one source. `look` makes a pass and returns its report, None when it could not be made; `context` is
    what `wait` is given. `passed` is to be told of every pass of the source."""

    def __init__(
        self,
        name: str,
        connector: Connector,
        *,
        every_seconds: float,
        context: Callable[[], Awaitable[PassContext]],
        look: Callable[[str], Awaitable[PassReport | None]],
        clock: Clock,
    ) -> None:
        self._name = name
        self._connector = connector
        self._every_seconds = every_seconds
        self._context = context
        self._look = look
        self._clock = clock
        self._well = asyncio.Event()
        self._leash: asyncio.Timeout | None = None
        self._failures = 0
        self._empty_hints = 0

    def passed(self, report: PassReport | None) -> None:
        """How a pass went. None: the source is paused, or another process has it, so nothing is waited for here."""
        if report is not None and report.error is None:
            self._well.set()
            return
        self._well.clear()
        if report is None and self._leash is not None:
            self._leash.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """For ever, or not at all for a connector that cannot wait."""
        if not isinstance(self._connector, Waits):
            return
        while True:
            await self._well.wait()
            began = self._clock.elapsed_seconds()
            try:
                hinted = await self._until_hint(self._connector)
            except InboxSyncError as error:
                await self._failed(error, self._clock.elapsed_seconds() - began)
            except Exception:
                log.exception("push.bug", source=self._name)
                bug = TemporaryError("the connector failed in a way that was not foreseen", code="internal.error")
                await self._failed(bug, self._clock.elapsed_seconds() - began)
            else:
                await self._hinted(hinted)

    async def _until_hint(self, connector: Waits) -> frozenset[str] | None:
        try:
            async with asyncio.timeout(None) as self._leash:
                return await connector.wait(await self._context())
        except TimeoutError:
            if self._leash is None or not self._leash.expired():
                raise
            await self._connector.aclose()  # nor does a source that is not ours hold connections
            return frozenset()
        finally:
            self._leash = None

    async def _hinted(self, streams: frozenset[str] | None) -> None:
        if streams is None:
            await self._clock.sleep(NOT_OFFERED_SECONDS)
            return
        if not self._well.is_set():
            return
        self._failures = 0
        log.debug("push.hint", source=self._name, streams=sorted(streams))
        report = await self._look(self._name)
        brought = report is not None and report.new > 0
        self._empty_hints = 0 if brought else self._empty_hints + 1
        await self._clock.sleep(backoff_seconds(self._empty_hints, HINT_GAP_SECONDS, self._every_seconds))

    async def _failed(self, error: InboxSyncError, held_seconds: float) -> None:
        self._failures = 1 if held_seconds >= STEADY_SECONDS else self._failures + 1
        wait = backoff_seconds(self._failures, RETRY_SECONDS, MAX_BACKOFF_SECONDS)
        if isinstance(error, TemporaryError):
            wait = max(wait, error.retry_after_seconds or 0.0)
        log.warning("push.failed", source=self._name, code=error.code, reason=error.sentence, again_seconds=round(wait))
        await self._clock.sleep(wait)
