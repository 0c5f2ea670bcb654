"""The ledgers of the state machine: copies of an empty one, on SQLite in a folder in memory, and on PostgreSQL."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog
from sqlalchemy import ColumnElement, Connection, literal, text
from sqlalchemy.engine.interfaces import Compiled

from sync.ledger import Ledger
from sync.ledger.types import UtcDateTime
from sync.settings import LedgerSettings
from tests.property.play import Play
from tests.servers.postgres import Cluster, postgres_cluster

__all__ = ["postgres_cluster"]

MakePlay = Callable[..., Play]
"""Whether the ledger is shared, and what is in the mailbox from before the start (see `Play`)."""

BUGS: list[str] = []
"""What was logged as a bug of the program since the present play began."""


def note_bugs(_logger: object, _method: str, event: MutableMapping[str, object]) -> NoReturn:
    """In the place of a log: thousands of stories would fill it."""
    name = str(event.get("event"))
    if name.endswith(".bug") or name in ("delivery.text_changed", "inbox.text_changed"):
        BUGS.append(f"{name}: {event.get('exc_info')!r} {sys.exc_info()[1]!r}")
    raise structlog.DropEvent


@pytest.fixture(autouse=True)
def only_bugs_are_logged() -> Iterator[None]:
    structlog.configure(processors=[note_bugs])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def memory_folder() -> Iterator[Path]:
    """In memory where there is such a place: the machine writes thousands of ledgers."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="inbox-sync-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def play_on_sqlite(memory_folder: Path) -> MakePlay:
    template = memory_folder / "template.db"
    Ledger.open(LedgerSettings(url=f"sqlite:///{template}")).close()
    place = memory_folder / "play"

    def make(shared: bool, old: Sequence[tuple[str, str]] = ()) -> Play:
        BUGS.clear()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        path = place / "ledger.db"
        shutil.copy(template, path)
        ledger = LedgerSettings(url=f"sqlite:///{path}")

        def open_ledger(*, writer: bool, now: Callable[[], datetime]) -> Ledger:
            return _remembering(Ledger.open(ledger, writer=writer, now=now))

        return Play(open_ledger, shared=shared, bugs=BUGS, old=old)

    return make


@pytest.fixture(scope="session")
def play_on_postgres(postgres_cluster: Cluster) -> MakePlay:
    """Always shared. Leases go by the world's time instead of the server's."""
    url = postgres_cluster.create_database()
    ledger = LedgerSettings(url=url, threads=1)
    Ledger.open(ledger).close()

    def make(_shared: bool, old: Sequence[tuple[str, str]] = ()) -> Play:
        BUGS.clear()

        def open_ledger(*, writer: bool, now: Callable[[], datetime]) -> Ledger:
            opened = Ledger.open(ledger, writer=False, now=now)

            def times(_tx: Connection, ttl_seconds: float) -> tuple[ColumnElement[datetime], ColumnElement[datetime]]:
                return literal(now(), UtcDateTime()), literal(now() + timedelta(seconds=ttl_seconds), UtcDateTime())

            opened.leases._times = times  # type: ignore[method-assign, assignment]
            return _remembering(opened)

        empty = open_ledger(writer=False, now=datetime.now)
        empty._database.write(_empty)
        empty.close()
        return Play(open_ledger, shared=True, bugs=BUGS, old=old)

    return make


_COMPILED: MutableMapping[Any, Compiled] = {}  # as SQLAlchemy declares it


def _remembering(ledger: Ledger) -> Ledger:
    """Statements are compiled once for all plays."""
    for engine in (ledger._database.engine, ledger._database._reading):
        engine._compiled_cache = _COMPILED
    return ledger


def _empty(tx: Connection) -> None:
    names = tx.execute(
        text(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('meta', 'alembic_version')"
        )
    ).scalars()
    tx.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))
