"""The site's limit of requests, kept by whole processes over real HTTP, from the first moment on and over restarts."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import Program, wait_for, write_config
from tests.acceptance.small import mail

WINDOW_SECONDS = 2.0
"""The minute of this test."""
ALLOWED = 100
CONFIGURED = 97
"""As 195 is to 200."""
MAILS = 600
pytestmark = pytest.mark.timeout(240)


def hurried(program: Program, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.acceptance.hurried",
                str(WINDOW_SECONDS),
                "--config",
                str(program.config),
                "run",
            ],
            env=program._env(),
            stdout=output,
            stderr=output,
        )


ALL = [(ALLOWED, True, "killed"), (60, False, "killed"), (ALLOWED, False, "stopped"), (60, True, "stopped")]


@pytest.mark.parametrize(
    ("allowed", "says", "end"), [*ALL[:2], *(pytest.param(*one, marks=pytest.mark.soak) for one in ALL[2:])]
)
def test_the_limit_is_used_and_kept_by_processes_that_come_and_go(
    tmp_path: Path, allowed: int, says: bool, end: str
) -> None:
    with Sandbox() as sandbox:
        program = prepared(tmp_path, sandbox)
        sandbox.switch(requests_per_minute=allowed, window_seconds=WINDOW_SECONDS, send_retry_after=says)
        shares = []
        for _ in range(2):
            before = requests(sandbox)
            process = hurried(program, tmp_path / "log")
            try:
                wait_for_requests(sandbox, before + round(2.5 * allowed))
            finally:
                process.send_signal(signal.SIGKILL if end == "killed" else signal.SIGTERM)
                process.wait(30)
            accepted = times(sandbox, 200, after=before)
            shares.append(len(accepted) / allowed / ((accepted[-1] - accepted[0]) / WINDOW_SECONDS))
        accepted, refused = times(sandbox, 200), times(sandbox, 429)
        searching = 12 if allowed < CONFIGURED else 0
        assert len(refused) < 0.01 * len(accepted) + searching, (shares, len(accepted), len(refused))
        # a busy machine makes it slower; the exact share is measured in virtual time (tests/unit/test_budget.py)
        assert allowed < CONFIGURED or min(shares) > 0.5, shares


def prepared(tmp_path: Path, sandbox: Sandbox) -> Program:
    """More mail than is sent, and the budget in the file as it is by default, in proportion."""
    folder = tmp_path / "mail" / "new"
    folder.mkdir(parents=True)
    (tmp_path / "mail" / "cur").mkdir()
    for number in range(MAILS):
        (folder / f"{1_700_000_000 + number}.M1P1.test").write_bytes(mail(f"T{number}", f"c{number % 40}@example.com"))
    source = f'[sources.mail]\nconnector = "maildir"\npath = "{tmp_path}/mail"\nstart = "all"\n'
    program = write_config(tmp_path, sandbox, source)
    text = program.config.read_text()
    text = text.replace("requests_per_minute = 1000000", f"requests_per_minute = {CONFIGURED}")
    program.config.write_text(text.replace("burst_requests = 100", "burst_requests = 3"))
    return program


def requests(sandbox: Sandbox) -> int:
    return len(sandbox.journal())


def wait_for_requests(sandbox: Sandbox, count: int) -> None:
    wait_for(lambda: requests(sandbox) >= count, f"{count} requests", 60)


def times(sandbox: Sandbox, status: int, *, after: int = 0) -> list[float]:
    """When requests were answered like that, those after the first so many."""
    answered = [one for one in sandbox.journal()[after:] if one["status"] == status]
    return sorted(datetime.fromisoformat(str(one["at"])).timestamp() for one in answered)
