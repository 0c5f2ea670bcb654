"""The garbage collector of a process that has started: what is loaded stays, and looking for cycles is made rarer.

Modules, statements and settings live as long as the process. Looking through them again and again took 7 % of the whole
way's CPU (docs/performance.md), and what a message leaves behind holds hardly a cycle.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""Made and not gone again, after which the youngest are looked through (Python's own default is 700)."""
YOUNG_ROUNDS: Final = 20
"""Such rounds, after which the older ones are looked through, too (Python's own default is 10)."""


def settle() -> None:
    """To be called once, when everything that is needed for work is loaded."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, YOUNG_ROUNDS)
