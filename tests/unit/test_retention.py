"""Once a day, by one daemon, not under a backfill's hands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sync.lease import LeaseKeeper
from sync.ledger import BackfillTerms, Ledger, PassEnd
from sync.retention import Retainer
from sync.settings import LedgerSettings
from sync.testing.clock import START, FakeClock


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    path = tmp_path / "ledger.db"
    shutil.copy(ledger_template, path)
    opened = Ledger.open(LedgerSettings(url=f"sqlite:///{path}"))
    opened.sources.load("support", inbox="main", connector="imap", account="", horizon=None, now=START)
    yield opened
    opened.close()


class Hurried(FakeClock):
    """Nobody waits for anything."""

    async def sleep(self, seconds: float) -> None:
        await self.advance(seconds)


def retainer(ledger: Ledger, clock: FakeClock) -> Retainer:
    keeper = LeaseKeeper(ledger, clock, lease_seconds=30, alone=True, holder="holder")
    return Retainer(10, ledger=ledger, keeper=keeper, clock=clock)


async def test_a_round_is_due_once_a_day_also_over_restarts(ledger: Ledger) -> None:
    clock = Hurried()
    assert await retainer(ledger, clock)._is_due()
    await retainer(ledger, clock).forget()
    source = ledger.sources.get("support")
    assert source is not None
    assert source.horizon == START - timedelta(days=10)
    assert not await retainer(ledger, clock)._is_due()
    await clock.advance(86_400)
    assert await retainer(ledger, clock)._is_due()


async def test_a_clock_that_leapt_far_ahead_makes_nothing_forgotten_before_a_day_has_passed(ledger: Ledger) -> None:
    """A machine that starts with a wrong date would forget everything, and horizons never move back."""
    clock = Hurried()
    await retainer(ledger, clock).forget()
    clock.set(START + timedelta(days=3650))
    doubting = retainer(ledger, clock)
    assert not await doubting._is_due()
    clock.set(START + timedelta(days=1))
    assert await doubting._is_due()


async def test_a_daemon_that_was_off_for_long_forgets_again_after_a_day_of_passes(ledger: Ledger) -> None:
    clock = Hurried()
    await retainer(ledger, clock).forget()
    clock.set(START + timedelta(days=90))
    back = retainer(ledger, clock)
    assert not await back._is_due()
    await clock.advance(86_400)
    assert not await back._is_due(), "no pass has gone well"
    ledger.sources.pass_ended("support", clock.now(), PassEnd(ok=True, state="ok"), clock.now())
    assert await back._is_due()


async def test_while_a_backfill_is_open_nothing_is_forgotten(ledger: Ledger) -> None:
    clock = FakeClock()
    ledger.backfills.start("support", BackfillTerms(START - timedelta(days=90), None, None), START)
    assert await retainer(ledger, clock)._is_due()
    assert await retainer(ledger, clock)._is_backfilling()
