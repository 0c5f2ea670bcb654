"""Several daemons share the work: one is killed, one frozen, and each inbox's budget is kept by all of them together."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.daemons.fleet import LEASE_SECONDS, Fleet
from tests.servers.dovecot import Dovecot

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]

MAILS = 500
RATE_PER_SECOND = 20.0
BURST = 3
WINDOW_SECONDS = 6.0
"""What a minute is in the test of the budget: requests in it may be the rate for so long, and the burst."""
JITTER_SECONDS = 0.3
"""How late a request may come to the Inbox, after the moment it was allowed."""


@pytest.mark.dovecot
def test_of_three_daemons_with_four_inboxes_one_is_killed_and_one_frozen_and_500_mails_arrive_once_and_in_order(
    fleet: Fleet, dovecot: Dovecot
) -> None:
    for name, inbox in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c"), ("d1", "d")):
        fleet.add(name, inbox=inbox, customers=20)
    fleet.add("b2", inbox="b", customers=20, dovecot=dovecot)
    fleet.bring(MAILS)
    frozen = fleet.start_frozen("before_first_byte")
    before = fleet.holders()
    assert set(before) == set("abcd")

    second, third = fleet.start(), fleet.start()
    fleet.sandbox.fault("delay", call="messages.send", times=None, seconds=0.05)
    fleet.wait(lambda: all(fleet.holders()[inbox] != holder for inbox, holder in before.items()), "all are taken over")
    fleet.wait(lambda: fleet.stored > fleet.deliveries / 3, "the others deliver")
    killed = fleet.holder("a")
    assert killed in (second, third)
    killed.kill()
    frozen.wake()
    fleet.wait_until_all_is_sent()
    fleet.assert_each_once_in_order()
    assert fleet.stored == fleet.deliveries
    assert "bug" not in frozen.log()
    assert [daemon.stop() for daemon in fleet.daemons if daemon is not killed] == [0, 0]


def test_two_daemons_on_one_mailbox_send_once_and_the_other_takes_over_when_the_holder_is_killed(
    fleet: Fleet,
) -> None:
    fleet.add("support", inbox="main", customers=40)
    fleet.bring(MAILS)
    holder = fleet.start().ready()
    other = fleet.start().ready()
    fleet.wait(lambda: fleet.stored > fleet.deliveries / 3, "it sends")
    holder.kill()
    left = fleet.lease("inbox:main")
    assert left is not None
    fleet.wait(lambda: fleet.holders()["main"] != left.holder, "the other one takes over")
    taken = fleet.lease("inbox:main")
    assert taken is not None
    late_seconds = (taken.expires_at - left.expires_at).total_seconds() - LEASE_SECONDS
    assert 0 <= late_seconds < LEASE_SECONDS
    assert taken.fence == left.fence + 1
    fleet.wait_until_all_is_sent()
    fleet.assert_each_once_in_order()
    assert fleet.stored == fleet.deliveries
    assert other.stop() == 0


def test_the_budget_of_an_inbox_is_kept_by_all_its_holders_together(fleet: Fleet) -> None:
    fleet.inbox_settings = f"requests_per_minute = {RATE_PER_SECOND * 60:g}\nburst_requests = {BURST}"
    fleet.add("support", inbox="main", customers=10)
    fleet.bring(150)
    for _ in range(2):
        fleet.start().ready()
    for number, goal in enumerate((60, 120, 180)):
        fleet.wait(lambda goal=goal: len(fleet.sandbox.journal()) >= goal, f"{goal} requests")  # type: ignore[misc]
        holder = fleet.holder("main")
        assert holder is not None
        if number % 2:
            assert holder.stop() == 0  # it gives its lease back: the next holder starts at once
        else:
            holder.kill()
        fleet.start()
    fleet.wait_until_all_is_sent()
    fleet.assert_each_once_in_order()
    at = sorted(datetime.fromisoformat(str(entry["at"])).timestamp() for entry in fleet.sandbox.journal())
    allowed = RATE_PER_SECOND * (WINDOW_SECONDS + JITTER_SECONDS) + BURST
    most = max(sum(begin <= other < begin + WINDOW_SECONDS for other in at) for begin in at)
    assert most <= allowed
    assert most > 4 * BURST, "too few at once to tell anything"
