"""The project's own corpus: each mail in tests/corpus/mail has a twin (.json) with what a person would read in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from sync.mail import classify_message, understand
from sync.message import Json, Message, message_from_json, message_to_json

CORPUS = Path(__file__).parents[1] / "corpus" / "mail"
NAMES = sorted(path.stem for path in CORPUS.glob("*.eml"))


def _case(name: str) -> tuple[Message, dict[str, Json]]:
    message = understand((CORPUS / f"{name}.eml").read_bytes())
    assert isinstance(message, Message)
    return message, cast("dict[str, Json]", json.loads((CORPUS / f"{name}.json").read_text("utf-8")))


def test_the_corpus_is_there() -> None:
    assert len(NAMES) >= 300


@pytest.mark.parametrize("name", NAMES)
def test_mail_reads_as_its_twin_says(name: str) -> None:
    message, expected = _case(name)
    if "text" in expected:
        assert message.text == expected["text"]
    if "contains" in expected:
        assert str(expected["contains"]) in message.text
    assert message.subject == expected["subject"]
    assert (message.author.value if message.author else None) == expected["author"]
    assert [attachment.filename for attachment in message.attachments] == expected["attachments"]
    assert message.legibility.value == expected["legibility"]
    if "name" in expected:
        assert message.author is not None
        assert message.author.name == expected["name"]
    if "sent_at" in expected:
        assert (message.sent_at.isoformat() if message.sent_at else None) == expected["sent_at"]
    if "note" in expected:
        assert any(str(expected["note"]) in note for note in message.notes)
    if "notes" in expected:
        assert list(message.notes) == expected["notes"]
    if "headers" in expected:
        assert dict(message.headers) == expected["headers"]
    if "recipients" in expected:
        assert [one.value for one in message.recipients] == expected["recipients"]
    verdict = classify_message(message)
    assert verdict.mail_class.value == expected.get("class", "person")
    assert verdict.rule == expected.get("rule", "")


@pytest.mark.parametrize("name", NAMES)
def test_what_was_read_can_be_stored_and_comes_back(name: str) -> None:
    message, _ = _case(name)
    stored = message_to_json(message)
    assert "\\u0000" not in stored
    stored.encode("utf-8")
    assert message_from_json(stored) == message
