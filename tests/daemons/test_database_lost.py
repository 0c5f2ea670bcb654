"""The connection between a daemon and PostgreSQL is cut in every way, and PostgreSQL itself goes down at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.daemons.fleet import Fleet
from tests.servers.postgres import Cluster
from tests.servers.proxy import Fault, FaultProxy

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]

MAILS = 120
RESTARTS = 3


@pytest.fixture
def proxy(postgres_cluster: Cluster) -> Iterator[FaultProxy]:
    """Between one daemon and the server."""
    with FaultProxy((postgres_cluster.host, postgres_cluster.port)) as running:
        yield running


def reset(proxy: FaultProxy) -> None:
    proxy.fault(Fault(refuse=True))
    proxy.break_all("rst")


def requests_lost(proxy: FaultProxy) -> None:
    proxy.fault(Fault(cut_up_bytes=0, how="hang"))


def answers_lost(proxy: FaultProxy) -> None:
    proxy.fault(Fault(cut_down_bytes=0, how="hang"))


@pytest.mark.parametrize("cut", [reset, requests_lost, answers_lost])
def test_a_daemon_cut_off_from_the_database_is_replaced_and_comes_back_by_itself(
    cut: Callable[[FaultProxy], None], fleet: Fleet, proxy: FaultProxy, postgres_cluster: Cluster
) -> None:
    fleet.add("support", inbox="main", customers=20)
    fleet.bring(MAILS)
    fleet.sandbox.fault("delay", call="messages.send", times=None, seconds=0.05)
    far = fleet.start(ledger_url=fleet.ledger_url.replace(f":{postgres_cluster.port}/", f":{proxy.port}/")).ready()
    near = fleet.start().ready()
    fleet.wait(lambda: fleet.stored > MAILS / 6, "the first one delivers")
    assert fleet.holder("main") is far
    cut(proxy)
    fleet.wait(lambda: fleet.holder("main") is near, "the other one takes over")
    code, told = fleet.typed(1, "status")
    assert code in (69, 75)
    assert "the connection to postgresql://" in " ".join(told.split())
    fleet.wait_until_all_is_sent()
    proxy.fault()
    fleet.bring(10)
    fleet.wait_until_all_is_sent()
    near.kill()
    fleet.bring(10)
    fleet.wait(lambda: fleet.holder("main") is far, "the first one is back")
    fleet.wait_until_all_is_sent()
    fleet.assert_each_once_in_order()
    assert "bug" not in far.log()
    assert far.stop() == 0


def test_postgresql_going_down_at_once_and_coming_back_loses_and_doubles_nothing(
    fleet: Fleet, postgres_cluster: Cluster
) -> None:
    for inbox in ("a", "b"):
        fleet.add(f"{inbox}1", inbox=inbox, customers=20)
    fleet.bring(MAILS)
    fleet.sandbox.fault("delay", call="messages.send", times=None, seconds=0.05)
    daemons = [fleet.start().ready() for _ in range(2)]
    for _ in range(RESTARTS):
        fleet.bring(20)
        fleet.wait(partial(has_sent, fleet, fleet.stored + 15), "they deliver")
        postgres_cluster.kill()
        code, told = fleet.typed(1, "status")
        assert code in (69, 75)
        assert "check that the database server runs" in " ".join(told.split())
        postgres_cluster.restart()
    fleet.wait_until_all_is_sent()
    fleet.assert_each_once_in_order()
    for daemon in daemons:
        assert "bug" not in daemon.log()
        assert daemon.stop() == 0


def has_sent(fleet: Fleet, count: int) -> bool:
    return fleet.stored >= count
