"""Every benchmark works: run with tiny sizes, in processes of their own, as `make bench` runs them. Nothing is timed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import CANNOT_RUN, names
from bench.harness import Section, Table, Target
from bench.report import as_markdown, put
from tests.needs import in_ci

LONG = frozenset({"fetch", "pipeline", "scale"})
"""Those that start a dozen programs, some of them other people's: their long form alone is worth the time."""

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(400)  # a dozen programs are started one after the other
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak) if name in LONG else name for name in names()]
)
def test_it_runs_and_writes_its_section(name: str, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    done = subprocess.run(
        [sys.executable, "-m", "bench", name, "--quick", "--write", str(page)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode == CANNOT_RUN and not in_ci():
        pytest.skip(done.stdout.strip().rpartition("\n")[2].strip())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    text = page.read_text()
    assert f"<!-- {name} -->" in text
    assert re.search(r"^\| [^|]+\|.*\d", text, re.MULTILINE)


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    put(page, "one", "first\n")
    put(page, "two", "second\n")
    put(page, "one", "third\n")
    text = page.read_text()
    assert "first" not in text
    assert text.index("third") < text.index("second")


def test_a_missed_figure_is_shown_as_missed() -> None:
    targets = [Target("speed", 0.5, 0.6, at_least=True), Target("CPU", 1.5, 1.6)]
    text = as_markdown("Title", Section("How.", [Table(("", "a"), [["x", "1"]])], targets))
    assert "| speed | at least 0.6 | 0.5 | **no** |" in text
    assert "| CPU | at most 1.6 | 1.5 | yes |" in text
