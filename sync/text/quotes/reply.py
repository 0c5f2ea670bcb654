"""Taking earlier messages out of a text: which lines are quoted, which answer them, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from sync.message import Reply
from sync.text.quotes import words
from sync.text.quotes.lines import (
    Found,
    Mark,
    Strength,
    attribution,
    header_block,
    is_above_line,
    label_of,
    mark_of,
    may_end_attribution,
)
from sync.text.signature import signature_start

MAX_TRIED = 300
"""Lines that are looked at closely in one text; a mail with more that look like attributions is no mail."""

MAX_MARKS_TRIED = 3_000
"""Lines with dashes or a colon at an end that may be delimiters."""

MAX_QUOTES = 500
"""With more quotes than this a text is kept as it is."""

MAX_INTRODUCTION_LINES = 8
"""Lines between the beginning of a marked attribution and the quote it introduces."""

MAX_BANNER_CHARS = 80
"""A longer line between dashes is no announcement."""

MAX_FRAGMENT_CHARS = 60
MIN_WRAPPED_CHARS = 65
"""A quoted line at least so long, with an unquoted shorter one below, was wrapped on its way."""

_MARK_STARTS = frozenset("-_=*<>#[(~—–‐＿－")
_ABOVE_ENDS = frozenset("-_=*#])>~—–")
_RULES = "-_=*~—–‐"


class Quoted(IntEnum):
    """How a line is marked. SOFT: an indented block that is a quote only below an attribution."""

    NO = 0
    SOFT = 1
    YES = 2
    WHOLE = 3
    """In a container that mail programs make for the earlier message with its attribution."""


@dataclass(slots=True)
class Document:
    """A text by lines, with what its markup says of them. `tails`: where an earlier message begins, attribution or
    header first; `introductions`: where an attribution begins; `signatures`: lines of marked signatures."""

    lines: Sequence[str]
    quoted: Sequence[Quoted]
    tails: frozenset[int] = frozenset()
    introductions: frozenset[int] = frozenset()
    signatures: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class _Quote:
    """Lines of an earlier message. `own`: with the attribution, header or container that introduces it."""

    start: int
    stop: int
    own: bool
    marked: bool = True


def read(document: Document, original: str, *, forwarded: bool = False) -> Reply:
    """The new words of a text. `original` is the text as it was; `forwarded`: the mail forwards another one, or answers
    none, so that header lines and attributions without marked quotes introduce what is to be read."""
    quotes = _Scanner(document, forwarded=forwarded).scan()
    taken = _taken(document, quotes)
    kept = _kept_lines(document, taken)
    lines = [document.lines[index].rstrip() if index >= 0 else "" for index in kept]
    removed = sum(1 for quote in taken for line in document.lines[quote.start : quote.stop] if line.strip())
    text = "\n".join(lines).strip("\n").rstrip()
    if not removed or not text.strip():
        removed, text, kept = 0, original, range(len(document.lines))
    signature = _signature(document, kept, text)
    return Reply(text=text, removed_lines=removed, original=original, signature=signature)


# ------------------------------------------------------------------------------------------------- finding quotes


@dataclass(slots=True)
class _Scanner:
    """Goes over the lines once."""

    document: Document
    forwarded: bool
    tried: int = 0
    marks_tried: int = 0
    quotes: list[_Quote] = field(default_factory=list)

    def scan(self) -> list[_Quote]:
        """All quotes in order; what follows the mark of a forward is none."""
        lines, quoted = self.document.lines, self.document.quoted
        tails, introductions = self.document.tails, self.document.introductions
        index, count = 0, len(lines)
        first = 0
        while index < count:
            if tails and index in tails:
                following = self._tail(index, index)
            elif quoted[index] is not Quoted.NO:
                following = self._marked(index, first)
            elif introductions and index in introductions:
                following = self._introduced(index)
            else:
                line = lines[index].strip()
                following = self._plain(index, first, line) if line else index + 1
            if following is None:
                break
            if self.quotes and self.quotes[-1].stop == following:
                first = following
            index = following
        return self.quotes

    def _plain(self, index: int, first: int, line: str) -> int | None:
        """What an unmarked line begins or ends; the next line to look at, None when the rest is not looked at."""
        begin, end = line[0], line[-1]
        may_be_above = begin in _MARK_STARTS or end in _ABOVE_ENDS
        if (may_be_above or end in ":：®") and self.marks_tried < MAX_MARKS_TRIED:
            self.marks_tried += 1
            mark = mark_of(line) if begin in _MARK_STARTS or end in ":：®" else None
            if mark is Mark.FORWARD:
                return None
            if mark is Mark.ORIGINAL or (may_be_above and is_above_line(line)):
                return self._tail(index, index + 1)
        if self.tried < MAX_TRIED:
            if label_of(line) is not None:
                self.tried += 1
                after = index + 1
                stop, is_header = header_block(self.document.lines, index, announced=self._is_announced(index))
                if is_header:
                    return None if self.forwarded else self._tail(index, stop)
                if stop > after and not may_end_attribution(line):
                    return after
            if may_end_attribution(line):
                self.tried += 1
                found = attribution(self.document.lines, index, first)
                if found is not None:
                    return self._attributed(found)
        return index + 1

    def _is_announced(self, index: int) -> bool:
        """True when a rule of dashes stands right above (Outlook's)."""
        for above in range(index - 1, max(-1, index - 3), -1):
            line = self.document.lines[above].strip()
            if line:
                return len(line) >= 10 and mark_of(line) is Mark.RULE
        return False

    def _attributed(self, found: Found) -> int:
        following = self._next_line(found.stop)
        lines, quoted = self.document.lines, self.document.quoted
        if following < len(lines) and quoted[following] is not Quoted.NO:
            stop = self._run(following)
            self._take(found.start, stop, own=True)
            return stop
        if found.strength is Strength.STRONG and not self.forwarded:
            if following < len(lines) and mark_of(lines[following].strip()) is Mark.FORWARD:
                return found.stop
            self._take(found.start, len(lines), own=True, marked=False)
            return len(lines)
        return found.stop

    def _marked(self, index: int, first: int) -> int | None:
        lines, quoted = self.document.lines, self.document.quoted
        following = self._next_line(index)
        first_words = lines[index].lstrip("> ") or (lines[following].lstrip("> ") if following < len(lines) else "")
        if mark_of(first_words) is Mark.FORWARD:
            return None
        line = lines[index].strip()
        if len(line) <= MAX_FRAGMENT_CHARS and self.tried < MAX_TRIED and may_end_attribution(line):
            self.tried += 1
            found = attribution(lines, index, first)
            if found is not None and found.start < index:  # "<anna@example.com" and "> wrote:" below it
                return self._attributed(found)
        stop = self._run(index)
        has_header = self._begins_with_header(index, stop)
        if has_header and self.forwarded:
            return None
        own = has_header or quoted[index] is Quoted.WHOLE or self._begins_with_attribution(index, stop)
        if own or quoted[index] is not Quoted.SOFT:
            self._take(index, stop, own=own)
        return stop

    def _introduced(self, index: int) -> int | None:
        """An attribution that is marked as such: it belongs to the quote that follows soon."""
        lines, quoted = self.document.lines, self.document.quoted
        seen = 0
        for following in range(index, len(lines)):
            if not lines[following].strip():
                continue
            if quoted[following] is not Quoted.NO and seen:
                stop = self._run(following)
                self._take(index, stop, own=True)
                return stop
            if mark_of(lines[following].strip()) is Mark.FORWARD:
                return None
            seen += 1
            if seen > MAX_INTRODUCTION_LINES:
                break
        return self._plain(index, index, lines[index].strip()) if lines[index].strip() else index + 1

    def _tail(self, start: int, after: int) -> int | None:
        """An earlier message to the end, or as far as it is marked. `after` is the line after its first words."""
        if self.forwarded:
            return None
        lines, quoted = self.document.lines, self.document.quoted
        following = self._next_line(after)
        if following < len(lines) and label_of(lines[following]) is not None and quoted[following] is Quoted.NO:
            following = self._next_line(header_block(lines, following, announced=True)[0])
        else:
            for last in range(following, min(following + 3, len(lines))):
                line = lines[last].strip()
                if not line or quoted[last] is not Quoted.NO:
                    break
                if may_end_attribution(line) and attribution(lines, last, following) is not None:
                    following = self._next_line(last + 1)
                    break
        if following < len(lines) and quoted[following] is Quoted.YES:
            stop = self._run(following)
            self._take(start, stop, own=True)
            return stop
        self._take(start, len(lines), own=True, marked=False)
        return len(lines)

    def _take(self, start: int, stop: int, *, own: bool, marked: bool = True) -> None:
        self.quotes.append(_Quote(start, stop, own, marked))

    def _next_line(self, index: int) -> int:
        """The next line that is not blank; the number of lines when there is none."""
        lines = self.document.lines
        while index < len(lines) and not lines[index].strip():
            index += 1
        return index

    def _run(self, index: int) -> int:
        """Where the marked lines that begin at `index` end."""
        lines, quoted = self.document.lines, self.document.quoted
        last = index
        following = index + 1
        while following < len(lines):
            if quoted[following] is not Quoted.NO:
                last = following
            elif lines[following].strip() and not self._is_fragment(following):
                break
            following += 1
        return last + 1

    def _is_fragment(self, index: int) -> bool:
        """True for the rest of a quoted line that was wrapped on its way and so lost its mark."""
        lines, quoted = self.document.lines, self.document.quoted
        if index + 1 >= len(lines) or quoted[index - 1] is Quoted.NO or quoted[index + 1] is Quoted.NO:
            return False
        before, line = lines[index - 1].rstrip(), lines[index].strip()
        return (
            len(before) >= MIN_WRAPPED_CHARS
            and len(line) <= MAX_FRAGMENT_CHARS
            and before[-1] not in ".!?:"
            and not line[0].isupper()
        )

    def _begins_with_attribution(self, index: int, stop: int) -> bool:
        """True when the first quoted lines are an attribution themselves (Apple's)."""
        bare = self._bare(index, stop)
        return any(
            line and may_end_attribution(line) and attribution(bare, at, 0) is not None
            for at, line in enumerate(bare[:5])
        )

    def _begins_with_header(self, index: int, stop: int) -> bool:
        """True when the first quoted lines are a header, or announce one (Hotmail's, Ionos')."""
        bare = self._bare(index, stop)
        for at in [at for at, line in enumerate(bare) if line][:2]:  # the second where a line announces the header
            if mark_of(bare[at]) is Mark.ORIGINAL:
                return True
            if label_of(bare[at]) is not None and header_block(bare, at, announced=False)[1]:
                return True
        return False

    def _bare(self, index: int, stop: int) -> list[str]:
        return [line.lstrip(">| ") for line in self.document.lines[index : min(stop, index + MAX_INTRODUCTION_LINES)]]


# ------------------------------------------------------------------------------------------------- deciding


def _taken(document: Document, quotes: Sequence[_Quote]) -> list[_Quote]:
    """The quotes that are taken out. Answers between quotes are kept with what they answer."""
    if not quotes or len(quotes) > MAX_QUOTES:
        return []
    ends = [quote.start for quote in quotes[1:]] + [len(document.lines)]
    answered = [_has_words(document, quote.stop, end) for quote, end in zip(quotes, ends, strict=True)]
    last_answered = max((index for index, yes in enumerate(answered) if yes), default=-1)
    goes_on = any(not quote.own for quote in quotes[last_answered + 1 :])
    interleaved = sum(answered) > 1 and not all(quote.own for quote in quotes[: last_answered + 1])
    if interleaved or (last_answered >= 0 and goes_on):
        return [quote for quote in quotes[last_answered + 1 :] if quote.own or not _is_introduced(document, quote)]
    taken = [
        quote
        for quote, has_answer in zip(quotes, answered, strict=True)
        if quote.own or (not has_answer and not _is_introduced(document, quote))
    ]
    if any(not quote.marked for quote in taken) and _answers_within(document, taken[0]):
        return []
    return taken


def _has_words(document: Document, start: int, stop: int) -> bool:
    """True when somebody wrote something in these lines, more than a signature."""
    written = [
        index for index in range(start, stop) if document.lines[index].strip() and index not in document.signatures
    ]
    if not written:
        return False
    lines = [document.lines[index] for index in written]
    return signature_start(lines) > 0 and any(not _is_rule_or_blank(line) for line in lines)


def _is_introduced(document: Document, quote: _Quote) -> bool:
    """True when the writer's own sentence introduces the quote: without it the sentence would hang in the air."""
    for index in range(quote.start - 1, -1, -1):
        line = document.lines[index].rstrip()
        if line:
            return line[-1] in ":："
    return False


def _answers_within(document: Document, tail: _Quote) -> bool:
    """True when the new words say that the answers stand within the quoted text, where nothing tells them from it."""
    return (
        words.ANSWERS_WITHIN.search(words.fold("\n".join(document.lines[max(0, tail.start - 12) : tail.start])))
        is not None
    )


def _is_rule_or_blank(line: str) -> bool:
    bare = line.strip()
    return not bare or (len(bare) >= 2 and not bare.strip(_RULES))


def _is_banner(line: str) -> bool:
    """True for words between dashes that no list here knows: a program's announcement in another language."""
    bare = line.strip()
    return bare[:4] == bare[-4:] == "----" and len(bare) <= MAX_BANNER_CHARS and mark_of(bare) is not Mark.FORWARD


def _kept_lines(document: Document, taken: Sequence[_Quote]) -> Sequence[int]:
    """The lines that stay, with a blank one (-1) where a quote was taken out, without rules that only set it off."""
    kept: list[int] = []
    position = 0
    for quote in taken:
        kept += range(position, quote.start)
        _pop_blank(document, kept)
        if kept and quote.own and _is_banner(document.lines[kept[-1]]):
            kept.pop()
            _pop_blank(document, kept)
        position = max(position, quote.stop)
        while position < len(document.lines) and not document.lines[position].strip():
            position += 1
        if kept:
            kept.append(-1)
    kept += range(position, len(document.lines))
    return kept


def _pop_blank(document: Document, kept: list[int]) -> None:
    while kept and (kept[-1] < 0 or _is_rule_or_blank(document.lines[kept[-1]])):
        kept.pop()


def _signature(document: Document, kept: Sequence[int], text: str) -> str:
    """The end of `text` that is a signature."""
    lines = text.split("\n")
    marked = 0
    if document.signatures:
        for index in reversed(kept):
            if index in document.signatures:
                marked += 1
            elif index >= 0 and document.lines[index].strip():
                break
    start = signature_start(lines, marked_lines=marked)
    return "\n".join(lines[start:]).lstrip("\n") if 0 < start < len(lines) else ""
