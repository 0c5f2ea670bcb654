"""The order of DESIGN.md §2, as the board holds it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sync.board import Board
from sync.decide import is_released, waits_for_retry
from sync.delivery import OrderKey, Release, Waiting
from sync.message import Participant, ParticipantKind

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TTL = timedelta(hours=24)


def waiting(
    number: int, *, conversation: str | None = "c1", participant: int = 1, source: str = "a", **more: object
) -> Waiting:
    arrived = NOW - timedelta(minutes=10) + timedelta(seconds=number)
    row = Waiting(
        delivery_id=number,
        message_id=number,
        participant_id=participant,
        participant=Participant(ParticipantKind.EMAIL, f"p{participant}@example.com"),
        inbox="main",
        source=source,
        order=OrderKey(arrived, source, 0, number),
        seen_at=NOW,
        release_at=NOW,
        contact_id=None if conversation is None else "k",
        conversation_id=conversation,
        resolved_at=None if conversation is None else NOW,
    )
    return replace(row, **more)  # type: ignore[arg-type]


def board(*rows: Waiting, known_until: datetime | None = None, awaited: OrderKey | None = None) -> Board:
    made = Board(TTL, lambda _source: Release(known_until, found=awaited, awaited=awaited))
    made.load(rows, NOW)
    return made


def send_all(made: Board, now: datetime = NOW) -> list[int]:
    """Sends whatever goes, one after the other."""
    sent = []
    while (row := made.next_send(now)) is not None:
        sent.append(row.delivery_id)
        made.finish_send(row, None)
    return sent


def test_a_lane_sends_one_at_a_time_and_in_order() -> None:
    made = board(waiting(3), waiting(1), waiting(2))
    first = made.next_send(NOW)
    assert first is not None
    assert first.delivery_id == 1
    assert made.next_send(NOW) is None
    made.finish_send(first, None)
    assert send_all(made) == [2, 3]


def test_two_lanes_go_at_the_same_time() -> None:
    made = board(waiting(1), waiting(2, conversation="c2", participant=2))
    assert made.next_send(NOW) is not None
    assert made.next_send(NOW) is not None


def test_a_refused_head_holds_its_lane_until_its_retry() -> None:
    later = NOW + timedelta(seconds=5)
    made = board(waiting(1, retry_at=later), waiting(2), waiting(3, conversation="c2", participant=2))
    assert send_all(made) == [3]
    assert made.next_wake_at(NOW) == later
    made.reoffer()
    assert send_all(made, later) == [1, 2]


def test_a_row_waits_for_its_sibling_streams_and_not_longer_than_its_release() -> None:
    release_at = NOW + timedelta(seconds=30)
    made = board(waiting(1, release_at=release_at))
    assert send_all(made) == []
    assert made.next_wake_at(NOW) == release_at
    made.reoffer()
    assert send_all(made, release_at) == [1]


def test_a_row_goes_at_once_when_its_siblings_are_known() -> None:
    row = waiting(1, release_at=NOW + timedelta(seconds=30))
    assert send_all(board(row, known_until=row.order.arrived_at)) == [1]
    assert send_all(board(row, known_until=row.order.arrived_at - timedelta(seconds=1))) == []


def test_a_delivery_waits_for_earlier_participants_that_are_not_resolved() -> None:
    """They may turn out to be the same contact, and so the same lane."""
    made = board(waiting(1, conversation=None, participant=2), waiting(2))
    assert send_all(made) == []
    row = made.next_resolve(NOW)
    assert row is not None
    made.finish_resolve(row, "k", "c1", NOW)
    assert send_all(made) == [1, 2]


def test_a_participant_that_cannot_be_resolved_now_holds_nobody_else() -> None:
    later = NOW + timedelta(seconds=5)
    made = board(waiting(1, conversation=None, participant=2, retry_at=later), waiting(2))
    assert made.next_resolve(NOW) is None
    assert send_all(made) == [2]


def test_participants_are_resolved_in_the_order_of_their_first_delivery() -> None:
    made = board(*(waiting(n, conversation=None, participant=10 - n) for n in (3, 1, 2)))
    resolved = [row.delivery_id for row in iter(lambda: made.next_resolve(NOW), None)]
    assert resolved == [1, 2, 3]


def test_an_old_mapping_is_renewed_before_the_next_send() -> None:
    made = board(waiting(1, resolved_at=NOW - TTL))
    assert send_all(made) == []
    row = made.next_resolve(NOW)
    assert row is not None
    made.finish_resolve(row, "k", "c9", NOW)
    sent = made.next_send(NOW)
    assert sent is not None
    assert sent.conversation_id == "c9"


def test_a_forgotten_mapping_is_asked_for_again() -> None:
    made = board(waiting(1), waiting(2))
    made.forget_mapping(1, NOW)
    assert send_all(made) == []
    row = made.next_resolve(NOW)
    assert row is not None
    made.finish_resolve(row, "k", "c2", NOW)
    assert send_all(made) == [1, 2]


def test_a_conversation_on_the_wire_waits() -> None:
    made = board(waiting(1))
    made.set_on_the_wire({"c1"})
    assert send_all(made) == []
    made.set_on_the_wire(set())
    assert send_all(made) == [1]


def test_a_participant_on_the_wire_waits_in_its_new_conversation_too() -> None:
    made = board(waiting(1, conversation="merged"), waiting(2, conversation="c2", participant=2))
    made.set_on_the_wire({"old"}, {1})
    assert send_all(made) == [2]
    made.set_on_the_wire(set(), set())
    assert send_all(made) == [1]


def test_live_goes_before_backfill() -> None:
    made = board(waiting(1, backfill=True), waiting(2, conversation="c2", participant=2))
    assert send_all(made) == [2, 1]


def test_a_live_row_waits_behind_backfill_of_its_own_lane_which_inherits_its_priority() -> None:
    made = board(
        waiting(1, backfill=True),
        waiting(5),
        waiting(2, backfill=True, conversation="c2", participant=2),
    )
    assert send_all(made) == [1, 5, 2]


def test_sources_take_turns() -> None:
    rows = [waiting(n, conversation=f"a{n}", participant=n) for n in range(1, 5)]
    rows += [waiting(n, conversation=f"b{n}", participant=n, source="b") for n in range(11, 13)]
    assert send_all(board(*rows))[:4] in ([1, 11, 2, 12], [11, 1, 12, 2])


def test_a_row_the_ledger_does_not_have_any_more_is_dropped() -> None:
    made = board(waiting(1), waiting(2))
    made.forget_missing({2})
    assert send_all(made) == [2]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.sampled_from(["a", "b"])), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_whatever_comes_each_lane_is_sent_in_order_and_nothing_stays(
    spec: list[tuple[int, bool, str]], chance: object
) -> None:
    """Participants 1..6 belong to three contacts, two each; some are resolved, some not."""
    rows = [
        waiting(n, participant=who, conversation=f"c{who % 3}" if known else None, source=source)
        for n, (who, known, source) in enumerate(spec, start=1)
    ]
    made = board(*rows)
    sent: list[Waiting] = []
    while True:
        resolving = made.next_resolve(NOW)
        if resolving is not None:
            made.finish_resolve(resolving, "k", f"c{resolving.participant_id % 3}", NOW)
            continue
        row = made.next_send(NOW)
        if row is None:
            break
        sent.append(row)
        made.finish_send(row, None)
    assert {row.delivery_id for row in sent} == {row.delivery_id for row in rows}
    for lane in range(3):
        orders = [row.order for row in sent if row.participant_id % 3 == lane]
        assert orders == sorted(orders)


def test_looking_again_and_again_at_what_waits_takes_no_memory() -> None:
    """An inbox may be parked for a weekend, and is looked at every few seconds."""
    release_at = NOW + timedelta(hours=1)
    rows = [waiting(n, conversation=f"c{n}", participant=n, release_at=release_at) for n in range(1, 21)]
    made = board(*rows)
    for _ in range(100):
        made.reoffer()
        assert made.next_send(NOW) is None
    assert sum(len(heap) for heap in made._ready.values()) == len(rows)
    made.reoffer()
    assert send_all(made, release_at) == list(range(1, 21))


def test_a_participant_that_steps_aside_is_waited_for_by_nobody() -> None:
    later = NOW + timedelta(seconds=60)
    made = board(waiting(1, conversation=None, participant=2), waiting(2))
    row = made.next_resolve(NOW)
    assert row is not None
    made.postpone_resolve(2, NOW, later, aside=False)
    made.finish_resolve(row, None, None, NOW)
    assert made.next_resolve(NOW) is None
    assert send_all(made) == []
    made.postpone_resolve(2, NOW, later, aside=True)
    made.reoffer()
    assert send_all(made) == [2]
    assert made.all_wait(NOW)
    assert made.next_wake_at(NOW) == later
    assert made.next_resolve(later) is not None


def test_what_was_resolved_is_forgotten_once_the_ledger_says_it() -> None:
    made = board(waiting(1, conversation=None, participant=2))
    row = made.next_resolve(NOW)
    assert row is not None
    made.finish_resolve(row, "k", "c2", NOW)
    made.load([waiting(1, conversation=None, participant=2)], NOW)  # read before it was resolved
    assert made.next_resolve(NOW) is None
    made.forget_resolved(NOW + timedelta(seconds=1))
    assert made._resolved == {}


def test_a_clock_set_back_wakes_what_waited_for_a_moment_reckoned_before() -> None:
    made = board(waiting(1, conversation=None, participant=2))
    row = made.next_resolve(NOW)
    assert row is not None
    made.postpone_resolve(2, NOW, NOW + timedelta(minutes=5), aside=False)
    made.finish_resolve(row, None, None, NOW)
    assert made.next_resolve(NOW) is None
    assert made.next_resolve(NOW - timedelta(seconds=30)) is None  # clocks differ by so much
    assert made.next_resolve(NOW - timedelta(days=1)) is not None


def test_a_retry_is_not_waited_for_when_the_clock_was_set_back_since_the_refusal() -> None:
    refused = replace(waiting(1), changed_at=NOW, retry_at=NOW + timedelta(minutes=5))
    assert waits_for_retry(refused, NOW)
    assert not waits_for_retry(refused, NOW - timedelta(days=1))
    assert is_released(
        replace(refused, seen_at=NOW, release_at=NOW + timedelta(hours=1)), None, NOW - timedelta(days=1)
    )


def test_what_comes_after_a_message_without_room_waits_for_it_however_long() -> None:
    rows = [waiting(1), waiting(3), waiting(5, conversation="c2", participant=2)]
    made = board(*rows, known_until=NOW, awaited=replace(waiting(2)).order)
    later = NOW + timedelta(days=1)
    assert send_all(made, later) == [1]
    assert made.next_wake_at(later) is None
    assert made.blocked(later, alone=False) == made.blocked(later, alone=True) == 2
    assert made.all_wait(later)


def test_what_waits_for_its_siblings_makes_the_window_larger_only_where_it_may_hide_other_sources() -> None:
    made = board(*(replace(waiting(number), release_at=NOW + timedelta(minutes=10)) for number in (1, 2, 3)))
    assert send_all(made, NOW) == []
    assert made.blocked(NOW, alone=False) == 3
    assert made.blocked(NOW, alone=True) == 0


def test_what_is_late_or_of_a_backfill_does_not_wait_for_a_message_without_room() -> None:
    rows = [waiting(3, late=True), waiting(4, conversation="c2", participant=2, backfill=True)]
    assert send_all(board(*rows, known_until=NOW, awaited=waiting(2).order)) == [3, 4]


def test_backfill_whose_participant_is_not_resolved_holds_no_live_delivery() -> None:
    made = board(
        waiting(1, backfill=True, conversation=None, participant=1),
        waiting(2, backfill=True, conversation=None, participant=2),
        waiting(3, conversation="c3", participant=3),
    )
    assert send_all(made) == [3]


def test_a_live_delivery_still_holds_later_live_ones_until_its_participant_is_resolved() -> None:
    made = board(
        waiting(1, backfill=True, conversation=None, participant=1),
        waiting(2, conversation=None, participant=1),
        waiting(3, conversation="c3", participant=3),
        waiting(0, conversation="c4", participant=4),
    )
    assert send_all(made) == [0]


def test_a_lane_whose_backfill_is_older_holds_only_what_is_later_than_its_live_delivery() -> None:
    made = board(
        waiting(1, backfill=True, conversation=None, participant=1),
        waiting(5, conversation=None, participant=1),
        waiting(3, conversation="c3", participant=3),
        waiting(6, conversation="c6", participant=6),
    )
    assert send_all(made) == [3]


def test_backfill_does_not_pass_earlier_backfill_of_a_participant_that_is_not_resolved() -> None:
    """Both may turn out to be one person."""
    made = board(
        waiting(1, backfill=True, conversation=None, participant=1),
        waiting(2, backfill=True, conversation="c2", participant=2),
    )
    assert send_all(made) == []
    row = made.next_resolve(NOW)
    assert row is not None
    made.finish_resolve(row, "k", "c2", NOW)
    assert send_all(made) == [1, 2]


def test_a_live_delivery_that_waits_for_its_siblings_does_not_stop_the_backfill() -> None:
    made = board(
        waiting(1, backfill=True, conversation="c1"),
        waiting(2, conversation="c2", participant=2, release_at=NOW + timedelta(seconds=30)),
    )
    assert send_all(made) == [1]


def test_live_of_every_source_goes_before_backfill_of_any() -> None:
    made = board(
        *(waiting(n, backfill=True, conversation=f"b{n}", participant=n, source="b") for n in range(1, 4)),
        *(waiting(n, conversation=f"a{n}", participant=n, source="a") for n in range(11, 14)),
    )
    assert send_all(made) == [11, 12, 13, 1, 2, 3]


def test_backfill_can_be_left_out_and_what_inherits_live_priority_is_not() -> None:
    made = board(
        waiting(1, backfill=True, conversation="c1"),
        waiting(2, backfill=True, conversation="c2", participant=2),
        waiting(3, conversation="c2", participant=2),
        waiting(4, backfill=True, conversation=None, participant=4),
    )
    row = made.next_send(NOW, with_backfill=False)
    assert row is not None
    assert row.delivery_id == 2
    assert made.next_send(NOW, with_backfill=False) is None
    assert made.next_resolve(NOW, with_backfill=False) is None


def test_a_refused_delivery_holds_its_conversation_while_its_participant_is_asked_for_anew() -> None:
    """Two addresses of one contact: what is refused from one of them is not passed by what came later from the other."""
    made = board(waiting(1), waiting(2, participant=2))
    refused = made.next_send(NOW)
    assert refused is not None
    retry_at = NOW + timedelta(seconds=5)
    made.finish_send(refused, replace(refused, failures=1, retry_at=retry_at, resolved_at=None))
    made.forget_mapping(refused.participant_id, NOW)
    assert send_all(made) == []
    assert made.all_wait(NOW)
    assert made.next_wake_at(NOW) == retry_at
    made.reoffer()
    again = made.next_resolve(retry_at)
    assert again is not None
    made.finish_resolve(again, "k", "c1", retry_at)
    assert send_all(made, retry_at) == [1, 2]


def test_a_refused_delivery_that_is_given_up_frees_its_conversation() -> None:
    made = board(waiting(1), waiting(2, participant=2))
    refused = made.next_send(NOW)
    assert refused is not None
    made.finish_send(refused, replace(refused, failures=1, retry_at=NOW + timedelta(seconds=5), resolved_at=None))
    made.forget_mapping(refused.participant_id, NOW)
    assert send_all(made) == []
    made.forget_missing({2})
    assert send_all(made) == [2]
