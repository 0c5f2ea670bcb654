"""The command line: words in, words out. What commands do is asked of a daemon, or of this process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from sync.cli import main
from sync.cli.invocation import typing_user
from sync.config import LoadedConfig
from sync.errors import InboxSyncError, LedgerError
from sync.message import Json
from tests.unit import cli_answers
from tests.unit.config_file import INBOX, write

SOURCE = """\
[sources.support]
connector = "imap"
host = "mail.example.com"
username = "support@example.com"
password = { env = "PASSWORD" }
"""


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Json]:
        return cast("dict[str, Json]", json.loads(self.out))


class Program:
    """The program in this process, with a configuration file of its own."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = config
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        code = 0
        try:
            main(["--config", str(self.config), *arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        captured = self._capsys.readouterr()
        return Said(code, captured.out, captured.err)


@pytest.fixture
def program(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("KEY", "key-value")
    monkeypatch.setenv("PASSWORD", "pass-word")
    monkeypatch.setattr("sync.logs.configure", lambda *_args, **_named: None)
    ledger = f'[ledger]\nurl = "sqlite:///{tmp_path}/ledger.db"\n'
    return Program(write(tmp_path, ledger + INBOX + SOURCE), capsys)


@dataclass
class Daemon:
    """What a running daemon is asked, and what it answers."""

    asked: list[tuple[str, Mapping[str, Json]]] = field(default_factory=list)
    frames: list[dict[str, object]] = field(default_factory=list)

    def answers(self, answer: object) -> None:
        self.frames = [{"result": answer}]

    def request(self, _path: Path, command: str, args: Mapping[str, Json]) -> Iterator[dict[str, object]]:
        self.asked.append((command, args))
        yield from self.frames


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    running = Daemon()
    monkeypatch.setattr("sync.control.daemon_answers", lambda _path: True)
    monkeypatch.setattr("sync.control.request", running.request)
    return running


# --- what is said -----------------------------------------------------------------------------------------------------


def test_status_fits_one_screen_and_tells_what_waits(program: Program, daemon: Daemon) -> None:
    daemon.answers(cli_answers.status())
    said = program("status")
    assert said.code == 0
    assert len(said.out.splitlines()) <= 24
    for part in ("pid 4711", "support", "parked", "imap.login_refused", "→ set the right one", "paused"):
        assert part in said.out


def test_status_fits_eighty_columns(program: Program, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    daemon.answers(cli_answers.status())
    said = program("status")
    assert max(len(line) for line in said.out.splitlines()) <= 80
    assert "12034" in said.out


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (("status",), cli_answers.status()),
        (("check",), cli_answers.check()),
        (("sync",), cli_answers.sync()),
        (("message", "list"), cli_answers.message_list()),
        (("message", "show", "17"), cli_answers.message_show()),
        (("source", "list"), {"sources": cli_answers.status()["sources"]}),
        (("reload",), {"added": [], "changed": ["support"], "removed": [], "unchanged": [], "restart_needed": []}),
        (("source", "pause", "support"), {"name": "support", "sentence": "paused"}),
        (("message", "retry", "17"), {"ok": True, "outcomes": [{"id": 17, "moved": True, "sentence": "again"}]}),
    ],
)
def test_json_is_the_answer_as_one_document(
    program: Program, daemon: Daemon, command: tuple[str, ...], answer: object
) -> None:
    daemon.answers(answer)
    said = program(*command, "--json")
    assert said.document == answer
    assert said.err == ""


def test_check_ends_with_the_exit_code_of_what_it_found(program: Program, daemon: Daemon) -> None:
    daemon.answers(cli_answers.check())
    said = program("check")
    assert said.code == 1
    for part in ("error", "no folder Sendt", "imap.folder_missing", "→ write folders", "1 error"):
        assert part in said.out


def test_sync_tells_found_sent_and_skipped_with_reasons(program: Program, daemon: Daemon) -> None:
    daemon.answers(cli_answers.sync())
    said = program("sync", "--source", "support")
    assert daemon.asked == [("sync", {"source": "support", "dry_run": False})]
    assert said.code == 0
    assert "skipped 4 duplicate, 1 own_address" in said.out


def test_sync_that_failed_ends_with_the_answers_exit_code(program: Program, daemon: Daemon) -> None:
    daemon.answers(cli_answers.sync(ok=False, exit_code=75))
    assert program("sync").code == 75
    daemon.answers(cli_answers.sync(ok=False))
    assert program("sync").code == 1


def test_a_dry_run_says_that_nothing_was_sent(program: Program, daemon: Daemon) -> None:
    preview = {
        "source": "support",
        "stream": "INBOX",
        "external_id": "7",
        "arrived_at": cli_answers.NOW,
        "verdict": "skip",
        "reason": "own_address",
        "participants": [],
    }
    daemon.answers(cli_answers.sync(dry_run=True, previews=[preview], previews_left_out=3))
    said = program("sync", "--dry-run")
    assert daemon.asked[0][1]["dry_run"] is True
    assert "nothing was sent or recorded" in said.out
    assert "skip (own_address)" in said.out
    assert "and 3 more" in said.out


def test_messages_are_listed_with_code_sentence_and_next_step_of_what_failed(program: Program, daemon: Daemon) -> None:
    daemon.answers(cli_answers.message_list())
    said = program("message", "list", "--failed", "--source", "support", "--since", "2026-11-01", "-n", "5")
    command, args = daemon.asked[0]
    assert command == "message_list"
    assert (args["failed"], args["source"], args["limit"]) == (True, "support", 5)
    assert str(args["since"]).startswith(("2026-11-01", "2026-10-31"))
    for part in ("anna@example.org", "refused", "inbox.too_long", "→ inbox-sync message show 17", "--after 17"):
        assert part in said.out


def test_foreign_text_stays_text(program: Program, daemon: Daemon) -> None:
    daemon.answers(cli_answers.message_list())
    said = program("message", "list")
    assert "[bold]50 %[/bold]" in said.out
    assert "\x1b" not in said.out


def test_a_messages_story_is_told(program: Program, daemon: Daemon) -> None:
    daemon.answers(cli_answers.message_show())
    said = program("message", "show", "17")
    for part in ("message 17", "INBOX · 42", "Anna", "found by reading back", "inbox.timeout", "look 1"):
        assert part in said.out


def test_moving_some_of_them_only_is_a_failure(program: Program, daemon: Daemon) -> None:
    daemon.answers({"ok": False, "outcomes": [{"id": 3, "moved": False, "sentence": "it was sent"}]})
    said = program("message", "retry", "3", "4")
    assert daemon.asked == [("message_retry", {"ids": [3, 4], "by": typing_user()})]
    assert said.code == 1
    assert "it was sent" in said.out


def test_dropping_by_description_wants_a_yes(program: Program, daemon: Daemon) -> None:
    daemon.answers({"ok": True, "outcomes": []})
    said = program("message", "drop", "--state", "pending")
    assert said.code == 2
    assert "--yes" in said.err
    assert daemon.asked == []
    assert program("message", "drop", "--state", "pending", "--yes").code == 0
    assert daemon.asked == [("message_drop", {"filter": {"state": "pending"}, "by": typing_user()})]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("stauts",), "status"),
        (("message", "lst"), "list"),
        (("status", "--jsn"), "--json"),
        (("message", "list", "--state", "ded"), '"dead"'),
        (("message", "list", "--reason", "duplcate"), '"duplicate"'),
        (("message", "list", "--since", "yesterdy"), "2026-11-01"),
        (("message", "retry"), "--failed"),
        (("message", "retry", "3", "--failed"), "either"),
        (("message", "show", "x"), "x"),
    ],
)
def test_what_is_mistyped_is_a_usage_error_with_a_hint(
    program: Program, daemon: Daemon, arguments: tuple[str, ...], hint: str
) -> None:
    said = program(*arguments)
    assert said.code == 2
    assert hint in said.err
    assert daemon.asked == []


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_daemons_error_is_told_as_if_it_had_happened_here(program: Program, daemon: Daemon) -> None:
    error = {"code": "ledger.busy", "sentence": "the database is busy", "next_step": "wait", "exit_code": 75}
    daemon.frames = [
        {"progress": {"stage": "polling", "about": "x", "done": 1, "total": 2, "sentence": "x"}},
        {"error": error},
    ]
    said = program("status")
    assert said.code == 75
    assert said.err == "error: the database is busy [ledger.busy]\nnext step: wait\n"
    said = program("status", "--json")
    assert said.document == {"error": {**error, "problems": []}}


def test_a_daemon_that_goes_away_is_unavailable(program: Program, daemon: Daemon) -> None:
    said = program("status")
    assert said.code == 69
    assert "daemon.unreachable" in said.err


def test_a_faulty_file_is_told_with_every_problem(program: Program) -> None:
    program.config.write_text(program.config.read_text().replace("host =", "hots =").replace("site_id", "siteid"))
    said = program("status")
    assert said.code == 78
    assert "has 2 problems" in said.err
    assert 'hots: unknown key (did you mean "host"?)' in said.err
    assert "Traceback" not in said.err


def test_a_running_daemon_is_asked_although_the_file_is_being_edited(program: Program, daemon: Daemon) -> None:
    program.config.write_text(program.config.read_text().replace("host =", "hots ="))
    daemon.answers(cli_answers.status())
    assert program("status").code == 0
    assert program("check").code == 78
    assert program("reload").code == 78
    assert [command for command, _ in daemon.asked] == ["status"]


def test_a_missing_file_is_a_fault_of_configuration(program: Program) -> None:
    program.config = program.config.with_name("none.toml")
    said = program("status")
    assert said.code == 78
    assert "config example" in said.err


def test_reload_without_a_daemon_says_so(program: Program) -> None:
    said = program("reload")
    assert said.code == 69
    assert "inbox-sync run" in said.err


def test_stopping_a_command_is_temporary_and_says_that_nothing_is_lost(
    program: Program, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_args: object) -> Iterator[dict[str, object]]:
        raise KeyboardInterrupt

    monkeypatch.setattr("sync.control.request", stopped)
    said = program("sync")
    assert said.code == 75
    assert "nothing is lost" in said.err


def test_a_bug_is_told_as_one(program: Program, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> Iterator[dict[str, object]]:
        raise RuntimeError("oops")

    monkeypatch.setattr("sync.control.request", fails)
    said = program("status")
    assert said.code == 1
    assert "a fault of inbox-sync itself: RuntimeError: oops" in said.err


# --- in this process --------------------------------------------------------------------------------------------------


class Here:
    """Stands for the operator in this process."""

    opened: list[tuple[bool, bool]]

    def __init__(self, error: InboxSyncError | None = None) -> None:
        self.opened = []
        self._error = error

    @contextlib.asynccontextmanager
    async def open(self, loaded: LoadedConfig, *, writer: bool, **_more: bool) -> AsyncIterator[Here]:
        self.opened.append((writer, bool(loaded.secret_values)))
        if self._error is not None:
            raise self._error
        yield self

    async def status(self) -> object:
        return cli_answers.status()

    async def sync(self, source: str | None, *, dry_run: bool, on_progress: object) -> object:
        return cli_answers.sync(dry_run=dry_run)

    async def source_pause(self, name: str) -> object:
        return {"name": name, "sentence": f"{name} is paused"}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    operator = Here()
    monkeypatch.setattr("sync.operate.Operator.open", operator.open)
    return operator


def test_without_a_daemon_a_reader_needs_neither_secrets_nor_the_lock(
    program: Program, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY")
    monkeypatch.delenv("PASSWORD")
    assert program("status").code == 0
    assert program("source", "pause", "support").out == "support is paused\n"
    assert here.opened == [(False, False), (True, False)]


def test_without_a_daemon_sync_takes_secrets_and_the_lock(program: Program, here: Here) -> None:
    assert program("sync").code == 0
    assert program("sync", "--dry-run").code == 0
    assert here.opened == [(True, True), (False, True)]


def test_a_missing_secret_is_told_before_anything_happens(
    program: Program, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PASSWORD")
    said = program("sync")
    assert said.code == 78
    assert "PASSWORD is not set" in said.err
    assert here.opened == []


def test_a_locked_ledger_is_unavailable(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = LedgerError("the ledger is locked by process 4711", code="ledger.locked", next_step="stop it")
    monkeypatch.setattr("sync.operate.Operator.open", Here(locked).open)
    said = program("sync")
    assert said.code == 69
    assert said.err == "error: the ledger is locked by process 4711 [ledger.locked]\nnext step: stop it\n"


def test_run_ends_with_the_daemons_exit_code(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []

    def run(path: Path) -> int:
        started.append(path)
        return 3

    monkeypatch.setattr("sync.daemon.run", run)
    assert program("run").code == 3
    assert started == [program.config]


# --- without a configuration ------------------------------------------------------------------------------------------


def test_connectors_are_listed_and_shown(program: Program) -> None:
    said = program("connector", "list")
    assert said.code == 0
    assert "imap" in said.out
    said = program("connector", "show", "imap")
    assert "password" in said.out
    assert "required" in said.out
    assert program("connector", "show", "imapp").code == 78
    names = [
        entry["name"]
        for entry in cast("list[dict[str, Json]]", program("connector", "list", "--json").document["connectors"])
    ]
    assert "maildir" in names


def test_example_and_schema_are_printed(program: Program) -> None:
    assert program("config", "example").out.startswith("#:schema")
    assert program("config", "schema").document["title"] == "inbox-sync configuration"


def test_the_databases_revision_is_told_and_brought_up(program: Program) -> None:
    assert program("db", "current").code == 69
    said = program("db", "upgrade")
    assert (said.code, "is up to date" in said.out) == (0, True)
    document = program("db", "current", "--json").document
    assert (document["state"], document["revision"]) == ("current", document["head"])


def test_version_and_help(program: Program) -> None:
    assert program("--version").out.startswith("inbox-sync ")
    said = program("--help")
    for command in (
        "run",
        "sync",
        "check",
        "status",
        "demo",
        "sandbox",
        "message",
        "source",
        "connector",
        "db",
        "config",
    ):
        assert f"\n  {command} " in said.out
    assert "78 configuration" in " ".join(said.out.split())


def test_completion_knows_the_sources_of_the_file(program: Program) -> None:
    environ = {
        **os.environ,
        "_INBOX_SYNC_COMPLETE": "complete_bash",
        "COMP_WORDS": "inbox-sync sync --source ",
        "COMP_CWORD": "3",
        "INBOX_SYNC_CONFIG": str(program.config),
    }
    done = subprocess.run(
        [sys.executable, "-m", "sync.cli"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["support"], done.stderr


def test_help_imports_nothing_heavy_and_answers_at_once() -> None:
    code = (
        "import sys\nfrom sync.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'pydantic', 'sqlalchemy', 'alembic', 'httpx', 'apscheduler', 'structlog', 'uvicorn', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    after = os.times()
    computing = after.children_user + after.children_system - before.children_user - before.children_system
    assert computing < 2, "five times the goal; by the time of computing, since the machine may be busy"


def test_a_terminal_without_utf8_does_not_stop_a_command(program: Program) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "sync.cli", "config", "example"],
        env=environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
