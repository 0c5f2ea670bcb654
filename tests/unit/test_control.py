"""The control socket, both sides, without a daemon around it."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from sync import control
from sync.answers import OnProgress
from sync.control import ControlServer, daemon_answers, request, socket_path
from sync.errors import ConfigError, LedgerError
from sync.message import Json
from sync.operations import Operations
from sync.settings import DaemonSettings, LedgerSettings, Settings


class Slow:
    """A daemon whose `sync` takes as long as the test likes."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def sync(self, _source: str | None, *, dry_run: bool, on_progress: OnProgress) -> dict[str, object]:
        on_progress({"stage": "polling", "about": "a", "done": 0, "total": 1, "sentence": "polling a"})
        self.started.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {"ok": True, "dry_run": dry_run}

    async def status(self) -> dict[str, object]:
        return {"ok": True}

    async def check(self, _on_progress: OnProgress) -> dict[str, object]:
        raise RuntimeError("a bug with a secret in it")

    async def reload(self) -> dict[str, object]:
        raise ConfigError("faulty", next_step="mend it", problems=("c.toml:1: x: unknown key",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sock"


@pytest.fixture
async def slow() -> Slow:
    return Slow()


@pytest.fixture
async def server(path: Path, slow: Slow) -> AsyncIterator[ControlServer]:
    made = ControlServer(path, cast("Operations", slow))
    await made.start()
    yield made
    await made.stop()


def mode_of(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


async def asked(path: Path, command: str, args: Mapping[str, Json] | None = None) -> list[dict[str, Json]]:
    return await asyncio.to_thread(lambda: list(request(path, command, args or {})))


async def test_a_command_is_answered_after_its_progress(server: ControlServer, path: Path, slow: Slow) -> None:
    slow.gate.set()
    progress, result = await asked(path, "sync", {"dry_run": True})
    assert progress["progress"] == {"stage": "polling", "about": "a", "done": 0, "total": 1, "sentence": "polling a"}
    assert result == {"result": {"ok": True, "dry_run": True}}
    assert mode_of(path) == 0o600


async def test_errors_come_with_code_next_step_exit_code_and_problems(server: ControlServer, path: Path) -> None:
    [frame] = await asked(path, "reload")
    assert frame["error"] == {
        "code": "config.invalid",
        "sentence": "faulty",
        "next_step": "mend it",
        "exit_code": 78,
        "problems": ["c.toml:1: x: unknown key"],
    }
    [frame] = await asked(path, "explode")
    assert cast("dict[str, Json]", frame["error"])["code"] == "command.unknown"


async def test_a_bug_is_told_without_its_text(server: ControlServer, path: Path) -> None:
    [frame] = await asked(path, "check")
    error = cast("dict[str, Json]", frame["error"])
    assert (error["code"], error["exit_code"]) == ("internal.error", 1)
    assert "secret" not in json.dumps(frame)
    assert await asked(path, "status") == [{"result": {"ok": True}}]


async def test_a_client_that_hangs_up_stops_its_command(server: ControlServer, path: Path, slow: Slow) -> None:
    _reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "sync"}\n')
    async with asyncio.timeout(30):
        await slow.started.wait()
        writer.close()
        await slow.cancelled.wait()
    assert await asked(path, "status") == [{"result": {"ok": True}}]


async def test_words_after_the_request_do_not_stop_it(server: ControlServer, path: Path, slow: Slow) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "sync"}\nand more\n')
    async with asyncio.timeout(30):
        await slow.started.wait()
        writer.write(b"and more\n")
        await writer.drain()
        slow.gate.set()
        lines = (await reader.read()).splitlines()
    assert b"result" in lines[-1]
    writer.close()


async def test_a_command_at_work_is_told_that_the_daemon_stops(path: Path, slow: Slow) -> None:
    server = ControlServer(path, cast("Operations", slow))
    await server.start()
    work = asyncio.create_task(asked(path, "sync"))
    async with asyncio.timeout(30):
        await slow.started.wait()
        await server.stop()
        await slow.cancelled.wait()
        frames = await work
    error = cast("dict[str, Json]", frames[-1]["error"])
    assert (error["code"], error["exit_code"]) == ("daemon.stopping", 75)
    assert error["next_step"]
    assert mode_of(path) is None


async def test_too_many_commands_are_refused_in_words(
    server: ControlServer, path: Path, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_CONNECTIONS", 1)
    first = asyncio.create_task(asked(path, "sync"))
    async with asyncio.timeout(30):
        await slow.started.wait()
        [frame] = await asked(path, "status")
        slow.gate.set()
        await first
    error = cast("dict[str, Json]", frame["error"])
    assert (error["code"], error["exit_code"]) == ("daemon.busy", 75)


async def test_a_client_that_says_nothing_is_let_go(
    server: ControlServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.05)
    reader, writer = await asyncio.open_unix_connection(path)
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()


async def test_a_living_daemon_keeps_its_socket_and_a_dead_ones_is_replaced(
    server: ControlServer, path: Path, slow: Slow, tmp_path: Path
) -> None:
    with pytest.raises(LedgerError) as caught:
        await ControlServer(path, cast("Operations", slow)).start()
    assert (caught.value.code, caught.value.exit_code) == ("daemon.running", 69)
    assert await asked(path, "status") == [{"result": {"ok": True}}]

    dead = tmp_path / "dead.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(dead))
    left.close()
    assert not daemon_answers(dead)
    second = ControlServer(dead, cast("Operations", slow))
    await second.start()
    assert await asked(dead, "status") == [{"result": {"ok": True}}]
    await second.stop()


def test_a_file_that_is_no_socket_is_never_removed(path: Path) -> None:
    path.write_text("an operator's notes")
    with pytest.raises(ConfigError) as caught:
        asyncio.run(ControlServer(path, cast("Operations", None)).start())
    assert caught.value.code == "config.control_socket"
    assert path.read_text() == "an operator's notes"


async def test_a_place_where_nobody_may_listen_is_named(tmp_path: Path, slow: Slow) -> None:
    missing = tmp_path / "missing" / "s.sock"
    with pytest.raises(ConfigError, match="cannot listen at") as caught:
        await ControlServer(missing, cast("Operations", slow)).start()
    assert "control_socket" in caught.value.next_step
    with pytest.raises(ConfigError, match="cannot listen at"):
        await ControlServer(tmp_path / ("x" * 200), cast("Operations", slow)).start()


def test_a_daemon_that_goes_away_is_told_as_that(path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        list(request(path, "status", {}))
    assert (caught.value.code, caught.value.exit_code) == ("daemon.unreachable", 69)


# ---------------------------------------------------------------------------------------------------- where it is


def _settings(url: str, control_socket: str | None = None) -> Settings:
    return Settings(ledger=LedgerSettings(url=url), daemon=DaemonSettings(control_socket=control_socket))


def test_the_socket_is_where_the_setting_says_or_beside_the_file() -> None:
    assert socket_path(_settings("sqlite:////var/lib/x/l.db", "/run/x.sock")) == Path("/run/x.sock")
    assert socket_path(_settings("sqlite:////var/lib/x/l.db")) == Path("/var/lib/x/l.db.sock")


def test_a_path_too_long_for_a_socket_is_replaced_by_one_in_the_runtime_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(control, "SYSTEM_RUNTIME", tmp_path / "missing")
    long = socket_path(_settings(f"sqlite:////var/{'x' * 150}/l.db"))
    other = socket_path(_settings("postgresql://db.example/ledger"))
    assert long.parent == other.parent == tmp_path
    assert long != other
    assert len(str(long.name)) < 50


def test_a_runtime_directory_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(control, "SYSTEM_RUNTIME", tmp_path / "missing")
    private = tmp_path / "private"
    monkeypatch.setattr(control, "_private_directory", lambda: private)
    assert socket_path(_settings("postgresql://db.example/ledger")).parent == private
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    private.chmod(0o755)
    with pytest.raises(ConfigError, match="not a private directory"):
        socket_path(_settings("postgresql://db.example/ledger"))
