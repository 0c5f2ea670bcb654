"""Earlier messages taken out of a reply (docs/quotes.md): `read_plain` for texts, `read_html` for HTML.

Pure, linear in time, never an exception: what is not understood is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from sync.message import Reply
from sync.text.html import html_to_text
from sync.text.quotes import marks
from sync.text.quotes.lines import attribution_within, looks_like_header
from sync.text.quotes.policy import QuotePolicy, ReplyPolicy, SignaturePolicy, applied
from sync.text.quotes.reply import MAX_TRIED, Document, Quoted, read
from sync.text.quotes.words import FORWARD_SUBJECT

__all__ = [
    "QuotePolicy",
    "ReplyPolicy",
    "SignaturePolicy",
    "applied",
    "is_forward",
    "joined",
    "read_html",
    "read_plain",
]

MAX_SUBJECT_CHARS = 100
_BEGINNINGS = {">": Quoted.YES, "＞": Quoted.YES, "|": Quoted.SOFT}
_MARKS = re.compile(f"([{marks.ALL}]+)")
_NO_MARKS = dict.fromkeys(map(ord, marks.ALL))


def is_forward(subject: str) -> bool:
    """True when a subject says that the mail forwards another one ("Fwd:", "WG:", "TR:"…)."""
    return FORWARD_SUBJECT.match(subject[:MAX_SUBJECT_CHARS].casefold()) is not None


def joined(replies: Sequence[Reply]) -> Reply:
    """Texts of one message below one another."""
    if len(replies) == 1:
        return replies[0]
    return Reply(
        text="\n\n".join(reply.text for reply in replies),
        original="\n\n".join(reply.original for reply in replies),
        removed_lines=sum(reply.removed_lines for reply in replies),
        signature=replies[-1].signature if replies else "",
    )


def read_plain(text: str, *, forwarded: bool = False) -> Reply:
    """The new words of a plain text (clean, line ends as newlines), and how much of earlier messages was quoted.

    `forwarded`: the mail forwards another one (`is_forward`), or answers none: header lines and attributions without
    marked quotes introduce what is to be read.
    """
    lines = _apart(text.split("\n"))
    quoted = [_BEGINNINGS.get(line[:1], Quoted.NO) for line in lines]
    return read(Document(lines, quoted), text, forwarded=forwarded)


def _apart(lines: list[str]) -> list[str]:
    """Lines of which none holds both the writer's last words and the attribution of what is quoted below."""
    if not any(line.endswith(":") for line in lines):
        return lines
    apart: list[str] = []
    tried = 0
    for line in lines:
        at = 0
        if line[-1:] == ":" and line[:1] != ">" and tried < MAX_TRIED:
            tried += 1
            at = attribution_within(line)
        apart += [line[:at].rstrip(" -"), line[at:]] if at else [line]
    return apart


def read_html(html: str, *, forwarded: bool = False, pictures: Mapping[str, str] | None = None) -> Reply:
    """The new words of an HTML text, as `sync.text.html` lays it out (`pictures`: see there). Marks of mail programs tell
    what is quoted; what they do not mark is read as `read_plain` reads it."""
    if not html.isascii() and max(html) >= marks.QUOTE:
        html = html.translate(_NO_MARKS)
    marker = marks.Marker() if marks.may_be_marked(html) else None
    marked = html_to_text(html, pictures=pictures, marker=marker)
    if marked.isascii() or max(marked) < marks.QUOTE:
        lines = marked.split("\n")
        soft = [Quoted.SOFT if line[:1] == ">" else Quoted.NO for line in lines]
        return read(Document(lines, soft), marked, forwarded=forwarded)
    return read(_document(marked), marked.translate(_NO_MARKS), forwarded=forwarded)


def _document(marked: str) -> Document:
    """A text with marks, as lines with what the marks say of them. A mark within a line begins a new one."""
    lines: list[str] = []
    quoted: list[Quoted] = []
    starts: dict[str, set[int]] = {marks.TAIL: set(), marks.RULED: set(), marks.INTRODUCTION: set()}
    signatures: set[int] = set()
    open_quotes: list[Quoted] = []
    in_signature = 0
    for signs, part in chain.from_iterable(map(_parts, marked.split("\n"))):
        for sign in signs:
            if sign in starts:
                starts[sign].add(len(lines))
            elif sign in {marks.QUOTE, marks.WHOLE}:
                open_quotes.append(Quoted.WHOLE if sign == marks.WHOLE else Quoted.YES)
            elif sign == marks.CLOSE:
                del open_quotes[-1:]
            else:
                in_signature += 1 if sign == marks.SIGNATURE else -1
        if in_signature > 0:
            signatures.add(len(lines))
        unmarked = Quoted.SOFT if part[:1] == ">" else Quoted.NO
        lines.append(part)
        quoted.append(open_quotes[0] if open_quotes else unmarked)
    tails = starts[marks.TAIL] | {start for start in starts[marks.RULED] if looks_like_header(lines, start)}
    return Document(lines, quoted, frozenset(tails), frozenset(starts[marks.INTRODUCTION]), frozenset(signatures))


def _parts(line: str) -> list[tuple[str, str]]:
    """(marks, text behind them) for each piece of a line. Marks behind nothing but quote marks stand at its begin."""
    if line.isascii() or max(line) < marks.QUOTE:
        return [("", line)]
    pieces = _MARKS.split(line)  # text, marks, text, marks, … text
    signs, text = "", pieces[0]
    parts: list[tuple[str, str]] = []
    for more_signs, more in zip(pieces[1::2], pieces[2::2], strict=True):
        if text.strip("> "):
            parts.append((signs, text))
            signs, text = "", ""
        signs, text = signs + more_signs, text + more
    return [*parts, (signs, text)]
