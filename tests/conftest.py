"""Options and settings that every test shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sync.ledger import Ledger
from sync.settings import LedgerSettings
from tests.servers.django_helpdesk import DjangoHelpdesk, needs_django_helpdesk
from tests.servers.request_tracker import RequestTracker, needs_request_tracker

KILLS = 50
"""Times three seeds, times two databases: 300 in all."""

settings.register_profile("quick", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("soak", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long form of the tests that have one")
    parser.addoption(
        "--kills", type=int, default=KILLS, metavar="N", help=f"soak: random kill -9 per run and database ({KILLS})"
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("soak" if config.getoption("--soak") else "quick")
    os.environ.pop("INBOX_SYNC_CONFIG", None)  # a developer's own file must not reach a test
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # begun with `&` by a script: children would never hear Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    long_ones = [item for item in items if item.get_closest_marker("soak")]
    if long_ones:
        config.hook.pytest_deselected(items=long_ones)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture(scope="session")
def request_tracker() -> Iterator[RequestTracker]:
    """One for all tests of a process: each makes a queue of its own."""
    needs_request_tracker()
    with RequestTracker() as running:
        yield running


@pytest.fixture(scope="session")
def helpdesk_site() -> Iterator[DjangoHelpdesk]:
    """One for all tests of a process: each takes away what others left."""
    needs_django_helpdesk()
    with DjangoHelpdesk() as running:
        yield running


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether bounded tests may take their time."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    """How often the long tests kill the program at random moments."""
    return int(request.config.getoption("--kills"))


@pytest.fixture(scope="session")
def ledger_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite ledger at head, to be copied."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    Ledger.open(LedgerSettings(url=f"sqlite:///{path}")).close()
    return path
