"""Whatever the Inbox answers and whenever the ledger is read again: each lane in order, each delivery once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from sync.inbox import outcome
from tests.unit.loop_desk import LoopDesk, fresh_ledger, until

LANES = ("anna", "bert", "cleo")
MESSAGES = 45
FAILING_SHARE = 0.35


class BadDay:
    """Answers some sends as a bad network and a busy Inbox would."""

    def __init__(self, desk: LoopDesk, seed: int) -> None:
        self._desk = desk
        self._chance = random.Random(seed)

    def __call__(self, _text: str) -> outcome.SendOutcome | None:
        if self._chance.random() > FAILING_SHARE:
            return None
        self._desk.deliverer.wake()  # the ledger is read again while this answer is being booked
        answers: list[outcome.SendOutcome] = [
            outcome.NotWritten("http.refused", "connection refused"),
            outcome.Unclear(None, "http.reset", "the connection was reset"),
            outcome.Refused(400, "inbox.refused", "no", "", conversation_gone=False),
        ]
        return self._chance.choice(answers)


@pytest.mark.parametrize("seed", range(4))
async def test_lanes_keep_their_order_through_failures_and_refreshes(
    tmp_path: Path, ledger_template: Path, seed: int
) -> None:
    ledger = fresh_ledger(tmp_path, ledger_template)
    desk = LoopDesk(
        ledger, unknown_settle_seconds=0.03, first_look_seconds=0.005, park_after_failures=1000, max_attempts=100,
        max_resends=100, lane_hold_seconds=600, retry_first_seconds=0.002, lanes=3,
    )  # fmt: skip
    for number in range(MESSAGES):
        desk.arrive(LANES[number % len(LANES)], f"text {number}")
    desk.inbox.on_send = BadDay(desk, seed)
    asking = asyncio.create_task(keep_asking(desk))
    async with desk.delivering(reconciling=True):
        await until(lambda: ledger.overview.status().deliveries["sent"] == MESSAGES, "all is sent", 100)
    asking.cancel()
    for number, lane in enumerate(LANES):
        assert desk.inbox.texts(lane) == [f"text {n}" for n in range(MESSAGES) if n % len(LANES) == number]
    ledger.close()


async def keep_asking(desk: LoopDesk) -> None:
    """News of the ledger at any moment, as polls bring it."""
    while True:
        await asyncio.sleep(0)
        desk.deliverer.wake()
        await asyncio.sleep(0.002)
