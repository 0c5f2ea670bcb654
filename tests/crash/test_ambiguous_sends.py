"""Sends whose outcome is not told: what becomes of them by reading back, settling, and sending again."""

from __future__ import annotations

import json
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from sync.states import DeliveryState, Reason
from tests.crash.pipeline import ADA, BOB, SETTLE_SECONDS, Pipeline

SENT, UNKNOWN, HELD = DeliveryState.SENT, DeliveryState.UNKNOWN, DeliveryState.HELD
LATER = 600.0


@pytest.fixture
def pipeline(tmp_path: Path, ledger_url: str) -> Pipeline:
    return Pipeline(tmp_path, ledger_url)


def hide_from_lists(sandbox: Sandbox, text: str, seconds: float) -> None:
    """The next message with that text is shown by lists only later."""
    sandbox.fault("slow_list", call="messages.send", text=text, seconds=seconds)


def put_into(sandbox: Sandbox, request: str) -> str:
    """Stores what that request asks for, as if it had come only now; the Inbox's id of it."""
    headers = {"Authorization": sandbox.api_key, "wix-site-id": sandbox.site_id, "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{sandbox.url}/inbox/v2/messages", request.encode(), headers, method="POST")
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return str(json.load(answer)["message"]["id"])


# ------------------------------------------------------------------ stored, and the answer lost


@pytest.mark.parametrize("action", ["drop_after_store", "reset_after_store", "truncate", "garbage"])
async def test_stored_and_the_connection_lost_is_found_and_not_sent_again(pipeline: Pipeline, action: str) -> None:
    more = {"stored": True} if action == "garbage" else {}
    async with pipeline as site:
        site.sandbox.fault(action, call="messages.send", **more)
        await site.arrive("First", "Second")
        await site.until_state(UNKNOWN, 1)
        await site.pass_time(1)
        await site.until_all_sent()

        assert site.bodies() == ["First", "Second"]
        assert site.sends() == 2
        assert site.delivery(1).read_back
        assert not site.delivery(2).read_back
        assert site.kinds(1) == ["delivery.unknown", "delivery.read_back"]
        site.assert_each_message_is_one_delivery()


@pytest.mark.parametrize("action", ["drop_before_store", "reset_before_store"])
async def test_lost_before_it_was_stored_is_sent_again_after_settling_and_not_before(
    pipeline: Pipeline, action: str
) -> None:
    async with pipeline as site:
        site.sandbox.fault(action, call="messages.send")
        await site.arrive("First", "Second")
        await site.until_state(UNKNOWN, 1)
        await site.pass_time(SETTLE_SECONDS - 30)
        await site.until(lambda: site.delivery(1).looks > 0, "it was looked for")
        assert site.sends() == 1

        await site.settle()
        await site.until_all_sent()
        assert site.bodies() == ["First", "Second"]
        assert site.sends() == 3
        assert site.kinds(1) == ["delivery.unknown", "delivery.resend"]
        await site.until_rechecked()
        assert site.delivery(1).doubled_with is None
        site.assert_each_message_is_one_delivery()


async def test_a_client_that_gave_up_waiting_sends_once(tmp_path: Path, ledger_url: str) -> None:
    async with Pipeline(tmp_path, ledger_url, answer_timeout="1s") as site:
        site.sandbox.fault("hang_after_store", call="messages.send", seconds=LATER)
        await site.arrive("First")
        await site.until_state(UNKNOWN, 1)
        await site.pass_time(1)
        await site.until_all_sent()
        assert site.bodies() == ["First"]
        assert site.sends() == 1


# ------------------------------------------------------------------ stored later


@pytest.mark.parametrize("seconds", [5.0, 60.0, SETTLE_SECONDS - 1])
async def test_stored_after_the_client_gave_up_and_before_settling_sends_once(
    pipeline: Pipeline, seconds: float
) -> None:
    async with pipeline as site:
        site.sandbox.fault("late_commit", call="messages.send", seconds=seconds, status=504)
        await site.arrive("First")
        await site.until_state(UNKNOWN, 1)
        assert site.bodies() == []
        await site.settle()
        await site.until_all_sent()
        await site.pass_time(2 * SETTLE_SECONDS)
        assert site.bodies() == ["First"]
        assert site.sends() == 1
        assert site.delivery(1).attempt == 1


async def test_stored_after_settling_is_reported_as_doubled_with_both_ids(pipeline: Pipeline) -> None:
    async with pipeline as site:
        site.sandbox.fault("late_commit", call="messages.send", text="First", seconds=SETTLE_SECONDS + 40, status=504)
        await site.arrive("First", "Second")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_all_sent()
        assert site.bodies() == ["First", "Second"]
        assert site.delivery(1).doubled_with is None

        await site.until_rechecked()
        one, other = (message["id"] for message in site.sandbox.messages(ADA) if message["text"].strip() == "First")
        delivery = site.delivery(1)
        assert {delivery.inbox_message_id, delivery.doubled_with} == {one, other}
        assert (delivery.state, delivery.attempt, delivery.resends) == (SENT, 2, 1)
        assert site.kinds(1) == ["delivery.unknown", "delivery.resend", "delivery.doubled"]
        told = site.story(1).events[-1]
        assert told.detail == {"inbox_message_id": delivery.inbox_message_id, "doubled_with": delivery.doubled_with}
        assert site.kinds(2) == []

        shown = site.typed("message", "show", "1", "--json")
        assert [event["kind"] for event in shown["events"] if event["kind"] != "delivery.looked"] == site.kinds(1)
        [of_delivery] = shown["deliveries"]
        assert of_delivery["doubled_with"] == delivery.doubled_with
        words = site.typed_words("message", "show", "1")
        assert one in words
        assert other in words


async def test_stored_hours_after_settling_is_told_all_the_same_also_after_a_restart(pipeline: Pipeline) -> None:
    async with pipeline as site:
        site.sandbox.fault("drop_before_store", call="messages.send")
        await site.arrive("First")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_all_sent()
        await site.until_rechecked()
        [row] = site.ledger.deliveries.rechecks("main", site.clock.now() + timedelta(days=1))

        await site.pass_time(3600)
        await site.until_looked()
        assert site.delivery(1).doubled_with is None
        await site.restart()
        first = put_into(site.sandbox, row.request)  # the Inbox gets round to it
        await site.pass_time(2 * 3600)
        await site.until(lambda: site.delivery(1).doubled_with, "it is told")
        assert (site.delivery(1).doubled_with, site.sends()) == (first, 3)
        assert site.kinds(1)[-1] == "delivery.doubled"
        assert site.ledger.deliveries.rechecks("main", site.clock.now() + timedelta(days=9)) == []


async def test_looks_for_a_second_copy_grow_apart_and_end(pipeline: Pipeline) -> None:
    async with pipeline as site:
        site.sandbox.fault("drop_before_store", call="messages.send")
        await site.arrive("First")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_all_sent()
        before = site.calls("messages.list"), site.calls("contacts.get")
        far = timedelta(days=30)
        for _ in range(2 * 24 * 6):
            await site.pass_time(600)
            if not site.ledger.deliveries.rechecks("main", site.clock.now() + far):
                break
            await site.until_looked()
        assert site.ledger.deliveries.rechecks("main", site.clock.now() + far) == []
        assert 6 <= site.calls("messages.list") - before[0] <= 11
        assert site.calls("contacts.get") == before[1]
        assert site.delivery(1).doubled_with is None


async def test_a_second_copy_is_found_where_the_conversation_was_merged_into(pipeline: Pipeline) -> None:
    async with pipeline as site:
        await site.arrive("Hello", sender=BOB)
        await site.until_all_sent()
        site.sandbox.fault("drop_before_store", call="messages.send")
        await site.arrive("First")
        await site.until_state(UNKNOWN, 2)
        await site.settle()
        await site.until_all_sent()
        await site.until_rechecked()
        [row] = site.ledger.deliveries.rechecks("main", site.clock.now() + timedelta(days=1))
        first = put_into(site.sandbox, row.request)
        bob, ada = (str(contact["id"]) for contact in site.sandbox.contacts())
        site.sandbox.merge_contacts(bob, ada)
        await site.pass_time(3600)
        await site.until(lambda: site.delivery(2).doubled_with, "it is told")
        assert site.delivery(2).doubled_with == first


async def test_both_copies_visible_when_the_second_answer_is_lost_too_are_reported(pipeline: Pipeline) -> None:
    async with pipeline as site:
        site.sandbox.fault("late_commit", call="messages.send", seconds=SETTLE_SECONDS + 40, status=504)
        site.sandbox.fault("slow_list", call="messages.send", skip=1, seconds=60)
        site.sandbox.fault("drop_after_store", call="messages.send")  # the second: one such fault meets a request
        await site.arrive("First")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_attempt(1, 2)
        await site.until_state(UNKNOWN, 1)
        await site.pass_time(70)
        await site.until(lambda: site.delivery(1).doubled_with, "it is doubled")
        assert site.delivery(1).state is SENT
        assert {site.delivery(1).inbox_message_id, site.delivery(1).doubled_with} == {
            message["id"] for message in site.sandbox.messages(ADA)
        }
        assert site.sends() == 2


async def test_with_hold_nothing_is_sent_again_and_the_lane_goes_on(tmp_path: Path, ledger_url: str) -> None:
    async with Pipeline(tmp_path, ledger_url, inbox='after_settle = "hold"') as site:
        site.sandbox.fault("late_commit", call="messages.send", seconds=SETTLE_SECONDS + 40, status=504)
        await site.arrive("First", "Second")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_state(HELD, 1)
        await site.until_state(SENT, 2)
        assert site.delivery(1).reason == Reason.OUTCOME_UNKNOWN
        assert site.kinds(1) == ["delivery.unknown", "delivery.held"]

        await site.settle()
        assert sorted(site.bodies()) == ["First", "Second"]
        assert site.sends() == 2
        assert site.delivery(1).state is HELD


async def test_a_held_message_that_an_operator_retries_is_sent_once_more_and_flagged_late(
    tmp_path: Path, ledger_url: str
) -> None:
    async with Pipeline(tmp_path, ledger_url, inbox='after_settle = "hold"') as site:
        site.sandbox.fault("drop_before_store", call="messages.send")
        await site.arrive("First", "Second")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_state(HELD, 1)
        await site.until_state(SENT, 2)
        [moved] = site.ledger.messages.retry([1], site.clock.now())
        assert moved.moved
        await site.pass_time(1)
        await site.until_all_sent()
        assert site.bodies() == ["Second", "First"]
        assert site.delivery(1).late
        site.assert_each_message_is_one_delivery()


async def test_resends_have_a_bound_and_the_story_tells_each(tmp_path: Path, ledger_url: str) -> None:
    async with Pipeline(tmp_path, ledger_url, inbox="max_resends = 2") as site:
        site.sandbox.fault("drop_before_store", call="messages.send", text="First", times=None)
        await site.arrive("First")
        for attempt in (1, 2, 3):
            await site.until_attempt(1, attempt)
            await site.until_state(UNKNOWN, 1)
            await site.arrive(f"Proof {attempt} that the Inbox works", sender=BOB)
            await site.until_state(SENT, 1 + attempt)
            await site.settle()
        await site.until_state(HELD, 1)
        delivery = site.delivery(1)
        assert (delivery.reason, delivery.attempt, delivery.resends) == (Reason.OUTCOME_UNKNOWN, 3, 2)
        assert site.kinds(1) == [
            "delivery.unknown", "delivery.resend", "delivery.unknown", "delivery.resend",
            "delivery.unknown", "delivery.held",
        ]  # fmt: skip
        assert site.bodies() == []
        await site.arrive("Second")
        await site.until_state(SENT, 5)
        assert site.bodies() == ["Second"]


# ------------------------------------------------------------------ server errors


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not-stored"])
@pytest.mark.parametrize("status", [500, 503, 504])
async def test_a_server_error_is_no_answer_stored_or_not(pipeline: Pipeline, status: int, stored: bool) -> None:
    async with pipeline as site:
        site.sandbox.fault("status", call="messages.send", status=status, stored=stored)
        await site.arrive("First", "Second")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_all_sent()
        assert site.bodies() == ["First", "Second"]
        assert site.sends() == (2 if stored else 3)
        assert site.delivery(1).read_back is stored
        site.assert_each_message_is_one_delivery()


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not-stored"])
async def test_a_streak_of_server_errors_parks_the_inbox_and_is_probed_with_reads_only(
    pipeline: Pipeline, stored: bool
) -> None:
    customers = [f"c{number}@example.com" for number in range(6)]
    async with pipeline as site:
        for customer in customers:
            await site.arrive("Hello", sender=customer)
        await site.until_all_sent()
        down = site.sandbox.fault("status", call="messages.send", status=503, stored=stored, times=None)
        reads = site.sandbox.fault("status", call="messages.list", status=503, times=None)
        for customer in customers:
            site.put("One", customer)
            site.put("Two", customer)
        assert await site.runtime.poll("support") is not None
        side = site.runtime.sides["main"]
        await site.until(lambda: side.parked, "the inbox is parked")
        await site.until(lambda: site.ledger.overview.status().inboxes[0].inbox.state == "parked", "the ledger says so")
        await site.until(lambda: not site.ledger.overview.status().deliveries.get("sending"), "all is known or unknown")
        sends = site.sends()
        for _ in range(3):
            listed = site.calls("messages.list")
            await site.pass_time(LATER)
            await site.until_called("messages.list", listed + 1)
        assert site.sends() == sends

        site.sandbox.clear_faults(down)
        site.sandbox.clear_faults(reads)
        for _ in range(40):  # the probe, the looks, a trial, settling: each after a time of its own
            if site.ledger.overview.status().deliveries.get("sent") == 18:
                break
            await site.pass_time(60)
            await site.breathe()
        await site.until_all_sent()
        for customer in customers:
            assert [body.splitlines()[0] for body in site.bodies(customer)] == ["Hello", "One", "Two"]
        site.assert_each_message_is_one_delivery()
        if stored:
            assert site.sends() == 18


# ------------------------------------------------------------------ lists that lag


async def test_a_list_that_lags_within_settling_sends_once(pipeline: Pipeline) -> None:
    async with pipeline as site:
        hide_from_lists(site.sandbox, "First", 60)
        site.sandbox.fault("drop_after_store", call="messages.send", text="First")
        await site.arrive("First", "Second")
        await site.until_state(UNKNOWN, 1)
        await site.pass_time(30)
        await site.until(lambda: site.delivery(1).looks > 0, "it was looked for")
        assert site.delivery(1).state is UNKNOWN
        await site.pass_time(40)
        await site.until_all_sent()
        assert site.bodies() == ["First", "Second"]
        assert site.sends() == 2


async def test_a_list_that_lags_longer_than_settling_ends_in_a_doubled_one_that_is_told(pipeline: Pipeline) -> None:
    async with pipeline as site:
        hide_from_lists(site.sandbox, "First", SETTLE_SECONDS + 60)
        site.sandbox.fault("drop_after_store", call="messages.send", text="First")
        await site.arrive("First")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_all_sent()
        await site.until_rechecked()
        assert site.delivery(1).doubled_with is not None
        assert site.kinds(1)[-1] == "delivery.doubled"


# ------------------------------------------------------------------ look-alikes


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not-stored"])
@pytest.mark.parametrize("ambiguous", [0, 1, 2])
async def test_of_identical_messages_each_is_found_or_sent_for_itself(
    pipeline: Pipeline, ambiguous: int, stored: bool
) -> None:
    async with pipeline as site:
        action = "drop_after_store" if stored else "drop_before_store"
        site.sandbox.fault(action, call="messages.send", text="Yes please", skip=ambiguous)
        await site.arrive("Yes please", "Yes please", "Yes please")
        await site.until_state(UNKNOWN, ambiguous + 1)
        await site.settle()
        await site.until_all_sent()
        assert site.bodies() == ["Yes please"] * 3
        assert site.sends() == (3 if stored else 4)
        await site.until_rechecked()
        assert [site.delivery(number).doubled_with for number in (1, 2, 3)] == [None] * 3
        site.assert_each_message_is_one_delivery()


async def test_a_visitors_chat_message_with_the_same_text_is_not_taken_for_ours(pipeline: Pipeline) -> None:
    async with pipeline as site:
        await site.arrive("Hello")
        await site.until_all_sent()
        [contact] = site.sandbox.contacts()
        site.sandbox.fault("drop_before_store", call="messages.send", text="Yes please")
        await site.arrive("Yes please")
        await site.until_state(UNKNOWN, 2)
        typed = site.sandbox.visitor_message("Yes please", contact_id=str(contact["id"]))
        await site.settle()
        await site.until_all_sent()
        assert site.delivery(2).inbox_message_id != typed
        assert not site.delivery(2).read_back
        assert site.bodies() == ["Hello", "Yes please", "Yes please"]
        site.assert_each_message_is_one_delivery()


# ------------------------------------------------------------------ an Inbox that changes texts


async def test_changed_white_space_and_composition_does_not_blind_the_reading_back(pipeline: Pipeline) -> None:
    async with pipeline as site:
        site.sandbox.switch(normalise=["trim", "collapse", "crlf", "nfd"])
        site.sandbox.fault("drop_after_store", call="messages.send")
        await site.arrive("Two  blanks,\n\n  a tab\tand é ü ñ  \n", "Second")
        await site.until_state(UNKNOWN, 1)
        await site.settle()
        await site.until_all_sent()
        assert site.sends() == 2
        assert len(site.bodies()) == 2
        assert site.ledger.overview.status().inboxes[0].inbox.fault is None


async def test_changed_words_are_a_visible_fault_at_once(pipeline: Pipeline) -> None:
    async with pipeline as site:
        site.sandbox.switch(normalise=["quotes"])
        await site.arrive('She said "yes"')
        await site.until_all_sent()

        def fault() -> str:
            found = site.ledger.overview.status().inboxes[0].inbox.fault
            return found.code if found else ""

        await site.until(fault, "a fault is shown")
        assert fault() == "inbox.text_changed"


# ------------------------------------------------------------------ what changed meanwhile


def conversation_of(site: Pipeline, email: str) -> str:
    [found] = [one["id"] for one in site.sandbox.conversations() if email in one["emails"]]
    return found


def contact_of(site: Pipeline, email: str) -> str:
    [found] = [one for one in site.sandbox.conversations() if email in one["emails"]]
    return str(found["participant"]["contactId"])


async def greeted(site: Pipeline) -> None:
    """Ada and Bob have written before."""
    await site.arrive("Hello from Ada")
    await site.arrive("Hello from Bob", sender=BOB)
    await site.until_all_sent()


def lose(site: Pipeline, text: str, *, stored: bool) -> None:
    """The answer to a send is lost; where it was stored, no list shows it for a while. Lists are slow, so that whoever
    does not wait for them is seen."""
    site.sandbox.fault("delay", call="messages.list", seconds=0.2, times=None)
    if stored:
        hide_from_lists(site.sandbox, text, 10)
    site.sandbox.fault("drop_after_store" if stored else "drop_before_store", call="messages.send", text=text)


def counted(site: Pipeline, text: str) -> int:
    return sum(message["text"].strip() == text for message in site.sandbox.messages())


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not-stored"])
async def test_a_conversation_merged_meanwhile_is_searched_where_it_went(pipeline: Pipeline, stored: bool) -> None:
    async with pipeline as site:
        await greeted(site)
        lose(site, "Question", stored=stored)
        await site.arrive("Question", "More")
        await site.until_state(UNKNOWN, 3)
        target = conversation_of(site, BOB)
        site.sandbox.merge_conversations(target, conversation_of(site, ADA))
        await site.settle()
        await site.until_all_sent()
        assert counted(site, "Question") == 1
        assert site.delivery(3).read_back is stored
        assert site.delivery(4).conversation_id == target
        texts = [message["text"].strip() for message in site.sandbox.messages(conversation_id=target)]
        assert texts[-2:] == ["Question", "More"]
        site.assert_each_message_is_one_delivery()


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not-stored"])
async def test_a_contact_merged_meanwhile_is_searched_where_it_went(pipeline: Pipeline, stored: bool) -> None:
    async with pipeline as site:
        await greeted(site)
        lose(site, "Question", stored=stored)
        await site.arrive("Question", "More")
        await site.until_state(UNKNOWN, 3)
        ada, bob = contact_of(site, ADA), contact_of(site, BOB)
        site.sandbox.merge_contacts(bob, ada)
        await site.settle()
        await site.until_all_sent()
        assert counted(site, "Question") == counted(site, "More") == 1
        [conversation] = site.sandbox.conversations()
        assert [message["text"].strip() for message in conversation["messages"]][-2:] == ["Question", "More"]
        site.assert_each_message_is_one_delivery()


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not-stored"])
async def test_a_contact_deleted_meanwhile_costs_no_message_and_doubles_none(pipeline: Pipeline, stored: bool) -> None:
    async with pipeline as site:
        await greeted(site)
        lose(site, "Question", stored=stored)
        await site.arrive("Question", "More")
        await site.until_state(UNKNOWN, 3)
        site.sandbox.delete_contact(contact_of(site, ADA))
        await site.settle()
        await site.until_all_sent()
        assert counted(site, "Question") == counted(site, "More") == 1
        site.assert_each_message_is_one_delivery()
