"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, name: str) -> T:
    """Runs `work` in a thread of its own and waits for it. Starting one takes some 50 µs; in return a source that
    waits holds no thread, a thread that hangs holds up no other, and the process can end without it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T) -> None:
        if not done.done():
            done.set_result(result)

    def fail(error: BaseException) -> None:
        if not done.done():
            done.set_exception(error)

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  it is raised again where the work is waited for
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(finish, result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
