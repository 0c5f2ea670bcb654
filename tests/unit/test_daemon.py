"""The daemon's life while somebody reads its file again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler

import sync.daemon as module
from sync.clock import SystemClock
from sync.config import LoadedConfig, load
from sync.daemon import Daemon
from sync.errors import LedgerError
from sync.ledger import Ledger
from sync.operate import Operator
from sync.runtime import Runtime
from tests.unit.loop_desk import until


class StubRuntime:
    """Starts, and takes its time to stop."""

    made: list[StubRuntime]
    start_fails: bool

    def __init__(self, *_args: object, **_more: object) -> None:
        self.pollers: dict[str, object] = {}
        self.sides: dict[str, object] = {}
        self.may_stop = asyncio.Event()
        self.stopping = self.started = self.full = self.at_once = False
        self.made.append(self)

    async def start(self) -> None:
        if self.start_fails:
            raise LedgerError("it is gone", code="ledger.unreachable")
        self.started = True

    def do_backfills(self) -> None:
        pass

    async def poll(self, _name: str) -> None:
        if self.full:
            raise LedgerError("the disk is full", code="ledger.disk_full", next_step="make room")
        if not self.at_once:
            await asyncio.Event().wait()

    sweep = poll

    async def stop(self, grace_seconds: float) -> None:
        self.stopping = True
        await self.may_stop.wait()


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
def running(loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon with a runtime that is a stub."""
    monkeypatch.setattr(StubRuntime, "made", [], raising=False)
    monkeypatch.setattr(StubRuntime, "start_fails", False, raising=False)
    monkeypatch.setattr(module, "Runtime", StubRuntime)
    daemon = Daemon(loaded)
    daemon.ledger = cast("Ledger", None)  # the stub does not look at it
    daemon.runtime = cast("Runtime", StubRuntime())
    daemon._state = "running"
    return daemon


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIX_KEY", "sandbox-api-key")


async def test_a_reload_goes_on_when_its_operator_goes_away(running: Daemon) -> None:
    """Ctrl-C while the old runtime drains must not leave a daemon that does nothing."""
    await running._schedule()
    asked = asyncio.create_task(running.reload())
    old = StubRuntime.made[0]
    await until(lambda: old.stopping, "the old runtime drains")
    asked.cancel()
    await asyncio.wait([asked])
    old.may_stop.set()
    await until(lambda: len(StubRuntime.made) == 2 and StubRuntime.made[1].started, "the new one is at work")
    await until(lambda: running._scheduler.running, "passes are planned")
    await running._end_passes()


async def test_a_daemon_whose_new_runtime_cannot_start_still_ends_in_order(running: Daemon) -> None:
    await running._schedule()
    StubRuntime.made[0].may_stop.set()
    StubRuntime.start_fails = True
    with pytest.raises(LedgerError):
        await running.reload()
    assert running._stop.is_set()
    await running._end_passes()
    assert isinstance(running._scheduler, AsyncIOScheduler)
    assert not running._scheduler.running


async def test_a_pass_that_the_daemon_cuts_short_at_its_end_is_no_error(running: Daemon) -> None:
    """APScheduler reports a job that was cancelled with a traceback."""
    await running._schedule()
    jobs = [asyncio.create_task(running._pass("mail")), asyncio.create_task(running._sweep("mail"))]
    await until(lambda: len(running._passes) == len(jobs), "both are at work")
    await running._end_passes()
    assert await asyncio.gather(*jobs) == [None, None]


async def test_status_says_that_nothing_can_be_recorded_and_stops_saying_it(running: Daemon, tmp_path: Path) -> None:
    """A full disk lets everything be read, and all that the ledger says of a source is how it was before."""
    running.ledger = Ledger.open(running.loaded.settings.ledger)
    operator = Operator(running.loaded, running.ledger, SystemClock(), daemon=running)
    stub = StubRuntime.made[0]
    stub.full = True
    assert await running._pass("mail") is None
    status = await operator.status()
    (source,) = status["sources"]
    assert source["fault"] is not None
    assert (status["ok"], source["state"], source["fault"]["code"]) == (False, "failing", "ledger.disk_full")
    stub.full, stub.at_once = False, True
    await running._pass("mail")
    status = await operator.status()
    assert (status["ok"], status["sources"][0]["fault"]) == (True, None)
    running.ledger.close()
