"""Backups while daemons work, and moving from one database to another."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from sync.errors import LedgerError
from sync.ledger import Ledger, copying, migrate, schema
from sync.ledger.copying import Copied
from sync.ledger.engine import Database
from sync.settings import LedgerSettings
from tests.ledger.conftest import Place
from tests.ledger.desk import NOON, Desk
from tests.servers.postgres import Cluster

OTHER = pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])


@pytest.fixture
def other(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> LedgerSettings:
    """An empty database to move to."""
    if kind == "sqlite":
        return LedgerSettings(url=f"sqlite:///{tmp_path}/other.db")
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    return LedgerSettings(url=cluster.create_database())


def fill(place: Place) -> None:
    """Messages in every kind of state, two of which refer to others; the newest row is gone again."""
    ledger = place.open()
    desk = Desk(ledger, NOON)
    desk.record(desk.seen("1", fingerprint="one", arrived=1), desk.seen("2", fingerprint="two", arrived=2))
    for name in ("anna", "béla", "c" * 300):
        desk.arrive(name, arrived=3)
    ledger.leases.release(desk.lease.name, desk.lease.holder, desk.lease.fence)
    ledger.close()
    place.run("UPDATE messages SET duplicate_of = (SELECT max(id) FROM messages) WHERE external_id = '1'")
    place.run("INSERT INTO participants (inbox, kind, value) VALUES ('main', 'email', 'gone@example.com')")
    place.run("DELETE FROM participants WHERE value = 'gone@example.com'")


def everything(settings: LedgerSettings) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables but the mark, as Python values."""
    database = Database(settings)
    try:
        return database.read(
            lambda tx: {
                each.name: [tuple(row) for row in tx.execute(select(each).order_by(*each.primary_key.columns))]
                for each in schema.metadata.sorted_tables
                if each is not schema.meta
            }
        )
    finally:
        database.close()


def next_participant(settings: LedgerSettings) -> object:
    database = Database(settings)
    try:
        row = {"inbox": "main", "kind": "email", "value": "next@example.com"}
        return database.write(
            lambda tx: tx.execute(insert(schema.participants).values(row).returning(schema.participants.c.id)).scalar()
        )
    finally:
        database.close()


def move(place: Place, other: LedgerSettings) -> Copied:
    return copying.move(place.settings, other, datetime.now(UTC), lambda _name, _rows: None)


@OTHER
def test_a_moved_ledger_is_the_same_row_by_row_and_gives_no_id_twice(place: Place, other: LedgerSettings) -> None:
    fill(place)
    before = everything(place.settings)
    newest = max(row[0] for row in before["participants"] if isinstance(row[0], int))
    moved = move(place, other)
    assert everything(other) == before
    assert moved.rows == {**{name: len(rows) for name, rows in before.items()}, "meta": 0}
    assert moved.rows["messages"] == 5
    assert next_participant(other) == newest + 2, "the row that came and went had the number in between"
    Ledger.open(other).close()


@OTHER
def test_nobody_works_on_with_a_ledger_that_was_moved(place: Place, other: LedgerSettings) -> None:
    fill(place)
    move(place, other)
    with pytest.raises(LedgerError) as refused:
        place.open()
    assert refused.value.code == "ledger.moved"
    Ledger.open(other).close()


@OTHER
def test_a_move_that_was_cut_off_changes_nothing_and_can_be_made_again(place: Place, other: LedgerSettings) -> None:
    fill(place)

    def cut_off(name: str, _rows: int) -> None:
        if name == "deliveries":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copying.move(place.settings, other, datetime.now(UTC), cut_off)
    place.open().close()
    assert not any(everything(other).values())
    move(place, other)
    assert everything(other) == everything(place.settings)


@OTHER
def test_a_move_that_was_killed_leaves_a_mark_and_can_be_made_again(place: Place, other: LedgerSettings) -> None:
    fill(place)
    place.run("INSERT INTO meta (key, value) VALUES ('moved_to', 'somewhere')")
    with pytest.raises(LedgerError, match="somewhere"):
        place.open()
    move(place, other)
    assert everything(other) == everything(place.settings)


@OTHER
def test_a_database_that_holds_a_ledger_is_not_moved_into(place: Place, other: LedgerSettings) -> None:
    fill(place)
    ledger = Ledger.open(other)
    ledger.inboxes.load("shop", "site-2", NOON)
    ledger.close()
    with pytest.raises(LedgerError) as refused:
        move(place, other)
    assert refused.value.code == "ledger.not_empty"
    place.open()


@OTHER
def test_a_ledger_at_work_is_not_moved(place: Place, other: LedgerSettings) -> None:
    ledger = place.open()
    assert ledger.leases.take("inbox:main", "holder-1", 60) is not None
    with pytest.raises(LedgerError) as refused:
        move(place, other)
    assert refused.value.code == "ledger.locked"


def test_a_ledger_is_not_moved_onto_itself(place: Place) -> None:
    with pytest.raises(LedgerError) as refused:
        move(place, place.settings)
    assert refused.value.code == "ledger.same"


def test_a_backup_is_made_while_the_ledger_is_at_work(place: Place, tmp_path: Path) -> None:
    fill(place)
    at_work = place.open()
    target = tmp_path / "copies" / "monday.db"
    target.parent.mkdir()
    copying.backup(place.settings, target, datetime.now(UTC), lambda _name, _rows: None)
    at_work.inboxes.load("shop", "site-2", NOON)
    assert [name.name for name in target.parent.iterdir()] == [target.name]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    restored = LedgerSettings(url=f"sqlite:///{target}")
    rows = everything(restored)
    assert len(rows["messages"]) == 5
    assert [row[0] for row in rows["inboxes"]] == ["main"]
    Ledger.open(restored).close()


def test_a_backup_overwrites_nothing(place: Place, tmp_path: Path) -> None:
    place.open().close()
    target = tmp_path / "precious"
    target.write_text("do not lose me")
    with pytest.raises(LedgerError, match="exists already"):
        copying.backup(place.settings, target, datetime.now(UTC), lambda _name, _rows: None)
    assert target.read_text() == "do not lose me"


def test_a_backup_that_fails_leaves_no_half_copy(place: Place, tmp_path: Path) -> None:
    place.open().close()
    target = tmp_path / "no" / "such" / "directory.db"
    with pytest.raises(LedgerError):
        copying.backup(place.settings, target, datetime.now(UTC), lambda _name, _rows: None)
    assert not target.exists()


@pytest.mark.postgres
def test_a_copy_may_wait_for_as_long_as_the_other_database_takes(postgres_cluster: Cluster) -> None:
    database = Database(LedgerSettings(url=postgres_cluster.create_database()), migrating=True)
    try:
        shown = database.read(lambda tx: tx.execute(text("SHOW idle_in_transaction_session_timeout")).scalar())
    finally:
        database.close()
    assert shown == "0"


def test_a_vacuum_makes_a_sqlite_file_smaller_and_keeps_everything(place: Place) -> None:
    fill(place)
    if place.kind == "postgresql":
        with pytest.raises(LedgerError, match="by itself"):
            migrate.vacuum(place.settings, NOON)
        return
    numbers = "WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 500) SELECT v FROM n"
    place.run(f"INSERT INTO meta (key, value) SELECT 'filler ' || v, hex(zeroblob(2000)) FROM ({numbers})")
    place.run("DELETE FROM meta")
    before = everything(place.settings)
    was, became = migrate.vacuum(place.settings, NOON)
    assert became < was / 2
    assert everything(place.settings) == before
    place.open()
    with pytest.raises(LedgerError) as refused:
        migrate.vacuum(place.settings, NOON)
    assert refused.value.code == "ledger.locked"
