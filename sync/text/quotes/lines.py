"""What a line of a mail is: an attribution ("On … wrote:"), a block of header lines, a delimiter, a forward's mark.

Every function looks at a bounded number of lines of bounded length, with patterns that cannot backtrack far.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from sync.text.quotes import words

MAX_ATTRIBUTION_LINES = 6
"""Over how many lines an attribution is wrapped at most."""

MAX_OPENING_CHARS = 20
"""A longer first line of an attribution has a number in it."""

MAX_ATTRIBUTION_CHARS = 500
MAX_MARK_CHARS = 160
"""A longer line is no delimiter, no label and no forward's mark."""

MAX_AFTER_VERB_CHARS = 160
"""What may follow the verb of an attribution: the sender's name and address, or the date."""

MAX_HEADER_LINES = 24
"""Header lines of one quoted message that are looked at, with what is wrapped between them."""

MAX_WRAPPED_LINES = 6
"""Lines that belong to one header line (long lists of recipients)."""

_BIDI = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c"))
_DATE = re.compile(
    r"(?<!\d)(?:19|20)\d\d(?!\d)|(?<!\d)\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d\s?[年년日일]|(?<!\d)\d{1,2}\.? (?:[^\W\d_]{3,12})"
    r"|[^\W\d_]{3,12}\.? \d{1,2}(?!\d)"
)
_FULL_DATE = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)|(?<!\d)\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d\s?[年년日일]")
_TIME = re.compile(
    r"(?<!\d)\d{1,2}(?:[:.]|\s?[hH時点點시]\s?)\d{2}(?!\d)|(?<!\d)\d{1,2} ?[ap]\.?m\b|(?<!\d)\d{1,2}\s?[時点點시]"
)
_ADDRESS = re.compile(r"[^\s<>@()\[\]:,;]@[^\s<>@()\[\],;]")
_ENDS_IN_ADDRESS = re.compile(
    r"[<(\[]\s?(?:mailto:)?[^\s<>@()]{1,120}@[^\s<>@()]{1,120}\s?[>)\]]+\W{0,4}\w{0,6}\W{0,2}$"
)
_WORDS = re.compile(r"[^\W_]+")


def _by_first_word(phrases: Sequence[str]) -> dict[str, list[str]]:
    """Phrases by their first word, the longest first."""
    by_word: dict[str, list[str]] = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        first = _WORDS.search(phrase)
        by_word.setdefault(phrase if first is None else first[0], []).append(phrase)
    return by_word


_VERBS = _by_first_word(words.VERBS)
_FIRST_WORD = re.compile(r"([^\W\d_]+(?:['’-][^\W\d_]+)?)\.?,? ")
_OPENS_WITHIN = re.compile(r"(?<=\S{3})[ -](?=(?:On|Am|Le|El|Il|Em|Op|Den|Dne|Dnia|W dniu|Στις|На) )")
MAX_OPENINGS = 5
"""Places in one line at which an attribution is looked for."""

_WROTE_BARE = re.compile(r"[>\d)] wrote$|wrote ?-{2,6}$")
_LEGACY = re.compile(r"(?:19|20)\d\d[-/]\d{1,2}[-/]\d{1,2}\b.{1,120}$")
_DASHES = "-—–‐‑_=*~<>#＿－ \t"
_SENTENCE_END = re.compile(r"[^\W\d_]{4}[.!?…]\s+(\w)|[。！？]\s*\w")


class Strength(Enum):
    """How sure it is that a mail program wrote an attribution.

    STRONG: what follows was written earlier even when it is not marked. WEAK: only when marked quotes follow.
    """

    WEAK = 1
    STRONG = 2


@dataclass(frozen=True, slots=True)
class Found:
    """Lines `start` to `stop` (exclusive) introduce an earlier message."""

    start: int
    stop: int
    strength: Strength


def plain(line: str) -> str:
    """A line as it is compared: without marks of direction, blanks and emphasis at its ends."""
    if not line.isascii():
        line = line.translate(_BIDI).replace("\u00a0", " ").replace("\u202f", " ").replace("\u2007", " ")
    return line.strip(" \t*_")


# ------------------------------------------------------------------------------------------------- attributions


def may_end_attribution(line: str) -> bool:
    """A quick look at a line's end: can an attribution end here? Most lines say no."""
    if not line:
        return False
    end = line[-1]
    if end in ":：-" or (end == "e" and line.endswith(" wrote")):
        return True
    return end in "\u202c\u200f\u200e\u00a0*_ >" or (end > "\u1000" and end in "道：")


def attribution(lines: Sequence[str], at: int, first: int) -> Found | None:
    """The attribution whose last line is `at`; it begins at `first` or later."""
    last = plain(lines[at])
    if not last or not _ends_like_attribution(last):
        return None
    fallback: Found | None = None
    joined = ""
    for count in range(MAX_ATTRIBUTION_LINES):
        start = at - count
        if start < first:
            break
        line = plain(lines[start])
        if not line and joined[:1] == "<" and count < MAX_ATTRIBUTION_LINES - 1:
            continue  # some programs set the address apart
        if not line or len(line) > MAX_ATTRIBUTION_CHARS or (count and not _may_be_above(line, joined, fallback)):
            break
        joined = f"{line} {joined}" if joined else line
        if len(joined) > MAX_ATTRIBUTION_CHARS:
            break
        folded = words.fold(joined)
        strength = None if _is_two_sentences(joined) else _strength(folded)
        if strength is None:
            continue
        if _opens(folded):
            if strength is Strength.STRONG or fallback is None or fallback.strength is Strength.WEAK:
                return Found(start, at + 1, strength)
            break
        if fallback is None or (fallback.strength is Strength.WEAK and strength is Strength.STRONG):
            if count and not _may_begin(words.fold(line)):
                continue
            fallback = Found(start, at + 1, strength)
    return fallback


def attribution_within(line: str) -> int:
    """Where an attribution begins that shares its line with the writer's last words ("Yes. On Monday, … wrote:"); 0
    when there is none."""
    if len(line) > MAX_ATTRIBUTION_CHARS:
        return 0
    for place in islice(_OPENS_WITHIN.finditer(line), MAX_OPENINGS):
        found = attribution([line[place.end() :]], 0, 0)
        if found is not None and found.strength is Strength.STRONG and _opens(words.fold(plain(line[place.end() :]))):
            return place.end()
    return 0


def _is_quote_mark(line: str) -> bool:
    return line[0] in ">＞"


def _ends_like_attribution(last: str) -> bool:
    return last[-1] in ":：>" or (last[-1] in "-e" and _WROTE_BARE.search(last) is not None)


def _opens(folded: str) -> bool:
    """True when it begins as mail programs begin: a number, a weekday, "On …"."""
    if folded[0].isdigit() or folded[0] in "‐-":
        return _DATE.search(folded[:48]) is not None
    return (folded.startswith(words.OPENERS) or _weekday_end(folded) > 0) and _DATE.search(folded) is not None


def _weekday_end(folded: str) -> int:
    """Where a weekday at the beginning ends, with what follows it; 0 when there is none."""
    first = _FIRST_WORD.match(folded)
    return first.end() if first is not None and first[1] in words.WEEKDAYS else 0


def _may_be_above(line: str, below: str, found: Found | None) -> bool:
    """Whether a line can belong to an attribution whose other lines, `below`, were found to be one."""
    whole = found is not None and found.strength is Strength.STRONG and _DATE.search(words.fold(below)) is not None
    return not _is_quote_mark(line) and (not whole or _begins_one(line))


def _begins_one(line: str) -> bool:
    """Whether a line above a whole attribution belongs to it, as "On Monday," does: a day and no more, or with a number.
    "On behalf of us all," above "Anna wrote on …" does not."""
    if len(line) > MAX_OPENING_CHARS or any(char.isdigit() for char in line):
        return any(char.isdigit() for char in line)
    folded = words.fold(line)
    return folded.startswith(words.OPENERS) or _weekday_end(f"{folded} ") >= len(folded)


def _may_begin(folded: str) -> bool:
    """A line that can be the first of a wrapped attribution though it begins with a name."""
    return _ADDRESS.search(folded) is not None or _verb_in(folded) is not None


def _verb_in(folded: str) -> tuple[int, int] | None:
    """Where a verb of attributions stands: a word of its own. (One pattern of all of them takes ten times as long.)"""
    for word in _WORDS.finditer(folded):
        for verb in _VERBS.get(word[0], ()):
            stop = word.start() + len(verb)
            if folded.startswith(verb, word.start()) and not folded[stop : stop + 1].isalnum():
                return word.start(), stop
    for verb in words.CJK_VERBS:
        at = folded.find(verb)
        if at >= 0:
            return at, at + len(verb)
    return None


def _is_two_sentences(joined: str) -> bool:
    found = _SENTENCE_END.search(joined)
    return found is not None and (found[1] is None or found[1].isupper()) and "@" not in joined


def _strength(folded: str) -> Strength | None:
    has_date, has_time = _DATE.search(folded) is not None, _TIME.search(folded) is not None
    address = _ADDRESS.search(folded)
    verb = _verb_in(folded) if folded[-1] != ">" else None
    if verb is None:
        if address is not None:
            return _without_verb(folded, has_date=has_date, has_time=has_time)
        in_any_language = has_time and len(folded) <= MAX_MARK_CHARS and _FULL_DATE.search(folded) is not None
        return Strength.WEAK if in_any_language else None
    before, after = folded[: verb[0]], folded[verb[1] :]
    if words.FIRST_PERSON.search(before[-24:]) or words.FIRST_PERSON_AFTER.match(after):
        return None
    if folded.startswith("--") and folded.endswith("--"):
        return Strength.STRONG
    if has_date and (address is not None or has_time) and (_FULL_DATE.search(folded) or _opens(folded)):
        return Strength.STRONG if len(after) <= MAX_AFTER_VERB_CHARS else None
    if address is not None and len(after) <= 6:
        return Strength.STRONG if before.rstrip().endswith((">", ")", '"')) and len(folded) < 120 else Strength.WEAK
    return Strength.WEAK if len(after) <= 60 and len(folded) <= MAX_MARK_CHARS else None


def _without_verb(folded: str, *, has_date: bool, has_time: bool) -> Strength | None:
    """Where no word is known: a date that begins the line and an address that ends it; or both and a time anywhere."""
    if not has_date:
        return None
    ends_in_address = _ENDS_IN_ADDRESS.search(folded) is not None and any(char.isdigit() for char in folded[:24])
    if folded[-1] == ">":
        return Strength.WEAK if ends_in_address and _LEGACY.match(folded) else None
    if not ends_in_address:
        return Strength.WEAK if has_time and _FULL_DATE.search(folded) is not None else None
    return Strength.STRONG if has_time else Strength.WEAK


# ------------------------------------------------------------------------------------------------- header blocks


def label_of(line: str) -> str | None:
    """The role (`from`, `date`, `to`, `subject`, `other`) of a header line, None for any other line."""
    at = line.find(":", 0, words.MAX_LABEL_CHARS + 6)
    if at < 1:
        at = line.find("：", 0, words.MAX_LABEL_CHARS + 6)
        if at < 1:
            return None
    return words.LABELS.get(words.fold(plain(line[:at]).rstrip(" *")))


def header_block(lines: Sequence[str], at: int, *, announced: bool) -> tuple[int, bool]:
    """Where the block of header lines that begins at `at` ends, and whether it introduces an earlier message.

    `announced`: a delimiter stands above it. Else the block needs a sender with two more roles, and a subject or an
    address, so that "From: Berlin, To: Paris, Date: 5 May" is not taken for one.
    """
    roles: set[str] = set()
    has_address = has_time = False
    stop = index = at
    wrapped = blanks = 0
    limit = min(len(lines), at + MAX_HEADER_LINES)
    while index < limit:
        line = lines[index]
        if not line.strip():
            blanks += 1
            if blanks > 1:
                break
            index += 1
            continue
        role = label_of(line)
        if role is not None:
            if role in roles and role in {"from", "subject"}:
                break
            roles.add(role)
            wrapped = 0
        else:
            wrapped += 1
            goes_on = wrapped <= MAX_WRAPPED_LINES and not blanks and _goes_on(lines, index, limit)
            if not goes_on:
                break
        has_address = has_address or "@" in line
        has_time = has_time or (role == "date" and _TIME.search(line) is not None)
        blanks = 0
        index += 1
        stop = index
    return stop, _is_header(roles, has_address=has_address, has_time=has_time, announced=announced)


def _goes_on(lines: Sequence[str], index: int, limit: int) -> bool:
    """True when a line within a block is wrapped: another header line follows before the next blank one."""
    for follower in lines[index + 1 : min(limit, index + 1 + MAX_WRAPPED_LINES)]:
        if not follower.strip():
            return False
        if label_of(follower) is not None:
            return True
    return False


def _is_header(roles: set[str], *, has_address: bool, has_time: bool, announced: bool) -> bool:
    if announced:
        return len(roles) >= 2
    if "from" not in roles or len(roles) < 2:
        return False
    if len(roles) == 2:
        return "date" in roles and has_address and has_time
    return "subject" in roles or (has_address and "date" in roles)


def looks_like_header(lines: Sequence[str], at: int) -> bool:
    """True when the lines from `at` on are fields in whatever language: short words, a colon, something behind it."""
    fields = [line for line in lines[at : at + MAX_HEADER_LINES] if line.strip()][:4]
    with_colon = [line for line in fields if 0 < line.replace("：", ":").find(":") <= words.MAX_LABEL_CHARS]
    return len(with_colon) >= 3 and any("@" in line or _FULL_DATE.search(line) is not None for line in with_colon)


# ------------------------------------------------------------------------------------------------- delimiters


class Mark(Enum):
    """A line that stands for itself."""

    ORIGINAL = "original"
    FORWARD = "forward"
    ABOVE_LINE = "above line"
    RULE = "rule"


def mark_of(line: str) -> Mark | None:
    """What kind of mark a line is."""
    if len(line) > MAX_MARK_CHARS:
        return Mark.ORIGINAL if _begins_with_mark(line) else None
    bare = line.translate(_BIDI) if not line.isascii() else line
    inner = bare.strip(_DASHES + "\u00a0>")
    if not inner:
        return Mark.RULE if len(bare.strip()) >= 3 else None
    folded = words.fold(inner.rstrip(":： "))
    dashed = bare.lstrip(" >*")[:2] in _DASH_PAIRS
    if (dashed and folded in words.ORIGINAL_MESSAGE) or folded.startswith(words.PROCESSED_BY):
        return Mark.ORIGINAL
    if dashed and _begins_with_mark(bare):
        return Mark.ORIGINAL
    if words.FORWARDED.search(folded) is not None and len(folded) <= 80:
        if dashed and bare.rstrip(" *")[-1:] in "-—–‐_=:>":
            return Mark.FORWARD
        if bare.rstrip(" *\u00a0")[-1:] in ":：" and words.FORWARD_BEGINS.match(folded):
            return Mark.FORWARD
    return None


def _begins_with_mark(line: str) -> bool:
    """True for "---- Original message ----From: …", where the line breaks of the header were lost on the way."""
    if line[:2] != "--":
        return False
    inner = line[:MAX_MARK_CHARS].lstrip(_DASHES)
    at = inner.find("--")
    return (
        at > 0
        and words.fold(inner[:at].strip()) in words.ORIGINAL_MESSAGE
        and label_of(inner[at:].lstrip(_DASHES)) is not None
    )


_DASH_PAIRS = frozenset({"--", "——", "––", "‐‐", "__", "==", "**", "- ", "~~", "－－"})


def is_above_line(line: str) -> bool:
    """True for "##- Please type your reply above this line -##" and its like, in any of the languages."""
    if len(line) > MAX_MARK_CHARS:
        return False
    folded = words.fold(line)
    if not any(word in folded for word in words.ABOVE) or not any(word in folded for word in words.LINE):
        return False
    if not any(word in folded for word in words.REPLY):
        return False
    bare = folded.strip()
    return bare[0] in "#-=*_—–[(<~" or bare[-1] in "#-=*_—–])>~"
