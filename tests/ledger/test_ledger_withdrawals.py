"""Messages that their service takes back before they are delivered: an internal note must not reach a customer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from sync.decide import Hold, Loaded, Seen, Skip
from sync.ledger import StoryRow
from sync.states import Reason
from tests.ledger.conftest import Place
from tests.ledger.desk import Desk, loaded

NOTE = Skip(Reason.INTERNAL, "it is an internal note (internal_notes)")


def seen(desk: Desk, version: str, content: Loaded | Skip | None) -> Seen:
    return replace(desk.seen("7", content), version=version)


def story(desk: Desk, message_id: int) -> StoryRow:
    told = desk.ledger.messages.story(message_id)
    assert told is not None
    return told


def outcomes(desk: Desk, message_id: int) -> list[str]:
    return [str(event.detail) for event in story(desk, message_id).events if event.kind == "message.edited"]


def counted(place: Place) -> bool:
    """Whether the counters say what the rows say."""
    rows = place.values(
        "select 'message', state, reason from messages union all select 'delivery', state, reason from deliveries"
    )
    kept = place.values(
        "select kind, state, reason, sum(count) from tallies group by kind, state, reason having sum(count) <> 0"
    )
    return Counter(rows) == {(kind, state, reason): int(str(count)) for kind, state, reason, count in kept}


@pytest.mark.parametrize("old", ["a", ""])
@pytest.mark.parametrize("hold", [None, Hold(Reason.UNVERIFIED_SENDER, "a.code", "not proven")])
def test_what_is_made_internal_while_it_waits_is_not_delivered(
    desk: Desk, place: Place, old: str, hold: Hold | None
) -> None:
    (number,) = desk.record(seen(desk, old, replace(loaded(), hold=hold))).new_message_ids
    desk.record(seen(desk, "b", NOTE))
    assert desk.window() == []
    assert (desk.states([number]), desk.delivery_states(number)) == (["skipped(internal)"], ["skipped"])
    assert story(desk, number).message.detail == NOTE.detail
    (outcome,) = outcomes(desk, number)
    assert "took it back" in outcome
    assert "internal note" in outcome
    assert desk.ledger.messages.contents([number]) == {}, "a retry must not send the old words"
    assert counted(place)


def test_a_send_that_is_being_prepared_from_it_does_not_go_out(desk: Desk) -> None:
    desk.record(seen(desk, "a", loaded()))
    prepared = desk.intent(desk.window()[0])
    desk.record(seen(desk, "b", NOTE))
    assert desk.commit(prepared) == [False]


def test_what_is_on_the_wire_is_left_alone(desk: Desk, place: Place) -> None:
    (number,) = desk.record(seen(desk, "a", loaded())).new_message_ids
    (row,) = desk.window()
    desk.commit(desk.intent(row))
    desk.record(seen(desk, "b", NOTE))
    assert (desk.states([number]), desk.delivery_states(number)) == (["loaded"], ["sending"])
    assert desk.commit(desk.accepted(row)) == [True]
    (outcome,) = outcomes(desk, number)
    assert "keeps the old words" in outcome
    assert counted(place)


def test_of_a_message_to_two_the_one_that_waits_is_not_delivered(desk: Desk, place: Place) -> None:
    (number,) = desk.record(seen(desk, "a", loaded("anna", "bob"))).new_message_ids
    first, _second = desk.window()
    desk.send(first)
    desk.record(seen(desk, "b", NOTE))
    assert desk.window() == []
    assert (desk.states([number]), sorted(desk.delivery_states(number))) == (["loaded"], ["sent", "skipped"])
    assert counted(place)


def test_words_that_are_taken_out_altogether_are_not_delivered_as_nothing(desk: Desk) -> None:
    (number,) = desk.record(seen(desk, "a", loaded(body="my card is 4111"))).new_message_ids
    desk.record(seen(desk, "b", loaded(body=" \n")))
    assert desk.window() == []
    assert desk.states([number]) == ["skipped(vanished)"]


def test_what_is_shown_after_all_is_delivered_once(desk: Desk, place: Place) -> None:
    (number,) = desk.record(seen(desk, "a", loaded(body="old words"))).new_message_ids
    desk.record(seen(desk, "b", NOTE))
    assert desk.record(seen(desk, "c", loaded(body="new words"))).deliveries == 1
    (row,) = desk.window()
    assert (row.message_id, desk.ledger.messages.contents([number])[number].text) == (number, "new words")
    assert counted(place)
    desk.send(row)
    desk.record(seen(desk, "d", NOTE))
    desk.record(seen(desk, "e", loaded(body="again")))
    assert (desk.window(), desk.delivery_states(number)) == ([], ["sent"])
    assert counted(place)


def test_a_note_that_is_made_public_later_is_loaded_and_delivered(desk: Desk, place: Place) -> None:
    (number,) = desk.record(seen(desk, "a", NOTE)).new_message_ids
    desk.record(seen(desk, "b", None))
    assert desk.states([number]) == ["found"]
    desk.record(seen(desk, "b", loaded(body="we are at it")))
    assert [row.message_id for row in desk.window()] == [number]
    assert counted(place)


def test_a_note_that_is_edited_and_stays_one_stays_left_out(desk: Desk, place: Place) -> None:
    (number,) = desk.record(seen(desk, "a", NOTE)).new_message_ids
    desk.record(seen(desk, "b", NOTE))
    assert desk.states([number]) == ["skipped(internal)"]
    desk.record(seen(desk, "c", None))
    desk.record(seen(desk, "c", NOTE))
    assert (desk.states([number]), desk.window()) == (["skipped(internal)"], [])
    assert counted(place)


def test_what_a_policy_left_out_stays_left_out_when_it_is_edited(desk: Desk) -> None:
    (number,) = desk.record(seen(desk, "a", Skip(Reason.POLICY, "another queue"))).new_message_ids
    desk.record(seen(desk, "b", loaded()))
    assert desk.states([number]) == ["skipped(policy)"]


def test_a_retry_of_what_was_taken_back_asks_the_service_again(desk: Desk) -> None:
    (number,) = desk.record(seen(desk, "a", loaded())).new_message_ids
    desk.record(seen(desk, "b", NOTE))
    (moved,) = desk.ledger.messages.retry([number], desk.now)
    assert "fetched again" in moved.sentence
    assert desk.ledger.messages.load_contents({number: NOTE}, desk.now, desk.now) == 0
    assert desk.states([number]) == ["skipped(internal)"]
