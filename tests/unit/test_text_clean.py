"""Cleaning, canonical form, and limits in UTF-16 units."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.text import canonical, clean, clean_line, cut_units, split_units, utf16_length
from sync.text.clean import MAX_COMBINING_RUN
from tests.growth import assert_linear

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=400)
CLEAN_TEXT = ANY_TEXT.map(clean)
UNCLEAN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("a\x00b\x07c\x1b[0m", "abc[0m"),
        ("a\r\nb\rc\u2028d\x85e\x0bf", "a\nb\nc\nd\ne\nf"),
        ("tab\there", "tab\there"),
        ("\ufeffbom", "bom"),
        ("half \ud83d of a pair", "half \ufffd of a pair"),
        ("split \ud83d\ude00 pair", "split 😀 pair"),
        ("family 👨\u200d👩\u200d👧, Persian می\u200cخواهم", "family 👨\u200d👩\u200d👧, Persian می\u200cخواهم"),
        ("\x9b31m c1", "31m c1"),
    ],
)
def test_unwanted_characters_go_and_the_text_stays(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


@given(ANY_TEXT)
def test_clean_text_stays_clean_and_can_be_encoded(text: str) -> None:
    cleaned = clean(text)
    assert UNCLEAN.search(cleaned) is None
    assert clean(cleaned) == cleaned
    cleaned.encode("utf-8")


def test_a_text_is_cut_at_the_limit() -> None:
    assert len(clean("x" * 50, limit_chars=20)) == 20


@pytest.mark.parametrize("marks", ["\u0300\u0316", "\U0001e8d0", "\u0300\U0001e8d0"])
def test_endless_combining_marks_are_cut_and_normalise_quickly(marks: str) -> None:
    text = "z" + marks * 300_000
    assert len(clean(text, limit_chars=len(text))) == 1 + MAX_COMBINING_RUN
    assert len(canonical(text)) <= 1 + MAX_COMBINING_RUN
    assert_linear(canonical, text)


def test_a_line_has_no_line_ends_and_no_direction_overrides() -> None:
    assert clean_line("  invoice\r\n\t \u202egpj.exe ") == "invoice gpj.exe"
    assert clean_line("ä" * 100, limit_chars=7) == "ä" * 7


def test_canonical_form_ignores_line_ends_white_space_and_composition() -> None:
    assert canonical(" Grüße \r\n\r\n aus\u00a0Köln\t") == canonical(unicodedata.normalize("NFD", "Grüße\naus Köln"))
    assert canonical("one two") != canonical("one  twö")
    assert canonical("half \ud83d") == "half \ufffd"


@given(ANY_TEXT)
def test_canonical_form_is_its_own_canonical_form(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


@given(ANY_TEXT)
def test_utf16_length_is_what_utf16_takes(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2


@given(CLEAN_TEXT, st.integers(1, 60))
def test_pieces_fit_are_not_blank_and_lose_no_word_character(text: str, limit: int) -> None:
    limit = max(limit, 2)  # a character beyond 16 bits takes two units
    pieces = list(split_units(text, limit))
    assert all(piece.strip() and utf16_length(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(CLEAN_TEXT, st.integers(2, 60))
def test_a_cut_text_is_a_head_that_fits(text: str, limit: int) -> None:
    head = cut_units(text, limit)
    assert text.startswith(head)
    assert utf16_length(head) <= limit


def test_a_long_text_is_split_at_paragraphs_then_lines_then_words() -> None:
    assert list(split_units("aaaa bbbb\n\ncccc dddd eeee", 15)) == ["aaaa bbbb", "cccc dddd eeee"]
    assert list(split_units("aaaa bbbb\ncccc dddd eeee", 15)) == ["aaaa bbbb", "cccc dddd eeee"]
    assert list(split_units("aaaa bbbb cccc dddd", 12)) == ["aaaa bbbb", "cccc dddd"]
    assert list(split_units("aaaaaaaaaaaaaaaaaaaa", 8)) == ["aaaaaaaa", "aaaaaaaa", "aaaa"]


def test_the_indent_of_a_piece_stays() -> None:
    assert list(split_units("first line here\n    indented line", 20)) == ["first line here", "    indented line"]


@pytest.mark.parametrize("grapheme", ["😀", "👨\u200d👩\u200d👧", "👍🏽", "e\u0301", "🇩🇪", "❤\ufe0f"])
def test_a_cut_inside_a_word_keeps_graphemes_whole(grapheme: str) -> None:
    for limit in range(12, 24):
        pieces = list(split_units(grapheme * 30, limit))
        assert "".join(pieces) == grapheme * 30
        assert all(piece == grapheme * (len(piece) // len(grapheme)) for piece in pieces)


def test_splitting_a_megabyte_takes_linear_time() -> None:
    text = "\n😀" * 500_000
    assert len(list(split_units(text, 16_384))) >= 61
    assert_linear(lambda some: list(split_units(some, 16_384)), text)


def test_whatever_cleaning_takes_out_is_found_by_the_quick_look() -> None:
    """The quick look is `str.isprintable`: no code point that the thorough one finds may be printable."""
    overlooked = [
        code for code in range(sys.maxunicode + 1) if chr(code).isprintable() and clean(chr(code)) != chr(code)
    ]
    assert overlooked == []
