"""Cleaning: text that every database, JSON writer and terminal accepts.

Clean text holds no NUL, no lone surrogates, no control characters but newline and tab, no byte order marks and no
Unicode noncharacters; its line ends are newlines, and no more than 30 combining marks follow one another (UAX #15,
"Stream-Safe Text Format": longer runs make normalisation quadratic).
"""

from __future__ import annotations

import functools
import re
import unicodedata

MAX_TEXT_CHARS = 1_000_000
"""What one text may hold; more is cut."""

MAX_COMBINING_RUN = 30
"""Combining marks in a row that stay (UAX #15, stream-safe text)."""

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]")
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_BIDI_OVERRIDES = re.compile("[\u202a-\u202e\u2066-\u2069]")
_MAYBE_MARKS = re.compile(f"[^\x00-\u02ff]{{{MAX_COMBINING_RUN + 1}}}")
"""No run of marks without a run of characters beyond Latin: a quick look that spares most texts the thorough one."""

_TRACKER_MARKS = re.compile("(?:(?<=>)|^)[ \t]*\u1427[ \t]*(?=<|\r?$)", re.MULTILINE)

_FIRST_COMBINING = 0x300
_LAST_COMBINING = 0x1EFFF


def clean(text: str, *, limit_chars: int = MAX_TEXT_CHARS) -> str:
    """`text` without what databases and readers choke on, at most `limit_chars` code points long.

    Surrogate pairs that were split become the character they stand for; lone halves become U+FFFD.
    """
    text = text[:limit_chars].replace("\r\n", "\n")
    # Nothing that is unwanted is printable (Unicode's categories C and Z), and looking for that costs next to nothing.
    if not text.replace("\n", "").replace("\t", "").isprintable() and _SUSPECT.search(text) is not None:
        if _SURROGATES.search(text) is not None:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        text = _UNWANTED.sub("", _LINE_ENDS.sub("\n", text))
    return without_mark_runs(text)


def clean_line(text: str, *, limit_chars: int = 1_000) -> str:
    """`text` as one clean line: white space of every kind becomes one blank, ends are trimmed, directions that would
    turn the rest of a line around (bidi overrides) are dropped. For names, subjects and file names."""
    text = clean(text[: limit_chars * 8], limit_chars=limit_chars * 8)
    if not text.isascii():
        text = _BIDI_OVERRIDES.sub("", text)
    return " ".join(text.split())[:limit_chars].rstrip()


def without_tracker_marks(text: str) -> str:
    """A text, plain or HTML, without the lines that hold nothing but the sign which tracking extensions of browsers leave
    (U+1427, in white)."""
    return _TRACKER_MARKS.sub("", text) if "\u1427" in text else text


def without_mark_runs(text: str) -> str:
    """`text` with every run of combining marks cut to `MAX_COMBINING_RUN`."""
    if text.isascii() or _MAYBE_MARKS.search(text) is None:
        return text
    probable, runs = _mark_runs()
    return text if probable.search(text) is None else runs.sub(r"\1", text)


@functools.cache
def _mark_runs() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A quick pattern that finds every run of marks (and perhaps ancient scripts), and the exact one, which is slow
    because of the many ranges beyond 16 bits, for which `re` has no table."""
    basic, astral = _marks_in(_FIRST_COMBINING, 0xFFFF), _marks_in(0x10000, _LAST_COMBINING)
    probable = re.compile(f"[{basic}\U00010000-{chr(_LAST_COMBINING)}]{{{MAX_COMBINING_RUN + 1}}}")
    return probable, re.compile(f"([{basic}{astral}]{{{MAX_COMBINING_RUN}}})[{basic}{astral}]+")


def _marks_in(first: int, last: int) -> str:
    """The combining marks among these code points, as ranges of a character class."""
    ranges: list[str] = []
    start: int | None = None
    for code in range(first, last + 1):
        if unicodedata.combining(chr(code)):
            start = code if start is None else start
        elif start is not None:
            ranges.append(f"{chr(start)}-{chr(code - 1)}")
            start = None
    return "".join(ranges)
