"""Sites on both databases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sync.ledger import Ledger
from sync.sandbox import Sandbox
from sync.settings import LedgerSettings
from tests.servers.dovecot import dovecot
from tests.servers.postgres import Cluster, postgres_cluster

__all__ = ["dovecot", "postgres_cluster"]

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite ledger at head, to be copied."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    Ledger.open(LedgerSettings(url=f"sqlite:///{path}")).close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_cluster: Cluster) -> str:
    """The name of an empty ledger at head in the cluster, to be copied."""
    url = postgres_cluster.create_database()
    Ledger.open(LedgerSettings(url=url)).close()
    return url.rpartition("/")[2]


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest) -> str:
    """Which database."""
    return str(request.param)


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[str]:
    """A fresh ledger at head."""
    if database == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "ledger.db")
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    with ExitStack() as after:
        cluster: Cluster = request.getfixturevalue("postgres_cluster")
        url = cluster.create_database(request.getfixturevalue("postgres_template"))
        after.callback(cluster.drop_database, url)
        yield url


@pytest.fixture
def empty_ledger_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if database == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    with ExitStack() as after:
        cluster: Cluster = request.getfixturevalue("postgres_cluster")
        url = cluster.create_database()
        after.callback(cluster.drop_database, url)
        yield url
