"""The budget against servers that limit in different ways, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from datetime import timedelta

import pytest

from sync.budget import Budget, Priority
from sync.message import Json
from sync.testing.clock import FakeClock

MINUTE = 60.0
ALLOWED = 200


class Server:
    """Lets `allowed` requests a minute through. `retry_after` None: it does not say when to come again."""

    def __init__(self, clock: FakeClock, *, retry_after: bool, allowed: int = ALLOWED) -> None:
        self.clock = clock
        self.allowed = allowed
        self.retry_after = retry_after
        self.accepted: list[float] = []
        self.refused = 0
        self.most_in_a_minute = 0
        self._window: deque[float] = deque()

    def request(self) -> tuple[bool, float | None]:
        now = self.clock.elapsed_seconds()
        while self._window and self._window[0] <= now - MINUTE:
            self._window.popleft()
        if self.is_full(now):
            self.refused += 1
            return False, self.seconds_to_wait(now) if self.retry_after else None
        self._window.append(now)
        self.most_in_a_minute = max(self.most_in_a_minute, len(self._window))
        self.accepted.append(now)
        return True, None

    def is_full(self, now: float) -> bool:
        return len(self._window) >= self.allowed

    def seconds_to_wait(self, now: float) -> float:
        return self._window[0] + MINUTE - now


class FixedWindowServer(Server):
    """Counts anew at every full minute of its own clock."""

    def is_full(self, now: float) -> bool:
        minute = (now + 17.0) // MINUTE
        return sum((at + 17.0) // MINUTE == minute for at in reversed(self._window)) >= self.allowed

    def seconds_to_wait(self, now: float) -> float:
        return MINUTE - (now + 17.0) % MINUTE


class BucketServer(Server):
    """A token bucket of 10 that fills at `allowed` a minute."""

    tokens, at = 10.0, 0.0

    def is_full(self, now: float) -> bool:
        self.tokens, self.at = min(10.0, self.tokens + (now - self.at) * self.allowed / MINUTE), now
        if self.tokens < 1:
            return True
        self.tokens -= 1
        return False

    def seconds_to_wait(self, now: float) -> float:
        return 1.0


async def hungry(clock: FakeClock, budget: Budget, server: Server, minutes: float, *, workers: int = 32) -> None:
    """So many workers that always have something to send, over a way that takes 10 to 400 ms."""
    chance = random.Random(4711)

    async def work() -> None:
        while True:
            await budget.take()
            await clock.sleep(chance.uniform(0.01, 0.4))
            accepted, retry_after = server.request()
            if accepted:
                budget.passed()
            else:
                budget.throttled(retry_after)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    await clock.advance(minutes * MINUTE)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def waiting_for(clock: FakeClock, task: asyncio.Task[None]) -> None:
    while not task.done():
        await clock.advance(0.1)


@pytest.mark.parametrize("retry_after", [True, False], ids=["retry-after", "silent"])
@pytest.mark.parametrize("kind", [Server, FixedWindowServer, BucketServer])
async def test_nearly_all_that_is_allowed_gets_through_and_nearly_nothing_is_refused(
    kind: Callable[..., Server], retry_after: bool
) -> None:
    clock = FakeClock()
    server = kind(clock, retry_after=retry_after)
    await hungry(clock, Budget(195, 3, clock=clock), server, minutes=20)
    assert len(server.accepted) >= 0.97 * 20 * ALLOWED
    assert server.refused < 0.01 * len(server.accepted)
    assert server.most_in_a_minute <= ALLOWED


@pytest.mark.parametrize("retry_after", [True, False], ids=["retry-after", "silent"])
@pytest.mark.parametrize("kind", [Server, FixedWindowServer, BucketServer])
async def test_ten_minutes_from_the_first_one_on_bring_what_is_allowed(
    kind: Callable[..., Server], retry_after: bool
) -> None:
    clock = FakeClock()
    server = kind(clock, retry_after=retry_after)
    await hungry(clock, Budget(195, 3, clock=clock), server, minutes=10)
    assert len([at for at in server.accepted if at <= MINUTE]) >= 0.97 * ALLOWED
    assert len(server.accepted) >= 0.97 * 10 * ALLOWED
    assert server.refused < 0.01 * len(server.accepted)


@pytest.mark.parametrize("retry_after", [True, False], ids=["retry-after", "silent"])
@pytest.mark.parametrize("allowed", [150, 120, 60])
@pytest.mark.parametrize("kind", [Server, FixedWindowServer, BucketServer])
async def test_a_lower_limit_than_the_setting_is_found_and_held(
    kind: Callable[..., Server], allowed: int, retry_after: bool
) -> None:
    clock = FakeClock()
    server = kind(clock, retry_after=retry_after, allowed=allowed)
    budget = Budget(195, 3, clock=clock)
    await hungry(clock, budget, server, minutes=5)
    found_at, before, refused = clock.elapsed_seconds(), len(server.accepted), server.refused
    await hungry(clock, budget, server, minutes=30)
    accepted = len(server.accepted) - before
    minutes = (clock.elapsed_seconds() - found_at) / MINUTE
    assert accepted >= 0.955 * minutes * allowed
    assert server.refused - refused < 0.01 * accepted
    assert 0.9 * allowed < budget.view().rate_per_minute < 1.1 * allowed


async def test_when_more_is_allowed_again_the_rate_comes_back_to_the_setting() -> None:
    clock = FakeClock()
    server = Server(clock, retry_after=True, allowed=100)
    budget = Budget(195, 3, clock=clock)
    await hungry(clock, budget, server, minutes=30)
    server.allowed = ALLOWED
    await hungry(clock, budget, server, minutes=20)
    assert budget.view().rate_per_minute == 195


async def test_the_rate_grows_back_when_the_refusals_end() -> None:
    clock = FakeClock()
    budget = Budget(100, 3, clock=clock)
    budget.throttled(None)
    lowered = budget.view().rate_per_minute
    await clock.advance(3 * MINUTE)
    some = budget.view().rate_per_minute
    await clock.advance(60 * MINUTE)
    assert 50 <= lowered < some < 100
    assert budget.view().rate_per_minute == 100


async def test_one_wave_of_refusals_lowers_the_rate_once() -> None:
    clock = FakeClock()
    one, many = Budget(100, clock=clock), Budget(100, clock=clock)
    one.throttled(None)
    for _ in range(20):
        many.throttled(None)
    assert one.view().rate_per_minute == many.view().rate_per_minute


@pytest.mark.parametrize("seconds", [0.0, 7.0, 45.0])
async def test_retry_after_is_obeyed(seconds: float) -> None:
    clock = FakeClock()
    budget = Budget(60_000, clock=clock)
    budget.throttled(seconds)
    waiting = asyncio.create_task(budget.take())
    await clock.advance(max(0.0, seconds - 0.01))
    assert waiting.done() is (seconds == 0.0) or not waiting.done()
    await clock.advance(1.0)
    assert waiting.done()
    assert clock.elapsed_seconds() >= seconds


async def test_pauses_without_retry_after_grow_while_refusals_go_on() -> None:
    clock = FakeClock()
    budget = Budget(60_000, clock=clock)
    pauses = []
    for _ in range(7):
        budget.throttled(None)
        pauses.append(budget.view().paused_seconds)
        await clock.advance(pauses[-1] + 0.1)
    assert pauses == pytest.approx([2, 4, 8, 16, 32, 60, 60])


async def test_a_pause_starts_short_again_when_something_got_through() -> None:
    clock = FakeClock()
    budget = Budget(60_000, clock=clock)
    pauses = []
    for _ in range(4):
        budget.throttled(None)
        pauses.append(budget.view().paused_seconds)
        await clock.advance(pauses[-1] + 0.1)
        budget.passed()
    assert pauses == pytest.approx([2, 2, 2, 2])


async def test_an_answer_from_before_the_pause_says_nothing_about_the_time_after_it() -> None:
    clock = FakeClock()
    budget = Budget(60_000, clock=clock)
    budget.throttled(None)
    budget.passed()
    await clock.advance(2.1)
    budget.throttled(None)
    assert budget.view().paused_seconds == pytest.approx(4.0)


async def test_an_absurd_retry_after_is_bounded() -> None:
    budget = Budget(100, clock=FakeClock())
    budget.throttled(10.0**9)
    assert budget.view().paused_seconds == 3600


async def test_a_fresh_budget_gives_one_token_at_once_and_no_more() -> None:
    clock = FakeClock()
    budget = Budget(60, 3, clock=clock)
    takes = [asyncio.create_task(budget.take()) for _ in range(3)]
    await clock.advance(0)
    assert sum(take.done() for take in takes) == 1
    await clock.advance(1.0)
    assert sum(take.done() for take in takes) == 2
    await clock.advance(1.0)
    assert all(take.done() for take in takes)


async def test_after_a_quiet_time_the_burst_and_no_more_is_given_at_once() -> None:
    clock = FakeClock()
    budget = Budget(60, 3, clock=clock)
    await clock.advance(1000)
    takes = [asyncio.create_task(budget.take()) for _ in range(5)]
    await clock.advance(0)
    assert sum(take.done() for take in takes) == 3
    for take in takes:
        take.cancel()
    await clock.advance(0)


@pytest.mark.parametrize("persisted", [True, False], ids=["restored", "lost"])
async def test_restarts_never_put_more_into_a_minute_than_the_server_allows(persisted: bool) -> None:
    clock = FakeClock()
    server = Server(clock, retry_after=True)
    state = None
    for _ in range(12):
        budget = Budget(195, 3, clock=clock)
        if persisted and state is not None:
            budget.restore(state)
        await hungry(clock, budget, server, minutes=0.5)
        state = budget.state()
        await clock.advance(0.5)
    assert server.refused == 0
    assert server.most_in_a_minute <= ALLOWED


async def test_a_restart_keeps_the_pause_and_the_lowered_rate() -> None:
    clock = FakeClock()
    before = Budget(100, clock=clock)
    before.throttled(30.0)
    state = before.state()
    await clock.advance(10.0)
    after = Budget(100, clock=clock)
    after.restore(state)
    assert after.view().paused_seconds == pytest.approx(20.0)
    assert after.view().rate_per_minute == before.view().rate_per_minute


@pytest.mark.parametrize("retry_after", [True, False], ids=["retry-after", "silent"])
@pytest.mark.parametrize("kind", [Server, FixedWindowServer, BucketServer])
async def test_ten_minutes_after_a_kill_bring_what_is_allowed(kind: Callable[..., Server], retry_after: bool) -> None:
    clock = FakeClock()
    server = kind(clock, retry_after=retry_after)
    before = Budget(195, 3, clock=clock)
    await hungry(clock, before, server, minutes=2)
    kept = before.state()
    await hungry(clock, before, server, minutes=0.15)  # what came after that is forgotten
    after = Budget(195, 3, clock=clock)
    after.restore(kept)
    accepted = len(server.accepted)
    await hungry(clock, after, server, minutes=10)
    assert len(server.accepted) - accepted >= 0.97 * 10 * ALLOWED
    assert server.refused < 0.01 * len(server.accepted)


@pytest.mark.parametrize(("allowed", "share"), [(200, 0.95), (120, 0.85)])
async def test_restarts_after_a_kill_hold_the_found_rate(allowed: int, share: float) -> None:
    """A kill -9 leaves what was kept when the rate was last lowered, or some seconds ago: of what got through in the last
    minute a part is not known, so that the rate may fall lower than it must."""
    clock = FakeClock()
    server = Server(clock, retry_after=False, allowed=allowed)
    state: Json = None
    accepted = refused = 0
    seconds = 0.0
    for life in range(24):
        budget = Budget(195, 3, clock=clock)
        budget.restore(state)
        before = len(server.accepted), server.refused
        await hungry(clock, budget, server, minutes=0.5)
        state = budget.state()
        await hungry(clock, budget, server, minutes=0.1)
        await clock.advance(1.0)
        if life > 3:  # by then it was found
            accepted += len(server.accepted) - before[0]
            refused += server.refused - before[1]
            seconds += 0.6 * MINUTE
    assert accepted >= share * seconds / MINUTE * allowed
    assert refused < 0.01 * accepted


@pytest.mark.parametrize(
    "state", [None, [], "x", {}, {"at": "soon", "tokens": None, "rate_share": True}, {"at": float("nan"), "tokens": -5}]
)
async def test_an_unreadable_state_is_ignored(state: object) -> None:
    clock = FakeClock()
    budget = Budget(60, clock=clock)
    budget.restore(state)  # type: ignore[arg-type]
    assert budget.view().rate_per_minute == 60
    await asyncio.wait_for(asyncio.gather(budget.take(), clock.advance(2.0)), 5)


async def test_a_saved_state_from_the_future_does_no_harm() -> None:
    clock = FakeClock()
    saved = Budget(60, 3, clock=clock).state()
    clock.set(clock.now() - timedelta(days=1))
    budget = Budget(60, 3, clock=clock)
    budget.restore(saved)
    assert budget.view().paused_seconds == 0
    await budget.take()


async def test_waiters_are_served_in_their_order_within_a_priority_and_urgent_ones_first() -> None:
    clock = FakeClock()
    budget = Budget(60, 1, clock=clock)
    await budget.take()
    served: list[str] = []

    async def wait(name: str, priority: Priority) -> None:
        await budget.take(priority)
        served.append(name)

    async with asyncio.TaskGroup() as group:
        for name, priority in (
            ("live 1", Priority.LIVE),
            ("live 2", Priority.LIVE),
            ("look", Priority.URGENT),
        ):
            group.create_task(wait(name, priority))
            await asyncio.sleep(0)
        await clock.advance(4.0)
    assert served == ["look", "live 1", "live 2"]


async def test_a_cancelled_wait_costs_no_token_and_holds_up_nobody() -> None:
    clock = FakeClock()
    budget = Budget(60, 1, clock=clock)
    await budget.take()
    first, second = asyncio.create_task(budget.take()), asyncio.create_task(budget.take())
    await asyncio.sleep(0)
    first.cancel()
    await clock.advance(1.0)
    assert second.done()
    assert not second.cancelled()
    assert budget.view().used_last_minute == 2


async def test_a_token_given_to_a_task_that_is_cancelled_in_the_same_moment_is_given_back() -> None:
    class CancellingClock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            asyncio.get_running_loop().call_soon(task.cancel)  # runs after the token was given, before the task does

    clock = CancellingClock()
    budget = Budget(60, 1, clock=clock)
    await budget.take()
    task = asyncio.create_task(budget.take())
    await clock.advance(1.0)
    assert task.cancelled()
    await asyncio.wait_for(budget.take(), 1.0)
    assert budget.view().used_last_minute == 2


async def test_when_all_waiters_are_cancelled_nothing_stays_behind() -> None:
    clock = FakeClock()
    budget = Budget(60, 1, clock=clock)
    await budget.take()
    task = asyncio.create_task(budget.take())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert [task.get_name() for task in asyncio.all_tasks()] == [asyncio.current_task().get_name()]  # type: ignore[union-attr]
    assert budget.view().waiting == 0


async def test_numbers_for_the_status() -> None:
    clock = FakeClock()
    budget = Budget(60, 3, clock=clock)
    await clock.advance(10.0)
    for _ in range(3):
        await budget.take()
    waiting = asyncio.create_task(budget.take())
    await asyncio.sleep(0)
    view = budget.view()
    assert (view.used_last_minute, view.waiting, view.refused_last_minute) == (3, 1, 0)
    assert view.share == pytest.approx(0.05)
    await waiting_for(clock, waiting)
    await clock.advance(59.5)
    assert budget.view().used_last_minute == 1


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (10, 0)])
def test_an_impossible_budget_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget(rate, burst, clock=FakeClock())
