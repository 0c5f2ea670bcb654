"""Leases are kept as long as possible, and not believed in for longer."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.lease import LeaseKeeper
from sync.ledger import LeaseLost, Ledger
from sync.runtime import InboxSide
from sync.settings import InboxSettings, LedgerSettings
from sync.testing import FakeClock
from tests.unit.loop_desk import fresh_ledger, until


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    yield opened
    opened.close()


def keeper_of(ledger: Ledger, clock: FakeClock, holder: str = "me") -> LeaseKeeper:
    return LeaseKeeper(ledger, clock, lease_seconds=30, alone=False, holder=holder)


async def test_a_lease_is_valid_for_its_time_and_no_longer(ledger: Ledger) -> None:
    clock = FakeClock()
    lease = await keeper_of(ledger, clock).take("inbox:main")
    assert lease is not None
    assert lease.valid()
    await clock.advance(30)
    assert not lease.valid()


async def test_another_keeper_gets_none(ledger: Ledger) -> None:
    clock = FakeClock()
    assert await keeper_of(ledger, clock).take("inbox:main") is not None
    assert await keeper_of(ledger, clock, "other").take("inbox:main") is None


async def test_who_stands_by_asks_again_the_moment_the_lease_ends(tmp_path: Path, ledger_template: Path) -> None:
    clock = FakeClock()
    shutil.copy(ledger_template, tmp_path / "ledger.db")
    ledger = Ledger.open(LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.db"), now=clock.now)
    assert await keeper_of(ledger, clock, "dead").take("inbox:main") is not None
    await clock.advance(5)
    keeper = keeper_of(ledger, clock)
    asked_at = []
    for wait in (10, 10, 5.01):
        asked_at.append(clock.elapsed_seconds())
        assert await keeper.take("inbox:main") is None
        standing_by = asyncio.create_task(keeper.stand_by("inbox:main"))
        await until(lambda: clock.sleeping, "it waits")
        await clock.advance(wait)
        await until(standing_by.done, "it waits no longer")
    assert asked_at == [5, 15, 25]
    assert await keeper.take("inbox:main") is not None
    ledger.close()


async def test_a_bug_in_a_renewal_does_not_end_the_keeper(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    keeper = keeper_of(ledger, clock)
    lease = await keeper.take("inbox:main")
    assert lease is not None
    renew, asked = ledger.leases.renew, 0

    def fails_at_first(names: list[str], holder: str, ttl_seconds: float) -> object:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ZeroDivisionError
        return renew(names, holder, ttl_seconds)

    monkeypatch.setattr(ledger.leases, "renew", fails_at_first)
    running = asyncio.create_task(keeper.run())
    for count in (1, 2, 3, 4):
        await clock.advance(10)
        await until(lambda count=count: asked == count and clock.sleeping == 1, "it was tried")  # type: ignore[misc]
    assert lease.valid()
    running.cancel()


async def test_a_thousand_leases_are_renewed_at_once_and_a_lost_one_is_told_apart(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    keeper = keeper_of(ledger, clock)
    leases = [await keeper.take(f"source:{number}") for number in range(1000)]
    ledger.leases.take("source:7", "other", 3600, force=True)
    renew, asked = ledger.leases.renew, 0

    def counted(names: list[str], holder: str, ttl_seconds: float) -> object:
        nonlocal asked
        asked += 1
        return renew(names, holder, ttl_seconds)

    monkeypatch.setattr(ledger.leases, "renew", counted)
    running = asyncio.create_task(keeper.run())
    for count in (1, 2, 3, 4):
        await clock.advance(10)
        await until(lambda count=count: asked == count and clock.sleeping == 1, "it was renewed")  # type: ignore[misc]
    assert [number for number, one in enumerate(leases) if one is not None and not one.valid()] == [7]
    running.cancel()


async def test_a_lease_that_the_ledger_says_is_lost_is_not_used_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    keeper = keeper_of(ledger, clock)
    side = InboxSide(
        "main",
        InboxSettings.model_validate({"site_id": "s", "api_key": "k"}),
        ledger=ledger,
        keeper=keeper,
        badges={},
        clock=clock,
        alone=False,
        lease_seconds=30,
    )
    ledger.inboxes.load("main", "s", clock.now())
    tries = 0

    def lost(*_args: object, **_more: object) -> int:
        nonlocal tries
        tries += 1
        ledger.leases.take("inbox:main", "other", 3600, force=True)
        raise LeaseLost("inbox:main")

    monkeypatch.setattr(ledger.deliveries, "take_over", lost)
    running = asyncio.create_task(side.run())
    await until(lambda: tries == 1 and clock.sleeping == 1, "it stands by")
    running.cancel()
    await asyncio.wait([running])
    await side.aclose()
    assert tries == 1
