"""Faults on order, seen from the client's side of a real connection."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from http.client import IncompleteRead, RemoteDisconnected
from urllib.parse import urlsplit

import pytest

from sync.sandbox import ACTIONS, Fault, ManualClock, Sandbox, SandboxError
from sync.sandbox.values import as_list, as_object
from tests.unit.sandbox_wire import Wire

CUT = (RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def wire(sandbox: Sandbox) -> Wire:
    return Wire(sandbox)


@pytest.fixture
def conversation(wire: Wire) -> str:
    return wire.conversation()


@pytest.mark.parametrize(
    ("action", "error", "stored"),
    [
        ("drop_before_store", RemoteDisconnected, 0),
        ("drop_after_store", RemoteDisconnected, 1),
        ("reset_before_store", ConnectionResetError, 0),
        ("reset_after_store", ConnectionResetError, 1),
        ("early_close", CUT, 0),
        ("early_reset", CUT, 0),
    ],
)
def test_cut_connection_stores_or_does_not(
    sandbox: Sandbox,
    wire: Wire,
    conversation: str,
    action: str,
    error: type[Exception] | tuple[type[Exception], ...],
    stored: int,
) -> None:
    sandbox.fault(action, call="messages.send")
    with pytest.raises(error):
        wire.send(conversation)
    assert len(sandbox.messages()) == stored
    assert sandbox.journal("messages.send")[-1]["status"] is None
    assert sandbox.stats()["faults"] == {action: 1}
    assert wire.send(conversation).status == 200


@pytest.mark.parametrize("action", ["accept_close", "accept_reset"])
def test_connection_is_cut_as_soon_as_it_is_accepted(sandbox: Sandbox, action: str) -> None:
    sandbox.fault(action)
    parts = urlsplit(sandbox.url)
    # The reset may come before connect() has returned.
    expected = pytest.raises(ConnectionResetError) if action == "accept_reset" else nullcontext()
    with expected, socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        assert connection.recv(1) == b""
    assert Wire(sandbox).create("jo@example.com").status == 200


@pytest.mark.parametrize(("action", "stored"), [("hang_before_store", 0), ("hang_after_store", 1)])
def test_hanging_request_ends_without_an_answer(
    sandbox: Sandbox, wire: Wire, conversation: str, action: str, stored: int
) -> None:
    sandbox.fault(action, call="messages.send", seconds=0.05)
    with pytest.raises(RemoteDisconnected):
        wire.send(conversation)
    assert len(sandbox.messages()) == stored


def test_client_that_gives_up_ends_the_hanging_request(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("hang_before_store", call="messages.send", seconds=60)
    wire.connection.timeout = 0.05
    wire.connection.close()
    with pytest.raises(TimeoutError):
        wire.send(conversation)
    sandbox.wait_until(lambda: [one["finishedAt"] is not None for one in sandbox.journal("messages.send")] == [True])
    assert sandbox.messages() == []


def test_stop_does_not_wait_for_hanging_requests(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("hang_after_store", call="messages.send", seconds=60)
    failures: list[type[Exception]] = []

    def send() -> None:
        try:
            wire.send(conversation)
        except OSError as problem:
            failures.append(type(problem))

    thread = threading.Thread(target=send)
    thread.start()
    sandbox.wait_messages(1)
    began = time.monotonic()
    sandbox.stop()
    thread.join(30)
    assert time.monotonic() - began < 30
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("conditions", "error"),
    [({}, RemoteDisconnected), ({"status": 504}, None), ({"hang_seconds": 0.05}, RemoteDisconnected)],
)
def test_late_commit_is_stored_after_the_client_gave_up(
    conditions: dict[str, object], error: type[Exception] | None
) -> None:
    clock = ManualClock()
    with Sandbox(clock=clock) as sandbox:
        wire = Wire(sandbox)
        conversation = wire.conversation()
        sandbox.fault("late_commit", call="messages.send", seconds=20, **conditions)
        if error is None:
            assert wire.send(conversation, "late").status == 504
        else:
            with pytest.raises(error):
                wire.send(conversation, "late")
        clock.advance(19.9)
        assert wire.listed(conversation) == []
        assert sandbox.stats()["late"] == 1
        wire.send(conversation, "early")
        clock.advance(0.2)
        assert wire.listed(conversation) == ["late", "early"]
        assert sandbox.stats()["late"] == 0


def test_settle_performs_late_commits_now(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("late_commit", call="messages.send", seconds=600, status=503)
    wire.send(conversation, "late")
    assert sandbox.settle() == 1
    assert sandbox.texts() == ["late"]


def test_streak_of_server_errors_ends_by_itself(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("status", call="messages.send", status=503, times=3, skip=1)
    answers = [wire.send(conversation) for _ in range(6)]
    assert [answer.status for answer in answers] == [200, 503, 503, 503, 200, 200]
    assert answers[1].body == {}
    assert len(sandbox.messages()) == 3


def test_server_error_after_storing(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("status", call="messages.send", status=500, stored=True)
    assert wire.send(conversation).status == 500
    assert len(sandbox.messages()) == 1


def test_refusals_carry_code_and_retry_after(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("status", call="messages.*", status=429, retry_after=7)
    sandbox.fault("status", call="messages.*", status=428, code="SOMETHING_ELSE")
    first, second = wire.send(conversation), wire.send(conversation)
    assert (first.status, first.headers["retry-after"]) == (429, "7")
    assert (second.status, second.code) == (428, "SOMETHING_ELSE")


def test_answer_breaks_off_in_its_body(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("truncate", call="messages.send")
    with pytest.raises(IncompleteRead):
        wire.send(conversation)
    assert len(sandbox.messages()) == 1


def test_answer_breaks_off_in_its_headers(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("truncate", call="messages.send", part="headers")
    answer = wire.send(conversation)  # the standard library takes the end for the end of the headers
    assert answer.body == {}
    assert "x-wix-request-id" not in answer.headers
    assert len(sandbox.messages()) == 1


def test_answer_that_is_not_json(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("garbage", call="messages.send", stored=True)
    with pytest.raises(json.JSONDecodeError):
        wire.send(conversation)
    assert len(sandbox.messages()) == 1


def test_connection_closed_after_an_answer_is_not_announced(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("close_after", call="messages.send")
    answer = wire.send(conversation)
    assert answer.status == 200
    assert "connection" not in answer.headers
    assert wire.connection.sock.recv(1) == b""


def test_fault_on_a_reused_connection(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("early_reset", call="messages.send", reused_connection=True)
    assert Wire(sandbox).send(conversation).status == 200
    with pytest.raises(CUT):
        wire.send(conversation)


def test_list_shows_a_slow_message_later(sandbox: Sandbox) -> None:
    clock = ManualClock()
    with Sandbox(clock=clock) as slow:
        wire = Wire(slow)
        conversation = wire.conversation()
        slow.fault("slow_list", call="messages.send", seconds=5, text="slow")
        wire.send(conversation, "slow one")
        wire.send(conversation, "quick one")
        assert wire.listed(conversation) == ["quick one"]
        clock.advance(5)
        assert wire.listed(conversation) == ["quick one", "slow one"]


def test_modifiers_go_together_with_another_fault(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("normalise", forms=["collapse", "trim"])
    sandbox.fault("drop_after_store", call="messages.send")
    with pytest.raises(RemoteDisconnected):
        wire.send(conversation, "a   b ")
    assert sandbox.texts() == ["a b"]


def test_answer_with_a_value_of_the_future(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("rewrite", call="messages.send")
    sandbox.fault("rewrite", call="messages.list", field="messages.*.direction", value="UPWARDS")
    assert wire.send(conversation).at("message.visibility") == "A_VALUE_OF_THE_FUTURE"
    assert sandbox.messages()[0]["visibility"] == "BUSINESS"
    listed = as_list(wire.page(conversation).body["messages"])
    assert [as_object(each)["direction"] for each in listed] == ["UPWARDS"]


@pytest.mark.parametrize("action", ["delay", "delay_before"])
def test_delayed_answer_comes_late(sandbox: Sandbox, wire: Wire, conversation: str, action: str) -> None:
    sandbox.fault(action, call="messages.send", seconds=0.1)
    began = time.monotonic()
    assert wire.send(conversation).status == 200
    assert time.monotonic() - began >= 0.1


def test_faults_meet_only_what_they_name(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    other = wire.conversation("ann@example.com")
    for conditions in (
        {"text": "nowhere"},
        {"conversation_id": other},
        {"method": "PATCH"},
        {"path": "/contacts/*"},
        {"site_id": other},
        {"call": "messages.list"},
    ):
        sandbox.fault("status", status=500, times=None, **conditions)
    assert wire.send(conversation, "somewhere").status == 200
    assert wire.send(other, "x").status == 500
    assert wire.page(conversation).status == 500
    assert wire.send(conversation, "a word from nowhere").status == 500
    assert sandbox.clear_faults() == 6
    assert wire.page(other).status == 200


def test_conversation_of_a_list_request_is_matched(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    sandbox.fault("status", status=503, conversation_id=conversation, times=2)
    assert wire.page(conversation).status == 503
    assert wire.call("GET", f"/inbox/v2/conversations/{conversation}").status == 503


def test_chance_repeats_with_its_seed(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    def outcomes(seed: int) -> list[int]:
        fault = sandbox.fault("status", status=500, times=None, probability=0.5, seed=seed)
        statuses = [wire.page(conversation).status for _ in range(20)]
        assert sandbox.clear_faults(fault) == 1
        return statuses

    first = outcomes(1)
    assert first == outcomes(1)
    assert set(first) == {200, 500}
    assert first != outcomes(2)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"action": "explode"}, "unknown action 'explode'; known: drop_before_store"),
        ({"action": "status"}, "needs a status"),
        ({"action": "delay"}, "needs seconds"),
        ({"action": "delay", "seconds": 10_000}, "seconds: Input should be less than or equal to 600"),
        ({"action": "garbage", "times": 0}, "times: Input should be greater"),
        ({"action": "garbage", "colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"action": "normalise", "forms": ["rot13"]}, "unknown forms rot13"),
    ],
)
def test_fault_that_makes_no_sense_is_refused(sandbox: Sandbox, given: dict[str, object], reason: str) -> None:
    with pytest.raises(SandboxError, match=reason):
        Fault.from_json(given)
    with pytest.raises(SandboxError):
        sandbox.do("fault", **given)
    assert sandbox.faults() == []


def test_armed_faults_tell_what_they_did(sandbox: Sandbox, wire: Wire, conversation: str) -> None:
    fault = sandbox.fault("status", status=500, call="messages.send", skip=1)
    wire.send(conversation)
    wire.send(conversation)
    assert sandbox.faults() == [
        {
            "action": "status",
            "status": 500,
            "call": "messages.send",
            "skip": 1,
            "id": fault,
            "matched": 2,
            "fired": 1,
        }
    ]


def test_every_action_has_a_description() -> None:
    assert all(ACTIONS.values())
