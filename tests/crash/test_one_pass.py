"""A typed `sync` with mail that the spool does not hold at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.crash.site import ENVIRON, Mailboxes, Site
from tests.mailbag import Mailbag

MAILS = 12


@pytest.mark.timeout(240)
async def test_one_typed_sync_brings_more_than_the_spool_holds_once_and_in_order(
    tmp_path: Path, sandbox: Sandbox, ledger_url: str
) -> None:
    site = Site(tmp_path, sandbox, ledger_url, Mailboxes(tmp_path, None), Mailbag(seed=21, customers_count=4))
    site.bring(MAILS, with_files=True)
    site.know_contacts()
    command = [sys.executable, "-m", "sync.cli", "--config", str(site.config), "sync"]
    done = subprocess.run(  # noqa: ASYNC221  nothing else runs
        command, env={**os.environ, **ENVIRON}, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    await site.assert_whole()
    site.assert_files()
