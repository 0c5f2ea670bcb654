"""Asks for a command to be done: the running daemon if one answers, else this process."""

# ruff: noqa: PLC0415  imports wait until they are needed, so that --help is quick

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from sync.cli.invocation import Invocation
from sync.errors import ConfigError, InboxSyncError, Interrupted, LedgerError

if TYPE_CHECKING:
    from pathlib import Path

    from sync.answers import OnProgress, Progress
    from sync.message import Json
    from sync.settings import Settings

_CALM = frozenset({"check", "reload", "audit"})
"""Commands that write nothing into the ledger, besides the readers."""


def ask(invocation: Invocation, command: str, args: Mapping[str, Json] | None = None) -> object:
    """The answer of one command, as `sync.operations` names and shapes it. Long commands show their progress on a
    terminal. Raises InboxSyncError, with the code and exit code the daemon gave where it was the daemon's."""
    from sync.cli.progress import shown

    arguments = dict(args or {})
    try:
        with shown(command) as on_progress:
            return _ask(invocation, command, arguments, on_progress)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped before it was finished",
            next_step="nothing is lost: the next run, or the running daemon, goes on where this one stopped",
        ) from None


def _ask(invocation: Invocation, command: str, args: dict[str, Json], on_progress: OnProgress) -> object:
    from sync.heap import keep_one_arena, lean_imports

    keep_one_arena()
    with lean_imports():
        from sync import control
        from sync.operations import READERS

    path = invocation.config_path
    settings = _core(path)
    socket = control.socket_path(settings)
    if control.daemon_answers(socket):
        if command in ("check", "reload"):
            _load(path, secrets=False)  # a faulty file is told here, with its lines
        return _through(control.request, socket, command, args, on_progress)
    if command == "reload":
        raise LedgerError(
            f"no daemon answers at {socket}",
            code="daemon.unreachable",
            next_step="start it (systemctl start inbox-sync, or inbox-sync run): it reads the file when it starts",
        )
    writer = command not in READERS | _CALM and not args.get("dry_run")
    return asyncio.run(_here(invocation, command, args, on_progress, writer=writer))


def is_daemon_running(invocation: Invocation) -> bool:
    """Whether a daemon answers for this configuration."""
    from sync import control

    return control.daemon_answers(control.socket_path(_core(invocation.config_path)))


def _core(path: Path) -> Settings:
    """Enough of the file to find the daemon. Where even that is faulty, everything that is wrong is told."""
    from sync.config import load, load_core

    try:
        return load_core(path)
    except ConfigError:
        load(path, secrets=False)
        raise


def _load(path: Path, *, secrets: bool) -> object:
    from sync.config import load

    return load(path, secrets=secrets)


def _through(
    request: Callable[[Path, str, Mapping[str, Json]], Iterator[dict[str, Json]]],
    socket: Path,
    command: str,
    args: Mapping[str, Json],
    on_progress: OnProgress,
) -> object:
    for frame in request(socket, command, args):
        if "progress" in frame:
            on_progress(cast("Progress", frame["progress"]))
        elif "error" in frame:
            raise _told(cast("dict[str, Json]", frame["error"]))
        elif "result" in frame:
            return frame["result"]
    raise LedgerError("the daemon went away before it had answered", code="daemon.unreachable", next_step="see its log")


def _told(error: Mapping[str, Json]) -> InboxSyncError:
    """The daemon's error as if it had happened here."""
    problems = error.get("problems") or []
    told = ConfigError(
        str(error.get("sentence") or "the daemon could not do it"),
        code=str(error.get("code") or "internal.error"),
        next_step=str(error.get("next_step") or ""),
        problems=tuple(str(problem) for problem in problems) if isinstance(problems, list) else (),
    )
    exit_code = error.get("exit_code")
    told.exit_code = exit_code if isinstance(exit_code, int) else 1
    return told


async def _here(
    invocation: Invocation, command: str, args: Mapping[str, Json], on_progress: OnProgress, *, writer: bool
) -> object:
    from sync.heap import lean_imports, settle

    with lean_imports():
        from sync.config import load
        from sync.logs import configure, keep_secret
        from sync.operate import Operator
        from sync.operations import NEEDS_SECRETS, perform

    loaded = load(invocation.config_path, secrets=command in NEEDS_SECRETS)
    keep_secret(loaded.secret_values)
    configure("info" if invocation.verbose else "error", loaded.settings.daemon.log_format)
    only_looks = command == "check" or bool(args.get("dry_run"))
    by_hand = command.startswith(("message_", "source_", "backfill_", "erase"))
    async with Operator.open(loaded, writer=writer, stand_in=only_looks, must_exist=by_hand) as operator:
        settle()
        return await perform(operator, command, args, on_progress)
