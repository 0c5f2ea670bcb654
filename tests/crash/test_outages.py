"""Outages of weeks, in minutes: they end by themselves, in order, without a stampede, and kill nothing."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.maildir import MaildirConnector
from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.states import OPEN_DELIVERY_STATES
from tests.crash.pipeline import Pipeline

HOUR, DAY = 3600.0, 86_400.0
CUSTOMERS = [f"customer{number}@example.com" for number in range(6)]
RATE, BURST = 195, 3
PROBE_MAX_SECONDS = 300.0
"""The default."""
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    budget = f"requests_per_minute = {RATE}\nburst_requests = {BURST}"
    return Pipeline(tmp_path, f"sqlite:///{tmp_path}/ledger.db", budget=budget)


async def drain(site: Pipeline, deliveries: int) -> None:
    """Time goes by in small steps until so many deliveries are sent."""

    def sent() -> int:
        return site.ledger.overview.status().deliveries.get("sent", 0)

    for _ in range(4000):
        if sent() >= deliveries:
            return
        await site.pass_time(0.3)
        await asyncio.sleep(0.004)
    raise AssertionError(f"{sent()} of {deliveries} are sent: {site.ledger.overview.status().deliveries}")


def assert_each_once_in_order(site: Pipeline, wanted: dict[str, list[str]]) -> None:
    held = {sender: re.findall(r"T[0-9]+", " ".join(site.bodies(sender))) for sender in wanted}
    assert held == wanted
    counts = site.ledger.overview.status().deliveries
    assert not [state for state in OPEN_DELIVERY_STATES if counts.get(state, 0)]
    assert counts["dead"] == counts["held"] == counts["skipped"] == 0


def calls_since(site: Pipeline, began: int) -> list[dict[str, Any]]:
    return [dict(entry) for entry in site.sandbox.journal()][began:]


async def week_of_mail(site: Pipeline, *, hours: int, step_hours: int = 3) -> dict[str, list[str]]:
    """Mail arrives every few hours; each time a pass is made. What is to be delivered, by sender."""
    wanted: dict[str, list[str]] = {sender: [] for sender in CUSTOMERS}
    for number in range(0, hours, step_hours):
        sender = CUSTOMERS[number // step_hours % len(CUSTOMERS)]
        wanted[sender].append(f"T{number}")
        site.put(f"T{number}", sender)
        await site.runtime.poll("support")
        for _ in range(4):
            await site.pass_time(step_hours * HOUR / 4)
            await asyncio.sleep(0.01)
    return wanted


@pytest.mark.parametrize(
    ("how", "days"),
    [
        ("server errors", 7),
        ("connections refused", 7),
        ("sends only", 1),
        pytest.param("sends only", 7, marks=pytest.mark.soak),
    ],
)
async def test_a_week_without_the_inbox_ends_by_itself_in_order_without_a_stampede(
    pipeline: Pipeline, how: str, days: int
) -> None:
    async with pipeline as site:
        await site.arrive("T999", sender=CUSTOMERS[0])
        await drain(site, 1)
        if how == "connections refused":
            site.sandbox.fault("accept_close", times=None)
            site.sandbox.fault("early_close", times=None)
        else:
            call = "messages.send" if how == "sends only" else None
            site.sandbox.fault("status", call=call, status=503, times=None)
        before = len(site.sandbox.journal())
        began = site.clock.now()
        wanted = await week_of_mail(site, hours=days * 24)
        wanted[CUSTOMERS[0]].insert(0, "T999")
        hours = (site.clock.now() - began).total_seconds() / HOUR
        during = calls_since(site, before)
        assert len(during) <= 40 + hours * HOUR / PROBE_MAX_SECONDS * 3, Counter(one["call"] for one in during)
        row = site.ledger.inboxes.get("main")
        assert row is not None
        assert row.state == "parked" or how == "sends only"

        site.sandbox.clear_faults()
        after = len(site.sandbox.journal())
        await site.pass_time(PROBE_MAX_SECONDS)
        await drain(site, 1 + days * 8)
        assert_each_once_in_order(site, wanted)
        times = sorted(datetime.fromisoformat(str(one["at"])).timestamp() for one in calls_since(site, after))
        for index, at in enumerate(times):
            within_a_minute = [other for other in times[index:] if other < at + 60]
            assert len(within_a_minute) <= RATE + BURST + 1


@pytest.mark.parametrize("trouble", ["unreachable", "sign-in refused", "misconfigured"])
async def test_l3_forty_days_without_the_source_bring_every_mail_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Longer than max_age_days: what arrived meanwhile is new all the same."""
    errors: dict[str, InboxSyncError] = {
        "unreachable": TemporaryError("no route", code="x.unreachable"),
        "sign-in refused": AuthError("refused", code="x.refused"),
        "misconfigured": ConfigError("no such folder", code="x.missing"),
    }

    async def fail(_self: object, _ctx: object) -> None:
        raise errors[trouble]

    async with pipeline as site:
        await site.arrive("T999", sender=CUSTOMERS[0])
        wanted = {sender: ["T999"] if sender == CUSTOMERS[0] else [] for sender in CUSTOMERS}
        with monkeypatch.context() as patch:
            patch.setattr(MaildirConnector, "streams", fail)
            waits = []
            for day in range(40):
                sender = CUSTOMERS[day % len(CUSTOMERS)]
                site.put(f"T{day}", sender)
                wanted[sender].append(f"T{day}")
                report = await site.runtime.poll("support")
                assert report is not None
                assert report.error is errors[trouble]
                waits.append(report.next_wait_seconds)
                await site.pass_time(DAY)
            assert 0 < max(waits) <= 900
            if trouble == "sign-in refused":
                assert set(waits) == {900}
                source = site.ledger.sources.get("support")
                assert source is not None
                assert source.state == "parked"
        report = await site.runtime.poll("support")
        assert report is not None
        assert (report.error, report.new, dict(report.skipped)) == (None, 40, {})
        await drain(site, 41)
        assert_each_once_in_order(site, wanted)


async def test_a_month_in_the_ledger_makes_nothing_too_old(pipeline: Pipeline) -> None:
    """Found, and then the inbox was parked for longer than max_age_days."""
    async with pipeline as site:
        site.sandbox.fault("status", status=503, times=None)
        await site.arrive("T1", "T2", sender=CUSTOMERS[0])
        for _ in range(2000):
            if site.runtime.sides["main"].parked:
                break
            await site.pass_time(10)
            await asyncio.sleep(0.02)
        for _ in range(40):
            await site.pass_time(DAY)
            await asyncio.sleep(0.01)
        assert site.runtime.sides["main"].parked
        site.sandbox.clear_faults()
        await site.pass_time(PROBE_MAX_SECONDS)
        await drain(site, 2)
        assert_each_once_in_order(site, {CUSTOMERS[0]: ["T1", "T2"]})
