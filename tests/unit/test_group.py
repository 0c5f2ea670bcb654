"""Doing together what waits together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sync.group import Group


class Work:
    """Doubles numbers; remembers which came together. Waits for `gate` when it is set."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.began.set()
        await self.gate.wait()
        if 13 in items:
            raise ValueError("unlucky")
        return [item * 2 for item in items]


async def test_what_is_asked_at_the_same_time_is_done_in_one_call() -> None:
    work = Work()
    group: Group[int, int] = Group(work, most=100)
    assert await asyncio.gather(*(group.ask(number) for number in range(10))) == [number * 2 for number in range(10)]
    assert work.calls == [list(range(10))]


async def test_a_call_holds_at_most_so_many() -> None:
    work = Work()
    group: Group[int, int] = Group(work, most=4)
    await asyncio.gather(*(group.ask(number) for number in range(10)))
    assert [len(call) for call in work.calls] == [4, 4, 2]


async def test_what_comes_while_a_call_runs_makes_up_the_next() -> None:
    work = Work()
    work.gate.clear()
    group: Group[int, int] = Group(work, most=100)
    first = asyncio.create_task(group.ask(1))
    await work.began.wait()
    later = [asyncio.create_task(group.ask(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    assert work.calls == [[1]]
    work.gate.set()
    assert await asyncio.gather(first, *later) == [2, 4, 6]
    assert work.calls == [[1], [2, 3]]


async def test_an_error_goes_to_all_of_its_call_and_to_no_other() -> None:
    work = Work()
    group: Group[int, int] = Group(work, most=2)
    results = await asyncio.gather(*(group.ask(number) for number in (1, 13, 3, 4)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError, int, int]
    assert await group.ask(5) == 10


async def test_a_caller_that_gives_up_does_not_stop_the_others() -> None:
    work = Work()
    work.gate.clear()
    group: Group[int, int] = Group(work, most=100)
    leaver, stayer = asyncio.create_task(group.ask(1)), asyncio.create_task(group.ask(2))
    await work.began.wait()
    leaver.cancel()
    work.gate.set()
    assert await stayer == 4
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert work.calls == [[1, 2]]


async def test_draining_waits_for_everything_that_was_asked() -> None:
    work = Work()
    group: Group[int, int] = Group(work, most=1)
    await group.drain()
    asked = [asyncio.create_task(group.ask(number)) for number in range(3)]
    await asyncio.sleep(0)
    await group.drain()
    assert [await task for task in asked] == [0, 2, 4]
