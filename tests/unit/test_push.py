"""Waiting for news: what a hint starts, and what a failing wait must not do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import cast

from sync.connector import Connector, PassContext
from sync.errors import AuthError, InboxSyncError, TemporaryError
from sync.passes import PassReport
from sync.push import HINT_GAP_SECONDS, NOT_OFFERED_SECONDS, RETRY_SECONDS, STEADY_SECONDS, Listener
from sync.testing import make_context
from tests.unit.loop_desk import until


class TurnedClock:
    """Sleeps take no time; how long they were to take is kept. One beyond `stop_at` never ends."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.elapsed = 0.0
        self.may_sleep = asyncio.Event()
        self.may_sleep.set()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed_seconds(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed += seconds
        await asyncio.sleep(0)
        await self.may_sleep.wait()


class Bell:
    """A connector that can wait. `answers` are what the next calls of `wait` come to; then it waits for ever."""

    def __init__(self, *answers: frozenset[str] | Exception | None) -> None:
        self.answers = list(answers)
        self.waits = 0
        self.cancelled = 0
        self.closed = 0
        self.holds_seconds = 0.0
        self.clock: TurnedClock | None = None

    async def wait(self, ctx: PassContext) -> frozenset[str] | None:
        self.waits += 1
        if self.clock is not None:
            self.clock.elapsed += self.holds_seconds
        if not self.answers:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.closed += 1


class Desk:
    """A listener at a bell, and the passes that it asked for."""

    def __init__(self, bell: Bell, *, new: int = 1) -> None:
        self.bell, self.clock = bell, TurnedClock()
        bell.clock = self.clock
        self.passes = 0
        self.new = new
        self.listener = Listener(
            "support",
            cast("Connector", bell),
            every_seconds=60.0,
            context=self._context,
            look=self._look,
            clock=self.clock,
        )

    async def _context(self) -> PassContext:
        return make_context()

    async def _look(self, name: str) -> PassReport | None:
        self.passes += 1
        report = PassReport(name, new=self.new)
        self.listener.passed(report)
        return report

    @asynccontextmanager
    async def listening(self, *, well: bool = True) -> AsyncIterator[None]:
        if well:
            self.listener.passed(PassReport("support"))
        task = asyncio.create_task(self.listener.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


NEWS = frozenset({"INBOX"})


async def test_a_hint_starts_a_pass_and_waiting_goes_on() -> None:
    desk = Desk(Bell(NEWS, NEWS))
    async with desk.listening():
        await until(lambda: desk.bell.waits == 3, "it waits again after two hints")
    assert desk.passes == 2
    assert desk.clock.slept == [HINT_GAP_SECONDS] * 2


async def test_hints_that_bring_nothing_come_to_be_looked_at_more_and_more_seldom() -> None:
    desk = Desk(Bell(*[NEWS] * 20), new=0)
    async with desk.listening():
        await until(lambda: desk.bell.waits == 21, "all hints were taken")
    assert desk.clock.slept[0] == HINT_GAP_SECONDS
    assert desk.clock.slept[-1] == 60.0, "never more seldom than the source is polled"
    assert desk.clock.slept == sorted(desk.clock.slept)


async def test_nothing_is_waited_for_before_a_pass_went_well() -> None:
    """A wrong password is tried by the poll alone."""
    desk = Desk(Bell(NEWS))
    async with desk.listening(well=False):
        desk.listener.passed(PassReport("support", error=AuthError("refused", code="x.auth")))
        await asyncio.sleep(0.02)
        assert desk.bell.waits == 0
        desk.listener.passed(PassReport("support"))
        await until(lambda: desk.passes == 1, "it waits once a pass went well")


async def test_a_failing_wait_is_tried_again_with_growing_delays() -> None:
    failures: list[InboxSyncError] = [TemporaryError("gone", code="x.lost") for _ in range(12)]
    desk = Desk(Bell(*failures))
    async with desk.listening():
        await until(lambda: desk.bell.waits == 13, "it goes on trying")
    assert desk.passes == 0
    assert desk.clock.slept[:3] == [RETRY_SECONDS, 2 * RETRY_SECONDS, 4 * RETRY_SECONDS]
    assert max(desk.clock.slept) == 900.0


async def test_a_wait_that_held_for_long_is_no_failure_in_a_row() -> None:
    desk = Desk(Bell(*(TemporaryError("bye", code="x.bye") for _ in range(5))))
    desk.bell.holds_seconds = STEADY_SECONDS
    async with desk.listening():
        await until(lambda: desk.bell.waits == 6, "five waits ended")
    assert desk.clock.slept == [RETRY_SECONDS] * 5


async def test_what_the_service_asks_for_is_kept() -> None:
    desk = Desk(Bell(TemporaryError("too many", code="x.limit", retry_after_seconds=1800.0)))
    async with desk.listening():
        await until(lambda: desk.bell.waits == 2, "it waits again")
    assert desk.clock.slept == [1800.0]


async def test_a_bug_in_a_wait_stops_nothing() -> None:
    desk = Desk(Bell(ValueError("oops"), TimeoutError(), NEWS))
    async with desk.listening():
        await until(lambda: desk.passes == 1, "a later hint counts")


async def test_a_connector_with_nothing_to_wait_for_is_left_alone_for_long() -> None:
    desk = Desk(Bell(None))
    async with desk.listening():
        await until(lambda: desk.bell.waits == 2, "it is asked again")
    assert (desk.passes, desk.clock.slept) == (0, [NOT_OFFERED_SECONDS])


async def test_a_source_that_is_paused_or_elsewhere_waits_no_more_and_holds_no_connection() -> None:
    desk = Desk(Bell())
    async with desk.listening():
        await until(lambda: desk.bell.waits == 1, "it waits")
        desk.listener.passed(None)
        await until(lambda: desk.bell.closed == 1, "its connections are closed")
        await asyncio.sleep(0.02)
        assert (desk.bell.waits, desk.passes) == (1, 0)
        desk.listener.passed(PassReport("support"))
        await until(lambda: desk.bell.waits == 2, "it waits again once it is polled again")


async def test_a_connector_that_cannot_wait_is_only_polled() -> None:
    class Plain:
        """Nothing to wait with."""

    desk = Desk(Bell())
    listener = Listener(
        "support",
        cast("Connector", Plain()),
        every_seconds=60.0,
        context=desk._context,
        look=desk._look,
        clock=desk.clock,
    )
    async with asyncio.timeout(30):
        await listener.run()
