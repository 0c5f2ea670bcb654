"""`inbox-sync` with a budget whose minute is shorter: `python -m tests.acceptance.hurried SECONDS --config FILE sync`.

Everything of the budget that is measured in seconds shrinks with the minute, so that ten minutes can be played in some
seconds, by the real program over real HTTP.
"""

from __future__ import annotations

import sys

import sync.budget
import sync.runtime
from sync.cli import main

SCALED = (
    "MINUTE_SECONDS",
    "FIRST_PAUSE_SECONDS",
    "MAX_PAUSE_SECONDS",
    "HOLD_SECONDS",
    "MAX_HOLD_SECONDS",
    "MAX_GROWTH_SECONDS",
    "SLOT_SECONDS",
)

if __name__ == "__main__":
    seconds = float(sys.argv[1])
    for name in SCALED:
        setattr(sync.budget, name, getattr(sync.budget, name) * seconds / 60)
    sync.runtime.BUDGET_SAVE_SECONDS *= seconds / 60
    main(sys.argv[2:])
