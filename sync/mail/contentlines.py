"""Content lines (RFC 5545 §3.1, RFC 6350 §3.2): the form that calendars and contact cards are written in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_CHARS = 262_144
"""What of one calendar or card is read (pictures in cards are long, and stand at the end)."""

MAX_LINES = 5_000

_FOLD = re.compile(r"\n[ \t]")
_PARAMETER = re.compile(r';([A-Za-z0-9-]{1,40})=("[^"]*"|[^;:"]*)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ContentLine:
    """`name` in upper case and without its group, `parameters` with upper-cased names, the `value` as it stands."""

    name: str
    parameters: dict[str, str]
    value: str

    @property
    def text(self) -> str:
        """The value of a text property, with its escapes resolved."""
        return _ESCAPE.sub(_unescaped, self.value).strip()


def content_lines(text: str) -> Iterator[ContentLine]:
    """The lines of `text` that are content lines, in their order. Whatever is none is passed over."""
    unfolded = _FOLD.sub("", text[:MAX_CHARS].replace("\r\n", "\n").replace("\r", "\n"))
    for line in unfolded.split("\n", MAX_LINES)[:MAX_LINES]:
        start = re.match(r"(?:[A-Za-z0-9-]{1,40}\.)?([A-Za-z0-9-]{1,60})(?=[;:])", line)
        if start is None:
            continue
        parameters: dict[str, str] = {}
        position = start.end()
        while (match := _PARAMETER.match(line, position)) is not None:
            parameters.setdefault(match.group(1).upper(), match.group(2).strip('"'))
            position = match.end()
        colon = line.find(":", position)
        if colon != -1:
            yield ContentLine(start.group(1).upper(), parameters, line[colon + 1 :])


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match.group(1) in "nN" else match.group(1)
