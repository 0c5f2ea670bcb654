"""Which mailboxes of an account are streams: found by role or by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from sync.connector import Stream, StreamRole
from sync.errors import ConfigError

from .config import JmapConfig
from .shapes import Mailbox

SENT = "sent"
MAX_NEAR_NAMES = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A configured mailbox: its stream, and its id where it exists."""

    stream: Stream
    mailbox_id: str | None


def places(config: JmapConfig, mailboxes: Sequence[Mailbox]) -> list[Place]:
    """The configured mailboxes, those that do not exist last. The stream's key is the path of names."""
    paths = {one.id: _path(one, mailboxes) for one in mailboxes}
    sent = {one.id for name in (SENT, *config.sent_mailboxes) if (one := find(name, mailboxes, paths)) is not None}
    there: dict[str, Place] = {}
    missing: list[Place] = []
    for name in (*config.mailboxes, *config.sent_mailboxes):
        one = find(name, mailboxes, paths)
        if one is not None:
            role = StreamRole.SENT if one.id in sent else StreamRole.RECEIVED
            there.setdefault(one.id, Place(Stream(paths[one.id], role), one.id))
        elif name.lower() != SENT or "mailboxes" in config.model_fields_set:
            role = StreamRole.SENT if name.lower() == SENT or name in config.sent_mailboxes else StreamRole.RECEIVED
            missing.append(Place(Stream(name, role), None))
    return [*there.values(), *missing]


def find(name: str, mailboxes: Sequence[Mailbox], paths: dict[str, str]) -> Mailbox | None:
    """The mailbox with this role, or else with this path or name."""
    wanted = name.lower()
    by_role = next((one for one in mailboxes if one.role is not None and one.role.lower() == wanted), None)
    by_path = next((one for one in mailboxes if paths[one.id].lower() == wanted), None)
    return by_role or by_path


def missing(name: str, host: str, mailboxes: Sequence[Mailbox]) -> ConfigError:
    """What to tell about a configured mailbox that is not there."""
    names = [_path(one, mailboxes) for one in mailboxes]
    near = get_close_matches(name, names, MAX_NEAR_NAMES, cutoff=0.4) or sorted(names)[:MAX_NEAR_NAMES]
    listed = ", ".join(f'"{one}"' for one in near)
    return ConfigError(
        f'There is no mailbox "{name}" on {host}.',
        code="jmap.mailbox_missing",
        next_step=f"Correct mailboxes; near names are {listed}." if listed else "The server lists no mailboxes.",
        mailbox=name,
    )


def _path(one: Mailbox, mailboxes: Sequence[Mailbox]) -> str:
    by_id = {other.id: other for other in mailboxes}
    names = [one.name]
    parent = one.parent_id
    while parent in by_id and len(names) <= len(by_id):  # a server's mistake may make a ring
        names.append(by_id[parent].name)
        parent = by_id[parent].parent_id
    return "/".join(reversed(names))
