"""The decisions of DESIGN.md §2, one sentence each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sync.addressing import address_message
from sync.connector import StreamRole
from sync.decide import (
    DAY_BYTES,
    Loaded,
    LookAgain,
    RetryRules,
    Seen,
    Skip,
    SourceRules,
    after_look,
    backoff_seconds,
    claim_of,
    claim_scope,
    fingerprint,
    identify,
    judge_headers,
    next_recheck,
    occurrences,
    retry_after_refusal,
    see,
)
from sync.delivery import OnTheWire, OrderKey
from sync.message import Direction, FingerprintParts, Found, Message, Participant, ParticipantKind
from sync.states import DeliveryState, Reason

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PARTS = FingerprintParts("<a@example.com>", "Mon, 23 Nov 2026 10:00:00 +0000", "Jo <jo@example.com>", "Hello")


def person(address: str) -> Participant:
    return Participant(ParticipantKind.EMAIL, address)


RULES = SourceRules(
    inbox="main",
    source="support",
    role=StreamRole.RECEIVED,
    horizon=None,
    horizon_slack=timedelta(0),
    known_until=NOW - timedelta(minutes=1),
    max_age=timedelta(days=30),
    duplicates="once",
    is_own=lambda address: address == "support@shop.example",
)


def found(**changes: object) -> Found:
    return replace(Found("1", NOW - timedelta(seconds=5), fingerprint=PARTS), **changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------ fingerprint and claims


@pytest.mark.parametrize(
    ("date", "later"),
    [
        ("Thu, 12 Mar 2026 10:00:00 +0100", "Fri, 13 mar 2026 10:00:00 +0100"),
        ("31 Jan 2026 10:00", "1 Feb 2026 10:00"),
        ("2026-03-12T10:00:00Z", "2026-03-13T10:00:00Z"),
        ("31 Dec 2025", "2026-01-01"),
    ],
)
def test_keys_lie_in_the_order_of_days(date: str, later: str) -> None:
    first, second = (fingerprint(replace(PARTS, date=one)) for one in (date, later))
    assert first[:DAY_BYTES] < second[:DAY_BYTES]
    claims = [claim_of(replace(_seen("1"), fingerprint=mark), 1) for mark in (first, second)]
    assert [claim[:DAY_BYTES] for claim in claims if claim] == [first[:DAY_BYTES], second[:DAY_BYTES]]


@pytest.mark.parametrize("date", ["", "yesterday", "0000-00-00", "39 Dec 9999", "9999-19-39", "1" * 5000])
def test_an_absurd_date_gives_a_fingerprint_like_any_other(date: str) -> None:
    assert len(fingerprint(replace(PARTS, date=date))) == 16


def test_refolded_headers_give_the_same_fingerprint() -> None:
    refolded = replace(PARTS, subject="  Hello ", date=PARTS.date.replace(" 2026", "\r\n 2026"))
    assert fingerprint(refolded) == fingerprint(PARTS)


@pytest.mark.parametrize("field", ["message_id", "date", "author", "subject"])
def test_each_of_the_four_headers_counts(field: str) -> None:
    assert fingerprint(replace(PARTS, **{field: "<other@example.com>"})) != fingerprint(PARTS)


def test_a_message_id_is_found_inside_comments() -> None:
    assert fingerprint(replace(PARTS, message_id="(x) <a@example.com> ")) == fingerprint(PARTS)


def test_policy_once_claims_for_the_inbox_and_each_for_the_source() -> None:
    once = claim_scope(inbox="main", source="a", duplicates="once", parts=PARTS)
    assert once == claim_scope(inbox="main", source="b", duplicates="once", parts=PARTS)
    each = claim_scope(inbox="main", source="a", duplicates="each", parts=PARTS)
    assert each != claim_scope(inbox="main", source="b", duplicates="each", parts=PARTS)


def test_without_a_message_id_another_source_recognises_nothing() -> None:
    weak = replace(PARTS, message_id="")
    assert claim_scope(inbox="main", source="a", duplicates="once", parts=weak) != claim_scope(
        inbox="main", source="b", duplicates="once", parts=weak
    )


def _seen(external_id: str, mark: bytes = b"f" * 16) -> Seen:
    return Seen(external_id, NOW, fingerprint=mark, claim_scope="inbox:main")


def _record(seen: list[Seen], in_view: dict[bytes, int], taken: dict[bytes, int]) -> list[int | None]:
    """What the ledger does with the pure parts: gives duplicates' originals, books new claims."""
    identities = identify(seen, occurrences(seen, in_view), taken)
    for number, (one, identity) in enumerate(zip(seen, identities, strict=True)):
        if identity.claim is not None:
            taken[identity.claim] = 100 + number
        if one.fingerprint is not None:
            in_view[one.fingerprint] = in_view.get(one.fingerprint, 0) + 1
    return [identity.duplicate_of for identity in identities]


def test_l5_two_mails_with_one_message_id_in_one_folder_are_two() -> None:
    assert _record([_seen("1"), _seen("2")], {}, {}) == [None, None]


def test_d12_the_nth_occurrence_in_a_new_epoch_is_the_nth_known_one() -> None:
    taken: dict[bytes, int] = {}
    _record([_seen("1"), _seen("2")], {}, taken)
    assert _record([_seen("11"), _seen("12"), _seen("13")], {}, taken) == [100, 101, None]


def test_a_moved_mail_is_recognised_in_the_other_folder() -> None:
    taken: dict[bytes, int] = {}
    _record([_seen("1")], {}, taken)
    assert _record([_seen("7")], {}, taken) == [100]


def test_a_skipped_row_claims_nothing() -> None:
    assert claim_of(replace(_seen("1"), skip=Skip(Reason.OWN_ADDRESS)), 1) is None


def test_a_message_without_fingerprint_is_never_a_duplicate() -> None:
    plain = replace(_seen("1"), fingerprint=None)
    assert _record([plain, plain], {}, {}) == [None, None]


# ------------------------------------------------------------------ horizon and age


@pytest.mark.parametrize(
    ("arrived", "written", "skipped"),
    [(-1, -1, True), (-1, 1, False), (1, -1, False), (1, 1, False), (-1, None, True), (1, None, False)],
)
def test_before_the_horizon_means_arrival_and_date(arrived: int, written: int | None, skipped: bool) -> None:
    rules = replace(RULES, horizon=NOW - timedelta(hours=5))
    one = found(
        arrived_at=NOW - timedelta(hours=5 - arrived),
        written_at=None if written is None else NOW - timedelta(hours=5 - written),
    )
    skip = judge_headers(one, "", rules, NOW)
    assert (skip is not None and skip.reason is Reason.BEFORE_HORIZON) is skipped


def test_a_date_in_the_future_does_not_lift_a_message_over_the_horizon() -> None:
    rules = replace(RULES, horizon=NOW - timedelta(hours=5))
    one = found(arrived_at=NOW - timedelta(days=9), written_at=NOW + timedelta(days=400))
    skip = judge_headers(one, "", rules, NOW)
    assert skip is not None
    assert skip.reason is Reason.BEFORE_HORIZON


@pytest.mark.parametrize("live", [True, False], ids=["live", "at first sight"])
def test_what_was_written_before_rows_were_forgotten_is_left_out_however_lately_it_arrived(live: bool) -> None:
    rules = replace(RULES, forgotten_until=NOW - timedelta(days=7), known_until=RULES.known_until if live else None)
    skip = judge_headers(found(arrived_at=NOW, written_at=NOW - timedelta(days=8)), "", rules, NOW)
    assert skip is not None
    assert skip.reason is Reason.BEFORE_HORIZON
    assert judge_headers(found(arrived_at=NOW, written_at=NOW - timedelta(days=6)), "", rules, NOW) is None


def test_an_arrival_in_the_future_does_not_make_everything_after_it_late() -> None:
    assert see(found(arrived_at=NOW + timedelta(days=400)), "", RULES, NOW).arrived_at == NOW
    a_little_ahead = NOW + timedelta(minutes=5)
    assert see(found(arrived_at=a_little_ahead), "", RULES, NOW).arrived_at == a_little_ahead


def test_what_came_in_the_horizons_own_second_counts_as_later_once_the_first_look_is_over() -> None:
    rules = replace(RULES, horizon=NOW - timedelta(seconds=60) + timedelta(milliseconds=700))
    one = found(arrived_at=NOW - timedelta(seconds=60))
    assert judge_headers(one, "", rules, NOW) is not None
    assert judge_headers(one, "", replace(rules, horizon_slack=timedelta(seconds=1)), NOW) is None


def test_an_old_archive_appended_again_is_too_old() -> None:
    skip = judge_headers(found(written_at=NOW - timedelta(days=400)), "", RULES, NOW)
    assert skip is not None
    assert skip.reason is Reason.TOO_OLD


def test_an_archive_that_keeps_its_arrival_is_too_old() -> None:
    then = NOW - timedelta(days=400)
    skip = judge_headers(found(arrived_at=then, written_at=then), "", RULES, NOW)
    assert skip is not None
    assert skip.reason is Reason.TOO_OLD


def test_l3_mail_that_arrived_during_a_long_outage_is_not_too_old() -> None:
    rules = replace(RULES, known_until=NOW - timedelta(days=40))
    then = NOW - timedelta(days=35)
    assert judge_headers(found(arrived_at=then, written_at=then), "", rules, NOW) is None


def test_nothing_is_too_old_while_a_stream_is_loaded_for_the_first_time() -> None:
    then = NOW - timedelta(days=4000)
    rules = replace(RULES, known_until=None)
    assert judge_headers(found(arrived_at=then, written_at=then), "", rules, NOW) is None


# ------------------------------------------------------------------ own addresses and direction


def test_an_own_address_in_from_is_skipped_outside_sent_and_claims_nothing() -> None:
    seen = see(found(), "support@shop.example", RULES, NOW)
    assert seen.skip is not None
    assert seen.skip.reason is Reason.OWN_ADDRESS
    assert seen.claim_scope is None


def test_a_customers_mail_comes_from_its_author() -> None:
    message = Message("Hi", author=person("jo@example.com"), recipients=(person("support@shop.example"),))
    loaded = address_message(message, RULES)
    assert isinstance(loaded, Loaded)
    assert loaded.message.direction is Direction.PARTICIPANT_TO_BUSINESS
    assert [one.value for one in loaded.participants] == ["jo@example.com"]


def test_an_agents_mail_in_a_sent_folder_goes_to_each_customer_once() -> None:
    message = Message(
        "Hi",
        author=person("support@shop.example"),
        recipients=(
            person("jo@example.com"),
            person("support@shop.example"),
            person("al@example.com"),
            person("jo@example.com"),
        ),
    )
    loaded = address_message(message, replace(RULES, role=StreamRole.SENT))
    assert isinstance(loaded, Loaded)
    assert loaded.message.direction is Direction.BUSINESS_TO_PARTICIPANT
    assert [one.value for one in loaded.participants] == ["jo@example.com", "al@example.com"]


def test_a_customers_mail_filed_in_a_sent_folder_still_comes_from_the_customer() -> None:
    message = Message("Hi", author=person("jo@example.com"), recipients=(person("support@shop.example"),))
    loaded = address_message(message, replace(RULES, role=StreamRole.SENT))
    assert isinstance(loaded, Loaded)
    assert loaded.message.direction is Direction.PARTICIPANT_TO_BUSINESS


def test_an_alias_nobody_listed_still_sends_from_the_sent_folder() -> None:
    message = Message("Hi", author=person("info@shop.example"), recipients=(person("jo@example.com"),))
    loaded = address_message(message, replace(RULES, role=StreamRole.SENT))
    assert isinstance(loaded, Loaded)
    assert loaded.message.direction is Direction.BUSINESS_TO_PARTICIPANT


@pytest.mark.parametrize(
    ("message", "role", "reason"),
    [
        (Message("Hi"), StreamRole.RECEIVED, Reason.NO_IDENTITY),
        (Message("Hi", author=person("support@shop.example")), StreamRole.RECEIVED, Reason.OWN_ADDRESS),
        (Message("Hi", author=person("support@shop.example")), StreamRole.SENT, Reason.NO_IDENTITY),
        (
            Message(
                "Hi",
                author=person("support@shop.example"),
                recipients=tuple(person(f"c{n}@example.com") for n in range(51)),
            ),
            StreamRole.SENT,
            Reason.POLICY,
        ),
    ],
)
def test_messages_without_a_customer_are_skipped_with_the_reason(
    message: Message, role: StreamRole, reason: Reason
) -> None:
    verdict = address_message(message, replace(RULES, role=role))
    assert isinstance(verdict, Skip)
    assert verdict.reason is reason


# ------------------------------------------------------------------ retry and settle

RETRY = RetryRules(first_seconds=5, lane_hold_seconds=900, max_attempts=8)


def test_retries_double_and_together_hold_the_lane_no_longer_than_allowed() -> None:
    now, waits = NOW, []
    for failures in range(1, 100):
        retry_at = retry_after_refusal(failures, now, replace(RETRY, max_attempts=100))
        if retry_at is None:
            break
        waits.append((retry_at - now).total_seconds())
        now = retry_at
    assert waits[:4] == [5, 10, 20, 40]
    assert sum(waits) == RETRY.lane_hold_seconds


def test_an_outage_between_two_refusals_makes_a_message_no_older() -> None:
    week_later = NOW + timedelta(days=7)
    assert retry_after_refusal(2, week_later, RETRY) == week_later + timedelta(seconds=10)


def test_a_message_that_may_not_hold_its_lane_is_dead_at_once() -> None:
    assert retry_after_refusal(1, NOW, replace(RETRY, lane_hold_seconds=0)) is None


def test_a_message_refused_too_often_is_dead() -> None:
    assert retry_after_refusal(8, NOW, RETRY) is None


def test_backoff_doubles_up_to_its_cap() -> None:
    assert [backoff_seconds(n, 1, 5) for n in (1, 2, 3, 4, 100)] == [1, 2, 4, 5, 5]


def _wire(**changes: object) -> OnTheWire:
    row = OnTheWire(
        delivery_id=1,
        message_id=1,
        participant_id=1,
        participant=person("jo@example.com"),
        inbox="main",
        source="support",
        state=DeliveryState.UNKNOWN,
        attempt=1,
        conversation_id="c",
        contact_id="k",
        request="{}",
        request_hash="",
        sequence_mark=0,
        intent_at=NOW,
        answer_due_at=NOW + timedelta(seconds=40),
        order=OrderKey(NOW, "support", 0, 1),
        unknown_at=NOW,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_looks_grow_apart_and_the_last_one_begins_after_settling() -> None:
    early = after_look(_wire(), NOW + timedelta(seconds=1), settle_seconds=120, first_look_seconds=1)
    assert early == LookAgain(NOW + timedelta(seconds=2))
    late = after_look(_wire(looks=9), NOW + timedelta(seconds=100), settle_seconds=120, first_look_seconds=1)
    assert late == LookAgain(NOW + timedelta(seconds=120))
    over = after_look(_wire(looks=9), NOW + timedelta(seconds=120), settle_seconds=120, first_look_seconds=1)
    assert not isinstance(over, LookAgain)


def test_looks_for_a_second_copy_double_their_distance_and_end() -> None:
    def after(seconds: float) -> float | None:
        now = NOW + timedelta(seconds=seconds)
        at = next_recheck(NOW, now, first_seconds=120, until_seconds=1000)
        return None if at is None else (at - NOW).total_seconds()

    assert [after(seconds) for seconds in (0, 30, 120, 240, 700, 999)] == [120, 120, 240, 480, 1000, 1000]
    assert after(1000) is None
    assert next_recheck(NOW, NOW, first_seconds=120, until_seconds=0) is None


def test_a_clock_set_back_does_not_make_looks_for_a_second_copy_more_frequent() -> None:
    earlier = NOW - timedelta(days=3)
    assert next_recheck(NOW, earlier, first_seconds=120, until_seconds=1000) == earlier + timedelta(seconds=1000)
