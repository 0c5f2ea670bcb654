"""A ledger of each released schema, with sent and waiting mail in it, is brought to this program's: by `run` on SQLite, by
`db upgrade` on PostgreSQL. Real processes; nothing is lost, nothing comes twice.

The old ledgers are made by the migrations' own way back: their tables are those of the release, and their rows what that
release would have kept of them.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command

from sync.ledger import migrate
from sync.ledger.engine import Database
from sync.settings import LedgerSettings
from tests.acceptance.harness import Program, wait_for
from tests.acceptance.small import KEY, Small, small_site
from tests.servers.postgres import Cluster, postgres_cluster

__all__ = ["postgres_cluster"]

pytestmark = pytest.mark.timeout(240)

OLD = [revision for revision in migrate.REVISIONS if revision != migrate.HEAD]


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        made.environ["WRONG_KEY"] = "a-key-that-nobody-knows"
        yield made


@pytest.fixture
def url(postgres_cluster: Cluster) -> Iterator[str]:
    made = postgres_cluster.create_database()
    yield made
    postgres_cluster.drop_database(made)


def age(small: Small, ledger_url: str, revision: str) -> None:
    """A ledger at `revision` with one message sent and two waiting in it, and two more at the source."""
    small.configure(ledger_url=ledger_url)
    small.put("T000001")
    small.type("sync").ok()
    small.configure(ledger_url=ledger_url, key='{ env = "WRONG_KEY" }')
    small.put("T000002")
    small.put("T000003", "Ben <ben@example.com>")
    assert small.type("sync").code != 0
    small.configure(ledger_url=ledger_url, key=KEY)
    assert small.sent() == ["T000001"]
    assert small.source("mail")["deliveries"]["pending"] == 2
    database = Database(LedgerSettings(url=ledger_url), migrating=True)
    config = migrate.alembic_config()
    config.attributes["connection"] = database.engine
    command.downgrade(config, revision)
    database.close()
    assert migrate.current(LedgerSettings(url=ledger_url)).revision == revision
    small.put("T000004")
    small.put("T000005", "Cleo <cleo@example.com>")


def everything_arrives_once(small: Small) -> None:
    daemon = small.start()
    small.wait_sent("T000001", "T000002", "T000003", "T000004", "T000005")
    wait_for(lambda: small.source("mail")["deliveries"]["sent"] == 5, "it is recorded")
    ours = [token for token in small.sent() if token in {"T000001", "T000002", "T000004"}]
    assert ours == ["T000001", "T000002", "T000004"], "in the order of their conversation"
    assert daemon.stop() == 0
    small.type("sync").ok()
    assert len(small.sent()) == 5


@pytest.mark.parametrize("revision", OLD)
def test_run_brings_an_old_sqlite_ledger_to_head_after_a_copy_and_goes_on_where_it_was(
    small: Small, revision: str
) -> None:
    url = f"sqlite:///{small.ledger}"
    age(small, url, revision)
    everything_arrives_once(small)
    assert migrate.current(LedgerSettings(url=url)).state == "current"
    [backup] = small.folder.glob(f"ledger.db.{revision}-*.backup")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with sqlite3.connect(f"file:{backup}?mode=ro", uri=True) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]
        assert copy.execute("SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state").fetchall() == [
            ("pending", 2),
            ("sent", 1),
        ]
    copy.close()


@pytest.mark.postgres
@pytest.mark.parametrize("revision", OLD)
def test_an_old_postgresql_ledger_is_refused_by_every_daemon_until_db_upgrade_has_brought_it_to_head(
    small: Small, url: str, revision: str
) -> None:
    age(small, url, revision)
    second = small.folder / "second.toml"
    second.write_text(
        small.config.read_text().replace("[daemon]\n", f'[daemon]\ncontrol_socket = "{small.folder}/second.sock"\n')
    )
    for config in (small.config, second):
        refused = Program(small.folder, config, small.environ).run("run")
        assert refused.returncode == 69
        said = " ".join(refused.stderr.split())
        assert "ledger.old" in said
        assert revision in said
        assert "stop every daemon that uses it, then run: inbox-sync db upgrade" in said
    assert migrate.current(LedgerSettings(url=url)).revision == revision
    assert small.sent() == ["T000001"]
    small.type("db", "upgrade").ok()
    daemon = Program(small.folder, second, small.environ).daemon()
    small.daemons.append(daemon)
    daemon.ready()
    everything_arrives_once(small)
    assert daemon.stop() == 0
