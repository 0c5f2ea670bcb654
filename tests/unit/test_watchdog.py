"""systemd's watchdog is fed while everything that has to move moves."""

from __future__ import annotations

import pytest

from sync.testing.clock import FakeClock
from sync.watchdog import Watchdog, watchdog_seconds


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "7"}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_systemd_says_whether_and_how_often_it_wants_to_hear_of_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_seconds(environ, pid=7) == seconds


async def test_what_stands_still_for_the_whole_time_keeps_the_watchdog_hungry_until_it_moves_again() -> None:
    clock = FakeClock()
    told: list[str] = []
    moved = {"scheduler": clock.elapsed_seconds(), "ledger": clock.elapsed_seconds()}
    signs = {"scheduler": lambda: moved["scheduler"], "ledger": lambda: moved["ledger"]}
    dog = Watchdog(60.0, signs, clock, told.append)
    assert dog.feed()
    await clock.advance(60.0)
    moved["scheduler"] = clock.elapsed_seconds()
    assert dog.feed(), "within its time"
    await clock.advance(1.0)
    moved["scheduler"] = clock.elapsed_seconds()
    assert not dog.feed(), "the ledger has not moved for longer"
    moved["ledger"] = clock.elapsed_seconds()
    assert dog.feed()
    assert told == ["WATCHDOG=1"] * 3
