"""Times, durations, counts and foreign text as an operator reads them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every start of the program reads this module
    from sync.message import Json

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_AGO = re.compile(r"(\d+)\s*(m|min|h|d|w)")
_AGO_UNITS = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def plain(text: str) -> str:
    """Text from outside on one line: it can neither move the cursor nor hide what follows it."""
    return _CONTROL.sub(lambda found: " " if found[0] in "\t\r\n" else "\N{REPLACEMENT CHARACTER}", text)


def span(seconds: float) -> str:
    """A duration in its largest unit: `12 s`, `4 min`, `3 h`, `2 d`."""
    if seconds < 0.95:
        return "0 s" if seconds < 0.05 else f"{seconds:.1f} s"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return f"{seconds / HOUR:.0f} h"
    return f"{seconds / DAY:.0f} d"


def ago(moment: str | None, now: str) -> str:
    """How long ago a moment of an answer was, or in how long it will be."""
    if moment is None:
        return "–"
    seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(moment)).total_seconds()
    return f"in {span(-seconds)}" if seconds < 0 else f"{span(seconds)} ago"


def local(moment: str | None, zone: tzinfo | None = None) -> str:
    """A moment to the minute, in the terminal's time zone."""
    if moment is None:
        return "–"
    return datetime.fromisoformat(moment).astimezone(zone).strftime("%Y-%m-%d %H:%M")


def exact(moment: str | None, zone: tzinfo | None = None) -> str:
    """A moment to the second, with its offset."""
    if moment is None:
        return "–"
    return datetime.fromisoformat(moment).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")


def count(number: int) -> str:
    """A number; nothing worth a look is a dot."""
    return str(number) if number else "·"


def reasons(counts: Mapping[str, int]) -> str:
    """`12 before_horizon, 3 duplicate`, most first."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{number} {reason}" for reason, number in ordered if number)


def since(text: str, now: datetime) -> datetime:
    """A point in time from `2026-11-01`, `2026-11-01T12:30`, or how long ago: `2h`, `3d`. Raises ValueError."""
    back = _AGO.fullmatch(text.strip())
    if back:
        return now - timedelta(**{_AGO_UNITS[back[2]]: int(back[1])})
    moment = datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo else moment.astimezone().astimezone(UTC)


def who(participant: str) -> str:
    """A participant (`kind:value`) as a person reads it."""
    kind, separator, value = participant.partition(":")
    return value if separator and kind in ("email", "phone") else participant


def detail_text(detail: Json) -> str:
    """What an event keeps besides its kind, on one line; what is empty is left out."""
    if isinstance(detail, dict):
        return ", ".join(f"{key} {value}" for key, value in detail.items() if value not in (None, "", [], {}))
    return "" if detail is None else str(detail)
