"""Backfills in the ledger: the job and its list, bringing in by order of arrival, what is left alone, and the window."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sync.decide import Skip
from sync.errors import ConfigError, TemporaryError
from sync.ledger import Backfill, BackfillTerms, LeaseLost, LeaseRef, Ledger, Mapped, Preview
from sync.states import Reason
from tests.ledger.conftest import ON_POSTGRESQL, Place
from tests.ledger.desk import NOON, Desk, loaded

OLD = Skip(Reason.BEFORE_HORIZON, "old")
TERMS = BackfillTerms(NOON - timedelta(days=30))


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    made = Desk(ledger, NOON)
    for stream in (made.inbox, made.sent):
        made.record(view=made.view(stream), finished=True, complete_until=NOON)
    return made


@pytest.fixture
def job(desk: Desk) -> Backfill:
    return desk.ledger.backfills.start("support", TERMS, NOON)


def now_of(desk: Desk, job: Backfill) -> Backfill:
    latest = desk.ledger.backfills.latest("support")
    assert latest is not None
    assert latest.id == job.id
    return latest


def bring(desk: Desk, job: Backfill, most: int = 100) -> int:
    """What comes next, with its content."""
    items = desk.ledger.backfills.next_items(job.id, most)
    groups = []
    for stream in (desk.inbox, desk.sent):
        seen = [
            desk.seen(one.seen.external_id, loaded(), arrived=(one.seen.arrived_at - NOON).total_seconds())
            if one.seen.fingerprint is None
            else one.seen
            for one in items
            if one.stream_id == stream.id
        ]
        groups.append((desk.view(stream), seen))
    return desk.ledger.backfills.bring(job.id, groups, [one.id for one in items], NOON)


def test_whoever_lost_the_source_writes_nothing_of_its_job(desk: Desk, job: Backfill) -> None:
    lost = LeaseRef("source:support", "us", 1)
    jobs = desk.ledger.backfills
    counts = {"known": 1}
    for write in (
        lambda: jobs.tell(job.id, ("x", "y", "z"), NOON, lease=lost),
        lambda: jobs.add(job.id, desk.view(), [desk.seen("1")], NOON, lease=lost),
        lambda: jobs.stream_listed(job.id, desk.inbox.id, counts, NOON, lease=lost),
        lambda: jobs.all_listed(job.id, 0, NOON, lease=lost),
        lambda: jobs.list_again(job.id, desk.inbox.id, NOON, lease=lost),
        lambda: jobs.bring(job.id, [], [], NOON, vanished=1, lease=lost),
        lambda: jobs.drop_rest(job.id, NOON, lease=lost),
        lambda: jobs.finish(job.id, NOON, lease=lost),
        lambda: desk.ledger.sources.swept("support", NOON, counts, lost),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert now_of(desk, job) == job


def test_a_second_job_of_the_same_terms_is_the_same_and_of_others_is_refused(desk: Desk, job: Backfill) -> None:
    assert desk.ledger.backfills.start("support", TERMS, NOON) == job
    with pytest.raises(ConfigError) as caught:
        desk.ledger.backfills.start("support", BackfillTerms(NOON, None, 5), NOON)
    assert caught.value.code == "backfill.running"
    assert "--stop" in caught.value.next_step
    assert [one.id for one in desk.ledger.backfills.open()] == [job.id]
    stopped = desk.ledger.backfills.stop("support", NOON)
    assert stopped is not None
    assert (stopped.state, stopped.is_open) == ("stopped", False)
    assert desk.ledger.backfills.start("support", BackfillTerms(NOON, None, 5), NOON).id != job.id


def test_items_come_in_order_of_arrival_over_all_streams(desk: Desk, job: Backfill) -> None:
    backfills = desk.ledger.backfills
    backfills.add(job.id, desk.view(desk.inbox), [desk.seen(n, arrived=n) for n in (1, 3, 5)], NOON)
    backfills.add(job.id, desk.view(desk.sent), [desk.seen(n, arrived=n) for n in (2, 3, 4)], NOON)
    backfills.add(job.id, desk.view(desk.sent), [desk.seen(n, arrived=n) for n in (2, 3, 4)], NOON)  # listed again
    for _again in range(2):
        backfills.stream_listed(job.id, desk.inbox.id, {"known": 4}, NOON)
    found = [(one.seen.external_id, one.stream) for one in backfills.next_items(job.id, 100)]
    assert found == [("1", "INBOX"), ("2", "Sent"), ("3", "INBOX"), ("3", "Sent"), ("4", "Sent"), ("5", "INBOX")]
    assert now_of(desk, job).counts == {"listed": 6, "known": 4}


def test_bringing_records_and_takes_off_the_list_in_one_go(desk: Desk, job: Backfill) -> None:
    backfills = desk.ledger.backfills
    backfills.add(job.id, desk.view(), [desk.seen(n, arrived=n) for n in range(5)], NOON)
    assert bring(desk, job, 3) == 3
    progress = backfills.progress(job.id)
    assert (progress.left, progress.waiting, progress.failed) == (2, 3, 0)
    rows = desk.window()
    assert [row.order.arrived_at for row in rows] == [desk.at(n) for n in range(3)]
    assert all(row.backfill for row in rows)
    assert now_of(desk, job).counts == {"listed": 5, "brought": 3, "loaded": 3, "deliveries": 3}
    desk.send(rows[0])
    assert backfills.progress(job.id).waiting == 2


def test_nothing_is_brought_in_for_a_job_that_was_stopped(desk: Desk, job: Backfill) -> None:
    backfills = desk.ledger.backfills
    backfills.add(job.id, desk.view(), [desk.seen(1)], NOON)
    (item,) = backfills.next_items(job.id, 10)
    backfills.stop("support", NOON)
    assert backfills.bring(job.id, [(desk.view(), [desk.seen(1, loaded())])], [item.id], NOON) == 0
    assert desk.window() == []


def test_what_was_skipped_for_its_age_comes_in_and_takes_its_claim(desk: Desk, job: Backfill) -> None:
    (old,) = desk.record(desk.seen(1, skip=OLD, fingerprint="a")).new_message_ids
    backfills = desk.ledger.backfills
    assert backfills.known(desk.inbox.id, desk.view().epoch, ["1", "2"]) == frozenset()
    assert backfills.judge(desk.view(), [desk.seen(1, fingerprint="a")], {})[0][0] is Preview.NEW
    backfills.add(job.id, desk.view(), [desk.seen(1, fingerprint="a")], NOON)
    (item,) = backfills.next_items(job.id, 10)
    seen = desk.seen(1, loaded(), fingerprint="a")
    assert backfills.bring(job.id, [(desk.view(), [seen])], [item.id], NOON) == 1
    assert desk.states([old]) == ["loaded"]
    (copy,) = desk.record(desk.seen(7, loaded(), fingerprint="a"), view=desk.view(desk.sent)).new_message_ids
    assert desk.states([copy]) == ["skipped(duplicate)"]
    assert backfills.known(desk.inbox.id, desk.view().epoch, ["1"]) == {"1"}


def test_a_copy_of_what_was_delivered_stays_a_duplicate(desk: Desk, job: Backfill) -> None:
    """D16: what the Inbox had once and somebody deleted there does not come back."""
    desk.record(desk.seen(1, loaded(), fingerprint="a"))
    desk.send(*desk.window())
    (old,) = desk.record(desk.seen(9, skip=OLD, fingerprint="a"), view=desk.view(desk.sent)).new_message_ids
    seen = desk.seen(9, loaded(), fingerprint="a")
    assert desk.ledger.backfills.judge(desk.view(desk.sent), [seen], {})[0] == (Preview.DUPLICATE, None)
    assert desk.ledger.backfills.bring(job.id, [(desk.view(desk.sent), [seen])], [], NOON) == 0
    assert desk.states([old]) == ["skipped(duplicate)"]
    assert now_of(desk, job).counts == {"brought": 1, "skipped.duplicate": 1}


def test_what_was_delivered_skipped_or_died_is_left_alone(desk: Desk, job: Backfill) -> None:
    ids = desk.record(desk.seen(1, loaded()), desk.seen(2, skip=Skip(Reason.OWN_ADDRESS)), desk.seen(3)).new_message_ids
    before = desk.states(ids)
    assert desk.ledger.backfills.known(desk.inbox.id, desk.view().epoch, ["1", "2", "3"]) == {"1", "2", "3"}
    bring_again = [desk.seen(1, loaded()), desk.seen(2, loaded())]
    assert desk.ledger.backfills.bring(job.id, [(desk.view(), bring_again)], [], NOON) == 0
    assert desk.states(ids) == before


def test_another_rule_takes_the_place_of_age(desk: Desk, job: Backfill) -> None:
    (old,) = desk.record(desk.seen(1, skip=OLD)).new_message_ids
    desk.ledger.backfills.bring(job.id, [(desk.view(), [desk.seen(1, skip=Skip(Reason.OWN_ADDRESS))])], [], NOON)
    assert desk.states([old]) == ["skipped(own_address)"]
    source = desk.ledger.overview.status().sources[0]
    assert source.skipped == {"own_address": 1}


def test_twins_that_were_judged_before_count_in_a_preview(desk: Desk) -> None:
    twin = desk.seen(1, fingerprint="a")
    assert twin.fingerprint is not None
    (first,) = desk.ledger.backfills.judge(desk.view(), [twin], {})
    (second,) = desk.ledger.backfills.judge(desk.view(), [desk.seen(2, fingerprint="a")], {twin.fingerprint: 1})
    assert first[1] != second[1]


def test_after_a_renumbering_the_stream_is_listed_again(desk: Desk, job: Backfill) -> None:
    backfills = desk.ledger.backfills
    backfills.add(job.id, desk.view(), [desk.seen(1)], NOON)
    backfills.stream_listed(job.id, desk.inbox.id, {}, NOON)
    backfills.all_listed(job.id, 0, NOON)
    assert now_of(desk, job).state == "bringing"
    desk.record(view=desk.view(epoch="2"), finished=True)
    with pytest.raises(TemporaryError) as caught:
        backfills.bring(job.id, [(desk.view(epoch="1"), [desk.seen(1, loaded())])], [], NOON)
    assert caught.value.code == "ledger.stale_pass"
    backfills.list_again(job.id, desk.inbox.id, NOON)
    again = now_of(desk, job)
    assert (again.state, again.listed, again.counts) == ("listing", (), {})


def test_live_rows_beyond_the_window_bring_the_backfill_of_their_lanes_along(desk: Desk) -> None:
    desk.record(*(desk.seen(n, loaded(f"p{n}"), arrived=-1000 + n) for n in range(4)), backfill=True)
    desk.record(*(desk.seen(100 + n, loaded(f"p{n}"), arrived=n) for n in range(2)))
    rows = desk.ledger.deliveries.window("main", 2, NOON)
    assert [(row.backfill, row.participant.value) for row in rows] == [
        (False, "p0@example.com"), (False, "p1@example.com"), (True, "p0@example.com"), (True, "p1@example.com"),
    ]  # fmt: skip


def test_backfill_of_another_address_in_the_same_conversation_comes_along(desk: Desk) -> None:
    desk.record(desk.seen(1, loaded("old"), arrived=-5), desk.seen(2, loaded("stranger"), arrived=-4), backfill=True)
    desk.record(desk.seen(3, loaded("new")))
    for row in desk.window():
        if row.participant.value != "stranger@example.com":
            desk.ledger.participants.remember([Mapped(row.participant_id, "k", "c-1")], NOON)
    rows = desk.ledger.deliveries.window("main", 1, NOON)
    assert [row.participant.value for row in rows] == ["new@example.com", "old@example.com"]


def test_a_sweep_records_without_moving_the_cursor(desk: Desk) -> None:
    desk.record(cursor={"next": 7}, finished=True)
    desk.ledger.messages.record(desk.view(), [desk.seen(3, loaded())], None, NOON, NOON)
    (stream, _sent) = desk.ledger.streams.of_source("support")
    assert stream.cursor == {"next": 7}
    desk.ledger.sources.swept("support", NOON, {"found": 1})
    source = desk.ledger.sources.get("support")
    assert source is not None
    assert (source.swept_at, source.sweep) == (NOON, {"found": 1})


@ON_POSTGRESQL
def test_two_processes_start_one_job(place: Place, desk: Desk) -> None:
    other = place.open()
    jobs = {ledger.backfills.start("support", TERMS, datetime.now(NOON.tzinfo)).id for ledger in (desk.ledger, other)}
    assert len(jobs) == 1
