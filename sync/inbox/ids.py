"""Ids of the Inbox: GUIDs, or decimal strings for messages. Pure."""

from __future__ import annotations

import re
from typing import Final

from sync.message import Json

MAX_ID_CHARS: Final = 128
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")


def checked_id(value: str, what: str) -> str:
    """`value`, safe to stand in a path. Raises ValueError: an id that is none got into the ledger, which is a bug."""
    if id_in(value) is None:
        raise ValueError(f"{what} is no id")
    return value


def id_in(value: Json) -> str | None:
    """An id out of an answer, None when it is none."""
    if isinstance(value, str) and len(value) <= MAX_ID_CHARS and _ID.fullmatch(value):
        return value
    return None


def message_id_in(value: Json) -> str | None:
    """A message's id out of an answer: documented as a decimal string, taken as a number too. None when it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
