"""What a process spares in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sync import heap

FOR_TERMINALS = {"rich", "click", "pygments", "attr", "httpx._main"}

ARENAS = """
import ctypes, os, sys, threading
def arenas():
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    libc.fclose.argtypes = [ctypes.c_void_p]
    libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
    file = libc.fopen(sys.argv[1].encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    return open(sys.argv[1]).read().count("<heap nr=")
together = threading.Barrier(4)
def work():
    together.wait()
    kept = [bytes(2000) for _ in range(100)]
    together.wait()
    return kept
def work_in_threads():
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
"""A program's functions: how many arenas glibc has made (malloc_info(3)), and four threads that allocate at a time."""


def run(code: str, *arguments: str, **environ: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    program = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(program, env=clean | environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):
        return False


@pytest.mark.skipif(not has_glibc(), reason="arenas are glibc's")
def test_threads_share_one_arena(tmp_path: Path) -> None:
    code = f"{ARENAS}\nfrom sync.heap import keep_one_arena\nkeep_one_arena()\nwork_in_threads()\nprint(arenas())"
    assert run(code, str(tmp_path / "info.xml")) == "1"


@pytest.mark.skipif(not has_glibc(), reason="arenas are glibc's")
def test_an_operators_own_number_of_arenas_stays(tmp_path: Path) -> None:
    code = f"{ARENAS}\nfrom sync.heap import keep_one_arena\nkeep_one_arena()\nwork_in_threads()\nprint(arenas())"
    assert int(run(code, str(tmp_path / "info.xml"), MALLOC_ARENA_MAX="3")) > 1
    assert int(run(code, str(tmp_path / "info.xml"), GLIBC_TUNABLES="glibc.malloc.arena_max=3")) > 1


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", unknown)
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setitem(sys.modules, "ctypes", None)  # importing it would fail
    heap.keep_one_arena()


@pytest.mark.parametrize("command", ["run", "status"])
def test_a_daemon_loads_nothing_of_its_libraries_that_is_for_terminals(command: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sync.cli import main\n"
        f"try:\n    main(['--config', sys.argv[1], '{command}'])\nexcept SystemExit:\n    pass\n"
        f"print('structlog' in sys.modules, sorted({FOR_TERMINALS} & set(sys.modules)))\n"
    )
    assert run(code, str(tmp_path / "missing.toml")) == "True []"


def test_what_was_loaded_or_comes_later_is_there() -> None:
    code = (
        "import sys\nfrom sync.heap import lean_imports\nimport rich\n"
        "with lean_imports():\n    import rich.text, structlog\n    assert structlog.dev.rich is rich\n    import httpx\n"
        "import httpx._main\n"
    )
    run(code)
    run("from sync.heap import lean_imports\nwith lean_imports():\n    import structlog\nimport rich.console")


def test_settling_looks_for_cycles_seldom_and_not_through_what_is_loaded() -> None:
    code = "import gc\nfrom sync.heap import settle\nsettle()\nprint(gc.get_threshold(), gc.get_freeze_count() > 1000)"
    assert run(code) == f"({heap.YOUNG_OBJECTS}, {heap.YOUNG_ROUNDS}, {heap.YOUNG_ROUNDS}) True"
