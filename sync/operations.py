"""The commands that need the ledger, a daemon or a service: their names, their arguments, and who carries them out.

`Operations` is implemented in-process by `sync.operate`; a running daemon offers the same over its control socket.
`perform` is the one table from a command's name to its operation, used at both ends. Pure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from sync.answers import (
    Answer,
    AuditAnswer,
    AuthAnswer,
    BackfillAnswer,
    BackfillArgs,
    CheckAnswer,
    EraseAnswer,
    MessageFilterArgs,
    MessageListAnswer,
    MessageShowAnswer,
    MoveAnswer,
    MoveArgs,
    OnProgress,
    ReloadAnswer,
    SourceListAnswer,
    SourceMoveAnswer,
    StatusAnswer,
    SyncAnswer,
)
from sync.errors import ConfigError
from sync.message import Json


class Operations(Protocol):
    """Everything a command can ask for. All raise errors of `sync.errors` and nothing else on purpose."""

    async def check(self, on_progress: OnProgress) -> CheckAnswer:
        """Looks at everything the file names, and at the database."""
        ...

    async def sync(self, source: str | None, *, dry_run: bool, on_progress: OnProgress) -> SyncAnswer:
        """One pass of one source (None: all) and the deliveries that come of it."""
        ...

    async def auth(self, source: str, answer: str | None, on_progress: OnProgress) -> AuthAnswer:
        """Signs in for a source whose connector wants a person to do so; `answer` is what the person pasted."""
        ...

    async def status(self) -> StatusAnswer:
        """How everything is, from the ledger."""
        ...

    async def message_list(self, args: MessageFilterArgs) -> MessageListAnswer:
        """Messages and their deliveries, newest first."""
        ...

    async def message_show(self, message_id: int) -> MessageShowAnswer:
        """One message's story. Raises ConfigError `message.unknown`."""
        ...

    async def message_retry(self, args: MoveArgs) -> MoveAnswer:
        """Another try for what is dead, skipped, held or gone; flagged late."""
        ...

    async def message_drop(self, args: MoveArgs) -> MoveAnswer:
        """Skips what is not final yet."""
        ...

    async def source_list(self) -> SourceListAnswer:
        """The sources of the file and of the ledger."""
        ...

    async def source_pause(self, name: str) -> SourceMoveAnswer:
        """Stops polling a source; what is found already is still delivered."""
        ...

    async def source_resume(self, name: str) -> SourceMoveAnswer:
        """Polls a paused source again."""
        ...

    async def source_rename(self, old: str, new: str) -> SourceMoveAnswer:
        """Gives a source's rows to the name it has in the file now."""
        ...

    async def backfill(self, args: BackfillArgs, on_progress: OnProgress) -> BackfillAnswer:
        """Brings in what came before a source's start, and follows until that is done. Raises ConfigError
        `backfill.running`, `backfill.none`, `backfill.not_polled`, `source.cannot_list`."""
        ...

    async def backfill_status(self, source: str) -> BackfillAnswer:
        """How a source's newest backfill is."""
        ...

    async def backfill_stop(self, source: str) -> BackfillAnswer:
        """Ends a source's backfill; what it has brought in is still sent. Raises ConfigError `backfill.none`."""
        ...

    async def audit(self, source: str, since: str, on_progress: OnProgress) -> AuditAnswer:
        """What a source has and the ledger has not, and the other way round. Raises ConfigError
        `source.cannot_list`, `backfill.not_polled`."""
        ...

    async def erase(self, value: str, on_progress: OnProgress) -> EraseAnswer:
        """Erases what the ledger holds of a person, once nothing of theirs is under way. Raises ConfigError
        `erase.unknown`, TemporaryError `erase.under_way`."""
        ...

    async def reload(self) -> ReloadAnswer:
        """Reads the file again; a faulty one changes nothing."""
        ...


READERS = frozenset({"status", "message_list", "message_show", "source_list", "backfill_status"})
"""Commands that only read the ledger: they need no secret, no lock and no daemon."""

NEEDS_SECRETS = frozenset({"auth", "check", "sync", "backfill", "audit"})
"""Commands that talk to services: in-process they need every secret of the file."""

_Shape = TypeVar("_Shape")


class _Arguments:
    """Typed access to a command's arguments."""

    def __init__(self, command: str, args: Mapping[str, Json]) -> None:
        self._command = command
        self._args = args

    def _wrong(self, name: str) -> ConfigError:
        return ConfigError(f'{self._command}: the argument "{name}" is missing or wrong', code="command.arguments")

    def optional_text(self, name: str) -> str | None:
        value = self._args.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(name)

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if value is None:
            raise self._wrong(name)
        return value

    def number(self, name: str) -> int:
        value = self._args.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise self._wrong(name)

    def flag(self, name: str) -> bool:
        value = self._args.get(name, False)
        if isinstance(value, bool):
            return value
        raise self._wrong(name)

    def whole(self, shape: type[_Shape]) -> _Shape:
        try:
            return TypeAdapter(with_config(ConfigDict(extra="forbid"))(shape)).validate_python(dict(self._args))
        except ValidationError as error:
            raise self._wrong(".".join(str(part) for part in error.errors()[0]["loc"])) from None


_Operation: TypeAlias = Callable[[Operations, _Arguments, OnProgress], Awaitable[Answer]]

_OPERATIONS: dict[str, _Operation] = {
    "check": lambda does, _args, on_progress: does.check(on_progress),
    "sync": lambda does, args, on_progress: does.sync(
        args.optional_text("source"), dry_run=args.flag("dry_run"), on_progress=on_progress
    ),
    "auth": lambda does, args, on_progress: does.auth(args.text("source"), args.optional_text("answer"), on_progress),
    "status": lambda does, _args, _on: does.status(),
    "message_list": lambda does, args, _on: does.message_list(args.whole(MessageFilterArgs)),
    "message_show": lambda does, args, _on: does.message_show(args.number("id")),
    "message_retry": lambda does, args, _on: does.message_retry(args.whole(MoveArgs)),
    "message_drop": lambda does, args, _on: does.message_drop(args.whole(MoveArgs)),
    "source_list": lambda does, _args, _on: does.source_list(),
    "source_pause": lambda does, args, _on: does.source_pause(args.text("name")),
    "source_resume": lambda does, args, _on: does.source_resume(args.text("name")),
    "source_rename": lambda does, args, _on: does.source_rename(args.text("old"), args.text("new")),
    "backfill": lambda does, args, on_progress: does.backfill(args.whole(BackfillArgs), on_progress),
    "backfill_status": lambda does, args, _on: does.backfill_status(args.text("source")),
    "backfill_stop": lambda does, args, _on: does.backfill_stop(args.text("source")),
    "audit": lambda does, args, on_progress: does.audit(args.text("source"), args.text("since"), on_progress),
    "erase": lambda does, args, on_progress: does.erase(args.text("value"), on_progress),
    "reload": lambda does, _args, _on: does.reload(),
}

COMMANDS = frozenset(_OPERATIONS)
"""Every command `perform` knows."""


async def perform(operations: Operations, command: str, args: Mapping[str, Json], on_progress: OnProgress) -> Answer:
    """Runs one command by its name, as it comes over the control socket or from the command line.

    `args` by command: sync `source`, `dry_run`; auth `source`, `answer`; message_list a `MessageFilterArgs`;
    message_show `id`; message_retry and message_drop a `MoveArgs`; source_pause and source_resume `name`;
    source_rename `old`, `new`; backfill a `BackfillArgs`; backfill_status and backfill_stop `source`; audit `source`,
    `since`; erase `value`. Raises ConfigError (`command.unknown`, `command.arguments`) for anything else, and what the
    operation raises.
    """
    operation = _OPERATIONS.get(command)
    if operation is None:
        raise ConfigError(
            f'there is no command "{command}"',
            code="command.unknown",
            next_step="use the inbox-sync of the same version as the running daemon",
        )
    return await operation(operations, _Arguments(command, args), on_progress)
