"""Whether work grows with its input and no faster: compared with itself in one run, so that a busy machine is no fault."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TypeVar

Text = TypeVar("Text", str, bytes)

PARTS = 4
MOST_TIMES = 3.0 * PARTS
"""A whole takes four times its quarter when the work is linear, sixteen times when it is quadratic."""
NEGLIGIBLE_SECONDS = 0.4
"""Below this a quarter is too short to be measured, and the whole too short to hurt anybody."""


def assert_linear(work: Callable[[Text], object], whole: Text) -> None:
    """Fails when the whole takes far more than `PARTS` times its first part."""
    part, total = _cpu_seconds(work, whole[: len(whole) // PARTS]), _cpu_seconds(work, whole)
    assert total < max(NEGLIGIBLE_SECONDS, MOST_TIMES * part), f"{part:.3f} s for a quarter, {total:.3f} s for all"


def _cpu_seconds(work: Callable[[Text], object], text: Text) -> float:
    """Of this thread alone: others of the process have their own affairs, and so has the garbage of earlier tests."""
    measured = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(3):
            began = time.thread_time()
            work(text)
            measured.append(time.thread_time() - began)
    finally:
        if collecting:
            gc.enable()
    return min(measured)
