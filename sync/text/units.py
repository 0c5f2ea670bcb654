"""Limits in UTF-16 units: how the Inbox API's limits are counted, and how a long text is split under them.

Whether the API counts UTF-16 units, code points or bytes is not documented; UTF-16 units are the strictest reading
that its JavaScript side would apply.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

BACK_OFF_CHARS = 64
"""How far a cut inside a word moves back to keep a grapheme (letter and marks, emoji sequence) together."""

MIN_FILL = 0.5
"""A nicer place to cut (paragraph, line, word) is taken when at least this share of the limit stays used."""

_ASTRAL = "\U00010000"
_ZERO_WIDTH_JOINER = "\u200d"


def utf16_length(text: str) -> int:
    """The length of `text` in UTF-16 units; lone surrogates count one."""
    if not text or text.isascii() or max(text) < _ASTRAL:
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut_units(text: str, limit_units: int) -> str:
    """The longest head of `text` within `limit_units` that ends at a grapheme, as far as that can be told cheaply."""
    if utf16_length(text[: limit_units + 1]) <= limit_units:
        return text
    return text[: _safe_cut(text, _fitting_chars(text, 0, limit_units))]


def split_units(text: str, limit_units: int) -> Iterator[str]:
    """`text` in pieces of at most `limit_units`, none blank, cut at the last paragraph, line or word that fits, and
    inside a word only when there is no such place. White space at the cuts is dropped."""
    for start, stop in split_places(text, limit_units):
        yield text[start:stop]


def split_places(text: str, limit_units: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of `split_units` begin and end."""
    start, end = 0, len(text)
    while start < end:
        while start < end and text[start] == "\n":
            start += 1
        fitting = _fitting_chars(text, start, limit_units)
        stop = start + fitting
        if stop < end:
            stop = start + _nice_cut(text[start : stop + 1], fitting)
        piece = text[start:stop].rstrip()
        if piece.strip():
            yield start, start + len(piece)
        start = stop
        if start < end and text[start] == " ":
            start += 1


def _fitting_chars(text: str, start: int, limit_units: int) -> int:
    window = text[start : start + limit_units]
    if window.isascii() or not window or max(window) < _ASTRAL:
        return len(window)
    head = window.encode("utf-16-le", "surrogatepass")[: limit_units * 2]
    return max(1, len(head.decode("utf-16-le", "ignore")))


def _nice_cut(window: str, fitting: int) -> int:
    """Where to cut in `window` (which holds one character more than fits)."""
    least = int(fitting * MIN_FILL)
    for mark in ("\n\n", "\n", " "):
        at = window.rfind(mark, least, fitting + len(mark))
        if at > 0:
            return at
    for at in range(fitting, max(least, fitting - BACK_OFF_CHARS), -1):
        if window[at : at + 1].isspace():
            return at
    return _safe_cut(window, fitting)


def _safe_cut(text: str, at: int) -> int:
    for place in range(at, max(1, at - BACK_OFF_CHARS), -1):
        if not _joins(text, place):
            return place
    return max(at, 1)


def _joins(text: str, at: int) -> bool:
    """True when a cut before `text[at]` would tear a grapheme apart."""
    if at >= len(text):
        return False
    before, after = text[at - 1], text[at]
    if _ZERO_WIDTH_JOINER in {before, after}:
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\ufe00" <= after <= "\ufe0f" or "\U000e0020" <= after <= "\U000e007f":
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff" and "\U0001f1e6" <= before <= "\U0001f1ff":
        return _odd_flag(text, at)
    return unicodedata.category(after) in {"Mn", "Me", "Mc"}


def _odd_flag(text: str, at: int) -> bool:
    """True when an odd number of regional indicators stands before `at`: the cut would halve a flag."""
    count = 0
    while at - count > 0 and count < BACK_OFF_CHARS and "\U0001f1e6" <= text[at - count - 1] <= "\U0001f1ff":
        count += 1
    return count % 2 == 1
