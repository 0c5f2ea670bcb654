"""The charset of text that declares none: told apart where it can be, and Western text is never taken for another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.mail.charset import decode
from sync.mail.guess import MIN_HIGH_BYTES, guess_codec

REPLIES = Path(__file__).parents[1] / "corpus" / "replies"
WESTERN = ("de", "en", "es", "fr", "it", "nl", "pt")


def texts_in(*languages: str) -> list[str]:
    twins = [json.loads(path.read_text("utf-8")) for path in sorted(REPLIES.glob("*.json"))]
    return sorted({twin["text"] for twin in twins if twin["language"] in languages})


@pytest.mark.parametrize(
    ("charset", "language"),
    [
        *(("koi8-r", "ru"), ("windows-1251", "ru"), ("euc-jp", "ja"), ("shift_jis", "ja"), ("gb2312", "zh")),
        ("windows-1255", "he"),
    ],
)
def test_replies_without_a_declared_charset_are_read(charset: str, language: str) -> None:
    read = 0
    for text in texts_in(language):
        try:
            data = text.encode(charset)
        except UnicodeEncodeError:
            continue
        if sum(byte > 0x7F for byte in data) >= MIN_HIGH_BYTES * 2:
            assert decode(data)[0] == text
            read += 1
    assert read >= 8


def test_western_text_is_never_taken_for_another() -> None:
    found = texts_in(*WESTERN)
    assert len(found) > 60
    for text in [*found, "Größe: ÄÖÜ äöü ß für Übergrößen, naïve façade, señor, mañana, déjà vu, Ærø Åså çà et là"]:
        data = text.encode("cp1252", "replace")
        assert guess_codec(data) is None, text
        assert decode(data)[0] == data.decode("cp1252")


def test_a_few_letters_tell_nothing() -> None:
    assert guess_codec("Да".encode("cp1251")) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_guessed_or_not_without_an_exception(data: bytes) -> None:
    codec = guess_codec(data)
    if codec is not None:
        data.decode(codec, "replace")
