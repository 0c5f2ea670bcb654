"""The daemon's life while somebody reads its file again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from sync.clock import SystemClock
from sync.config import LoadedConfig, load
from sync.daemon import Daemon
from sync.errors import ConfigError, LedgerError
from sync.ledger import Ledger
from sync.operate import Operator
from sync.runtime import Runtime
from sync.schedule import Schedule
from tests.unit.loop_desk import until


class StubPoller:
    """Has nothing to break off."""

    def abort(self) -> None:
        pass


class StubRuntime:
    """Works for any configuration, and takes its time to leave one."""

    def __init__(self) -> None:
        self.pollers: dict[str, object] = {}
        self.sides: dict[str, object] = {}
        self.may_leave = asyncio.Event()
        self.leaving = self.full = self.at_once = self.enter_fails = False
        self.entered: list[LoadedConfig] = []

    async def poll(self, _name: str) -> None:
        if self.full:
            raise LedgerError("the disk is full", code="ledger.disk_full", next_step="make room")
        if not self.at_once:
            await asyncio.Event().wait()

    sweep = poll

    async def leave(self, inboxes: object, sources: object, grace_seconds: float) -> None:
        self.leaving = True
        await self.may_leave.wait()

    async def enter(self, loaded: LoadedConfig, inboxes: object, sources: object) -> None:
        if self.enter_fails:
            raise LedgerError("it is gone", code="ledger.unreachable")
        self.entered.append(loaded)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedConfig:
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
[ledger]
url = "sqlite:///{tmp_path}/ledger.db"

[daemon]
grace_seconds = 0

[inbox.main]
site_id = "11111111-1111-4111-8111-111111111111"
api_key = {{ env = "WIX_KEY" }}

[sources.mail]
connector = "maildir"
path = "{tmp_path}"
"""
    )
    return load(path)


@pytest.fixture
def stub() -> StubRuntime:
    return StubRuntime()


@pytest.fixture
async def running(loaded: LoadedConfig, stub: StubRuntime) -> AsyncIterator[Daemon]:
    """A daemon with a runtime that is a stub."""
    daemon = Daemon(loaded)
    daemon.ledger = cast("Ledger", None)  # the stub does not look at it
    daemon.runtime = cast("Runtime", stub)
    daemon._schedule = Schedule(daemon.runtime, daemon.ledger, SystemClock(), max_passes=8, grace_seconds=0)
    daemon._state = "running"
    await daemon._schedule.start()
    yield daemon
    await daemon._schedule.end()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIX_KEY", "sandbox-api-key")


async def test_a_reload_goes_on_when_its_operator_goes_away(running: Daemon, stub: StubRuntime) -> None:
    """Ctrl-C while something drains must not leave a daemon that does nothing."""
    asked = asyncio.create_task(running.reload())
    await until(lambda: stub.leaving, "what changed drains")
    asked.cancel()
    await asyncio.wait([asked])
    stub.may_leave.set()
    await until(lambda: bool(stub.entered), "the new configuration is at work")


async def test_a_daemon_whose_new_configuration_cannot_be_entered_ends(running: Daemon, stub: StubRuntime) -> None:
    stub.may_leave.set()
    stub.enter_fails = True
    with pytest.raises(LedgerError):
        await running.reload()
    assert running._stop.is_set()
    assert running._fatal is not None


async def test_a_file_that_was_refused_stays_on_the_status_line_until_a_good_one_comes(
    running: Daemon, stub: StubRuntime, loaded: LoadedConfig
) -> None:
    stub.may_leave.set()
    good = loaded.path.read_text()
    loaded.path.write_text(good.replace("connector =", "conector ="))
    with pytest.raises(ConfigError):
        await running.reload()
    assert "the new configuration was refused" in running._status_line()
    assert not stub.leaving
    loaded.path.write_text(good)
    await running.reload()
    assert "refused" not in running._status_line()


async def test_a_pass_that_the_daemon_cuts_short_at_its_end_is_no_error(running: Daemon, stub: StubRuntime) -> None:
    """APScheduler reports a job that was cancelled with a traceback."""
    schedule = running._schedule
    stub.pollers["mail"] = StubPoller()
    jobs = [asyncio.create_task(schedule._pass("mail")), asyncio.create_task(schedule._sweep("mail"))]
    await until(lambda: len(schedule._passes) == len(jobs), "both are at work")
    await schedule.end()
    assert await asyncio.gather(*jobs) == [None, None]


async def test_status_says_that_nothing_can_be_recorded_and_stops_saying_it(running: Daemon, stub: StubRuntime) -> None:
    """A full disk lets everything be read, and all that the ledger says of a source is how it was before."""
    running.ledger = Ledger.open(running.loaded.settings.ledger)
    operator = Operator(running.loaded, running.ledger, SystemClock(), daemon=running)
    stub.pollers["mail"] = StubPoller()
    stub.full = True
    assert await running._schedule._pass("mail") is None
    status = await operator.status()
    (source,) = status["sources"]
    assert source["fault"] is not None
    assert (status["ok"], source["state"], source["fault"]["code"]) == (False, "failing", "ledger.disk_full")
    stub.full, stub.at_once = False, True
    await running._schedule._pass("mail")
    status = await operator.status()
    assert (status["ok"], status["sources"][0]["fault"]) == (True, None)
    running.ledger.close()
