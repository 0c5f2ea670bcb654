"""The one table from a command's name to what is done."""

from __future__ import annotations

from typing import cast

import pytest

from sync.answers import Answer, OnProgress
from sync.errors import ConfigError
from sync.message import Json
from sync.operations import COMMANDS, NEEDS_SECRETS, READERS, Operations, perform

ARGUMENTS: dict[str, dict[str, Json]] = {
    "sync": {"source": "support", "dry_run": True},
    "message_list": {"failed": True, "limit": 3},
    "message_show": {"id": 17},
    "message_retry": {"ids": [1, 2]},
    "message_drop": {"filter": {"state": "dead"}},
    "source_pause": {"name": "a"},
    "source_resume": {"name": "a"},
    "source_rename": {"old": "a", "new": "b"},
    "backfill": {"source": "support", "since": "2026-01-01T00:00:00+00:00", "limit": 3, "dry_run": True},
    "backfill_status": {"source": "support"},
    "backfill_stop": {"source": "support"},
    "audit": {"source": "support", "since": "2026-01-01T00:00:00+00:00"},
    "auth": {"source": "support", "answer": None},
    "erase": {"value": "anna@example.com"},
}


class Recorder:
    """Answers with the name of what was called, and with what."""

    def __getattr__(self, name: str) -> object:
        async def called(*args: object, **named: object) -> object:
            return name, [arg for arg in args if not callable(arg)], {k: v for k, v in named.items() if not callable(v)}

        return called


def nothing(_progress: object) -> None:
    return None


async def performed(command: str, args: dict[str, Json]) -> tuple[str, list[object], dict[str, object]]:
    operations = cast("Operations", Recorder())
    answer: Answer = await perform(operations, command, args, cast("OnProgress", nothing))
    return cast("tuple[str, list[object], dict[str, object]]", answer)


@pytest.mark.parametrize("command", sorted(COMMANDS))
async def test_each_command_is_the_operation_of_its_name(command: str) -> None:
    name, positional, named = await performed(command, ARGUMENTS.get(command, {}))
    assert name == command
    given = ARGUMENTS.get(command, {})
    if command in ("message_list", "message_retry", "message_drop", "backfill"):
        assert positional == [given]
    elif command == "sync":
        assert (positional, named) == (["support"], {"dry_run": True})
    else:
        assert positional == list(given.values())


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("message_show", {}),
        ("message_show", {"id": "17"}),
        ("message_show", {"id": True}),
        ("sync", {"source": 3}),
        ("sync", {"dry_run": "yes"}),
        ("source_pause", {}),
        ("source_rename", {"old": "a"}),
        ("message_list", {"limit": "x"}),
        ("message_list", {"limt": 3}),
        ("message_retry", {"ids": ["x"]}),
    ],
)
async def test_wrong_arguments_are_refused(command: str, args: dict[str, Json]) -> None:
    with pytest.raises(ConfigError) as caught:
        await performed(command, args)
    assert caught.value.code == "command.arguments"


async def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        await performed("explode", {})
    assert caught.value.code == "command.unknown"


def test_readers_need_no_secrets() -> None:
    assert READERS | NEEDS_SECRETS <= COMMANDS
    assert not READERS & NEEDS_SECRETS
