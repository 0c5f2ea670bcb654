"""The rate limit of a participant: what is too much within an hour is held, and nothing of it is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sync.decide import Hold, HourCount, count_arrival
from sync.ledger import Recorded
from sync.states import DeliveryState, Reason
from tests.ledger.desk import NOON, Desk, loaded

HOUR = 3600.0


def live(desk: Desk) -> None:
    """The first look is over."""
    desk.record(finished=True)


def bring(desk: Desk, *arrived: float, name: str = "anna", limit: int = 3, backfill: bool = False) -> Recorded:
    seen = [desk.seen(None, loaded(name), arrived=at) for at in arrived]
    return desk.record(*seen, view=replace(desk.view(), hourly_limit=limit), now=desk.at(1), backfill=backfill)


def states(desk: Desk, recorded: Recorded) -> list[str]:
    return [state for one in recorded.new_message_ids for state in desk.delivery_states(one)]


def test_what_is_too_much_within_an_hour_is_held_with_the_limit_in_its_story(desk: Desk) -> None:
    live(desk)
    recorded = bring(desk, 1, 2, 3, 4, 5)
    assert states(desk, recorded) == ["pending"] * 3 + ["held"] * 2
    assert (recorded.deliveries, len(recorded.limited)) == (3, 1)
    held = desk.line(recorded.new_message_ids[-1]).deliveries[0]
    assert (held.reason, held.code) == (Reason.RATE_LIMITED, "participant.rate_limited")
    assert "more than 3 messages" in held.sentence
    [event] = desk.ledger.events.of_message(recorded.new_message_ids[-1])
    assert (event.kind, event.detail) == (
        "delivery.held",
        {"limit": 3, "setting": "participant_messages_per_hour", "count": 5},
    )
    status = desk.ledger.overview.status()
    assert status.inboxes[0].held == {"rate_limited": 2}


def test_it_is_told_once_an_hour(desk: Desk) -> None:
    live(desk)
    limited = [len(bring(desk, at).limited) for at in range(1, 9)]
    assert sum(limited) == 1
    later = [len(bring(desk, HOUR + at).limited) for at in range(1, 9)]
    assert sum(later) == 1


def test_neither_a_restart_nor_another_participant_changes_the_count(desk: Desk) -> None:
    live(desk)
    assert states(desk, bring(desk, 1, 2)) == ["pending"] * 2
    assert states(desk, bring(desk, 3, 4, name="ben")) == ["pending"] * 2
    assert states(desk, bring(desk, 5, 6)) == ["pending", "held"]


def test_the_hour_goes_by_arrival_so_that_an_outage_of_ours_holds_nothing(desk: Desk) -> None:
    live(desk)
    recorded = bring(desk, *(number * HOUR / 2 for number in range(40)))
    assert set(states(desk, recorded)) == {"pending"}


@pytest.mark.parametrize("what", ["first look", "backfill", "no limit"])
def test_what_is_not_counted(desk: Desk, what: str) -> None:
    if what != "first look":
        live(desk)
    recorded = bring(desk, *range(1, 20), backfill=what == "backfill", limit=0 if what == "no limit" else 3)
    assert set(states(desk, recorded)) == {"pending"}
    if what == "first look":
        live(desk)
        assert states(desk, bring(desk, 30, 31, 32, 33)) == ["pending"] * 3 + ["held"]


def test_contents_that_are_fetched_later_are_counted_too(desk: Desk) -> None:
    first = desk.record(*(desk.seen(f"first {n}") for n in range(5)), finished=True, now=desk.now).new_message_ids
    found = desk.record(*(desk.seen(n, arrived=n) for n in range(1, 6)), now=desk.at(1)).new_message_ids
    load = desk.ledger.messages.load_contents
    assert load(dict.fromkeys(first, loaded()), desk.at(2), desk.now, 3) == 5
    assert load(dict.fromkeys(found, loaded()), desk.at(2), desk.now, 3) == 3


def test_a_held_one_is_sent_by_a_retry_and_let_go_by_a_drop(desk: Desk) -> None:
    live(desk)
    *_, one, two = bring(desk, 1, 2, 3, 4, 5).new_message_ids
    [revived] = desk.ledger.messages.retry([one], desk.now, by="ada")
    [dropped] = desk.ledger.messages.drop([two], desk.now, by="ada")
    assert revived.moved
    assert dropped.moved
    assert desk.delivery_states(one) == ["pending"]
    assert desk.line(one).deliveries[0].late
    assert desk.states([two]) == ["skipped(operator)"]
    assert desk.line(two).deliveries[0].state is DeliveryState.SKIPPED
    told = desk.ledger.events.of_message(two)[-1]
    assert told.kind == "operator.drop"
    assert isinstance(told.detail, dict)
    assert told.detail["by"] == "ada"
    desk.send(next(row for row in desk.window() if row.message_id == one))
    assert desk.delivery_states(one) == ["sent"]


def test_counting_goes_by_the_hour_that_the_first_one_began() -> None:
    count = HourCount()
    for minutes in (0, 10, 59):
        count = count_arrival(count, NOON + timedelta(minutes=minutes))
    assert count == HourCount(NOON, 3)
    assert count_arrival(count, NOON - timedelta(minutes=1)) == count
    assert count_arrival(count, NOON + timedelta(minutes=60)) == HourCount(NOON + timedelta(minutes=60), 1)


def test_what_is_held_for_its_sender_uses_up_no_customers_share_and_tells_why(desk: Desk) -> None:
    """Or a forger could have the customer's own mail held."""
    live(desk)
    hold = Hold(Reason.UNVERIFIED_SENDER, "sender.unverified", "dmarc=fail")
    forged = [desk.seen(None, replace(loaded("anna"), hold=hold), arrived=at) for at in range(1, 6)]
    recorded = desk.record(*forged, view=replace(desk.view(), hourly_limit=3), now=desk.at(1))
    assert states(desk, recorded) == ["held"] * 5
    assert (recorded.deliveries, len(recorded.limited)) == (0, 0)
    held = desk.line(recorded.new_message_ids[0]).deliveries[0]
    assert (held.reason, held.code, held.sentence) == (Reason.UNVERIFIED_SENDER, "sender.unverified", "dmarc=fail")
    [event] = desk.ledger.events.of_message(recorded.new_message_ids[0])
    assert (event.kind, event.code) == ("delivery.held", "sender.unverified")
    assert desk.ledger.overview.status().inboxes[0].held == {"unverified_sender": 5}
    assert desk.ledger.messages.spooled_bytes() == 0
    assert states(desk, bring(desk, 6, 7, 8)) == ["pending"] * 3
    [moved] = desk.ledger.messages.retry([recorded.new_message_ids[0]], desk.at(2))
    assert moved.moved
    assert desk.delivery_states(recorded.new_message_ids[0]) == ["pending"]
