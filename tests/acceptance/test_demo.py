"""`inbox-sync demo` as a user types it: real processes, one kill -9, and a verdict that can fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sync.demo.play
from sync.demo import DemoOptions, run
from sync.demo.samples import Sample, load_samples

DEMO_SECONDS = 110.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def demo_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where demos make their folders in this test."""
    folder = tmp_path_factory.mktemp("demo")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def demo(demo_folder: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `inbox-sync demo` from an unrelated working directory."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sync.cli", "demo", *arguments]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=DEMO_SECONDS)


def processes_of(folder: Path) -> list[int]:
    """Processes whose command line names something in the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_every_delivery_arrives_once_although_the_daemon_is_killed(
    demo: Callable[..., subprocess.Popen[str]], demo_folder: Path
) -> None:
    process = demo("--json")
    out, err = process.communicate(timeout=DEMO_SECONDS)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["ok"]
    assert result["problems"] == []
    assert 0 < result["killed_after"] < result["expected"]["deliveries"]
    assert result["outcomes"] == result["expected"]
    assert sum(one["shown"] for one in result["conversations"]) == result["expected"]["deliveries"]
    assert list(demo_folder.iterdir()) == []
    assert processes_of(demo_folder) == []


def test_without_a_terminal_progress_and_tables_are_plain_lines(demo: Callable[..., subprocess.Popen[str]]) -> None:
    process = demo()
    out, err = process.communicate(timeout=DEMO_SECONDS)
    assert process.returncode == 0, err
    assert "http://127.0.0.1:" in err
    assert "kill -9 after" in err
    assert "\x1b" not in out + err
    assert "before_horizon" in out
    assert "Every delivery arrived exactly once and in order" in out


def test_ctrl_c_ends_it_with_its_processes_and_its_folder(
    demo: Callable[..., subprocess.Popen[str]], demo_folder: Path
) -> None:
    process = demo()
    deadline = time.monotonic() + DEMO_SECONDS
    while len(processes_of(demo_folder)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEMO_SECONDS)
    assert process.returncode == 75, err
    assert processes_of(demo_folder) == []
    assert list(demo_folder.iterdir()) == []


def test_a_delivery_that_does_not_arrive_fails_the_demo_and_keeps_its_folder(
    demo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *rest = load_samples()[1:]
    promised = first.model_copy(update={"reaches": (*first.reaches, "nobody@mejl.example")})

    def samples() -> tuple[Sample, ...]:
        return (promised, *rest)

    monkeypatch.setattr(sync.demo.play, "load_samples", samples)
    assert run(DemoOptions(json=True)) == 1
    out, err = capsys.readouterr()
    assert f"{first.file} did not reach nobody@mejl.example" in json.loads(out)["problems"]
    [kept] = demo_folder.iterdir()
    assert str(kept) in err.replace("\n", "")
    assert (kept / "daemon.log").stat().st_size
