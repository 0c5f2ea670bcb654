"""Steps of deliveries: guarded by state, attempt, lease and the unique keys; grouped in one transaction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from sync.decide import Skip
from sync.delivery import Looked, NotWritten, OrderKey, Refused, Release, Settled, Unclear, Waiting
from sync.ledger import LeaseLost, LeaseRef, Mapped, Mark, PassEnd, commit
from sync.ledger.contents import content_text
from sync.states import DeliveryState, Reason
from tests.ledger.conftest import Place
from tests.ledger.desk import LEASE, NOON, Desk, loaded

STALE = LeaseRef(LEASE.name, LEASE.holder, LEASE.fence + 1)


def unclear(desk: Desk, row: Waiting) -> Unclear:
    return Unclear(row.delivery_id, 1, desk.now, "inbox.timeout", "no answer", desk.at(1))


def test_a_delivery_goes_from_pending_to_sent_and_its_content_goes(desk: Desk) -> None:
    row = desk.arrive("anna")
    assert (row.attempt, row.participant.value, row.source) == (0, "anna@example.com", "support")
    assert desk.ledger.messages.spooled_bytes() > 0
    assert desk.commit(desk.intent(row)) == [True]
    wire = desk.ledger.deliveries.on_the_wire("main")
    assert [(one.delivery_id, one.attempt, one.holder, one.fence, one.request) for one in wire] == [
        (row.delivery_id, 1, "holder-1", 1, '{"text": "hello"}')
    ]
    assert desk.window() == []
    assert desk.commit(desk.accepted(row, "wix-1")) == [True]
    assert desk.delivery_states(row.message_id) == ["sent"]
    assert desk.ledger.messages.contents([row.message_id]) == {}
    assert desk.ledger.messages.spooled_bytes() == 0
    assert desk.ledger.deliveries.held_ids("main", ["wix-1", "wix-2"]) == {"wix-1"}
    story = desk.ledger.messages.story(row.message_id)
    assert story is not None
    assert story.events == ()


def test_the_content_stays_until_the_last_delivery_of_the_message_is_sent(desk: Desk) -> None:
    desk.arrive("anna", "ben")
    first, second = desk.window()
    desk.send(first)
    assert list(desk.ledger.messages.contents([first.message_id])) == [first.message_id]
    desk.send(second)
    assert desk.ledger.messages.contents([first.message_id]) == {}


def test_a_sent_message_raises_what_is_known_of_its_conversation(desk: Desk) -> None:
    newer, older = desk.arrive("anna", arrived=50), desk.arrive("anna", arrived=10)
    desk.commit(desk.intent(newer, "c"))
    desk.commit(replace(desk.accepted(newer), sequence=7))
    desk.commit(desk.intent(older, "c", subject_key="other"))
    desk.commit(replace(desk.accepted(older), sequence=8))
    known = desk.ledger.deliveries.conversations("main", ["c", "unheard of"])
    assert list(known) == ["c"]
    assert (known["c"].last_sequence, known["c"].last_arrived_at, known["c"].last_subject_key) == (
        8,
        desk.at(50),
        "other",
    )


def test_a_step_of_another_attempt_is_refused(desk: Desk) -> None:
    row = desk.arrive()
    assert desk.commit(desk.intent(row, attempt=2)) == [False]
    assert desk.commit(desk.accepted(row)) == [False]
    assert desk.commit(desk.intent(row)) == [True]
    assert desk.commit(desk.intent(row)) == [False]
    assert desk.commit(replace(desk.accepted(row), attempt=2)) == [False]
    assert desk.commit(desk.accepted(row)) == [True]
    assert desk.commit(desk.accepted(row, "wix-other")) == [False]
    assert desk.commit(unclear(desk, row)) == [False]


def test_an_answer_that_comes_after_a_take_over_is_still_booked(desk: Desk) -> None:
    row = desk.arrive()
    desk.commit(desk.intent(row))
    other = desk.ledger.leases.take(LEASE.name, "holder-2", 30, force=True)
    assert other is not None
    assert desk.ledger.deliveries.take_over("main", other.ref, desk.now, at_once=True) == 1
    assert desk.commit(desk.accepted(row)) == [True]


def test_a_stale_lease_writes_no_intent_but_books_answers(desk: Desk) -> None:
    sent, waiting = desk.arrive("anna"), desk.arrive("ben")
    desk.commit(desk.intent(sent))
    with pytest.raises(LeaseLost) as caught:
        desk.commit(desk.intent(waiting), desk.accepted(sent), lease=STALE)
    assert caught.value.applied == (False, True)
    assert desk.delivery_states(waiting.message_id) == ["pending"]
    assert desk.delivery_states(sent.message_id) == ["sent"]
    with pytest.raises(LeaseLost):
        desk.commit(desk.intent(waiting), lease=replace(LEASE, holder="somebody"))
    with pytest.raises(LeaseLost):
        desk.commit(desk.intent(waiting), lease=replace(LEASE, name="inbox:other"))


def test_answers_need_no_lease(desk: Desk) -> None:
    row = desk.arrive()
    desk.commit(desk.intent(row))
    assert desk.commit(desk.accepted(row), lease=STALE) == [True]


def test_one_delivery_of_a_conversation_is_on_the_wire_at_a_time(desk: Desk) -> None:
    first, second, third = (desk.arrive("anna", arrived=n) for n in range(3))
    other = desk.arrive("ben")
    assert desk.commit(desk.intent(first), desk.intent(second), desk.intent(other)) == [True, False, True]
    assert desk.commit(desk.intent(third)) == [False]
    assert desk.commit(unclear(desk, first), desk.intent(second)) == [True, False]
    # whatever the order in the group: what frees the conversation goes first
    assert desk.commit(desk.intent(second), desk.accepted(first)) == [True, True]


def test_the_database_itself_refuses_a_second_one_on_the_wire(desk: Desk, place: Place) -> None:
    first, second = desk.arrive("anna"), desk.arrive("anna")
    desk.commit(desk.intent(first))
    with pytest.raises(IntegrityError):
        place.run(
            "UPDATE deliveries SET state = 'sending', conversation_id = 'conversation-1', request = '{}',"
            f" intent_at = seen_at, answer_due_at = seen_at WHERE id = {second.delivery_id}"
        )
    with pytest.raises(IntegrityError):
        place.run(f"UPDATE deliveries SET state = 'sent' WHERE id = {second.delivery_id}")
    with pytest.raises(DBAPIError):
        place.run(f"UPDATE deliveries SET state = 'lost' WHERE id = {second.delivery_id}")


def test_a_message_of_the_inbox_belongs_to_one_delivery(desk: Desk) -> None:
    first, second, third = desk.arrive("anna"), desk.arrive("ben"), desk.arrive("carl")
    desk.commit(desk.intent(first), desk.intent(second), desk.intent(third))
    done = desk.commit(desk.accepted(first, "wix-1"), desk.accepted(second, "wix-1"), desk.accepted(third, "wix-3"))
    assert done == [True, False, True]
    assert desk.delivery_states(second.message_id) == ["sending"]


def test_what_was_not_written_waits_again_uncounted(desk: Desk) -> None:
    row = desk.arrive()
    desk.commit(desk.intent(row))
    assert desk.commit(NotWritten(row.delivery_id, 1, desk.now, "http.refused", "connection refused")) == [True]
    waiting = desk.window()[0]
    assert (waiting.attempt, waiting.failures, waiting.request, waiting.retry_at) == (1, 0, None, None)
    assert desk.commit(desk.intent(waiting)) == [True]


def test_a_refusal_waits_for_its_retry_and_then_is_dead(desk: Desk) -> None:
    row = desk.arrive()
    desk.commit(desk.intent(row))
    desk.commit(Refused(row.delivery_id, 1, desk.now, "inbox.400", "no", desk.at(5), request_id="r-1"))
    waiting = desk.window()[0]
    assert (waiting.failures, waiting.changed_at, waiting.retry_at) == (1, desk.now, desk.at(5))
    assert desk.commit(Refused(row.delivery_id, 1, desk.at(9), "contact.none", "no", None, Reason.HELD_TOO_LONG)) == [
        True
    ]
    assert desk.window() == []
    line = desk.line(row.message_id).deliveries[0]
    assert (line.state, line.reason, line.code, line.failures) == (
        DeliveryState.DEAD,
        "held_too_long",
        "contact.none",
        2,
    )
    kinds = [one.kind for one in desk.ledger.events.of_message(row.message_id)]
    assert kinds == ["delivery.refused", "delivery.dead"]


def test_a_dead_delivery_keeps_its_content_outside_the_spool(desk: Desk) -> None:
    row = desk.arrive()
    desk.commit(Refused(row.delivery_id, 0, desk.now, "c", "s", None))
    assert desk.ledger.messages.spooled_bytes() == 0
    assert list(desk.ledger.messages.contents([row.message_id])) == [row.message_id]


def test_kept_contents_have_a_bound_and_the_oldest_go_first(place: Place) -> None:
    size = len(content_text(loaded("anna").message))
    desk = Desk(place.open(raw_max_bytes=size * 5 // 2), NOON)
    rows = [desk.arrive("anna", arrived=n) for n in range(5)]
    for number, row in enumerate(rows):
        desk.commit(Refused(row.delivery_id, 0, desk.at(number), "c", "s", None), lease=STALE)
        desk.now = desk.at(1)
    kept = desk.ledger.messages.contents([row.message_id for row in rows])
    assert sorted(kept) == [row.message_id for row in rows[-2:]]


def test_an_unclear_send_is_looked_for_and_found(desk: Desk) -> None:
    row = desk.arrive()
    desk.commit(desk.intent(row))
    assert desk.commit(unclear(desk, row)) == [True]
    unknown = desk.ledger.deliveries.on_the_wire("main")[0]
    assert (unknown.state, unknown.unknown_at, unknown.look_at, unknown.looks) == ("unknown", desk.now, desk.at(1), 0)
    assert desk.commit(Looked(row.delivery_id, 1, desk.at(1), desk.at(3))) == [True]
    assert desk.ledger.deliveries.on_the_wire("main")[0].looks == 1
    assert desk.commit(replace(desk.accepted(row, "wix-9"), read_back=True)) == [True]
    line = desk.line(row.message_id).deliveries[0]
    assert (line.state, line.read_back, line.inbox_message_id) == ("sent", True, "wix-9")


def test_settling_by_holding_is_final_and_frees_the_lane(desk: Desk) -> None:
    first, second = desk.arrive("anna"), desk.arrive("anna")
    desk.commit(desk.intent(first))
    desk.commit(unclear(desk, first))
    assert desk.commit(Settled(first.delivery_id, 1, desk.now, hold=True), desk.intent(second)) == [True, True]
    line = desk.line(first.message_id).deliveries[0]
    assert (line.state, line.reason) == ("held", "outcome_unknown")


def resent(desk: Desk, row: Waiting) -> Waiting:
    desk.commit(desk.intent(row, sequence_mark=3))
    desk.commit(unclear(desk, row))
    desk.commit(Settled(row.delivery_id, 1, desk.now, hold=False, recheck_at=desk.at(120)))
    return desk.window()[0]


def test_a_resend_sends_the_frozen_request_and_looks_from_the_first_attempt_on(desk: Desk) -> None:
    row = desk.arrive()
    again = resent(desk, row)
    assert (again.request, again.attempt) == ('{"text": "hello"}', 1)
    desk.commit(desk.intent(again, at=desk.at(60), sequence_mark=9))
    wire = desk.ledger.deliveries.on_the_wire("main")[0]
    assert (wire.attempt, wire.resends, wire.sequence_mark, wire.intent_at) == (2, 1, 3, desk.now)
    desk.commit(NotWritten(row.delivery_id, 2, desk.at(61), "c", "s"))
    assert desk.window()[0].request == '{"text": "hello"}'


def test_after_a_resend_a_second_copy_is_recorded_with_both_ids(desk: Desk) -> None:
    row = desk.arrive()
    again = resent(desk, row)
    desk.commit(desk.intent(again))
    desk.commit(desk.accepted(again, "wix-1"))
    assert desk.ledger.deliveries.rechecks("main", desk.at(119)) == []
    rechecks = desk.ledger.deliveries.rechecks("main", desk.at(120))
    assert [(one.delivery_id, one.request) for one in rechecks] == [(row.delivery_id, '{"text": "hello"}')]
    desk.ledger.deliveries.record_recheck(row.delivery_id, "wix-0", desk.at(121))
    assert desk.ledger.deliveries.rechecks("main", desk.at(500)) == []
    assert desk.line(row.message_id).deliveries[0].doubled_with == "wix-0"
    assert desk.ledger.deliveries.held_ids("main", ["wix-0", "wix-1"]) == {"wix-0", "wix-1"}
    other = desk.arrive("ben")
    desk.commit(desk.intent(other))
    assert desk.commit(replace(desk.accepted(other, "wix-0"), read_back=True)) == [False]
    assert [one.kind for one in desk.ledger.events.of_message(row.message_id)][-1] == "delivery.doubled"


def test_take_over_makes_unknown_what_another_holder_left_on_the_wire(desk: Desk) -> None:
    left, mine = desk.arrive("anna"), desk.arrive("ben")
    desk.commit(desk.intent(left))
    lease = desk.ledger.leases.take(LEASE.name, "holder-2", 30, force=True)
    assert lease is not None
    assert lease.fence == LEASE.fence + 1
    desk.commit(desk.intent(mine), lease=lease.ref)
    take_over = desk.ledger.deliveries.take_over
    assert take_over("main", lease.ref, desk.at(29), at_once=False) == 0
    assert take_over("main", lease.ref, desk.at(31), at_once=False) == 1
    states = {one.delivery_id: (one.state, one.look_at) for one in desk.ledger.deliveries.on_the_wire("main")}
    assert states == {left.delivery_id: ("unknown", desk.at(31)), mine.delivery_id: ("sending", None)}
    with pytest.raises(LeaseLost):
        take_over("main", LEASE, desk.now, at_once=True)


def test_two_steps_of_one_delivery_in_a_group_are_taken_in_turn(desk: Desk) -> None:
    row = desk.arrive()
    again = replace(row, attempt=1)
    done = desk.commit(
        desk.intent(row),
        NotWritten(row.delivery_id, 1, desk.now, "c", "s"),
        desk.intent(again),
        desk.accepted(again),
    )
    assert done == [True, True, True, True]
    assert desk.delivery_states(row.message_id) == ["sent"]


def test_an_unknown_delivery_id_is_refused(desk: Desk) -> None:
    row = desk.arrive()
    assert desk.commit(desk.intent(replace(row, delivery_id=999))) == [False]
    assert desk.commit() == []


def test_a_repeated_transaction_knows_its_own_intent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks after the commit, before we hear of it: the same intent must not be refused."""
    row, other = desk.arrive("anna"), desk.arrive("ben")
    desk.commit(desk.intent(row))
    monkeypatch.setattr(
        desk.ledger._database, "write_knowing", lambda work: desk.ledger._database.write(lambda tx: work(tx, True))
    )
    assert desk.commit(desk.intent(row), desk.intent(other)) == [True, True]
    assert desk.commit(desk.intent(row, attempt=2)) == [False]
    assert desk.commit(desk.accepted(row, "wix-1")) == [True]
    assert desk.commit(desk.accepted(row, "wix-1")) == [True]
    assert desk.commit(desk.accepted(row, "wix-2")) == [False]


def test_an_exception_within_a_group_writes_nothing_of_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = desk.arrive("anna"), desk.arrive("ben")
    desk.commit(desk.intent(first))

    def fail(*_args: object) -> None:
        raise OSError("injected")

    monkeypatch.setattr(commit, "write_events", fail)
    with pytest.raises(OSError, match="injected"):
        desk.commit(desk.accepted(first), desk.intent(second))
    monkeypatch.undo()
    assert desk.delivery_states(first.message_id) == ["sending"]
    assert desk.delivery_states(second.message_id) == ["pending"]


def test_the_window_is_ordered_live_first_then_by_lane_order(desk: Desk) -> None:
    other = desk.load_source("aaa", account="a@x")
    stream = desk.load_streams("aaa")[0]
    sent = desk.view(desk.sent)
    desk.record(desk.seen("b", loaded("backfilled"), arrived=-100), backfill=True)
    desk.record(desk.seen("s", loaded("sent"), arrived=5), view=sent)
    desk.record(desk.seen("i", loaded("inbox"), arrived=5))
    desk.record(desk.seen("o", loaded("other"), arrived=5), view=desk.view(stream, source=other))
    desk.record(desk.seen("e", loaded("early"), arrived=1), view=sent)
    names = [row.participant.value.partition("@")[0] for row in desk.window()]
    assert names == ["early", "other", "inbox", "sent", "backfilled"]
    assert len(desk.ledger.deliveries.window("main", 2, desk.now)) == 2
    assert desk.ledger.deliveries.window("elsewhere", 2, desk.now) == []


def test_a_source_is_released_up_to_what_all_its_streams_know(desk: Desk) -> None:
    releases = desk.ledger.deliveries.releases
    ended = PassEnd(ok=True, next_pass_at=desk.at(60))
    desk.ledger.sources.pass_ended("support", desk.now, ended, desk.now)
    assert releases("main") == {"support": Release()}
    desk.record(complete_until=desk.at(100))
    assert releases("main") == {"support": Release()}
    desk.record(view=desk.view(desk.sent), complete_until=desk.at(60))
    assert releases("main") == {"support": Release(desk.at(60))}
    found = desk.record(desk.seen("f", arrived=40)).new_message_ids[0]
    place = OrderKey(desk.at(40), "support", 0, found)
    assert releases("main") == {"support": Release(desk.at(60), found=place, awaited=place)}
    desk.ledger.messages.load_contents({found: Skip(Reason.LOOP)}, desk.now, desk.now)
    assert releases("main") == {"support": Release(desk.at(60))}
    desk.load_streams("support", "INBOX")
    assert releases("main") == {"support": Release(desk.at(100))}


def test_while_a_pass_over_several_streams_runs_nothing_is_known_to_be_complete(desk: Desk) -> None:
    ended = PassEnd(ok=True, next_pass_at=desk.at(60))
    desk.record(complete_until=desk.at(50))
    desk.record(view=desk.view(desk.sent), complete_until=desk.at(50))
    desk.ledger.sources.pass_ended("support", desk.now, ended, desk.now)
    assert desk.ledger.deliveries.releases("main") == {"support": Release(desk.at(50))}
    desk.start_pass("support", desk.at(60))
    assert desk.ledger.deliveries.releases("main") == {"support": Release()}
    desk.load_streams("support", "INBOX")
    assert desk.ledger.deliveries.releases("main") == {"support": Release(desk.at(50))}


def test_the_end_of_a_pass_lets_waiting_rows_go(desk: Desk) -> None:
    desk.ledger.messages.record(desk.view(), [desk.seen(1, loaded())], Mark(None, "1"), desk.now, desk.at(600))
    desk.ledger.sources.pass_ended("support", desk.now, PassEnd(ok=True), desk.at(30))
    assert [row.release_at for row in desk.window()] == [desk.at(30)]
    desk.ledger.sources.pass_ended("support", desk.now, PassEnd(ok=True), desk.at(300))
    assert [row.release_at for row in desk.window()] == [desk.at(30)]


def test_participants_keep_their_mapping_until_it_is_forgotten(desk: Desk) -> None:
    row = desk.arrive("anna")
    assert (row.contact_id, row.conversation_id, row.resolved_at) == (None, None, None)
    people = desk.ledger.participants
    people.remember([Mapped(row.participant_id, "contact-1", "c-1")], desk.now)
    again = desk.window()[0]
    assert (again.contact_id, again.conversation_id, again.resolved_at) == ("contact-1", "c-1", desk.now)
    people.forget(row.participant_id)
    assert desk.window()[0].resolved_at is None
    people.remember([Mapped(row.participant_id, "contact-1", "c-1")], desk.now)
    people.forget(row.participant_id)
    known = people.get(row.participant_id)
    assert known is not None
    assert (known.conversation_id, known.resolved_at, known.participant.name) == ("c-1", None, "Anna")
    assert people.get(999) is None
    assert desk.arrive("anna").participant_id == row.participant_id


def given_up(desk: Desk) -> Waiting:
    """A delivery whose first attempt had no answer and was not found."""
    row = desk.arrive("anna")
    desk.commit(desk.intent(row))
    desk.commit(unclear(desk, row))
    desk.commit(Settled(row.delivery_id, 1, desk.now, hold=False, recheck_at=desk.at(60)))
    return desk.window()[0]


def test_an_answer_to_an_attempt_that_was_given_up_is_told_as_doubled_once_it_was_sent_again(desk: Desk) -> None:
    row = given_up(desk)
    note = desk.ledger.deliveries.note_late_answer
    assert desk.commit(desk.accepted(row, "first", attempt=1)) == [False]
    assert not note(row.delivery_id, "first", desk.now)
    desk.commit(desk.intent(row, attempt=2))
    desk.commit(desk.accepted(row, "second", attempt=2))
    assert note(row.delivery_id, "first", desk.now)
    assert not note(row.delivery_id, "first", desk.now)
    story = desk.ledger.messages.story(row.message_id)
    assert story is not None
    assert story.message.deliveries[0].doubled_with == "first"
    assert [event.kind for event in story.events][-2:] == ["delivery.answered_late", "delivery.doubled"]
    assert desk.ledger.deliveries.rechecks("main", desk.at(3600)) == []
    assert desk.ledger.messages.spooled_bytes() == 0


def test_a_late_answer_that_reading_back_has_found_is_nothing_new(desk: Desk) -> None:
    row = desk.arrive("anna")
    desk.commit(desk.intent(row))
    desk.commit(unclear(desk, row))
    desk.commit(desk.accepted(row, "wix-1", read_back=True))
    assert not desk.ledger.deliveries.note_late_answer(row.delivery_id, "wix-1", desk.now)
    story = desk.ledger.messages.story(row.message_id)
    assert story is not None
    assert story.message.deliveries[0].doubled_with is None
