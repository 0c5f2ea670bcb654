"""The deliverer and the reconciler over a real ledger and an Inbox in memory: nothing lost, doubled or stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from sync.deliver import probe_when_parked
from sync.delivery import Change, Waiting
from sync.errors import InboxSyncError, LedgerError, Scope, TemporaryError
from sync.inbox import Mapping, outcome
from sync.ledger import LeaseRef, Mapped
from tests.unit.loop_desk import LoopDesk, fresh_ledger, until

MakeDesk = Callable[..., LoopDesk]


@pytest.fixture
def make_desk(tmp_path: Path, ledger_template: Path) -> Iterator[MakeDesk]:
    ledger = fresh_ledger(tmp_path, ledger_template)
    yield lambda **settings: LoopDesk(ledger, **settings)
    ledger.close()


def only_for(name: str, error: Exception) -> Callable[[str], None]:
    """Fails for one participant."""

    def answer(value: str) -> None:
        if value.startswith(name):
            raise error

    return answer


def server_error() -> InboxSyncError:
    return TemporaryError("500", code="inbox.server_error", scope=Scope.INBOX)


async def test_a_lane_is_sent_in_order(make_desk: MakeDesk) -> None:
    desk = make_desk()
    ids = [desk.arrive("anna", f"text {n}") for n in range(3)]
    async with desk.delivering():
        await until(lambda: all(desk.states(one) == ["sent"] for one in ids), "all is sent")
    assert desk.inbox.texts("anna") == ["text 0", "text 1", "text 2"]


async def test_a_first_load_does_not_fill_the_memory_with_what_waits_for_its_end(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.deliver.WINDOW_ROWS", 2)
    desk = make_desk()
    ids = [desk.arrive("anna", f"text {n}", first_load=True) for n in range(8)]
    looks: list[int] = []
    window = desk.ledger.deliveries.window

    def look(inbox: str, limit: int, now: datetime) -> list[Waiting]:
        looks.append(limit)
        return window(inbox, limit, now)

    def looked(times: int) -> Callable[[], bool]:
        return lambda: len(looks) >= times

    monkeypatch.setattr(desk.ledger.deliveries, "window", look)
    async with desk.delivering():
        for count in range(1, 5):
            await until(looked(count), "the deliverer has looked again")
            assert len(desk.deliverer.board) <= 2
            desk.deliverer.wake()
        ids.append(desk.arrive("anna", "the last one"))
        desk.deliverer.wake()
        await until(lambda: all(desk.states(one) == ["sent"] for one in ids), "all is sent")
    assert set(looks) == {2}
    assert desk.inbox.texts("anna") == [*(f"text {n}" for n in range(8)), "the last one"]


async def test_a_participant_at_whom_the_inbox_always_fails_holds_up_nobody_else(make_desk: MakeDesk) -> None:
    desk = make_desk(park_after_failures=4)
    poison, good = desk.arrive("poison", "x"), desk.arrive("anna", "y")
    desk.inbox.on_resolve = only_for("poison", server_error())
    async with desk.delivering(probing=True):
        await until(lambda: desk.states(good) == ["sent"], "the other one is sent")
    assert desk.states(poison) == ["pending"]  # an outage kills nothing, so this is not counted


async def test_a_participant_at_whom_the_inbox_always_fails_is_asked_for_with_pauses(make_desk: MakeDesk) -> None:
    desk = make_desk(park_after_failures=1000, first_look_seconds=0.05)
    desk.arrive("poison", "x")
    good = desk.arrive("anna", "y")
    desk.inbox.on_resolve = only_for("poison", server_error())
    async with desk.delivering():
        await until(lambda: desk.states(good) == ["sent"], "the other one is sent")
    assert desk.inbox.calls["resolve poison@example.com"] <= 4


async def test_a_bug_at_one_participant_costs_its_message(make_desk: MakeDesk) -> None:
    desk = make_desk(max_attempts=2)
    bad, good = desk.arrive("bad", "x"), desk.arrive("anna", "y")
    desk.inbox.on_resolve = only_for("bad", ValueError("a bug"))
    async with desk.delivering():
        await until(lambda: desk.states(good) == ["sent"] and desk.states(bad) == ["dead"], "one sent, one dead")


async def test_a_busy_ledger_is_no_refusal_of_the_message(make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = make_desk(max_attempts=1)
    one = desk.arrive("anna", "x")
    remember, tries = desk.ledger.participants.remember, 0

    def busy_once(mapped: list[Mapped], now: datetime) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise TemporaryError("busy", code="ledger.busy")
        remember(mapped, now)

    monkeypatch.setattr(desk.ledger.participants, "remember", busy_once)
    async with desk.delivering():
        await until(lambda: desk.states(one) == ["sent"], "it is sent")


async def test_an_intent_whose_commit_was_not_heard_of_is_read_back_and_the_lane_goes_on(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = make_desk(requests_per_minute=195)
    first, second = desk.arrive("anna", "one"), desk.arrive("anna", "two")
    commit, calls = desk.ledger.deliveries.commit, 0

    def unheard_once(lease: LeaseRef, changes: list[Change], now: object) -> list[bool]:
        nonlocal calls
        calls += 1
        done = commit(lease, changes, now)  # type: ignore[arg-type]
        if calls == 1:
            raise LedgerError("the connection broke", code="ledger.unreachable")
        return done

    monkeypatch.setattr(desk.ledger.deliveries, "commit", unheard_once)
    async with desk.delivering(reconciling=True):
        await until(lambda: [desk.states(first), desk.states(second)] == [["sent"], ["sent"]], "both are sent")
    assert desk.inbox.texts("anna") == ["one", "two"]
    assert desk.inbox.calls["send"] == 2


async def test_a_lease_that_has_run_out_parks_nothing_and_costs_no_intents(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one = desk.arrive("anna", "x")
    desk.lease.extend(0)
    async with desk.delivering():
        await until(lambda: len(desk.deliverer.board) == 1 and desk.inbox.calls["resolve"] == 0, "it has looked")
        assert desk.health.parked is None
        assert desk.inbox.calls["send"] == 0
        desk.lease.extend(desk.clock.elapsed_seconds() + 3600)
        desk.deliverer.wake()
        await until(lambda: desk.states(one) == ["sent"], "it is sent")


async def test_sends_end_with_their_deliverer(make_desk: MakeDesk) -> None:
    """Else they would go on beside the next one, after a bug or a lost lease."""
    desk = make_desk()
    one = desk.arrive("anna", "x")
    desk.inbox.gate.clear()
    running = asyncio.create_task(desk.deliverer.run())
    await until(lambda: desk.inbox.calls["send"] == 1, "a request is on the wire")
    running.cancel()
    await asyncio.sleep(0)
    desk.inbox.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert desk.states(one) == ["sent"]


async def test_content_that_cannot_be_understood_costs_one_message(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = make_desk()
    bad, good = desk.arrive("bad", "x"), desk.arrive("anna", "y")
    contents = desk.ledger.messages.to_send

    def with_a_bad_one(ids: list[int]) -> object:
        if bad in ids:
            raise ValueError("not what was written")
        return contents(ids)

    monkeypatch.setattr(desk.ledger.messages, "to_send", with_a_bad_one)
    found = await desk.deliverer._load_contents([bad, good])
    assert found[0] is None
    assert found[1] is not None


async def test_sends_that_fail_while_reads_work_use_up_no_message(make_desk: MakeDesk) -> None:
    desk = make_desk(unknown_settle_seconds=0.05, max_resends=1)
    ids = [desk.arrive(name, "x") for name in ("anna", "bea", "carl")]
    desk.inbox.on_send = lambda _text: outcome.Unclear(503, "inbox.server_error", "503")
    async with desk.delivering(reconciling=True, probing=True):
        await until(lambda: desk.inbox.calls["send"] >= 12, "each was tried more often than max_resends")
        assert desk.inbox.calls["probe"] > 0
        desk.inbox.on_send = lambda _text: None
        await until(lambda: all(desk.states(one) == ["sent"] for one in ids), "all are sent")
    assert [len(desk.inbox.texts(name)) for name in ("anna", "bea", "carl")] == [1, 1, 1]


async def test_one_message_at_which_sends_fail_is_held_while_others_get_through(make_desk: MakeDesk) -> None:
    desk = make_desk(unknown_settle_seconds=0.05, max_resends=1)
    poison = desk.arrive("poison", "poison")
    desk.inbox.on_send = lambda text: outcome.Unclear(500, "x", "500") if text == "poison" else None
    async with desk.delivering(reconciling=True, probing=True):

        def held() -> bool:
            desk.arrive("anna", "y")
            desk.deliverer.wake()
            return desk.states(poison) == ["held"]

        await until(held, "it is held")


async def test_after_a_probe_one_send_is_tried_before_the_others(make_desk: MakeDesk) -> None:
    desk = make_desk()
    ids = [desk.arrive(name, "x") for name in ("anna", "bea", "carl")]
    desk.health.on_trial = True
    desk.inbox.gate.clear()
    async with desk.delivering():
        await until(lambda: desk.inbox.calls["send"] == 1 and desk.inbox.calls["resolve"] == 3, "one is on the wire")
        for _ in range(20):
            desk.deliverer.wake()
            await asyncio.sleep(0)
        assert desk.inbox.calls["send"] == 1
        desk.inbox.gate.set()
        await until(lambda: all(desk.states(one) == ["sent"] for one in ids), "all are sent")


async def test_a_merged_participant_goes_to_its_new_conversation(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one = desk.arrive("anna", "x")
    desk.inbox.on_resolve = lambda _value: Mapping("k-1", "c-bea@example.com")
    async with desk.delivering():
        await until(lambda: desk.states(one) == ["sent"], "it is sent")
    assert desk.inbox.texts("bea") == ["x"]


async def test_a_parked_inbox_is_probed_and_then_delivers(make_desk: MakeDesk) -> None:
    desk = make_desk(park_after_failures=1)
    one = desk.arrive("anna", "x")
    await desk.health.failed(server_error())
    async with desk.delivering():
        assert desk.states(one) == ["pending"]
        probing = asyncio.create_task(probe_when_parked(desk.client, desk.health, desk.clock, desk.deliverer.wake))
        await until(lambda: desk.states(one) == ["sent"], "it is sent")
        probing.cancel()
