"""Words in twelve languages, dressed as mail in every shape of `tests/hardbag.py`: read, with their files."""

from __future__ import annotations

import pytest

from sync.mail import classify_message, understand
from sync.message import Message
from tests.hardbag import SHAPES, Hard, hard_mails

VARIATIONS = [one for one in hard_mails(2_000) if "-" in one.name and one.name.rpartition("-")[0] in dict(SHAPES)]


@pytest.mark.parametrize("shape", [name for name, _ in SHAPES])
def test_words_in_every_shape_are_read(shape: str) -> None:
    some = [one for one in VARIATIONS if one.name.rpartition("-")[0] == shape]
    assert len(some) > 30
    assert {one.name: problem for one in some if (problem := wrong_with(one))} == {}


def wrong_with(mail: Hard) -> str:
    message = understand(mail.raw)
    assert isinstance(message, Message)
    text = message.reply.text if message.reply is not None else message.text
    words = " ".join(mail.words.split())
    if not " ".join(text.split()).startswith(words):
        return f"{text[:80]!r} is not {words[:80]!r}"
    if missing := set(mail.files) - {one.filename for one in message.attachments}:
        return f"files missing: {missing}"
    is_machine = classify_message(message).mail_class.value in {"auto_reply", "list", "notification"}
    return "" if is_machine == mail.line else f"taken for {classify_message(message)}"
