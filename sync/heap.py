"""The memory of a process: what is not loaded, how it is allocated, and how seldom it is looked through for cycles.

What each is worth stands with it, measured as `python -m bench memory` does (docs/performance.md): a daemon that fetched
and delivered 20,000 mails, Python 3.11, glibc 2.36.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from typing import Final

FOR_TERMINALS: Final = ("rich", "httpx._main")
"""Modules that libraries load where they are installed, for what is not used here: structlog for tracebacks with
colours, httpx for a command of its own (which brings click, pygments and attrs along)."""

YOUNG_OBJECTS: Final = 10_000
"""Made and not gone again, after which the youngest are looked through (Python's own default is 700)."""
YOUNG_ROUNDS: Final = 20
"""Such rounds, after which the older ones are looked through, too (Python's own default is 10)."""

_M_ARENA_MAX: Final = -8
"""glibc's number of the parameter (malloc.h; mallopt(3))."""


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """What is imported within finds nothing installed of `FOR_TERMINALS`, and does without: the libraries provide for
    that. It spares 6 MiB, and a quarter of a second of CPU at each start. What is loaded already stays."""
    absent = [name for name in FOR_TERMINALS if name not in sys.modules]
    for name in absent:  # None says that there is no such module (Python's reference, 5.3.1)
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def keep_one_arena() -> None:
    """To be called once, before threads are started. glibc gives new threads arenas of their own, up to eight for each
    core, and what one thread frees there the others cannot use: the peak was 167 MiB with nine arenas and is 136 with one,
    at the same CPU, since threads take turns in Python anyway. Nothing happens with another libc, nor where the operator
    has set the number."""
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):  # no such word with musl, or on macOS
        return
    import ctypes  # noqa: PLC0415  elsewhere it is not needed

    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """To be called once, when everything that is needed for work is loaded: that stays, and looking for cycles is made
    rarer. Looking through modules, statements and settings again and again took 7 % of the whole way's CPU, and what a
    message leaves behind holds hardly a cycle."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, YOUNG_ROUNDS)
