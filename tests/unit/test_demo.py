"""The demo's own judgement: it must see what is missing, doubled, foreign or out of order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from importlib.resources import files

import pytest

from sync.demo.play import DemoResult
from sync.demo.samples import OWN_ADDRESSES, Sample, Speaker, load_samples, moved, weeks_to_move
from sync.demo.verdict import Outcomes, Shown, expected_outcomes, judge

SAMPLES = load_samples()
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


def perfect_inbox() -> dict[str, list[Shown]]:
    inbox: dict[str, list[Shown]] = {}
    for sample in SAMPLES:
        for customer in sample.reaches:
            inbox.setdefault(customer, []).append(shown(sample))
    return inbox


def shown(sample: Sample) -> Shown:
    assert sample.speaker is not None
    return Shown(f"Subject\n…{sample.says}…\nsent 5 October 08:14", sample.speaker.direction, sample.files)


def conversation_of(customer: str, inbox: dict[str, list[Shown]]) -> list[str]:
    [verdict] = [one for one in judge(SAMPLES, inbox) if not one.ok]
    assert verdict.customer == customer
    return [*verdict.missing, *(f"doubled {mail}" for mail in verdict.doubled)]


ANNA = "anna.lindqvist@mejl.example"
TWIN = "t.herrera@correo.example"


def test_an_inbox_with_each_delivery_once_and_in_order_is_accepted() -> None:
    assert all(verdict.ok for verdict in judge(SAMPLES, perfect_inbox()))


def test_a_missing_message_is_named() -> None:
    inbox = perfect_inbox()
    del inbox[ANNA][2]
    assert conversation_of(ANNA, inbox) == ["10-yes-please.eml"]


def test_a_missing_file_is_seen() -> None:
    inbox = perfect_inbox()
    [mail] = inbox["t.nowak@listy.example"]
    inbox["t.nowak@listy.example"] = [replace(mail, files=mail.files[1:])]
    assert conversation_of("t.nowak@listy.example", inbox) == ["49-broken-cup.eml"]


def test_a_missing_conversation_is_seen() -> None:
    inbox = perfect_inbox()
    del inbox[ANNA]
    assert len(conversation_of(ANNA, inbox)) == 6


def test_a_doubled_message_is_named() -> None:
    inbox = perfect_inbox()
    inbox[ANNA].append(inbox[ANNA][0])
    assert conversation_of(ANNA, inbox) == ["doubled 02-blue-mug.eml"]


@pytest.mark.parametrize(("copies", "expected"), [(1, ["14-order-form-again.eml"]), (3, ["doubled 13-order-form.eml"])])
def test_identical_twins_must_both_be_there_and_no_third(copies: int, expected: list[str]) -> None:
    inbox = perfect_inbox()
    inbox[TWIN] = inbox[TWIN][:1] * copies
    assert conversation_of(TWIN, inbox) == expected


def test_messages_out_of_order_are_seen() -> None:
    inbox = perfect_inbox()
    inbox[ANNA][0], inbox[ANNA][1] = inbox[ANNA][1], inbox[ANNA][0]
    [verdict] = [one for one in judge(SAMPLES, inbox) if not one.ok]
    assert not verdict.in_order


def test_a_message_on_the_wrong_side_is_missing_there() -> None:
    inbox = perfect_inbox()
    inbox[ANNA][0] = Shown(inbox[ANNA][0].text, Speaker.SHOP.direction)
    assert conversation_of(ANNA, inbox) == ["02-blue-mug.eml"]


def test_a_message_in_a_strangers_conversation_is_foreign() -> None:
    [verdict] = [one for one in judge(SAMPLES, {**perfect_inbox(), "x@y.example": [Shown("hello", "?")]}) if not one.ok]
    assert (verdict.customer, verdict.foreign) == ("x@y.example", 1)


def test_a_result_lists_every_problem_as_a_sentence() -> None:
    inbox = perfect_inbox()
    del inbox[ANNA][2]
    expected = expected_outcomes(SAMPLES)
    counted = Outcomes(expected.mails, expected.deliveries - 1, expected.skipped, expected.dead)
    result = DemoResult(1.0, 3, "http://127.0.0.1/", expected, counted, judge(SAMPLES, inbox))
    assert result.problems[0] == f"10-yes-please.eml did not reach {ANNA}"
    assert len(result.problems) == 2


# ---------------------------------------------------------------------------------------------------- the samples


def test_the_samples_are_a_few_dozen_and_cover_what_goes_wrong() -> None:
    expected = expected_outcomes(SAMPLES)
    assert expected.mails >= 50
    skipped = ("before_horizon", "duplicate", "no_identity", "own_address", "site_notification")
    assert expected.skipped == dict.fromkeys(skipped, 1)
    assert expected.dead == {"unreadable": 1}
    assert {len(sample.reaches) for sample in SAMPLES if sample.speaker is Speaker.SHOP} == {1, 3}


def test_every_mail_of_the_package_is_in_the_manifest() -> None:
    there = {path.name for path in (files("sync.demo") / "mails").iterdir() if path.name.endswith(".eml")}
    assert there == {sample.file for sample in SAMPLES}


def test_words_to_look_for_tell_the_mails_apart() -> None:
    """Else a doubled mail could hide behind a missing one."""
    bodies = {sample.file: sample.says for sample in SAMPLES if sample.says}
    shared = {says for says, count in Counter(bodies.values()).items() if count > 1}
    assert shared == {'Item: dinner plate "Sandbank", quantity: 2'}
    for file, says in bodies.items():
        assert not [other for other, words in bodies.items() if other != file and says != words and says in words]


def test_no_customer_is_the_shop_itself() -> None:
    domain = OWN_ADDRESSES[0].removeprefix("*")
    assert not [customer for sample in SAMPLES for customer in sample.reaches if customer.endswith(domain)]


def test_dates_move_by_whole_weeks_to_the_week_before_now() -> None:
    move = weeks_to_move(SAMPLES, NOW)
    newest = max(sample.arrived for sample in SAMPLES) + move
    assert NOW - timedelta(weeks=1) < newest <= NOW
    for sample in SAMPLES:
        before, after = (message_from_bytes(raw)["Date"] for raw in (sample.raw(), moved(sample.raw(), move)))
        if before is not None:
            assert parsedate_to_datetime(after) - parsedate_to_datetime(before) == move
            assert before[:3] == after[:3], "Thursdays stay Thursdays"


def test_moving_changes_nothing_but_the_date() -> None:
    for sample in SAMPLES:
        raw, later = sample.raw(), moved(sample.raw(), timedelta(weeks=10))
        assert raw.splitlines()[1:] == later.splitlines()[1:]
