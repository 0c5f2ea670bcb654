"""Opening the ledger: one writer per file, and an error with a next step for whatever keeps it from being used."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from sync.errors import ConfigError, InboxSyncError, LedgerError, TemporaryError
from sync.ledger import Ledger, MessageFilter, PassEnd, migrate
from sync.ledger.dialect import savepoint
from sync.ledger.engine import Database
from sync.settings import LedgerSettings
from tests.acceptance.harness import wait_for
from tests.ledger.conftest import ON_POSTGRESQL, Place
from tests.ledger.desk import NOON, Desk, loaded
from tests.servers.postgres import Cluster

HOLDER = """
import sys, time
from sync.ledger import Ledger
from sync.settings import LedgerSettings
ledger = Ledger.open(LedgerSettings(url=sys.argv[1]))
print("open", flush=True)
time.sleep(60)
"""


def settings(path: Path | str, **more: float) -> LedgerSettings:
    return LedgerSettings(url=f"sqlite:///{path}").model_copy(update=more)


def refused(url: str, *, writer: bool = True, **more: float) -> InboxSyncError:
    with pytest.raises(InboxSyncError) as caught:
        Ledger.open(LedgerSettings(url=url).model_copy(update=more), writer=writer).close()
    assert caught.value.next_step
    assert isinstance(caught.value, LedgerError | ConfigError | TemporaryError)
    return caught.value


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the ledger open."""
    command = [sys.executable, "-c", HOLDER, f"sqlite:///{tmp_path / 'ledger.db'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_and_told_who_the_first_is(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    error = refused(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert (error.code, error.exit_code) == ("ledger.locked", 69)
    assert f"process {holder.pid} on" in error.sentence
    assert error.ids == {"pid": holder.pid}


def test_after_kill_9_the_lock_is_free_at_once(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    Ledger.open(settings(tmp_path / "ledger.db")).close()


def test_two_names_of_one_file_are_one_ledger(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "ledger.db")
    ledger = Ledger.open(settings(tmp_path / "ledger.db"))
    assert ledger.exclusive
    assert refused(f"sqlite:///{tmp_path / 'link.db'}").code == "ledger.locked"
    ledger.close()


def test_readers_need_no_lock_and_change_nothing(tmp_path: Path) -> None:
    writer = Ledger.open(settings(tmp_path / "ledger.db"))
    reader = Ledger.open(settings(tmp_path / "ledger.db"), writer=False)
    assert not reader.exclusive
    writer.inboxes.load("main", "site", NOON)
    assert [row.name for row in reader.inboxes.all()] == ["main"]
    reader.close()
    writer.close()
    reader = Ledger.open(settings(tmp_path / "ledger.db"), writer=False)
    assert reader.messages.list(MessageFilter()) == ()
    reader.close()


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ledger = Ledger.open(settings(tmp_path / "ledger.db"))
        ledger.inboxes.load("main", "site", NOON)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        ledger.close()
    finally:
        os.umask(before)
    assert modes.keys() >= {"ledger.db", "ledger.db-wal", "ledger.db.lock"}
    assert set(modes.values()) == {0o600}


def test_every_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    database = Database(settings(tmp_path / "ledger.db"))
    with database.engine.connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    database.close()
    assert values == ["wal", 2, 1]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("not a url", "ledger.url"),
        ("mysql://u:secret@h/d", "ledger.url"),
        ("sqlite://", "ledger.url"),
        ("sqlite:///:memory:", "ledger.url"),
        ("sqlite:////nowhere/at/all/ledger.db", "ledger.directory"),
        ("sqlite:////dev", "ledger.path"),
    ],
)
def test_a_wrong_url_is_named_with_its_next_step(url: str, code: str) -> None:
    error = refused(url)
    assert error.code == code
    assert "secret" not in error.sentence


def test_a_reader_of_no_ledger_is_told_how_one_comes_to_be(tmp_path: Path) -> None:
    error = refused(f"sqlite:///{tmp_path / 'ledger.db'}", writer=False)
    assert error.code == "ledger.missing"
    assert "inbox-sync run" in error.next_step
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", [True, False])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, writer: bool) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("these are my notes, and not a database at all" * 100)
    before = path.read_bytes()
    assert refused(f"sqlite:///{path}", writer=writer).code == "ledger.not_a_database"
    assert path.read_bytes() == before


def test_a_foreign_sqlite_file_is_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("CREATE TABLE messages (id)")
    connection.close()
    assert refused(f"sqlite:///{tmp_path / 'ledger.db'}").code == "ledger.foreign"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(settings(path)).close()
    content = bytearray(path.read_bytes())
    content[100:8000] = b"\xa5" * 7900
    path.write_bytes(content)
    assert refused(f"sqlite:///{path}").code == "ledger.corrupt"


@pytest.mark.skipif(os.getuid() != 0, reason="as root: a user without rights is needed; else the next test does it")
def test_a_user_without_rights_is_told_so(tmp_path: Path) -> None:
    """In a process of its own, which gives up root's rights."""
    folder = tmp_path / "d"
    folder.mkdir()
    Ledger.open(settings(folder / "ledger.db")).close()
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)
    code = (
        "import os, sys; from sync.errors import LedgerError; from sync.ledger import Ledger\n"
        "from sync.settings import LedgerSettings; import sync.ledger.migrate; os.setuid(65534)\n"
        "try: Ledger.open(LedgerSettings(url=sys.argv[1]))\n"
        "except LedgerError as error: print(error.code, error.next_step)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{folder / 'ledger.db'}"], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("ledger.permission "), done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files for others")
def test_what_root_makes_beside_the_ledger_belongs_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(settings(path)).close()
    path.with_name("ledger.db.lock").unlink()
    os.chown(path, 65534, 65534)
    ledger = Ledger.open(settings(path))
    ledger.inboxes.load("main", "site", NOON)
    owners = {one.stat().st_uid for one in tmp_path.iterdir()}
    ledger.close()
    assert owners == {65534}


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_without_rights_is_named(tmp_path: Path) -> None:
    Ledger.open(settings(tmp_path / "ledger.db")).close()
    (tmp_path / "ledger.db").chmod(0)
    assert refused(f"sqlite:///{tmp_path / 'ledger.db'}").code == "ledger.permission"


def test_a_full_disk_is_named_and_nothing_is_half_written(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path / "ledger.db", threads=1))
    desk = Desk(ledger, NOON)

    def limit(connection: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]

    with ledger._database.engine.connect() as connection:
        limit(connection.connection.dbapi_connection)
    with pytest.raises(LedgerError) as caught:
        desk.record(*(desk.seen(n, loaded(body="x" * 5000)) for n in range(50)), cursor=5)
    assert caught.value.code == "ledger.disk_full"
    ledger.close()
    ledger = Ledger.open(settings(tmp_path / "ledger.db"))
    assert ledger.messages.list(MessageFilter()) == ()
    ledger.close()


def test_a_disk_that_is_full_when_the_daemon_starts_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int, _data: bytes, _offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Ledger.open(settings(tmp_path / "ledger.db")).close()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        error = refused(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert (error.code, error.exit_code) == ("ledger.disk_full", 69)
    Ledger.open(settings(tmp_path / "ledger.db"), writer=True).close()


def test_another_program_that_holds_the_file_too_long_is_temporary(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path / "ledger.db", busy_timeout_seconds=0.05))
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TemporaryError) as caught:
        ledger.inboxes.load("main", "site", NOON)
    assert caught.value.code == "ledger.busy"
    other.execute("ROLLBACK")
    other.close()
    ledger.inboxes.load("main", "site", NOON)
    ledger.close()


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.partition(".")[0].startswith("psycopg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = refused("postgresql://u:secret@127.0.0.1/d")
    assert error.code == "ledger.driver_missing"
    assert "inbox-sync[postgres]" in error.next_step


def test_an_unreachable_postgresql_is_named_without_its_password() -> None:
    error = refused("postgresql://user:secret@127.0.0.1:1/d", connect_timeout_seconds=2)
    assert (error.code, error.exit_code) == ("ledger.unreachable", 69)
    assert "127.0.0.1" in error.sentence
    assert "secret" not in error.sentence + error.next_step


@pytest.mark.postgres
def test_a_missing_database_and_a_refused_user_are_named(postgres_cluster: Cluster) -> None:
    assert refused(postgres_cluster.url("no_such_database")).code == "ledger.missing"
    error = refused(postgres_cluster.url("postgres").replace("postgres@", "nobody_known:secret@"))
    assert error.code == "ledger.refused"
    assert "secret" not in error.sentence


@pytest.mark.postgres
def test_a_role_without_rights_is_named(postgres_cluster: Cluster) -> None:
    url = postgres_cluster.create_database()
    postgres_cluster.sql("CREATE ROLE reader LOGIN")
    error = refused(url.replace("postgres@", "reader@"))
    assert error.code == "ledger.permission"
    postgres_cluster.drop_database(url)
    postgres_cluster.sql("DROP ROLE reader")


@ON_POSTGRESQL
def test_a_connection_that_the_server_drops_is_opened_again(postgres_cluster: Cluster, place: Place) -> None:
    ledger = place.open()
    ledger.inboxes.load("main", "site", NOON)
    postgres_cluster.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'inbox-sync%'"
    )
    ledger.inboxes.park("main", "c", "s", "n", None, NOON)
    assert ledger.inboxes.all()[0].failures == 1


@ON_POSTGRESQL
def test_a_session_that_idles_within_a_transaction_is_ended_and_its_locks_with_it(place: Place) -> None:
    assert place.values("SHOW idle_in_transaction_session_timeout") == [("10s",)]
    options = "?options=-c%20idle_in_transaction_session_timeout%3D50"
    database = Database(place.settings.model_copy(update={"url": place.settings.url + options}))
    watching = place.database()
    tries: list[bool] = []

    def idle(tx: Connection, again: bool) -> int:
        [pid] = tx.execute(text("SELECT pg_backend_pid()")).scalars()
        if not tries:
            with watching as other:
                wait_for(lambda: not other.read(partial(is_alive, pid)), "the server has ended it")
        tries.append(again)
        return int(tx.execute(text("SELECT 7")).scalar_one())

    assert database.write_knowing(idle) == 7
    assert tries == [False, True]
    database.close()


def is_alive(pid: int, tx: Connection) -> bool:
    return bool(tx.execute(text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), {"pid": pid}).scalar())


@ON_POSTGRESQL
def test_a_connection_lost_within_a_step_is_opened_again(postgres_cluster: Cluster, place: Place) -> None:
    tries: list[int] = []

    def work(tx: Connection) -> int:
        with savepoint(tx):
            tries.append(int(tx.execute(text("SELECT pg_backend_pid()")).scalar_one()))
            if len(tries) == 1:
                postgres_cluster.sql(f"SELECT pg_terminate_backend({tries[0]})")
            return int(tx.execute(text("SELECT 7")).scalar_one())

    with place.database() as database:
        assert database.write(work) == 7
    assert len(tries) == 2


@ON_POSTGRESQL
def test_commits_wait_for_the_disk_although_the_server_is_set_to_forget_them(
    postgres_cluster: Cluster, place: Place
) -> None:
    name = place.settings.url.rpartition("/")[2]
    shown = {}
    for setting in ("off", "local", "remote_apply"):
        postgres_cluster.sql(f'ALTER DATABASE "{name}" SET synchronous_commit TO {setting}')
        shown[setting] = place.values("SHOW synchronous_commit")[0][0]
    assert shown == {"off": "on", "local": "local", "remote_apply": "remote_apply"}


@ON_POSTGRESQL
def test_a_slow_statement_is_ended_and_temporary(postgres_cluster: Cluster, place: Place) -> None:
    database = Database(place.settings.model_copy(update={"statement_timeout_seconds": 0.05}))
    with pytest.raises(TemporaryError) as caught:
        database.read(lambda tx: tx.execute(text("SELECT pg_sleep(5)")))
    database.close()
    assert caught.value.code == "ledger.busy"


def test_many_threads_never_see_a_locked_database(place: Place) -> None:
    ledger = place.open(threads=8, busy_timeout_seconds=30, connect_timeout_seconds=60)
    desk = Desk(ledger, NOON)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                desk.record(desk.seen(f"{number}-{turn}", loaded(f"p{number}")))
                ledger.deliveries.window("main", 5, NOON)
        except Exception as error:  # noqa: BLE001  told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(desk.window()) == 320


def test_passes_deliveries_and_operators_at_once_agree_on_the_counts(place: Place) -> None:
    ledger = place.open(threads=8, busy_timeout_seconds=30)
    desk = Desk(ledger, NOON)
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  told by the test's own thread
            errors.append(error)

    def poll(number: int) -> None:
        view = desk.view(desk.inbox if number else desk.sent)
        for turn in range(15):
            seen = [
                desk.seen(f"{number}-{turn}-{n}", loaded(f"p{n}", f"q{number}"), fingerprint=f"{turn}-{n}")
                for n in range(4)
            ]
            desk.record(*seen, view=view)
            ledger.sources.pass_ended("support", NOON, PassEnd(ok=True), NOON)

    def deliver() -> None:
        while any(other.is_alive() for other in others) or desk.window():
            rows = {row.participant_id: row for row in reversed(desk.window())}
            done = desk.commit(*(desk.intent(row) for row in rows.values()))
            sent = [row for row, ok in zip(rows.values(), done, strict=True) if ok]
            desk.commit(*(desk.accepted(row) for row in sent))

    def operate() -> None:
        for number in range(1, 30):
            ledger.messages.drop([number], NOON)
            ledger.messages.retry([number], NOON)
            ledger.overview.status()

    others = [threading.Thread(target=guarded, args=(work,)) for work in (partial(poll, 0), partial(poll, 1), operate)]
    for thread in others:
        thread.start()
    guarded(deliver)
    for thread in others:
        thread.join(100)
    assert errors == []
    counted = place.values("SELECT state, count(*) FROM deliveries GROUP BY 1")
    real = {str(state): int(str(number)) for state, number in counted}
    assert {state: n for state, n in ledger.overview.status().deliveries.items() if n} == real
    assert real["sent"] == 2 * 60


async def test_methods_run_in_the_ledgers_own_threads(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path / "ledger.db", threads=2))
    try:
        await ledger.call(ledger.inboxes.load, "main", "site", NOON)
        rows = await asyncio.gather(*(ledger.call(ledger.inboxes.get, name="main") for _ in range(20)))
        assert {row.site_id for row in rows if row is not None} == {"site"}
        name = await ledger.call(lambda: threading.current_thread().name)
        assert name.startswith("ledger")
        with pytest.raises(ConfigError):
            await ledger.call(ledger.sources.pause, "nobody", NOON)
    finally:
        ledger.close()


def test_a_current_database_is_opened_without_alembic(tmp_path: Path) -> None:
    Ledger.open(settings(tmp_path / "ledger.db")).close()
    code = (
        "import sys; from sync.ledger import Ledger; from sync.settings import LedgerSettings\n"
        "Ledger.open(LedgerSettings(url=sys.argv[1])).close()\n"
        "print([name for name in sys.modules if name.startswith(('alembic', 'sqlalchemy.orm', 'psycopg'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'ledger.db'}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_revision_is_told_for_every_kind_of_database(place: Place, tmp_path: Path) -> None:
    assert migrate.current(place.settings).state == "current"
    empty = place.settings.model_copy(update={"url": place.make_empty()})
    if place.kind == "postgresql":
        assert migrate.current(empty).state == "empty"
    upgraded = migrate.upgrade(empty, NOON)
    assert (upgraded.state, upgraded.revision, upgraded.backup) == ("current", migrate.HEAD, None)
    assert migrate.upgrade(empty, NOON) == upgraded
