"""Migrations: from nothing to head and back on filled data, no drift, newer databases refused."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Engine, inspect

from sync.errors import LedgerError
from sync.ledger import Ledger, MessageFilter, migrate
from sync.ledger.engine import Database
from sync.ledger.schema import metadata
from sync.settings import LedgerSettings
from tests.ledger.conftest import ON_POSTGRESQL, Place
from tests.ledger.desk import NOON, Desk, loaded

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def empty_engine(place: Place) -> Iterator[Engine]:
    """An engine as migrations use it, on a database without tables."""
    database = Database(place.settings.model_copy(update={"url": place.make_empty()}), migrating=True)
    yield database.engine
    database.close()


def config_for(engine: Engine) -> Config:
    config = migrate.alembic_config()
    config.attributes["connection"] = engine
    return config


def test_the_migrations_folder_is_no_package() -> None:
    """With an __init__.py it would hide the library of that name from `python -m`."""
    folder = migrate.migrations_dir()
    assert folder == REPOSITORY / "alembic"
    assert not list(folder.rglob("__init__.py"))
    done = subprocess.run(
        [sys.executable, "-c", "import alembic.config"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_revisions_named_in_the_code_are_those_of_the_folder() -> None:
    script = ScriptDirectory.from_config(migrate.alembic_config())
    assert script.get_current_head() == migrate.HEAD
    assert {one.revision for one in script.walk_revisions()} == set(migrate.REVISIONS)


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(migrate.alembic_config()).get_heads()) == 1


def test_every_revision_goes_up_down_and_up_again(empty_engine: Engine) -> None:
    config = config_for(empty_engine)
    for revision in migrate.REVISIONS:
        command.upgrade(config, revision)
        before = table_columns(empty_engine)
        command.downgrade(config, "-1")
        command.upgrade(config, revision)
        assert table_columns(empty_engine) == before
    command.check(config)
    command.downgrade(config, "base")
    assert inspect(empty_engine).get_table_names() == ["alembic_version"]


def table_columns(engine: Engine) -> dict[str, list[tuple[str, str, bool]]]:
    found = inspect(engine)
    return {
        table: [(str(one["name"]), str(one["type"]), bool(one["nullable"])) for one in found.get_columns(table)]
        for table in found.get_table_names()
    }


def test_head_is_what_the_tables_in_the_code_say(place: Place) -> None:
    with place.database() as database:
        command.check(config_for(database.engine))
        found = inspect(database.engine)
        for table in metadata.sorted_tables:
            # what Alembic does not compare: conditions of partial indexes, and checks
            conditions = {
                str(index["name"]): squeeze(str(index.get("dialect_options", {}).get(f"{place.kind}_where")))
                for index in found.get_indexes(table.name)
            }
            for index in table.indexes:
                wanted = index.dialect_options[place.kind]["where"]
                assert (wanted is None) == (conditions[str(index.name)] == "none"), index.name
                if place.kind == "sqlite" and wanted is not None:
                    assert conditions[str(index.name)] == squeeze(str(wanted))
            checks = {str(one["name"]) for one in found.get_check_constraints(table.name)}
            assert checks == {
                f"ck_{table.name}_{one.name}".replace(f"ck_{table.name}_ck_{table.name}_", f"ck_{table.name}_")
                for one in table.constraints
                if isinstance(one, CheckConstraint)
            }


def squeeze(sql: str) -> str:
    return " ".join(sql.lower().split())


def test_down_and_up_again_on_filled_tables(place: Place) -> None:
    ledger = place.open()
    desk = Desk(ledger, NOON)
    for number in range(20):
        desk.arrive(f"p{number}", arrived=number)
    desk.send(*desk.window()[:10])
    ledger.close()
    place.opened.clear()
    database = Database(place.settings, migrating=True)
    command.downgrade(config_for(database.engine), "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]
    database.close()
    ledger = place.open()
    assert ledger.messages.list(MessageFilter()) == ()
    Desk(ledger, NOON).arrive("anna")


def test_a_newer_database_is_refused_by_writers_and_readers(place: Place) -> None:
    place.run("UPDATE alembic_version SET version_num = '9f3c'")
    for writer in (True, False):
        with pytest.raises(LedgerError) as caught:
            Ledger.open(place.settings, writer=writer)
        assert caught.value.code == "ledger.newer"
        assert "9f3c" in caught.value.sentence
        assert migrate.HEAD in caught.value.sentence
        assert caught.value.exit_code == 69
    with pytest.raises(LedgerError):
        migrate.upgrade(place.settings, NOON)
    assert migrate.current(place.settings).state == "newer"


def test_an_empty_database_is_brought_to_head_by_the_daemon_and_refused_by_readers(place: Place) -> None:
    fresh = place.settings.model_copy(update={"url": place.make_empty()})
    with pytest.raises(LedgerError) as caught:
        Ledger.open(fresh, writer=False)
    assert caught.value.code == "ledger.missing"
    Ledger.open(fresh).close()
    Ledger.open(fresh, writer=False).close()


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program with one more migration than this one: a column, made by rebuilding the table on SQLite."""
    folder = tmp_path / "migrations"
    shutil.copytree(REPOSITORY / "alembic", folder)
    (folder / "versions" / "9999_test.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision = '9999'\ndown_revision = '{migrate.HEAD}'\nbranch_labels = None\ndepends_on = None\n"
        "def upgrade():\n    with op.batch_alter_table('messages', recreate='auto') as batch:\n"
        "        batch.alter_column('detail', nullable=True, existing_type=sa.Text())\n"
        "def downgrade():\n    with op.batch_alter_table('messages', recreate='auto') as batch:\n"
        "        batch.alter_column('detail', nullable=False, existing_type=sa.Text())\n"
    )
    monkeypatch.setattr(migrate, "migrations_dir", lambda: folder)
    monkeypatch.setattr(migrate, "REVISIONS", (*migrate.REVISIONS, "9999"))
    monkeypatch.setattr(migrate, "HEAD", "9999")
    return "9999"


def test_an_old_ledger_is_brought_to_head_without_losing_a_row(place: Place, request: pytest.FixtureRequest) -> None:
    desk = Desk(place.open(), NOON)
    rows = [desk.arrive("anna", "ben") for _ in range(3)]
    place.close_all()
    place.opened.clear()
    request.getfixturevalue("next_revision")
    assert migrate.current(place.settings).state == "behind"
    if place.kind == "postgresql":
        with pytest.raises(LedgerError) as caught:
            Ledger.open(place.settings)
        assert caught.value.code == "ledger.old"
        assert "inbox-sync db upgrade" in caught.value.next_step
        assert migrate.upgrade(place.settings, NOON).backup is None
    ledger = place.open()
    # the tables that point at messages keep their rows although the table was made anew
    assert len(ledger.deliveries.window("main", 100, NOON)) == 6
    assert len(ledger.messages.contents([row.message_id for row in rows])) == 3
    assert migrate.current(place.settings).revision == "9999"


def test_a_sqlite_file_is_copied_before_it_is_upgraded(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = LedgerSettings(url=f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger = Ledger.open(settings)
    Desk(ledger, NOON).arrive("anna")
    ledger.close()
    before = migrate.HEAD
    request.getfixturevalue("next_revision")
    state = migrate.upgrade(settings, NOON)
    assert state.backup is not None
    assert state.backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(state.backup) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [(before,)]
        assert copy.execute("SELECT count(*) FROM deliveries").fetchall() == [(1,)]
    copy.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    place: Place, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    Desk(place.open(), NOON).arrive("anna")
    place.close_all()
    place.opened.clear()
    before = migrate.HEAD
    request.getfixturevalue("next_revision")
    script = tmp_path / "migrations" / "versions" / "9999_test.py"
    script.write_text(
        script.read_text().replace(
            "def downgrade",
            "    op.create_table('half', sa.Column('x', sa.Text()))\n    raise OSError('cut')\ndef downgrade",
        )
    )
    with pytest.raises(OSError, match="cut"):
        migrate.upgrade(place.settings, NOON)
    assert migrate.current(place.settings).revision == before
    with place.database() as database:
        assert "half" not in inspect(database.engine).get_table_names()
    assert place.values("SELECT count(*) FROM deliveries") == [(1,)]


@ON_POSTGRESQL
def test_daemons_that_start_together_on_an_empty_database_migrate_it_once(place: Place) -> None:
    fresh = place.settings.model_copy(update={"url": place.make_empty()})
    errors: list[BaseException] = []

    def start() -> None:
        try:
            Ledger.open(fresh).close()
        except Exception as error:  # noqa: BLE001  told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert migrate.current(fresh).state == "current"


def test_ids_are_never_used_twice(place: Place) -> None:
    desk = Desk(place.open(), NOON)
    last = desk.record(desk.seen(1, loaded())).new_message_ids[0]
    for table in ("payloads", "deliveries", "messages"):
        place.run(f"DELETE FROM {table}")
    assert desk.record(desk.seen(2, loaded())).new_message_ids[0] > last
