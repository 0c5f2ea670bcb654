"""Fleets of daemons over one PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.ledger import Ledger
from sync.settings import LedgerSettings
from tests.daemons.fleet import IDLE_IN_TRANSACTION, Fleet
from tests.servers.dovecot import dovecot
from tests.servers.postgres import Cluster, postgres_cluster

__all__ = ["dovecot", "postgres_cluster"]


@pytest.fixture(scope="session")
def template(postgres_cluster: Cluster) -> str:
    """The name of an empty ledger at head in the cluster, to be copied."""
    url = postgres_cluster.create_database()
    Ledger.open(LedgerSettings(url=url)).close()
    return url.rpartition("/")[2]


@pytest.fixture
def fleet(tmp_path: Path, postgres_cluster: Cluster, template: str) -> Iterator[Fleet]:
    """A site with nobody at work yet."""
    url = postgres_cluster.create_database(template)
    try:
        with Fleet(tmp_path, url + IDLE_IN_TRANSACTION) as made:
            yield made
    finally:
        postgres_cluster.drop_database(url)
