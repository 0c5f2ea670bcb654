"""The crash matrix: kill -9, and an exception nobody expects, at every point, on both databases."""

from __future__ import annotations

import contextlib
import random
import signal
from functools import partial
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import wait_for
from tests.crash.points import EXCEPTION, KILL, MODES, POINTS, Point
from tests.crash.process import Running
from tests.crash.site import PAD_BYTES, Mailboxes, Site
from tests.mailbag import Mailbag
from tests.servers.dovecot import Dovecot

pytestmark = pytest.mark.timeout(240)

MAILS = 8
ON_FILES = ("maildir", "files", "drop_after_store", "drop_before_store")
CUSTOMERS = 4


def cells() -> list[object]:
    """Every point in every mode."""
    return [
        pytest.param(
            point,
            mode,
            id=f"{point.number}-{point.name}-{mode}",
            marks=[pytest.mark.dovecot] if point.setting in ("imap", "spool") else [],
        )
        for point in POINTS
        for mode in MODES
    ]


def a_site(folder: Path, sandbox: Sandbox, ledger_url: str, dovecot: Dovecot | None = None) -> Site:
    bag = Mailbag(seed=21, customers_count=CUSTOMERS)
    return Site(folder, sandbox, ledger_url, Mailboxes(folder, dovecot), bag)


@pytest.mark.parametrize(("point", "mode"), cells())
async def test_stopped_at_a_point_every_message_arrives_once_and_in_order(
    point: Point, mode: str, database: str, tmp_path: Path, sandbox: Sandbox, request: pytest.FixtureRequest
) -> None:
    dovecot = request.getfixturevalue("dovecot") if point.setting in ("imap", "spool") else None
    url = request.getfixturevalue("empty_ledger_url" if point.setting == "empty" else "ledger_url")
    site = a_site(tmp_path, sandbox, url, dovecot)
    with_files = point.setting == "files"
    site.bring(MAILS, pad_bytes=PAD_BYTES if point.setting == "spool" else 0, with_files=with_files)
    site.know_contacts()
    if point.setting in ("drop_after_store", "drop_before_store"):
        sandbox.fault(point.setting, call="messages.send", skip=2)

    stopped = site.start(point, mode)
    try:
        wait_for(lambda: site.proof(point).exists() or stopped.ended, f"{point.name} is reached", 60)
        assert site.proof(point).exists(), f"it ended elsewhere:\n{stopped.log()[-6000:]}"
        if mode == KILL:
            assert stopped.wait() == -signal.SIGKILL
        elif point.setting == "empty":
            assert stopped.wait() == 1
        else:
            assert stopped.stop() == 0
    finally:
        stopped.kill()

    site.bring(2, with_files=with_files)
    site.run_until_all_is_done()
    await site.assert_whole()
    if with_files:
        site.assert_files()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("point", [one for one in POINTS if one.setting in ON_FILES], ids=lambda one: one.name)
async def test_an_exception_at_a_point_is_survived_without_a_restart(
    point: Point, tmp_path: Path, sandbox: Sandbox, ledger_url: str
) -> None:
    site = a_site(tmp_path, sandbox, ledger_url)
    site.bring(MAILS, with_files=point.setting == "files")
    site.know_contacts()
    if point.setting in ("drop_after_store", "drop_before_store"):
        sandbox.fault(point.setting, call="messages.send", skip=2)
    running = site.start(point, EXCEPTION)
    try:
        wait_for(lambda: site.proof(point).exists() or running.ended, f"{point.name} is reached", 60)
        site.bring(2)
        site.run_until_all_is_done(running)
        await site.assert_whole()
    finally:
        running.kill()


@pytest.mark.parametrize("action", ["hang_before_store", "hang_after_store"])
async def test_killed_while_the_inbox_holds_the_request_every_message_arrives_once_and_in_order(
    action: str, tmp_path: Path, sandbox: Sandbox, ledger_url: str
) -> None:
    site = a_site(tmp_path, sandbox, ledger_url)
    site.bring(MAILS)
    site.know_contacts()
    sandbox.fault(action, call="messages.send", skip=2, seconds=120)
    killed = site.start()
    wait_for(lambda: sandbox.stats()["faults"].get(action) or killed.ended, "a request is held")
    killed.kill()
    assert sandbox.stats()["faults"] == {action: 1}

    site.bring(2)
    site.run_until_all_is_done()
    await site.assert_whole()


def reached_or_ended(site: Site, point: Point, running: Running) -> bool:
    return site.proof(point).exists() or running.ended


LIVES = [point for point in POINTS if point.setting not in ("empty", "spool", "files")]


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(6))
async def test_a_life_of_crashes_at_every_point_in_any_order_loses_and_doubles_nothing(
    seed: int, tmp_path: Path, sandbox: Sandbox, ledger_url: str
) -> None:
    chance = random.Random(seed)
    site = a_site(tmp_path, sandbox, ledger_url)
    site.bring(2)
    site.know_contacts()
    reached = 0
    for point in chance.sample(LIVES, len(LIVES)):
        site.bring(chance.randrange(3, 6))
        if point.setting in ("drop_after_store", "drop_before_store"):
            sandbox.fault(point.setting, call="messages.send", skip=chance.randrange(3))
        stopped = site.start(point, chance.choice(MODES))
        with contextlib.suppress(AssertionError):  # not every point is passed in every life
            wait_for(partial(reached_or_ended, site, point, stopped), "a point", 8)
        stopped.kill()
        reached += site.proof(point).exists()
    assert reached > len(LIVES) / 2
    sandbox.clear_faults()
    site.run_until_all_is_done()
    await site.assert_whole()
