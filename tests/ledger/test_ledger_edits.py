"""Messages that their service edits: before delivery the new words go out, afterwards the edit is on record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync.decide import Loaded, Seen, Skip
from sync.ledger import EditedIds, StoryRow
from tests.ledger.conftest import Place
from tests.ledger.desk import Desk, loaded


def seen(desk: Desk, version: str, content: Loaded | Skip | None, number: str = "7") -> Seen:
    return replace(desk.seen(number, content), version=version)


def text_of(desk: Desk, message_id: int) -> str:
    return desk.ledger.messages.contents([message_id])[message_id].text


def story(desk: Desk, message_id: int) -> StoryRow:
    told = desk.ledger.messages.story(message_id)
    assert told is not None
    return told


def edits_in(desk: Desk, message_id: int) -> list[str]:
    return [str(event.detail) for event in story(desk, message_id).events if event.kind == "message.edited"]


def test_an_edit_before_delivery_is_what_is_delivered(desk: Desk) -> None:
    (number,) = desk.record(seen(desk, "a", loaded(body="old words"))).new_message_ids
    again = desk.record(seen(desk, "b", loaded(body="new words")))
    assert (again.new_message_ids, again.repeated) == ((), 1)
    assert text_of(desk, number) == "new words"
    assert len(desk.window()) == 1
    (outcome,) = edits_in(desk, number)
    assert "new words are delivered" in outcome


def test_a_send_prepared_from_the_old_words_does_not_go_out(desk: Desk) -> None:
    desk.record(seen(desk, "a", loaded(body="old words")))
    (row,) = desk.window()
    prepared = desk.intent(row)
    desk.record(seen(desk, "b", loaded(body="new words")))
    assert desk.commit(prepared) == [False]
    (row,) = desk.window()
    assert desk.commit(desk.intent(row)) == [True]


def test_an_edit_after_delivery_is_recorded_and_sends_nothing(desk: Desk) -> None:
    (number,) = desk.record(seen(desk, "a", loaded(body="old words"))).new_message_ids
    (row,) = desk.window()
    desk.commit(desk.intent(row))
    desk.record(seen(desk, "b", loaded(body="new words")))
    assert desk.window() == []
    (outcome,) = edits_in(desk, number)
    assert "keeps the old words" in outcome
    desk.record(seen(desk, "b", loaded(body="new words")))
    assert len(edits_in(desk, number)) == 1, "it is told once"


def test_an_edit_after_delivery_is_told_as_one_line_where_that_is_wanted(desk: Desk) -> None:
    desk.record(seen(desk, "a", loaded(body="old words")))
    (row,) = desk.window()
    desk.commit(desk.intent(row))
    view = replace(desk.view(), tell_edits=True)
    told = desk.record(seen(desk, "b", loaded(body="new words")), view=view)
    (number,) = told.new_message_ids
    content = desk.ledger.messages.contents([number])[number]
    assert (content.activity, content.text) == ("Edited message", "new words")
    assert desk.record(seen(desk, "b", loaded(body="new words")), view=view).new_message_ids == ()
    desk.record(seen(desk, "c", loaded(body="newer words")), view=view)
    assert len(desk.window()) == 2


def test_a_version_that_becomes_known_is_no_edit(desk: Desk) -> None:
    (number,) = desk.record(desk.seen("7", loaded(body="old words"))).new_message_ids
    desk.record(seen(desk, "a", loaded(body="same words")))
    assert edits_in(desk, number) == []
    assert text_of(desk, number) == "old words"
    view = desk.view()
    assert desk.ledger.messages.versions(view.stream_id, view.epoch, ["7", "8"]) == {"7": "a"}


@pytest.mark.parametrize("content", [None, loaded("bob", body="to somebody else")])
def test_an_edit_that_does_not_fit_leaves_the_old_words(desk: Desk, content: Loaded | None) -> None:
    (number,) = desk.record(seen(desk, "a", loaded(body="old words"))).new_message_ids
    desk.record(seen(desk, "b", content))
    assert text_of(desk, number) == "old words"
    (outcome,) = edits_in(desk, number)
    assert "does not fit" in outcome


def test_what_is_still_to_be_loaded_takes_the_new_content(desk: Desk) -> None:
    (number,) = desk.record(seen(desk, "a", None)).new_message_ids
    desk.record(seen(desk, "b", loaded(body="new words")))
    assert text_of(desk, number) == "new words"
    assert edits_in(desk, number) == []


def test_only_what_was_not_sent_can_be_exchanged(desk: Desk) -> None:
    desk.record(seen(desk, "a", loaded()), seen(desk, "a", loaded("bob"), "8"), seen(desk, "a", loaded("cleo"), "9"))
    desk.commit(desk.intent(desk.window()[0]))
    again = [seen(desk, "b", None, number) for number in ("7", "8")] + [seen(desk, "a", None, "9")]
    assert desk.ledger.messages.edited(desk.view(), again) == EditedIds(frozenset({"8"}))
    telling = replace(desk.view(), tell_edits=True)
    assert desk.ledger.messages.edited(telling, again) == EditedIds(frozenset({"8"}), frozenset({"7"}))


def test_a_version_of_any_text_is_kept(desk: Desk, place: Place) -> None:
    del place
    desk.record(seen(desk, "a\x00b\ud800", loaded()))
    desk.record(seen(desk, "a\x00b\ud800", loaded(body="no edit")))
    view = desk.view()
    (version,) = desk.ledger.messages.versions(view.stream_id, view.epoch, ["7"]).values()
    assert version
