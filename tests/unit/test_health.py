"""When an inbox is parked, and what lets it go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from sync.errors import AuthError, LedgerError, Scope, TemporaryError
from sync.health import InboxHealth
from sync.ledger import Ledger
from sync.settings import InboxSettings
from sync.testing import FakeClock
from tests.unit.loop_desk import fresh_ledger

DOWN = TemporaryError("503", code="inbox.server_error", scope=Scope.INBOX)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path, clock: FakeClock) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", clock.now())
    yield opened
    opened.close()


@pytest.fixture
def health(ledger: Ledger, clock: FakeClock) -> InboxHealth:
    settings = InboxSettings(
        site_id="s", api_key=SecretStr("k"), park_after_failures=3, probe_seconds=10, probe_max_seconds=60
    )
    return InboxHealth("main", settings, ledger, clock)


def pause_seconds(health: InboxHealth, clock: FakeClock) -> float:
    assert health.parked is not None
    return (health.parked.probe_at - clock.now()).total_seconds()


async def test_failures_in_a_row_park_and_a_success_in_between_starts_anew(health: InboxHealth) -> None:
    for _ in range(2):
        await health.failed(DOWN)
    health.worked()
    for _ in range(2):
        await health.failed(DOWN)
    assert health.parked is None
    await health.failed(DOWN)
    assert health.parked is not None


async def test_reads_that_work_do_not_hide_sends_that_fail(health: InboxHealth) -> None:
    for _ in range(3):
        await health.failed(DOWN, sending=True)
        health.worked()
    assert health.parked is not None


async def test_a_refused_sign_in_parks_at_once_for_long(health: InboxHealth, clock: FakeClock) -> None:
    await health.failed(AuthError("401", code="inbox.credentials_refused"))
    assert pause_seconds(health, clock) == 60


async def test_a_send_that_fails_on_trial_parks_at_once_and_pauses_grow(health: InboxHealth, clock: FakeClock) -> None:
    for _ in range(3):
        await health.failed(DOWN, sending=True)
    pauses = [pause_seconds(health, clock)]
    for _ in range(4):
        await health.probed(None)
        assert health.on_trial
        await health.failed(DOWN, sending=True)
        pauses.append(pause_seconds(health, clock))
    assert pauses == [10, 20, 40, 60, 60]


async def test_a_send_that_works_ends_the_trial(health: InboxHealth, clock: FakeClock) -> None:
    for _ in range(3):
        await health.failed(DOWN, sending=True)
    await health.probed(None)
    await health.sent()
    await health.failed(DOWN, sending=True)
    assert health.parked is None
    for _ in range(2):
        await health.failed(DOWN, sending=True)
    assert pause_seconds(health, clock) == 10


async def test_retry_after_is_waited_for(health: InboxHealth, clock: FakeClock) -> None:
    for _ in range(3):
        await health.failed(DOWN, retry_after_seconds=500)
    assert pause_seconds(health, clock) == 500


async def test_an_inbox_parked_by_the_last_process_is_probed_at_once(
    health: InboxHealth, ledger: Ledger, clock: FakeClock
) -> None:
    ledger.inboxes.park("main", "x", "x", "x", None, clock.now())
    await health.load()
    assert pause_seconds(health, clock) == 0


FORBIDDEN = AuthError("403", code="inbox.not_permitted")


async def test_sends_that_are_forbidden_stay_told_until_a_send_is_answered(
    health: InboxHealth, ledger: Ledger, clock: FakeClock
) -> None:
    def state() -> str | None:
        row = ledger.inboxes.get("main")
        return None if row is None else row.state

    for _ in range(3):
        await health.failed(FORBIDDEN, sending=True)
        assert state() == "parked"
        assert pause_seconds(health, clock) == 60
        await health.probed(None)  # reading is allowed: one send is tried, and nothing is called well
        assert health.parked is None
        assert health.on_trial
        assert state() == "parked"
    assert [event.kind for event in ledger.events.recent(10)] == ["inbox.parked"]
    await health.sent()
    assert state() == "ok"


async def test_a_probe_whose_outcome_cannot_be_recorded_leaves_the_inbox_parked_for_both(
    health: InboxHealth, ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await health.failed(DOWN)

    def gone(_name: str, _now: object) -> None:
        raise LedgerError("the connection broke", code="ledger.unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.inboxes, "unpark", gone)
        with pytest.raises(LedgerError):
            await health.probed(None)
    assert pause_seconds(health, clock) == 10
    await health.probed(None)
    assert health.parked is None
    row = ledger.inboxes.get("main")
    assert row is not None
    assert row.state == "ok"


async def test_what_fails_in_a_process_that_was_replaced_parks_nothing(ledger: Ledger, clock: FakeClock) -> None:
    settings = InboxSettings(site_id="s", api_key=SecretStr("k"), park_after_failures=1)
    health = InboxHealth("main", settings, ledger, clock, lambda: False)
    await health.failed(DOWN, sending=True)
    await health.failed(AuthError("401", code="inbox.credentials_refused"))
    assert health.parked is None
    assert ledger.inboxes.all()[0].state == "ok"


async def test_a_process_that_was_replaced_neither_unparks_nor_probes_without_a_pause(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.inboxes.park("main", "x", "x", "x", None, clock.now())
    settings = InboxSettings(site_id="s", api_key=SecretStr("k"), probe_seconds=10)
    health = InboxHealth("main", settings, ledger, clock, lambda: False)
    await health.load()
    await health.probed(None)
    assert pause_seconds(health, clock) == 10
    assert ledger.inboxes.all()[0].state == "parked"
