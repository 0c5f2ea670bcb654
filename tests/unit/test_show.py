"""Rows of the ledger as operators get them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from sync.errors import AuthError
from sync.ledger import (
    DeliveryRow,
    EventRow,
    Fault,
    InboxRow,
    InboxStatus,
    MessageLine,
    SourceRow,
    SourceStatus,
    StoryRow,
)
from sync.message import Direction, Participant, ParticipantKind
from sync.show import (
    REASONS,
    bug_of,
    delivery_counts,
    explain,
    fault_of,
    inbox_answer,
    message_counts,
    message_row,
    message_story,
    moment,
    source_answer,
    unknown_source_answer,
)
from sync.states import DeliveryState, MessageState, Reason

AT = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
ISO = "2026-11-23T07:00:00+00:00"


def inbox_row(*, state: str = "ok", code: str = "", fault: Fault | None = None) -> InboxRow:
    return InboxRow(
        name="main",
        site_id="site",
        state=state,
        code=code,
        sentence="the Inbox did not answer" if code else "",
        next_step="check base_url" if code else "",
        parked_at=AT,
        probe_at=AT,
        failures=3,
        budget={"used": 1},
        app_id="",
        fault=fault,
        first_seen_at=AT,
    )


def source_row(*, state: str = "ok", code: str = "") -> SourceRow:
    return SourceRow(
        id=1,
        name="support",
        inbox="main",
        connector="imap",
        account="alice@imap.example",
        generation=1,
        horizon=AT,
        paused=False,
        state=state,
        code=code,
        sentence="refused" if code else "",
        next_step="sign in" if code else "",
        failures=0,
        last_pass_at=AT,
        last_good_pass_at=None,
        next_pass_at=AT + timedelta(seconds=60),
        counts={},
        created_at=AT,
    )


def delivery_row(*, code: str = "") -> DeliveryRow:
    return DeliveryRow(
        id=5,
        message_id=3,
        participant_id=2,
        participant=Participant(ParticipantKind.EMAIL, "c@example.com", "C"),
        direction=Direction.PARTICIPANT_TO_BUSINESS,
        state=DeliveryState.SENT,
        reason="",
        code=code,
        sentence="400" if code else "",
        late=True,
        attempt=2,
        failures=1,
        resends=0,
        looks=1,
        read_back=True,
        doubled_with=None,
        contact_id="contact",
        conversation_id="conversation",
        inbox_message_id="1763881200000",
        sequence=9_007_199_254_740_993,
        request_id="",
        seen_at=AT,
        release_at=AT,
        retry_at=None,
        intent_at=AT,
        unknown_at=None,
        look_at=None,
        sent_at=AT,
    )


def message_line(*, state: MessageState = MessageState.LOADED, reason: str = "", detail: str = "") -> MessageLine:
    return MessageLine(
        id=3,
        source="support",
        inbox="main",
        stream="INBOX",
        epoch="1:7",
        external_id="42",
        occurrence=1,
        duplicate_of=None,
        state=state,
        reason=reason,
        detail=detail,
        arrived_at=AT,
        written_at=None,
        seen_at=AT,
        size_bytes=100,
        subject=None,
        fetch_attempts=0,
        fetch_at=None,
        backfill=False,
        late=False,
        raw_kept=False,
        deliveries=(delivery_row(code="inbox.refused"),),
    )


def test_every_reason_has_a_sentence() -> None:
    assert set(REASONS) == set(Reason)
    assert all(sentence and not sentence.endswith(".") for sentence in REASONS.values())


def test_a_reason_is_told_with_what_was_special() -> None:
    assert explain("duplicate", "message 17") == f"{REASONS[Reason.DUPLICATE]}: message 17"
    assert explain("duplicate", "") == REASONS[Reason.DUPLICATE]
    assert explain("", "only a detail") == "only a detail"
    assert explain("", "") == ""


def test_counts_name_every_state() -> None:
    assert delivery_counts({"sent": 3}) == {**dict.fromkeys(map(str, DeliveryState), 0), "sent": 3}
    assert message_counts({"gone": 2}) == {**dict.fromkeys(map(str, MessageState), 0), "gone": 2}


def test_times_are_iso_texts_or_none() -> None:
    assert moment(AT) == ISO
    assert moment(None) is None


def test_an_inbox_shows_why_it_is_parked_only_while_it_is() -> None:
    parked = inbox_answer(
        InboxStatus(inbox_row(state="parked", code="inbox.network_refused"), {"pending": 4}, AT, AT), AT
    )
    assert parked["fault"] == {
        "code": "inbox.network_refused",
        "sentence": "the Inbox did not answer",
        "next_step": "check base_url",
    }
    assert (parked["probe_at"], parked["oldest_pending_at"], parked["deliveries"]["pending"]) == (ISO, ISO, 4)
    well = inbox_answer(InboxStatus(inbox_row(code="inbox.network_refused"), {}, None, None), AT)
    assert (well["fault"], well["warning"], well["probe_at"], well["oldest_pending_at"]) == (None, None, None, None)


def test_a_warning_parks_nothing() -> None:
    row = inbox_row(fault=Fault("inbox.text_changed", "the Inbox changes texts", AT))
    answer = inbox_answer(InboxStatus(row, {}, None, None), AT)
    assert answer["state"] == "ok"
    assert answer["fault"] is None
    assert answer["warning"] is not None
    assert answer["warning"]["code"] == "inbox.text_changed"


def test_a_source_shows_its_fault_and_its_counts() -> None:
    status = SourceStatus(source_row(state="parked", code="imap.auth_refused"), {"loaded": 2}, {"loop": 1}, {}, 7, {})
    answer = source_answer(status)
    assert answer["fault"] == {"code": "imap.auth_refused", "sentence": "refused", "next_step": "sign in"}
    assert (answer["messages"]["loaded"], answer["skipped"], answer["before_horizon"]) == (2, {"loop": 1}, 7)
    assert answer["last_good_pass_at"] is None
    assert "alice" not in json.dumps(answer)
    assert source_answer(SourceStatus(source_row(), {}, {}, {}, 0, {}))["fault"] is None


def test_a_source_that_was_never_polled_has_the_same_shape() -> None:
    known = source_answer(SourceStatus(source_row(), {}, {}, {}, 0, {}))
    new = unknown_source_answer("fresh", "imap", "main")
    assert new.keys() == known.keys()
    assert (new["state"], new["fault"]) == ("unknown", None)


def test_a_message_in_a_list_and_its_story_agree() -> None:
    line = message_line(state=MessageState.SKIPPED, reason="loop", detail="mark found")
    row = message_row(line)
    event = EventRow(1, AT, "message.skipped", "main", "support", 3, None, "", {"why": "loop"})
    story = message_story(StoryRow(line, (event,)))
    shared = row.keys() & story.keys() - {"deliveries"}
    assert shared >= {"id", "source", "stream", "external_id", "state", "reason"}
    assert {key: value for key, value in row.items() if key in shared} == {
        key: value for key, value in story.items() if key in shared
    }
    assert story["explanation"] == "it is this program's own output: mark found"
    assert story["events"] == [
        {"at": ISO, "kind": "message.skipped", "code": "", "delivery_id": None, "detail": {"why": "loop"}}
    ]
    [brief], [full] = row["deliveries"], story["deliveries"]
    assert brief["participant"] == full["participant"] == "email:c@example.com"
    assert brief["fault"] == full["fault"]
    assert dict(brief["fault"] or {}) == {"code": "inbox.refused", "sentence": "400", "next_step": ""}
    assert full["sequence"] == "9007199254740993"  # a number of this size would be rounded by readers of JSON
    assert full["request_id"] is None
    json.dumps([row, story])


def test_an_error_is_told_with_code_and_next_step_and_a_bug_without_its_text() -> None:
    error = AuthError("refused", code="imap.auth_refused", next_step="sign in")
    assert fault_of(error) == {"code": "imap.auth_refused", "sentence": "refused", "next_step": "sign in"}
    told = fault_of(bug_of(KeyError("secret")))
    assert told["code"] == "internal.error"
    assert "KeyError" in told["sentence"]
    assert "secret" not in str(told)
    assert told["next_step"]


def test_what_waits_for_an_operator_while_deliveries_go_on_is_a_warning() -> None:
    long_ago = AT - timedelta(hours=1)
    row = InboxStatus(inbox_row(), {}, None, None, held={"rate_limited": 3}, oldest_unknown_at=long_ago)
    warning = inbox_answer(row, AT)["warning"]
    assert warning is not None
    assert warning["code"] == "inbox.not_read_back"
    assert "cannot be read back" in warning["sentence"]
    assert "3 deliveries are held" in warning["sentence"]
    assert "participant_messages_per_hour" in warning["sentence"]
    forged = InboxStatus(inbox_row(), {}, None, None, held={"unverified_sender": 2}, oldest_unknown_at=None)
    told = inbox_answer(forged, AT)["warning"]
    assert told is not None
    assert (told["code"], "2 deliveries are held" in told["sentence"]) == ("sender.unverified", True)
    assert "--reason unverified_sender" in told["next_step"]
    settling = InboxStatus(inbox_row(), {}, None, None, held={"outcome_unknown": 1}, oldest_unknown_at=AT)
    assert inbox_answer(settling, AT)["warning"] is None
