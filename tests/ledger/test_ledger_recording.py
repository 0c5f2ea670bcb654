"""Recording: dedup by place, occurrences, claims, and rows that commit together with their cursor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from sync.decide import Dead, Skip
from sync.errors import TemporaryError
from sync.ledger import LeaseLost, LeaseRef, Mark, MessageFilter, PassEnd, record
from sync.ledger.repository import IN_MAX
from sync.states import Reason
from tests.ledger.conftest import Place
from tests.ledger.desk import NOON, Desk, loaded, person


def test_a_place_is_recorded_once_however_often_it_is_seen(desk: Desk) -> None:
    one = desk.seen(7, loaded())
    first = desk.record(one)
    assert (len(first.new_message_ids), first.repeated, first.deliveries) == (1, 0, 1)
    for _ in range(3):
        again = desk.record(one, one)
        assert (again.new_message_ids, again.repeated, again.deliveries) == ((), 2, 0)
    assert len(desk.window()) == 1


def test_a_batch_half_of_which_is_known_adds_the_other_half(desk: Desk) -> None:
    seen = [desk.seen(number, loaded()) for number in range(1, 11)]
    desk.record(*seen[:5])
    done = desk.record(*seen)
    assert (len(done.new_message_ids), done.repeated) == (5, 5)
    assert len(desk.window()) == 10


def test_an_empty_batch_moves_the_cursor_and_inserts_nothing(desk: Desk, place: Place) -> None:
    done = desk.record(cursor={"uid": 9}, complete_until=desk.at(5), finished=True)
    assert done.new_message_ids == ()
    assert place.values("SELECT count(*) FROM messages") == [(0,)]
    row = desk.load_streams("support")[0]
    assert (row.cursor, row.epoch, row.complete_until, row.first_loaded_at) == ({"uid": 9}, "1", desk.at(5), desk.now)


def test_ids_grow_with_the_order_of_the_batch(desk: Desk) -> None:
    seen = [desk.seen(f"{(number * 7919) % 1009:04}", loaded(), arrived=number) for number in range(1000)]
    ids = desk.record(*seen).new_message_ids
    assert list(ids) == sorted(ids)
    assert len(ids) == 1000
    assert [row.message_id for row in desk.window()] == list(ids)


def test_a_batch_of_more_than_one_question_to_the_database_is_recognised_whole(desk: Desk) -> None:
    count = IN_MAX + 100
    people = [f"person {number}" for number in range(count)]
    first = desk.record(*(desk.seen(f"a'{number}", loaded(one), fingerprint=one) for number, one in enumerate(people)))
    assert (first.deliveries, first.repeated) == (count, 0)
    again = [desk.seen(f"a'{number}", loaded(one), fingerprint=one) for number, one in enumerate(people)]
    assert desk.record(*again).repeated == count
    assert desk.ledger.messages.known(desk.view().stream_id, desk.view().epoch, ["a'0", "a'99", "a'x", "b'0"]) == {
        "a'0",
        "a'99",
    }
    renumbered = [replace(one, external_id=f"b'{number}") for number, one in enumerate(again)]
    view = desk.view(epoch="2")
    assert set(desk.ledger.messages.judge(view, renumbered)) == {"duplicate"}
    assert desk.record(*renumbered, view=view).skipped == {Reason.DUPLICATE: count}


def test_twins_in_one_view_are_two_messages(desk: Desk) -> None:
    done = desk.record(*(desk.seen(number, loaded(), fingerprint="same") for number in (1, 2, 3)))
    assert done.deliveries == 3
    assert desk.record(desk.seen(4, loaded(), fingerprint="same")).deliveries == 1


def test_after_renumbering_the_nth_twin_is_the_nth_known_one(desk: Desk) -> None:
    old = desk.record(*(desk.seen(number, loaded(), fingerprint="same") for number in (1, 2)))
    new = desk.record(
        *(desk.seen(number, loaded(), fingerprint="same") for number in (1, 2, 3)), view=desk.view(epoch="2")
    )
    assert new.skipped == {"duplicate": 2}
    assert new.deliveries == 1
    lines = [desk.line(message_id) for message_id in new.new_message_ids]
    assert [line.duplicate_of for line in lines] == [*old.new_message_ids, None]


def test_a_message_moved_to_another_folder_is_the_known_one(desk: Desk) -> None:
    desk.record(desk.seen(1, loaded(), fingerprint="a"))
    moved = desk.record(desk.seen(1, loaded(), fingerprint="a"), view=desk.view(desk.sent))
    assert moved.skipped == {"duplicate": 1}


@pytest.mark.parametrize(
    ("scopes", "deliveries"), [(("inbox:main", "inbox:main"), 1), (("source:main:a", "source:main:b"), 2)]
)
def test_a_second_source_of_the_inbox_follows_the_policy(desk: Desk, scopes: tuple[str, str], deliveries: int) -> None:
    other = desk.load_source("sales", account="sales@imap.example.com")
    stream = desk.load_streams("sales")[0]
    desk.record(desk.seen(1, loaded(), fingerprint="a", scope=scopes[0]))
    desk.record(desk.seen(1, loaded(), fingerprint="a", scope=scopes[1]), view=desk.view(stream, source=other))
    assert len(desk.window()) == deliveries


def test_messages_without_a_fingerprint_are_told_apart_by_their_place_alone(desk: Desk) -> None:
    assert desk.record(*(desk.seen(number, loaded()) for number in range(10))).deliveries == 10


def test_a_row_skipped_by_a_rule_takes_no_claim(desk: Desk) -> None:
    rule = Skip(Reason.OWN_ADDRESS, "From is ours")
    desk.record(desk.seen(1, skip=rule, fingerprint="a"))
    assert desk.record(desk.seen(1, loaded(), fingerprint="a"), view=desk.view(desk.sent)).deliveries == 1


def test_the_verdict_on_the_content_decides_the_state(desk: Desk) -> None:
    done = desk.record(
        desk.seen(1, loaded("anna", "ben", "anna")),
        desk.seen(2),
        desk.seen(3, Skip(Reason.LOOP, "our mark")),
        desk.seen(4, Dead(b"\xff\x00raw", "no sender")),
        desk.seen(5, skip=Skip(Reason.BEFORE_HORIZON, "old")),
    )
    assert desk.states(done.new_message_ids) == [
        "loaded",
        "found",
        "skipped(loop)",
        "dead(unreadable)",
        "skipped(before_horizon)",
    ]
    assert (done.loaded, done.found, done.skipped, done.dead) == (
        1,
        1,
        {"loop": 1, "before_horizon": 1},
        {"unreadable": 1},
    )
    assert done.deliveries == 2
    story = desk.ledger.messages.story(done.new_message_ids[3])
    assert story is not None
    assert story.message.raw_kept


def test_content_that_comes_later_loads_the_row_that_was_found(desk: Desk) -> None:
    found = desk.record(desk.seen(1)).new_message_ids
    done = desk.record(desk.seen(1, loaded()))
    assert (done.repeated, done.deliveries) == (1, 1)
    assert desk.states(found) == ["loaded"]


def test_judging_says_what_recording_would_do_and_writes_nothing(desk: Desk, place: Place) -> None:
    desk.record(desk.seen(1, loaded(), fingerprint="a"))
    seen = [
        desk.seen(1, fingerprint="a"),
        desk.seen(2, fingerprint="a"),
        desk.seen(3, skip=Skip(Reason.TOO_OLD)),
        desk.seen(4, Skip(Reason.LOOP)),
        desk.seen(5),
    ]
    assert list(desk.ledger.messages.judge(desk.view(), seen)) == ["known", "new", "skip", "skip", "new"]
    other = desk.view(desk.sent)
    assert list(desk.ledger.messages.judge(other, [desk.seen(1, fingerprint="a")])) == ["duplicate"]
    assert place.values("SELECT count(*) FROM messages") == [(1,)]


def test_known_ids_are_those_with_a_row_in_this_numbering(desk: Desk) -> None:
    desk.record(desk.seen("a"), desk.seen("b"))
    known = desk.ledger.messages.known
    assert known(desk.inbox.id, "1:1", ["a", "b", "c"]) == {"a", "b"}
    assert known(desk.inbox.id, "1:2", ["a", "b", "c"]) == frozenset()
    assert known(desk.inbox.id, "1:1", []) == frozenset()


@pytest.mark.parametrize("where", ["store_loaded", "store_dead"])
def test_an_exception_in_the_middle_leaves_neither_rows_nor_cursor(
    desk: Desk, place: Place, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    desk.record(desk.seen(1, loaded()), cursor={"uid": 1})

    def fail(*_args: object, **_more: object) -> int:
        raise OSError("injected")

    monkeypatch.setattr(record, where, fail)
    with pytest.raises(OSError, match="injected"):
        desk.record(desk.seen(2, loaded()), desk.seen(3, Dead(b"x", "y")), cursor={"uid": 3})
    monkeypatch.undo()
    assert place.values("SELECT count(*) FROM messages") == [(1,)]
    assert place.values("SELECT count(*) FROM deliveries") == [(1,)]
    assert place.values("SELECT count(*) FROM raws") == [(0,)]
    assert desk.load_streams("support")[0].cursor == {"uid": 1}
    assert len(desk.record(desk.seen(2, loaded()), cursor={"uid": 3}).new_message_ids) == 1


def test_complete_until_never_goes_back_within_a_numbering(desk: Desk) -> None:
    desk.record(complete_until=desk.at(100))
    desk.record(complete_until=desk.at(50))
    desk.record()
    assert desk.load_streams("support")[0].complete_until == desk.at(100)
    desk.record(view=desk.view(epoch="2"))
    assert desk.load_streams("support")[0].complete_until is None


def test_a_pass_of_the_former_account_records_nothing(desk: Desk) -> None:
    stale = desk.view()
    changed = desk.load_source("support", account="ben@imap.example.com")
    assert changed.generation == desk.source.generation + 1
    with pytest.raises(TemporaryError) as caught:
        desk.record(desk.seen(1, loaded()), view=stale, cursor={"uid": 5})
    assert caught.value.code == "ledger.stale_pass"
    row = desk.load_streams("support")[0]
    assert (row.cursor, row.epoch, row.first_loaded_at) == (None, None, None)


def test_what_was_only_found_before_renumbering_is_fetched_under_its_new_number(desk: Desk) -> None:
    old = desk.record(desk.seen(1, fingerprint="a"), desk.seen(2, fingerprint="b"), finished=True)
    new = desk.record(desk.seen(9, fingerprint="a"), view=desk.view(epoch="2"))
    assert desk.states([*old.new_message_ids, *new.new_message_ids]) == ["skipped(duplicate)", "found", "found"]
    assert [row.message_id for row in desk.ledger.messages.to_fetch("support", desk.now, 10)] == [*new.new_message_ids]
    desk.record(view=desk.view(epoch="2"), finished=True)
    assert desk.states(old.new_message_ids) == ["skipped(duplicate)", "gone(vanished)"]
    third = desk.record(desk.seen(11, loaded(), fingerprint="b"), view=desk.view(epoch="2"))
    assert third.deliveries == 1


def test_texts_that_databases_refuse_are_stored_all_the_same(desk: Desk) -> None:
    nasty = "a\0b\udc80c"
    base = loaded()
    bad = replace(
        base,
        message=replace(base.message, text=nasty, subject=nasty, notes=(nasty,), headers=((nasty, nasty),)),
        participants=(replace(person(), name=nasty), replace(person("x"), value=nasty)),
    )
    seen = [
        desk.seen(nasty, bad),
        desk.seen("a\0", skip=Skip(Reason.POLICY, nasty)),
        desk.seen("a", Dead(b"\0\xff", nasty)),
        desk.seen("x" * 5000),
        desk.seen("x" * 5001),
    ]
    done = desk.record(*seen)
    assert len(done.new_message_ids) == 5
    assert desk.record(*seen).repeated == 5
    assert desk.ledger.messages.known(desk.inbox.id, "1:1", [nasty, "other"]) == {nasty}
    content = desk.ledger.messages.contents(done.new_message_ids)[done.new_message_ids[0]]
    assert "\0" not in content.text
    assert len(desk.ledger.messages.list(MessageFilter())) == 5
    desk.ledger.events.add("test", desk.now, code=nasty, detail={"why": nasty})
    desk.ledger.inboxes.park("main", "c", nasty, nasty, None, desk.now)


def test_old_raw_copies_make_room_for_new_ones(place: Place) -> None:
    desk = Desk(place.open(raw_max_bytes=250), NOON)
    for number in range(5):
        desk.record(desk.seen(number, Dead(b"x" * 100, "bad")), now=desk.at(number))
    kept = [line.external_id for line in desk.ledger.messages.list(MessageFilter()) if line.raw_kept]
    assert kept == ["4", "3"]


@pytest.mark.parametrize("guard_alone", [False, True])
def test_two_sources_that_record_the_same_mail_at_once_take_one_claim(
    place: Place, monkeypatch: pytest.MonkeyPatch, guard_alone: bool
) -> None:
    if guard_alone:  # the unique key must do it without the lock that only saves work
        monkeypatch.setattr(record, "lock_until_end", lambda *_: None)
    desk = Desk(place.open(), NOON)
    second = desk.load_source("sales", account="sales@imap.example.com")
    streams = {"support": desk.inbox, "sales": desk.load_streams("sales")[0]}
    sources = {"support": desk.source, "sales": second}
    rounds, errors = 25, []
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        try:
            for number in range(rounds):
                seen = [
                    desk.seen(f"{number}-{twin}", loaded(), fingerprint=f"mail {number}")
                    for twin in (range(3) if name == "support" else range(2))
                ]
                barrier.wait(30)
                desk.record(*seen, view=desk.view(streams[name], source=sources[name]))
        except Exception as error:  # noqa: BLE001  told by the test's own thread
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(name,)) for name in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert place.values("SELECT count(*) FROM deliveries") == [(3 * rounds,)]
    assert place.values("SELECT count(*) FROM messages WHERE claim IS NOT NULL") == [(3 * rounds,)]
    assert place.values("SELECT count(*) FROM messages WHERE duplicate_of IS NOT NULL") == [(2 * rounds,)]


def test_a_pass_whose_lease_was_taken_over_records_nothing(desk: Desk) -> None:
    ledger = desk.ledger
    old = ledger.leases.take("source:support", "frozen", 30)
    assert old is not None
    desk.record(desk.seen(1), cursor={"uid": 1})
    [found] = ledger.messages.to_fetch("support", desk.now, 10)
    new = ledger.leases.take("source:support", "other", 30, force=True)
    assert new is not None
    stream = desk.load_streams("support")[0]
    before = desk.load_streams("support")
    view, mark, now = desk.view(stream), Mark({"uid": 0}, "1"), desk.now
    end = PassEnd(ok=True, next_pass_at=now)
    attempts: list[Callable[[LeaseRef], object]] = [
        lambda lease: ledger.messages.record(view, [desk.seen(2, loaded())], mark, now, now, lease=lease),
        lambda lease: ledger.messages.load_contents({found.message_id: loaded()}, now, now, lease=lease),
        lambda lease: ledger.messages.fetch_failed([found.message_id], now, now, 1, lease),
        lambda lease: ledger.streams.load("support", [], now, lease),
        lambda lease: ledger.sources.load("support", "main", "imap", "", None, now, starts_pass=True, lease=lease),
        lambda lease: ledger.sources.pass_ended("support", now, end, now, lease),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLost):
            attempt(LeaseRef(old.name, old.holder, old.fence))
    assert desk.load_streams("support") == before
    assert [one.message_id for one in ledger.messages.to_fetch("support", now, 10)] == [found.message_id]
    for attempt in attempts:
        attempt(LeaseRef(new.name, new.holder, new.fence))
