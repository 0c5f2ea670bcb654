"""What became of a send: everything is unclear unless it is positively known to be something else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.http import Answered, Failed, Phase, Why
from sync.inbox.messages import message_in
from sync.inbox.outcome import (
    Accepted,
    NotWritten,
    Refused,
    SendOutcome,
    Throttled,
    Unauthorised,
    Unclear,
    read_send,
    sequence_of,
)
from sync.message import Json
from tests.unit.inbox_stub import message_body, refused, stored

NOW = datetime(2026, 3, 12, 14, 3, tzinfo=UTC)
SENT = message_body()


def read(status: int, body: Json | bytes, **headers: str) -> SendOutcome:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_send(Answered(status, {name.replace("_", "-"): v for name, v in headers.items()}, content), SENT, NOW)


def test_200_with_the_message_is_accepted() -> None:
    outcome = read(200, {"message": stored(SENT, 42, appId="app-1")}, x_wix_request_id="req-1")
    assert outcome == Accepted("42", 42, NOW, "req-1", "app-1", text_changed=False)


def test_numbers_where_decimal_strings_are_documented_are_the_same_id() -> None:
    message = stored(SENT, 42) | {"id": 42, "sequence": 42}
    outcome = read(200, {"message": message})
    assert isinstance(outcome, Accepted)
    assert (outcome.message_id, outcome.sequence) == ("42", 42)
    listed = message_in(message, timedelta())
    assert listed is not None
    assert (listed.id, listed.sequence) == ("42", 42)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>welcome</html>",
        b'{"message": {"id": "1"',
        [],
        {},
        {"message": None},
        {"message": {}},
        {"message": {"id": ""}},
        {"message": {"id": True}},
        {"message": {"id": [5]}},
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_200_that_does_not_say_which_message_it_became_is_unclear(body: Json | bytes) -> None:
    outcome = read(200, body)
    assert isinstance(outcome, Unclear)
    assert outcome.status == 200


@pytest.mark.parametrize(
    "status", [201, 202, 204, 206, 301, 302, 307, 308, 500, 501, 502, 503, 504, 520, 599, 100, 700]
)
def test_other_statuses_than_200_and_4xx_are_unclear(status: int) -> None:
    for body in (b"", json.dumps({"message": stored(SENT)}).encode(), json.dumps(refused("SOME_CODE")).encode()):
        outcome = read(status, body)
        assert isinstance(outcome, Unclear)
        assert outcome.status == status


@pytest.mark.parametrize("status", [400, 402, 404, 405, 409, 410, 412, 413, 422, 425, 428])
def test_a_4xx_in_the_inboxs_own_words_is_a_refusal(status: int) -> None:
    outcome = read(status, refused("INVALID_MEDIA_URL"), x_wix_request_id="req-9")
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.code, outcome.request_id) == (status, "inbox.invalid_media_url", "req-9")
    assert outcome.conversation_gone is (status == 404)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 407, 409, 422, 451])
@pytest.mark.parametrize("body", [b"", b"<html>blocked</html>", b"[]", b'{"error":"x"}'])
def test_a_4xx_that_is_not_the_inboxs_tells_nothing(status: int, body: bytes) -> None:
    outcome = read(status, body)
    assert outcome == Unclear(status, "inbox.foreign_answer", outcome.sentence)  # type: ignore[union-attr]


@pytest.mark.parametrize("status", [408, 444, 460, 499])
def test_somebody_on_the_way_who_gave_up_waiting_tells_nothing(status: int) -> None:
    assert isinstance(read(status, refused("TIMEOUT")), Unclear)


@pytest.mark.parametrize("status", [413, 414, 415, 431])
def test_too_large_is_a_refusal_whoever_says_so(status: int) -> None:
    outcome = read(status, b"<html>nginx</html>")
    assert isinstance(outcome, Refused)
    assert outcome.code == f"inbox.status_{status}"


@pytest.mark.parametrize("code", ["CONVERSATION_NOT_FOUND", "NOT_OWNED_BY_BUSINESS", "IDENTITY_DOES_NOT_MATCH"])
def test_a_conversation_that_is_gone_is_told_apart(code: str) -> None:
    outcome = read(400, refused(code))
    assert isinstance(outcome, Refused)
    assert outcome.conversation_gone


def test_401_is_about_the_credentials() -> None:
    for body in (b"", json.dumps(refused("UNAUTHENTICATED")).encode()):
        outcome = read(401, body)
        assert isinstance(outcome, Unauthorised)
        assert outcome.code == "inbox.credentials_refused"


@pytest.mark.parametrize("code", ["NO_INBOX_INSTANCE", "NOT_JOINED_CHATROOM"])
def test_401_with_the_code_of_a_missing_inbox_is_not_about_the_credentials(code: str) -> None:
    outcome = read(401, refused(code))
    assert isinstance(outcome, Unauthorised)
    assert outcome.code == "inbox.no_instance"
    assert "site_id" in outcome.next_step


def test_403_in_the_inboxs_own_words_is_about_the_site() -> None:
    outcome = read(403, refused("PERMISSION_DENIED"))
    assert isinstance(outcome, Unauthorised)
    assert outcome.code == "inbox.not_permitted"


def test_404_of_a_missing_inbox_is_no_message_refused() -> None:
    outcome = read(404, refused("INBOX_INSTANCE_NOT_FOUND"))
    assert isinstance(outcome, Unauthorised)
    assert outcome.code == "inbox.no_instance"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("Thu, 12 Mar 2026 14:04:00 GMT", 60.0),
        ("Thu, 12 Mar 2026 14:00:00 GMT", 0.0),
        ("Thu, 12 Mar 2126 14:00:00 GMT", 86_400.0),
        ("99999999", 86_400.0),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float | None) -> None:
    assert read(429, b"", retry_after=header) == Throttled(seconds)
    unclear = read(503, b"", retry_after=header)
    assert isinstance(unclear, Unclear)
    assert unclear.retry_after_seconds == seconds


def test_429_without_retry_after_is_throttled() -> None:
    assert read(429, b"slow down") == Throttled(None)


@pytest.mark.parametrize("why", list(Why))
@pytest.mark.parametrize("phase", list(Phase))
def test_without_an_answer_only_the_evidence_counts(why: Why, phase: Phase) -> None:
    assert isinstance(read_send(Failed(True, phase, why, "no"), SENT, NOW), Unclear)
    assert isinstance(read_send(Failed(False, phase, why, "no"), SENT, NOW), NotWritten)


def test_a_changed_text_is_seen_and_a_changed_form_is_not() -> None:
    def changed(text: str, **more: Json) -> bool:
        content: Json = {"basic": {"items": [{"text": text}]}, "contentType": "BASIC", **more}
        outcome = read_send(
            Answered(200, {}, json.dumps({"message": stored(sent, 1, content=content)}).encode()), sent, NOW
        )
        assert isinstance(outcome, Accepted)
        return outcome.text_changed

    sent = message_body("Grüße\r\n  aus Köln")
    assert not changed("Grüße\r\n  aus Köln")
    assert not changed("Gru\u0308ße\n aus Köln", previewText="something else")
    assert changed("Grüße aus Bonn")
    assert changed("")


def test_an_answer_without_content_is_accepted_unjudged() -> None:
    outcome = read(200, {"message": {"id": "7"}})
    assert outcome == Accepted("7", 7, None)


@pytest.mark.parametrize(
    ("message", "sequence"),
    [({"sequence": "12", "id": "9"}, 12), ({"sequence": 13}, 13), ({"id": "14"}, 14), ({"id": "a-guid"}, 0), ({}, 0),
     ({"sequence": True, "id": "15"}, 15), ({"sequence": "9" * 40, "id": "x"}, 0)],
)  # fmt: skip
def test_the_sequence_is_read_from_either_field(message: dict[str, Json], sequence: int) -> None:
    assert sequence_of(message) == sequence


def test_nothing_an_answer_quotes_reaches_a_sentence() -> None:
    for status in (400, 401, 403, 404, 409, 429, 500):
        body: Json = {
            "message": "Bearer geheim jo@example.com",
            "details": {
                "applicationError": {"code": "geheim jo@example.com", "description": "geheim", "data": {"x": "geheim"}},
                "validationError": {"fieldViolations": [{"field": "geheim@example.com", "description": "geheim"}]},
            },
        }
        said = repr(read(status, body, x_wix_request_id="geheim\njo@example.com", retry_after="geheim"))
        assert "geheim" not in said
        assert "jo@" not in said


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["message", "id", "sequence", "createdDate", "content", "details", "applicationError", "code", "data",
         "validationError", "fieldViolations", "field", "appId", "basic", "items", "text"]), inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@given(status=st.integers(100, 599), body=json_values | st.binary(max_size=50))
def test_no_answer_whatever_makes_it_raise(status: int, body: Json | bytes) -> None:
    outcome = read(status, body)
    if isinstance(outcome, Accepted):
        assert status == 200
    if isinstance(outcome, Refused | Unauthorised | Throttled):
        assert 400 <= status < 500
    assert not isinstance(outcome, NotWritten)
