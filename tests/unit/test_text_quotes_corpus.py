"""The share of the replies' corpus that is read exactly right: printed with every run, and held by a floor.

Each mail in tests/corpus/replies has a twin (.json): the new words as a person would copy them out, with the signature
that stands below them. docs/quotes.md keeps the figures.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from sync.mail import understand
from sync.message import Message
from tests.corpus.make_replies import REPLIES, files

DOCUMENT = Path(__file__).parents[2] / "docs" / "quotes.md"
FLOOR_COMPOSED = 1.0
FLOOR_BY_HAND = 1.0
"""Raise them when the rules get better; never lower them."""


@dataclass(frozen=True)
class Read:
    """One mail of the corpus, as it was read."""

    name: str
    program: str
    language: str
    right: bool
    signature_right: bool

    @property
    def by_hand(self) -> bool:
        return self.name.startswith("hand-")


@cache
def corpus() -> tuple[Read, ...]:
    return tuple(_read_all())


def _read_all() -> Iterator[Read]:
    for path in sorted(REPLIES.glob("*.eml")):
        twin: dict[str, str] = json.loads(path.with_suffix(".json").read_text("utf-8"))
        message = understand(path.read_bytes())
        assert isinstance(message, Message)
        text = message.reply.text if message.reply else message.text
        signature = message.reply.signature if message.reply else ""
        yield Read(
            path.stem, twin["program"], twin["language"], text == twin["text"], signature == twin.get("signature", "")
        )


def share_table() -> str:
    """The shares by program and by language, as docs/quotes.md shows them."""
    lines = ["| | replies | exactly right |", "| --- | --: | --: |"]
    composed = [one for one in corpus() if not one.by_hand]
    by_hand = [one for one in corpus() if one.by_hand]
    lines.append(_row("**composed, all**", composed))
    lines += [_row(name, [one for one in composed if one.program == name]) for name in _names(composed, "program")]
    lines += [_row(name, [one for one in composed if one.language == name]) for name in _names(composed, "language")]
    lines.append(_row("**written by hand, all**", by_hand))
    lines += [_row(name, [one for one in by_hand if one.program == name]) for name in _names(by_hand, "program")]
    return "\n".join(lines)


def _names(reads: list[Read], field: str) -> list[str]:
    return sorted(Counter(getattr(one, field) for one in reads))


def _row(name: str, reads: list[Read]) -> str:
    return f"| {name} | {len(reads)} | {100 * _share(reads):.1f} % |"


def _share(reads: list[Read]) -> float:
    return sum(one.right for one in reads) / len(reads)


def test_the_corpus_is_large_enough() -> None:
    assert sum(not one.by_hand for one in corpus()) >= 400
    assert sum(one.by_hand for one in corpus()) >= 100
    assert len({one.language for one in corpus()}) >= 12


def test_composed_replies_are_what_the_program_makes() -> None:
    assert [name for name, content in files() if (REPLIES / name).read_bytes() != content] == []


def test_the_share_read_exactly_right_does_not_fall(capsys: pytest.CaptureFixture[str]) -> None:
    composed = [one for one in corpus() if not one.by_hand]
    by_hand = [one for one in corpus() if one.by_hand]
    with capsys.disabled():
        print(f"\nreplies read exactly right: composed {_share(composed):.1%} of {len(composed)}", end=", ")
        print(f"by hand {_share(by_hand):.1%} of {len(by_hand)}")
    wrong = [one.name for one in corpus() if not one.right]
    assert _share(composed) >= FLOOR_COMPOSED, wrong
    assert _share(by_hand) >= FLOOR_BY_HAND, wrong


def test_signatures_are_told_from_the_words_above_them() -> None:
    wrong = [one.name for one in corpus() if one.right and not one.signature_right]
    assert len(wrong) <= len(corpus()) * 0.02, wrong


def test_the_document_shows_the_present_shares() -> None:
    assert share_table() in DOCUMENT.read_text("utf-8")
