"""What several unit tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.ledger import Ledger
from sync.settings import LedgerSettings


@pytest.fixture(scope="session")
def ledger_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite ledger at head, to be copied."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    Ledger.open(LedgerSettings(url=f"sqlite:///{path}")).close()
    return path
