"""Doing together what waits together: many callers ask for one thing each, one call does them all.

This is the group commit of DESIGN.md §2 (intents and results of many lanes in one transaction), and the way contents
are read. Whatever comes while one call runs makes up the next one, so nobody waits for a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

QUIET_TURNS = 4
"""Turns of the loop that bring nobody before a call begins."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Group(Generic[Item, Result]):
    """`ask` gives one item's result; `work` gets all items that wait (at most `most`) and returns a result for each,
    in order. An exception of `work` goes to every caller of that call."""

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Result:
        """The result for `item`. A caller that is cancelled does not cancel the work."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await future

    async def drain(self) -> None:
        """Waits until nothing waits."""
        while self._runner is not None and not self._runner.done():
            await asyncio.wait({self._runner})

    async def _let_join(self) -> None:
        """Turns of the loop, as long as they bring more: every lane that is ready now joins this call instead of the
        next. What each call costs by itself is shared by more of them, and nobody waits while there is nothing to do."""
        quiet = 0
        while quiet < QUIET_TURNS and len(self._waiting) < self._most:
            before = len(self._waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == before else 0

    async def _run(self) -> None:
        while self._waiting:
            await self._let_join()
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results = await self._work([item for item, _ in group])
                if len(results) != len(group):
                    raise RuntimeError(f"{len(results)} results for {len(group)} items")  # noqa: TRY301
            except BaseException as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)
