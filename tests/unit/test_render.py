"""What a message looks like in a conversation (DESIGN.md §7): goldens, limits, and the canonical hash."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.message import Attachment, Direction, Json, Legibility, Message, Participant, ParticipantKind
from sync.render import RenderContext, canonical_hash, content_of, render, same_content, subject_key
from sync.render.message import MAX_TEXT_ITEMS, NO_TEXT
from sync.render.shapes import MAX_PREVIEW_UNITS, MAX_TEXT_UNITS
from sync.text import clean, utf16_length

GOLDENS = Path(__file__).parents[1] / "goldens" / "render"
REGENERATE = "INBOX_SYNC_WRITE_GOLDENS"
"""Set to 1 to write the goldens anew; then look at the difference before it is kept."""

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ANNA = Participant(ParticipantKind.EMAIL, "anna@example.com", "Anna Schmidt")
MAIL = Message(text="Where is my order?", author=ANNA, subject="Order 4711", sent_at=NOW - timedelta(seconds=20))
LIVE = RenderContext(Direction.PARTICIPANT_TO_BUSINESS, "Support mail", NOW, arrived_at=NOW, mailbox="support / INBOX")
AGENT = replace(LIVE, direction=Direction.BUSINESS_TO_PARTICIPANT)
FILES = (Attachment("invoice.pdf", "application/pdf", 1_234_567), Attachment("photo.jpg", "image/jpeg", 34_500))

CASES: dict[str, tuple[Message, RenderContext]] = {
    "customer-first": (MAIL, LIVE),
    "customer-same-subject": (replace(MAIL, subject="Re: Order 4711"), replace(LIVE, previous_subject="order 4711")),
    "customer-new-subject": (replace(MAIL, subject="Re: Refund"), replace(LIVE, previous_subject="order 4711")),
    "customer-late": (
        replace(MAIL, sent_at=datetime(2026, 11, 22, 23, 3, tzinfo=UTC)),
        replace(LIVE, time_zone="Europe/Berlin"),
    ),
    "customer-late-last-year": (replace(MAIL, sent_at=datetime(2025, 3, 12, 14, 3, tzinfo=UTC)), LIVE),
    "customer-old": (
        replace(MAIL, sent_at=datetime(2026, 11, 20, 8, 0, tzinfo=UTC)),
        replace(LIVE, arrived_at=datetime(2026, 11, 20, 8, 0, tzinfo=UTC)),
    ),
    "customer-backfill": (replace(MAIL, sent_at=None), replace(LIVE, backfill=True, send_notifications=True)),
    "customer-notify-staff": (MAIL, replace(LIVE, send_notifications=True)),
    "customer-attachments": (replace(MAIL, attachments=FILES), LIVE),
    "customer-attachments-only": (replace(MAIL, text=" \n", subject="", attachments=FILES[:1]), LIVE),
    "customer-empty": (replace(MAIL, text="\n", subject=""), LIVE),
    "customer-subject-only": (replace(MAIL, text=""), LIVE),
    "customer-reference-and-icon": (
        MAIL,
        replace(LIVE, reference="ref support-17", badge_icon_url="https://static.example/mail.png"),
    ),
    "agent-reply": (replace(MAIL, text="It is on its way."), replace(AGENT, send_notifications=True)),
    "agent-to-three-customers": (MAIL, replace(AGENT, customers=("Anna Schmidt", "bo@example.com", "Cem"))),
    "agent-to-one-customer": (MAIL, replace(AGENT, customers=("Anna Schmidt",))),
    "partial": (replace(MAIL, legibility=Legibility.PARTIAL, notes=("The content was not loaded.",)), LIVE),
    "customer-with-others": (MAIL, replace(LIVE, customers=("Bo", "cem@example.com"))),
    "sender-not-verified": (
        replace(MAIL, notes=("Sender not verified: this may not come from example.com.",)),
        LIVE,
    ),
    "activity-auto-reply": (
        replace(MAIL, activity="Automatic reply", subject="Out of office", text="I am away\n\nuntil Monday.\n"),
        replace(LIVE, send_notifications=True, previous_subject="order 4711"),
    ),
    "activity-long-with-files": (
        replace(
            MAIL,
            activity="Mailing list",
            text="News and more news. " * 100,
            notes=("Not brought over: a.pdf, b.jpg.",),
            sent_at=datetime(2026, 11, 22, 23, 3, tzinfo=UTC),
        ),
        replace(LIVE, reference="ref support-18"),
    ),
    "activity-of-several-lines": (
        replace(
            MAIL, activity="Delivery report", subject="Returned", text="Not delivered to x: 5.1.1\nIt was “Vase”\nsorry"
        ),
        LIVE,
    ),
    "activity-empty": (replace(MAIL, activity="Notification", subject="", text=" \n", author=None), LIVE),
    "unreadable": (replace(MAIL, text="", legibility=Legibility.UNREADABLE), LIVE),
    "unreadable-without-name": (
        replace(MAIL, author=replace(ANNA, name=""), subject="", legibility=Legibility.UNREADABLE),
        LIVE,
    ),
    "several-items": (replace(MAIL, text="\n\n".join(f"Paragraph {n}. " + "word " * 900 for n in range(8))), LIVE),
}


def _body(message: Message, ctx: RenderContext) -> dict[str, Json]:
    return cast("dict[str, Json]", render(message, ctx).body)


def _message(body: dict[str, Json]) -> dict[str, Json]:
    return cast("dict[str, Json]", body["message"])


def _texts(body: dict[str, Json]) -> list[str]:
    content = cast("dict[str, dict[str, list[dict[str, str]]]]", _message(body)["content"])
    return [item["text"] for item in content["basic"]["items"]]


@pytest.mark.parametrize("name", CASES)
def test_the_request_is_the_golden_one(name: str) -> None:
    message, ctx = CASES[name]
    rendered = render(message, ctx)
    golden = GOLDENS / f"{name}.json"
    now = {"body": rendered.body, "subject_key": rendered.subject_key, "hash": canonical_hash(rendered.body)}
    if os.environ.get(REGENERATE) == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(json.dumps(now, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    assert now == json.loads(golden.read_text("utf-8"))


def test_every_golden_has_its_case() -> None:
    assert {path.stem for path in GOLDENS.glob("*.json")} == set(CASES)


# ------------------------------------------------------------------------------------------------- the flag table


def test_a_customer_speaks_as_the_participant_and_only_the_business_sees_it() -> None:
    body = _body(MAIL, LIVE)
    assert body["sendAs"] == "PARTICIPANT"
    assert body["sendNotifications"] is False
    assert _message(body)["direction"] == "PARTICIPANT_TO_BUSINESS"
    assert _message(body)["visibility"] == "BUSINESS"
    assert _message(body)["silent"] is False
    assert _message(body)["badges"] == [{"text": "Support mail"}]


def test_an_agents_reply_is_sent_as_the_app_and_never_notifies() -> None:
    body = _body(MAIL, replace(AGENT, send_notifications=True))
    assert "sendAs" not in body
    assert body["sendNotifications"] is False
    assert _message(body)["direction"] == "BUSINESS_TO_PARTICIPANT"


def test_staff_are_notified_live_by_setting_and_never_by_a_backfill() -> None:
    assert _body(MAIL, replace(LIVE, send_notifications=True))["sendNotifications"] is True
    assert _body(MAIL, replace(LIVE, send_notifications=True, backfill=True))["sendNotifications"] is False


def test_no_request_names_a_target_channel_or_a_conversation() -> None:
    for message, ctx in CASES.values():
        text = json.dumps(render(message, ctx).body)
        assert "hannel" not in text
        assert "conversationId" not in text


@pytest.mark.parametrize(
    ("sent", "arrived", "silent"),
    [
        (timedelta(hours=25), timedelta(hours=25), True),
        (timedelta(hours=23), timedelta(hours=25), False),
        (timedelta(days=400), timedelta(0), False),  # the customer's clock is wrong
        (timedelta(days=-400), timedelta(hours=25), False),
        (None, timedelta(hours=25), True),
        (timedelta(hours=25), None, True),
        (None, None, False),
    ],
)
def test_only_what_was_written_and_arrived_long_ago_is_silent(
    sent: timedelta | None, arrived: timedelta | None, silent: bool
) -> None:
    message = replace(MAIL, sent_at=None if sent is None else NOW - sent)
    ctx = replace(LIVE, arrived_at=None if arrived is None else NOW - arrived)
    assert _message(_body(message, ctx))["silent"] is silent


def test_the_time_is_told_after_ten_minutes_and_not_for_the_future() -> None:
    assert _texts(_body(replace(MAIL, sent_at=NOW - timedelta(seconds=600)), LIVE))[-1] == "Where is my order?"
    assert _texts(_body(replace(MAIL, sent_at=NOW - timedelta(seconds=601)), LIVE))[-1] == "sent 23 November 11:49"
    assert _texts(_body(replace(MAIL, sent_at=NOW + timedelta(days=1)), LIVE))[-1] == "Where is my order?"


def test_an_unknown_time_zone_counts_as_utc() -> None:
    late = replace(MAIL, sent_at=NOW - timedelta(hours=1))
    for zone in ("Nowhere/Land", "../etc/passwd", ""):
        assert _texts(_body(late, replace(LIVE, time_zone=zone)))[-1] == "sent 23 November 11:00"


# ------------------------------------------------------------------------------------------------- limits


def test_a_long_text_is_split_and_the_rest_is_counted() -> None:
    text = "x" * (MAX_TEXT_UNITS * (MAX_TEXT_ITEMS + 1) + 5)
    texts = _texts(_body(replace(MAIL, text=text), LIVE))
    assert set(texts[1:-1]) == {"x" * MAX_TEXT_UNITS}
    assert len(texts) == 1 + MAX_TEXT_ITEMS + 1
    assert texts[-1] == f"The rest is not shown ({MAX_TEXT_UNITS + 5:,} characters)."


def test_a_text_that_just_fits_is_one_item() -> None:
    for text in ("x" * MAX_TEXT_UNITS, "😀" * (MAX_TEXT_UNITS // 2)):
        assert _texts(_body(replace(MAIL, text=text), LIVE))[1:] == [text]


@given(
    st.text(max_size=500).map(lambda text: text * 60),
    st.text(max_size=50),
    st.integers(0, 130),
    st.sampled_from(Legibility),
    st.integers(1, 3),
)
def test_every_request_keeps_the_limits(
    text: str, subject: str, files: int, legibility: Legibility, items: int
) -> None:
    message = Message(
        text=clean(text),
        author=ANNA,
        subject=subject,
        attachments=tuple(Attachment("n" * 200, "a/b", n) for n in range(files)),
        legibility=legibility,
        notes=(subject,) if subject else (),
    )
    body = _body(message, replace(LIVE, max_text_items=items, badge_text=subject, customers=(subject, text[:300])))
    texts = _texts(body)
    assert texts
    for item in texts:
        assert item.strip()
        assert 1 <= utf16_length(item) <= MAX_TEXT_UNITS
        item.encode("utf-8")
    preview = cast("dict[str, str]", _message(body)["content"]).get("previewText", "")
    assert utf16_length(preview) <= MAX_PREVIEW_UNITS
    assert same_content(body, {"message": _message(body)})


def test_an_empty_message_still_shows() -> None:
    assert _texts(_body(Message(text=""), LIVE)) == [NO_TEXT]


def test_a_message_without_badge_text_has_no_badge() -> None:
    assert "badges" not in _message(_body(MAIL, replace(LIVE, badge_text=" ")))


# ------------------------------------------------------------------------------------------------- subjects


@pytest.mark.parametrize(
    "subject",
    [
        "Order 4711",
        "RE: Order 4711",
        "AW: WG: order  4711",
        "Re[2]: Order 4711",
        "Re: Fwd: Re: ORDER 4711",
        "Antw.: Order 4711",
        "Odp: Order 4711",
        "Ответ: Order 4711",
        "回复：Order 4711",
        "Réf : Order 4711",
        "SV: Order 4711",
        "TR: Order 4711",
    ],
)
def test_reply_marks_do_not_make_a_subject_new(subject: str) -> None:
    assert subject_key(subject) == "order 4711"


def test_tags_stay_and_marks_behind_them_go() -> None:
    assert subject_key("[list] Re: Order") == subject_key("Re: [list] Order") == "[list] order"
    assert subject_key("Re: ") == ""
    assert subject_key("Regarding: Order") == "regarding: order"


def test_a_message_without_subject_keeps_the_conversations_subject() -> None:
    rendered = render(replace(MAIL, subject=""), replace(LIVE, previous_subject="order 4711"))
    assert rendered.subject_key == "order 4711"
    assert render(MAIL, LIVE).subject_key == "order 4711"


def test_a_hostile_subject_takes_no_time() -> None:
    assert len(subject_key("Re: [a] " * 20_000)) <= 255
    assert len(subject_key("[" * 20_000)) <= 255


# ------------------------------------------------------------------------------------------------- the canonical hash


def _answer(body: dict[str, Json]) -> dict[str, Json]:
    """What an Inbox makes of a request: other fields added, badges dropped, form of the texts changed."""
    message = cast("dict[str, Json]", json.loads(json.dumps(_message(body))))
    content = cast("dict[str, Json]", message["content"])
    content["contentType"] = "BASIC"
    content.pop("previewText", None)
    message.pop("badges", None)
    return {**message, "id": "1", "sequence": "1", "sender": {"appId": "x"}, "createdDate": "2026-11-23T12:00:00Z"}


def test_the_hash_is_the_same_for_the_request_the_answer_and_the_list() -> None:
    for message, ctx in CASES.values():
        body = _body(message, ctx)
        answer = _answer(body)
        assert canonical_hash({"conversationId": "c", **body}) == canonical_hash(body)
        assert canonical_hash({"message": answer}) == canonical_hash(answer) == canonical_hash(body)


def test_changed_form_is_the_same_content_and_changed_words_are_not() -> None:
    sent = _body(replace(MAIL, text="Grüße\naus Köln", subject=""), LIVE)
    same: Json = {
        "message": {**_message(sent), "content": {"basic": {"items": [{"text": "Gru\u0308ße\r\naus  Köln "}]}}}
    }
    other: Json = {"message": {**_message(sent), "content": {"basic": {"items": [{"text": "Grüße aus Bonn"}]}}}}
    assert same_content(sent, same)
    assert not same_content(sent, other)


def test_direction_visibility_order_and_files_count() -> None:
    base = {"direction": "A", "visibility": "BUSINESS", "content": {"basic": {"items": [{"text": "1"}, {"text": "2"}]}}}
    hashes = {
        canonical_hash(cast("Json", value))
        for value in (
            base,
            {**base, "direction": "B"},
            {**base, "visibility": "BUSINESS_AND_PARTICIPANT"},
            {**base, "content": {"basic": {"items": [{"text": "2"}, {"text": "1"}]}}},
            {**base, "content": {"basic": {"items": [{"text": "1"}, {"file": {"filename": "2"}}]}}},
            {**base, "content": {"basic": {"items": [{"text": "1 2"}]}}},
            {**base, "content": {"minimal": {"text": "3"}}},
            {**base, "content": {"previewText": "1"}},
        )
    }
    assert len(hashes) == 8


def test_media_urls_that_were_signed_anew_do_not_count() -> None:
    one: Json = {"content": {"basic": {"items": [{"image": {"filename": "a.png", "url": "https://x/1"}}]}}}
    two: Json = {"content": {"basic": {"items": [{"image": {"filename": "a.png", "url": "https://x/2", "width": 1}}]}}}
    assert canonical_hash(one) == canonical_hash(two)


KEYS = st.sampled_from(["message", "content", "basic", "items", "text", "form", "fields", "minimal", "file"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20))
def test_any_json_has_a_hash(value: Json) -> None:
    assert len(canonical_hash(value)) == 64
    assert isinstance(content_of(value), tuple)
