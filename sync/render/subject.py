"""Subjects without their reply and forward marks, to tell whether a conversation's subject has changed."""

from __future__ import annotations

import re

from sync.text.canonical import canonical

MAX_KEY_CHARS = 255
MAX_MARKS = 30
"""Marks that are taken off one subject (`Re: Re: Re: …`)."""

_MARKS = (
    *("re", "fw", "fwd", "fs", "r", "i"),  # English, Italian
    *("aw", "antw", "antwort", "wg", "antwoord", "doorst", "betr"),  # German, Dutch
    *("réf", "rép", "rep", "tr", "rv", "res", "enc", "rif", "bls", "trs"),  # French, Spanish, Portuguese, Indonesian
    *("sv", "vs", "vb", "vl", "ilt", "yml", "ynt"),  # Scandinavian, Finnish, Turkish
    *("odp", "pd", "vá", "továbbítás", "atb", "atbild", "ats", "nv"),  # Polish, Hungarian, Baltic
    *("απ", "σχετ", "πρθ", "ответ", "отв", "пер", "пересл"),  # Greek, Russian
    *("תשובה", "השב", "הועבר", "رد", "إعادة توجيه", "ตอบกลับ", "ส่งต่อ"),  # Hebrew, Arabic, Thai
    *(
        "回复",
        "回覆",
        "答复",
        "答覆",
        "转发",
        "轉寄",
        "轉發",
        "返信",
        "転送",
        "회신",
        "답장",
        "전달",
    ),  # Chinese, Japanese, Korean
)
_MARK = re.compile(
    r"\s*(?:" + "|".join(sorted(map(re.escape, set(_MARKS)), key=len, reverse=True)) + r")"
    r"\.?\s{0,2}(?:\[\d{1,4}\]|\(\d{1,4}\)|\^\d{1,4}|\*\d{1,4}|\d{1,4})?\s{0,2}[:\N{FULLWIDTH COLON}]",
    re.IGNORECASE,
)
_TAG = re.compile(r"\s*(\[[^\[\]]{1,60}\])\s*")


def subject_key(subject: str) -> str:
    """What stays of a subject when its reply and forward marks (in the languages customers write in, also behind
    `[tags]`) are taken off; folded for comparison. Empty when nothing stays."""
    rest = subject[: MAX_KEY_CHARS * 4]
    tags: list[str] = []
    for _ in range(MAX_MARKS):
        mark = _MARK.match(rest)
        if mark is not None:
            rest = rest[mark.end() :]
            continue
        tag = _TAG.match(rest)
        if tag is None or _MARK.match(rest, tag.end()) is None:
            break
        if tag.group(1) not in tags:
            tags.append(tag.group(1))
        rest = rest[tag.end() :]
    rest = canonical(rest)
    kept = [tag for tag in tags if not rest.startswith(tag)]
    return canonical(" ".join([*kept, rest])).casefold()[:MAX_KEY_CHARS]
