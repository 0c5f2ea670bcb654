"""IDLE as octets and moments: what is news, when it is renewed, and what ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.imap.config import MAX_IDLE_SECONDS, ImapConfig
from connectors.imap.idling import MAX_LINE_BYTES, Ended, Idling, Why

VALUES = {"host": "imap.example.com", "username": "support@example.com", "password": "s3cret-word"}


def idling(messages: int | None = 5, *, at: float = 0.0) -> Idling:
    """One that the server has taken into IDLE."""
    made = Idling(messages, renew_seconds=600, answer_seconds=60, announce_seconds=30)
    assert made.begin(at) == b"I1 IDLE\r\n"
    assert made.receive(b"+ idling\r\n", at) == b""
    assert made.idling
    return made


def test_more_messages_than_before_are_news_once() -> None:
    one = idling(5)
    assert one.receive(b"* 6 EXISTS\r\n* 1 RECENT\r\n", 1.0) == b""
    assert one.take_news()
    assert not one.take_news()
    one.receive(b"* 6 EXISTS\r\n", 2.0)
    assert not one.take_news()


def test_expunges_flags_and_signs_of_life_are_no_news() -> None:
    one = idling(1000)
    for left in range(999, -1, -1):
        one.receive(b"* 1 EXPUNGE\r\n* %d EXISTS\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* OK Still here\r\n" % left, 1.0)
    assert not one.take_news()
    assert one.ended is None


def test_a_mail_that_takes_the_place_of_a_removed_one_is_news() -> None:
    one = idling(5)
    one.receive(b"* 2 EXPUNGE\r\n* 5 EXISTS\r\n", 1.0)
    assert one.take_news()


def test_an_empty_folder_that_is_told_of_removals_stays_empty() -> None:
    one = idling(0)
    one.receive(b"* 1 EXPUNGE\r\n* 0 EXISTS\r\n", 1.0)
    assert not one.take_news()
    one.receive(b"* 1 EXISTS\r\n", 2.0)
    assert one.take_news()


def test_idle_is_renewed_before_29_minutes() -> None:
    one = Idling(5, renew_seconds=MAX_IDLE_SECONDS, answer_seconds=60, announce_seconds=30)
    one.begin(0.0)
    one.receive(b"+ idling\r\n", 0.0)
    assert one.due_at <= 29 * 60
    assert one.tick(one.due_at - 1) == b""
    assert one.tick(one.due_at) == b"DONE\r\n"
    assert one.receive(b"* 6 EXISTS\r\nI1 OK done\r\n", 1741.0) == b"I2 IDLE\r\n"
    assert one.take_news(), "what comes between DONE and its answer counts"
    one.receive(b"+ idling\r\n", 1742.0)
    assert one.idling
    assert one.due_at == 1742.0 + MAX_IDLE_SECONDS


def test_more_than_29_minutes_cannot_be_configured() -> None:
    with pytest.raises(ValidationError):
        ImapConfig.model_validate({**VALUES, "idle_renew_seconds": 1741})


@pytest.mark.parametrize("answered", ["", "+ idling\r\n"])
def test_a_silent_server_is_given_up(answered: str) -> None:
    """Half-open: nothing comes to IDLE, or to DONE."""
    one = Idling(5, renew_seconds=600, answer_seconds=60, announce_seconds=30)
    one.begin(0.0)
    if answered:
        one.receive(answered.encode(), 0.0)
    now = 0.0
    for _time in range(2):
        now = one.due_at
        one.tick(now)
    assert one.ended == Ended(Why.SILENT)
    assert now <= 660


@pytest.mark.parametrize("refusal", ["NO [LIMIT] not now", "BAD what is that?"])
def test_a_refusal_ends_it_with_the_servers_words(refusal: str) -> None:
    one = Idling(5, renew_seconds=600, answer_seconds=60, announce_seconds=30)
    one.begin(0.0)
    one.receive(f"I1 {refusal}\r\n".encode(), 0.0)
    assert one.ended == Ended(Why.REFUSED, refusal)


def test_a_good_bye_ends_it_and_so_does_the_end_of_the_stream() -> None:
    told, closed = idling(), idling()
    told.receive(b"* BYE autologout\r\n", 1.0)
    assert told.ended == Ended(Why.BYE, "autologout")
    closed.receive(b"", 1.0)
    assert closed.ended == Ended(Why.BYE)


def test_a_server_that_ends_idle_by_itself_is_asked_again() -> None:
    assert idling().receive(b"I1 OK enough\r\n", 9.0) == b"I2 IDLE\r\n"


def test_mail_that_a_poll_found_and_nobody_announced_is_a_frozen_view() -> None:
    one = idling()
    one.found_by_poll(6, 10.0)
    assert one.due_at == 40.0
    one.tick(39.0)
    assert one.ended is None
    one.tick(40.0)
    assert one.ended == Ended(Why.MISSED)


def test_a_notice_before_or_soon_after_the_poll_clears_the_doubt() -> None:
    before, after = idling(), idling()
    before.receive(b"* 6 EXISTS\r\n", 9.0)
    before.found_by_poll(6, 10.0)
    after.found_by_poll(6, 10.0)
    after.receive(b"* 6 EXISTS\r\n", 12.0)
    for one in (before, after):
        one.tick(100.0)
        assert one.ended is None


def test_mail_that_was_there_when_the_folder_was_opened_needs_no_notice() -> None:
    one = idling(6)
    one.found_by_poll(6, 10.0)
    one.tick(100.0)
    assert one.ended is None


def test_a_poll_that_counts_no_messages_is_believed_if_nothing_was_announced() -> None:
    one = idling(6)
    one.found_by_poll(None, 10.0)
    one.tick(100.0)
    assert one.ended == Ended(Why.MISSED)


def test_literals_are_passed_over_and_no_notice_is_taken_from_them() -> None:
    one = idling(5)
    one.receive(b"* 2 FETCH (BODY[] {14}\r\n* 9 EXISTS\r\n\r\n FLAGS ())\r\n", 1.0)
    assert not one.take_news()
    one.receive(b"* 6 EXISTS\r\n", 1.0)
    assert one.take_news()


def test_an_endless_line_ends_it() -> None:
    one = idling()
    one.receive(b"x" * (MAX_LINE_BYTES + 1), 1.0)
    assert one.ended == Ended(Why.GARBLED)


@given(st.lists(st.integers(1, 40), max_size=30))
def test_notices_mean_the_same_however_they_are_cut(cuts: list[int]) -> None:
    said = b"* 4 EXISTS\r\n* 3 FETCH (BODY[] {5}\r\nabc\r\n FLAGS ())\r\n* 1 EXPUNGE\r\n* 6 EXISTS\r\n* OK hm\r\n"
    one = idling(5)
    for cut in cuts:
        piece, said = said[:cut], said[cut:]
        if piece:
            one.receive(piece, 1.0)
    if said:
        one.receive(said, 1.0)
    assert one.take_news()
    assert one.ended is None
    one.receive(b"* 6 EXISTS\r\n", 1.0)
    assert not one.take_news()
