"""A daemon is frozen (SIGSTOP) for longer than its lease, at the points around a send, within a transaction, and in the
middle of a pass; and goes on (SIGCONT) after another one has taken over."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from sync.ledger import BackfillTerms
from tests.daemons.fleet import Fleet
from tests.servers.dovecot import Dovecot

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]

MAILS = 8
BACKFILLED = 24
CELLS = (
    ("before_first_byte", "taken_over"),
    ("before_first_byte", "all_sent"),
    ("nothing_received", "taken_over"),
    ("answer_lost", "taken_over"),
    ("answer_lost", "all_sent"),
    ("answered", "taken_over"),
    ("answered", "all_sent"),
)
"""8 to 11 of the crash points, and when the frozen one goes on. The one that is missing is the window that remains, and
has a test of its own."""


def is_taken_over(fleet: Fleet) -> bool:
    return fleet.events()["delivery.taken_over"] > 0


def has_noticed(log: str) -> bool:
    return "lease_lost" in log or "lease.lost" in log


@pytest.mark.parametrize(("point", "when"), CELLS)
def test_frozen_around_a_send_and_woken_after_take_over_each_message_arrives_once_and_in_order(
    point: str, when: str, fleet: Fleet
) -> None:
    fleet.add("support", inbox="main", customers=4)
    fleet.bring(MAILS)
    frozen = fleet.start_frozen(point)
    other = fleet.start().ready()
    fleet.wait(lambda: is_taken_over(fleet), "the other daemon takes the send over")
    if when == "all_sent":
        fleet.wait_until_all_is_sent()
    sends = fleet.sends
    frozen.wake()
    fleet.wait(lambda: has_noticed(frozen.log()), "it notices")
    if when == "all_sent":
        assert fleet.sends == sends
    fleet.bring(4)
    fleet.wait_until_all_is_sent()
    fleet.assert_each_once_in_order()
    assert frozen.stop() == 0
    assert other.stop() == 0


def test_frozen_between_the_check_and_the_write_until_after_settling_doubles_one_message_and_says_so(
    fleet: Fleet,
) -> None:
    fleet.add("support", inbox="main", customers=4)
    fleet.bring(MAILS)
    frozen = fleet.start_frozen("nothing_received")
    fleet.start()
    fleet.wait_until_all_is_sent()
    sends = fleet.sends
    frozen.wake()
    fleet.wait(lambda: has_noticed(frozen.log()), "it notices")
    fleet.wait(lambda: fleet.events()["delivery.doubled"], "it is told as doubled")
    assert fleet.sends == sends + 1
    assert fleet.stored == fleet.deliveries + 1
    code, told = fleet.typed(2, "message", "list", "--json")
    assert code == 0
    [doubled] = [message for message in json.loads(told)["messages"] if is_doubled(fleet, message["id"])]
    _, story = fleet.typed(2, "message", "show", str(doubled["id"]))
    assert "doubled" in story


def is_doubled(fleet: Fleet, message_id: int) -> bool:
    return any(event.kind == "delivery.doubled" for event in fleet.ledger.events.of_message(message_id))


def test_frozen_within_a_transaction_its_locks_do_not_keep_the_others_from_taking_over(fleet: Fleet) -> None:
    fleet.add("support", inbox="main", customers=4)
    fleet.bring(MAILS)
    frozen = fleet.start_frozen("intents_none")
    fleet.start()
    fleet.wait_until_all_is_sent()
    frozen.wake()
    fleet.wait(lambda: has_noticed(frozen.log()), "it notices")
    fleet.bring(4)
    fleet.wait_until_all_is_sent()
    fleet.assert_each_once_in_order()
    assert not re.search(r"\bbug\b", frozen.log())
    assert frozen.stop() == 0


@pytest.mark.dovecot
def test_a_pass_that_is_woken_after_take_over_records_nothing(fleet: Fleet, dovecot: Dovecot) -> None:
    fleet.add("support", inbox="main", customers=4, dovecot=dovecot)
    fleet.bring(MAILS)
    frozen = fleet.start_frozen("listed")
    fleet.start()
    fleet.wait_until_all_is_sent()
    fleet.bring(4)
    fleet.wait_until_all_is_sent()
    before = cursors(fleet)
    frozen.wake()
    fleet.wait(lambda: "source.lease_lost" in frozen.log(), "it notices that the source is not its own")
    assert "pass.ended" not in frozen.log()
    assert cursors(fleet) == before
    fleet.bring(2)
    fleet.wait_until_all_is_sent()
    fleet.assert_each_once_in_order()


@pytest.mark.dovecot
def test_a_backfill_that_is_woken_after_take_over_records_nothing(fleet: Fleet, dovecot: Dovecot) -> None:
    fleet.source_settings = 'start = "now"'
    fleet.add("support", inbox="main", customers=4, dovecot=dovecot)
    fleet.bring(BACKFILLED)
    first = fleet.start()
    fleet.wait(lambda: has_passed(fleet), "what is older than the start is known")
    assert first.stop() == 0
    jobs = fleet.ledger.backfills
    job = jobs.start("support", BackfillTerms(datetime.now(UTC) - timedelta(days=30)), datetime.now(UTC))
    slow = fleet.sandbox.fault("delay", call="messages.send", times=None, seconds=0.6)  # the job is open for a while
    frozen = fleet.start_frozen("bringing")
    fleet.start()
    fleet.wait(lambda: counts(fleet).get("brought") == BACKFILLED, "the other daemon brings it in")
    before = jobs.latest("support")
    fleet.sandbox.clear_faults(slow)
    frozen.wake()
    fleet.wait(lambda: "source.lease_lost" in frozen.log(), "it notices that the source is not its own")
    assert before is not None
    assert before.is_open
    assert (jobs.latest("support") or job).counts == before.counts
    fleet.wait(lambda: (jobs.latest("support") or job).state == "done", "the job is done")
    assert counts(fleet) == before.counts
    fleet.assert_each_once_in_order()
    assert not re.search(r"\bbug\b", frozen.log())


def has_passed(fleet: Fleet) -> bool:
    source = fleet.ledger.sources.get("support")
    return source is not None and source.last_good_pass_at is not None


def counts(fleet: Fleet) -> Mapping[str, int]:
    """What the newest backfill tells of itself."""
    job = fleet.ledger.backfills.latest("support")
    assert job is not None
    return job.counts


def cursors(fleet: Fleet) -> list[object]:
    """Where the streams stand; until when they are known goes on with the other daemon's passes."""
    return [(row.key, row.epoch, row.cursor) for row in fleet.ledger.streams.of_source("support")]
