"""Reading untyped JSON without guessing: what is not of the asked shape reads as empty."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TypeAlias

JsonObject: TypeAlias = dict[str, object]
"""A decoded JSON object. Its values are narrowed where they are read."""

MICROSECONDS = 1_000_000


def as_object(value: object) -> JsonObject:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """The value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """The value if it is a string, else the empty string."""
    return value if isinstance(value, str) else ""


def at_path(value: object, path: str) -> object:
    """What stands at a dotted path of object fields (`info.name.first`), or None."""
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def dump_json(value: object) -> bytes:
    """Compact UTF-8 JSON. Lone surrogates are escaped, so that any string can be written."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def is_guid(value: object) -> bool:
    """Whether the value is a GUID in its usual form with dashes."""
    if not isinstance(value, str) or len(value) != 36:
        return False
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True


def iso_time(microseconds: int) -> str:
    """ISO 8601 in UTC, cut (not rounded) to milliseconds, as the Inbox writes `createdDate`."""
    moment = datetime.fromtimestamp(microseconds // MICROSECONDS, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{microseconds % MICROSECONDS // 1000:03d}Z"
