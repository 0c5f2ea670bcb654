"""Contents that are fetched later: order, failures, gone messages, and copies that take over."""

from __future__ import annotations

from sync.decide import Dead, Skip, Vanished, Verdict
from sync.ledger import PassEnd
from sync.states import Reason
from tests.ledger.desk import Desk, loaded


def test_found_messages_are_fetched_in_order_of_arrival_when_they_are_due(desk: Desk) -> None:
    ids = desk.record(desk.seen("b", arrived=2), desk.seen("a", arrived=1), desk.seen("l", loaded())).new_message_ids
    due = desk.ledger.messages.to_fetch("support", desk.now, 10)
    assert [(row.external_id, row.stream, row.epoch, row.fetch_attempts) for row in due] == [
        ("a", "INBOX", "1:1", 0),
        ("b", "INBOX", "1:1", 0),
    ]
    assert len(desk.ledger.messages.to_fetch("support", desk.now, 1)) == 1
    assert desk.ledger.messages.fetch_failed([ids[0]], desk.now, desk.at(30), 5) == ()
    assert [row.external_id for row in desk.ledger.messages.to_fetch("support", desk.at(29), 10)] == ["a"]
    assert [row.fetch_attempts for row in desk.ledger.messages.to_fetch("support", desk.at(30), 10)] == [0, 1]


def test_a_loaded_message_becomes_deliveries_once(desk: Desk) -> None:
    found = desk.record(desk.seen(1)).new_message_ids[0]
    load = desk.ledger.messages.load_contents
    assert load({found: loaded("anna", "ben")}, desk.now, desk.at(30)) == 2
    assert load({found: loaded("anna", "ben", "carl")}, desk.now, desk.at(30)) == 0
    assert [row.release_at for row in desk.window()] == [desk.at(30)] * 2
    assert load({999: loaded()}, desk.now, desk.now) == 0


def test_every_verdict_has_its_state(desk: Desk) -> None:
    ids = desk.record(*(desk.seen(n) for n in range(4))).new_message_ids
    found: list[Verdict] = [loaded(), Skip(Reason.LOOP), Dead(b"raw", "why"), Vanished("moved")]
    verdicts = dict(zip(ids, found, strict=True))
    assert desk.ledger.messages.load_contents(verdicts, desk.now, desk.now) == 1
    assert desk.states(ids) == ["loaded", "skipped(loop)", "dead(unreadable)", "gone(vanished)"]
    assert desk.ledger.messages.to_fetch("support", desk.now, 10) == ()


def test_what_is_listed_but_never_given_is_gone_after_its_tries(desk: Desk) -> None:
    ghost = desk.record(desk.seen(1)).new_message_ids
    for attempt in (1, 2):
        assert desk.ledger.messages.fetch_failed(ghost, desk.now, desk.now, 3) == (), attempt
    assert desk.ledger.messages.fetch_failed(ghost, desk.now, desk.now, 3) == ghost
    assert desk.ledger.messages.fetch_failed(ghost, desk.now, desk.now, 3) == ()
    assert desk.states(ghost) == ["gone(vanished)"]
    assert [one.kind for one in desk.ledger.events.of_message(ghost[0])] == ["message.gone"]


def test_a_message_moved_between_list_and_fetch_is_fetched_where_it_is_now(desk: Desk) -> None:
    here = desk.record(desk.seen(1, fingerprint="a")).new_message_ids
    there = desk.record(
        desk.seen(5, loaded(), fingerprint="a"), desk.seen(6, fingerprint="b"), view=desk.view(desk.sent)
    ).new_message_ids
    assert desk.states([*here, *there]) == ["found", "skipped(duplicate)", "found"]
    desk.ledger.messages.load_contents({here[0]: Vanished()}, desk.now, desk.now)
    assert desk.states([*here, *there]) == ["gone(vanished)", "found", "found"]
    assert desk.ledger.messages.load_contents({there[0]: loaded()}, desk.now, desk.now) == 1
    # and it holds the claim now
    third = desk.record(desk.seen(9, loaded(), fingerprint="a"), view=desk.view(epoch="2"))
    assert third.skipped == {"duplicate": 1}


def test_a_copy_skipped_for_where_it_was_leaves_the_other_to_be_delivered(desk: Desk) -> None:
    first = desk.record(desk.seen(1, fingerprint="a")).new_message_ids
    second = desk.record(desk.seen(1, fingerprint="a"), view=desk.view(desk.sent)).new_message_ids
    desk.ledger.messages.load_contents({first[0]: Skip(Reason.OWN_ADDRESS)}, desk.now, desk.now)
    assert desk.states([*first, *second]) == ["skipped(own_address)", "found"]


def test_a_copy_skipped_for_what_it_says_keeps_the_others_skipped(desk: Desk) -> None:
    first = desk.record(desk.seen(1, fingerprint="a")).new_message_ids
    second = desk.record(desk.seen(1, fingerprint="a"), view=desk.view(desk.sent)).new_message_ids
    desk.ledger.messages.load_contents({first[0]: Skip(Reason.LOOP)}, desk.now, desk.now)
    assert desk.states([*first, *second]) == ["skipped(loop)", "skipped(duplicate)"]


def test_ids_of_a_former_account_or_a_dropped_folder_are_not_fetched(desk: Desk) -> None:
    desk.record(desk.seen(1), desk.seen(2))
    desk.load_streams("support", "Sent")
    assert desk.ledger.messages.to_fetch("support", desk.now, 10) == ()
    desk.load_streams("support")
    assert len(desk.ledger.messages.to_fetch("support", desk.now, 10)) == 2
    desk.load_source("support", account="somebody else")
    assert desk.ledger.messages.to_fetch("support", desk.now, 10) == ()


def test_what_a_removed_source_only_found_is_delivered_from_another(desk: Desk) -> None:
    lost = desk.record(desk.seen(1, fingerprint="a")).new_message_ids
    desk.ledger.sources.mark_removed([], desk.now)
    other = desk.load_source("sales", account="sales@x")
    stream = desk.load_streams("sales")[0]
    new = desk.record(desk.seen(1, loaded(), fingerprint="a"), view=desk.view(stream, source=other))
    assert new.deliveries == 1
    assert desk.states(lost) == ["skipped(duplicate)"]


def awaited(desk: Desk) -> int | None:
    """The message that the deliveries after it wait for, however long."""
    place = desk.ledger.deliveries.releases("main")["support"].awaited
    return None if place is None else place.message_id


def test_messages_of_one_second_are_fetched_in_the_order_of_streams_live_ones_first(desk: Desk) -> None:
    desk.record(desk.seen("s"), view=desk.view(desk.sent))
    desk.record(desk.seen("old", arrived=-9), backfill=True)
    desk.record(desk.seen("a"), desk.seen("b"))
    due = desk.ledger.messages.to_fetch("support", desk.now, 10)
    assert [row.external_id for row in due] == ["a", "b", "s", "old"]


def test_the_first_message_that_lacks_nothing_but_room_is_awaited(desk: Desk) -> None:
    assert awaited(desk) is None
    later, first = desk.record(desk.seen(1, arrived=2), desk.seen(2, arrived=1)).new_message_ids
    desk.record(desk.seen(3, arrived=0), backfill=True)
    assert awaited(desk) == first
    desk.ledger.messages.fetch_failed([first], desk.now, desk.at(30), 5)
    assert awaited(desk) == later
    desk.ledger.sources.pause("support", desk.now)
    assert awaited(desk) is None


def test_what_an_operator_asked_for_is_not_awaited(desk: Desk) -> None:
    (gone,) = desk.record(desk.seen(1)).new_message_ids
    desk.ledger.messages.fetch_failed([gone], desk.now, desk.now, 1)
    desk.ledger.messages.retry([gone], desk.now)
    assert desk.states([gone]) == ["found"]
    assert awaited(desk) is None


def test_from_a_source_that_cannot_load_nothing_is_awaited_until_the_first_is_loaded(desk: Desk) -> None:
    first, second, third = desk.record(*(desk.seen(n, arrived=n) for n in (1, 2, 3))).new_message_ids
    failed = PassEnd(ok=False, state="failing", loads=False, put_off=frozenset({second}))
    desk.ledger.sources.pass_ended("support", desk.now, failed, desk.now)
    assert awaited(desk) is None
    due = desk.ledger.messages.to_fetch("support", desk.now, 10)
    assert [(row.message_id, row.fetch_attempts) for row in due] == [(first, 0), (second, 0), (third, 0)]
    desk.ledger.messages.load_contents({first: loaded()}, desk.now, desk.now)
    assert awaited(desk) is None  # the next is put off
    desk.ledger.messages.load_contents({second: loaded()}, desk.now, desk.now)
    assert awaited(desk) == third


def test_the_contents_before_and_after_a_found_message_are_counted_apart(desk: Desk) -> None:
    desk.record(desk.seen(1, loaded(), arrived=1))
    one = desk.ledger.messages.spooled_bytes()
    desk.record(desk.seen(2, loaded(), arrived=5), desk.seen(3, loaded(), arrived=5), desk.seen(4, arrived=5))
    desk.record(desk.seen(5, loaded(), arrived=5), desk.seen(6, loaded(), arrived=6), view=desk.view(desk.sent))
    other = desk.load_source("sales", account="sales@x")
    desk.record(desk.seen(1, loaded(), arrived=1), view=desk.view(desk.load_streams("sales")[0], source=other))
    (row,) = desk.ledger.messages.to_fetch("support", desk.now, 10)
    assert desk.ledger.messages.spooled_around(row) == (3 * one, 2 * one)
