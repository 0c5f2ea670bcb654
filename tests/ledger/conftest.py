"""The ledger under test, once on SQLite and once on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from sync.ledger import Ledger
from sync.ledger.engine import Database
from sync.settings import LedgerSettings
from tests.ledger.desk import NOON, Desk
from tests.servers.postgres import Cluster, postgres_cluster

__all__ = ["postgres_cluster"]

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


ON_POSTGRESQL = pytest.mark.parametrize("place", BOTH[1:], indirect=True)
"""For what only a server can show."""


@dataclass
class Place:
    """Where the databases of one test are. `empty_url` is a database without tables, `url` one at head."""

    kind: str
    url: str
    make_empty: Callable[[], str]
    opened: list[Ledger] = field(default_factory=list)

    @property
    def settings(self) -> LedgerSettings:
        return LedgerSettings(url=self.url, busy_timeout_seconds=10, connect_timeout_seconds=5)

    def open(self, **changes: object) -> Ledger:
        """Another ledger on the same database; a SQLite file takes one writer."""
        ledger = Ledger.open(self.settings.model_copy(update=changes))
        self.opened.append(ledger)
        return ledger

    def close_all(self) -> None:
        for ledger in self.opened:
            ledger.close()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The bare database, for looking at what is in it."""
        database = Database(self.settings)
        try:
            yield database
        finally:
            database.close()

    def values(self, sql: str) -> list[tuple[object, ...]]:
        with self.database() as database:
            return database.read(lambda tx: [tuple(row) for row in tx.execute(text(sql))])

    def run(self, sql: str) -> None:
        with self.database() as database:
            database.write(lambda tx: tx.execute(text(sql)))


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
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A fresh ledger at head, on each database."""
    if request.param == "sqlite":
        path = tmp_path / "ledger.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        found = Place("sqlite", f"sqlite:///{path}", lambda: f"sqlite:///{tmp_path / 'empty.db'}")
        yield found
        found.close_all()
        return
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    made = [cluster.create_database(request.getfixturevalue("postgres_template"))]

    def make_empty() -> str:
        made.append(cluster.create_database())
        return made[-1]

    found = Place("postgresql", made[0], make_empty)
    yield found
    found.close_all()
    for url in made:
        cluster.drop_database(url)


@pytest.fixture
def ledger(place: Place) -> Ledger:
    """An open ledger."""
    return place.open()


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    """A ledger with one inbox and one source of two streams, and short words for using it."""
    return Desk(ledger, NOON)
