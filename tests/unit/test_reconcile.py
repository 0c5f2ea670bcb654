"""Reading back: what cannot be read is never taken for "not there", and one row's trouble is its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sync.clock import SystemClock
from sync.errors import MessageError, Scope, TemporaryError
from sync.inbox import Mapping, outcome
from tests.unit.loop_desk import LoopDesk, fresh_ledger, until

MakeDesk = Callable[..., LoopDesk]


class AheadClock(SystemClock):
    """A clock that is ahead, until it is set."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


UNCLEAR = outcome.Unclear(504, "inbox.server_error", "no answer")


@pytest.fixture
def make_desk(tmp_path: Path, ledger_template: Path) -> Iterator[MakeDesk]:
    ledger = fresh_ledger(tmp_path, ledger_template)
    yield lambda **settings: LoopDesk(ledger, **{"unknown_settle_seconds": 0.1, **settings})
    ledger.close()


def lose_the_first_answer(desk: LoopDesk, *, stored: bool) -> None:
    """The first send is not answered; `stored`: it arrived all the same."""
    lost: list[str] = []

    def answer(text: str) -> outcome.SendOutcome | None:
        if lost:
            return None
        lost.append(text)
        if stored:
            desk.inbox.store(json.loads(desk.ledger.deliveries.on_the_wire("main")[0].request))
        return UNCLEAR

    desk.inbox.on_send = answer


def failing(error: Exception) -> Callable[[str], None]:
    def answer(_what: str) -> None:
        raise error

    return answer


async def test_a_stored_send_without_an_answer_is_found(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one, two = desk.arrive("anna", "one"), desk.arrive("anna", "two")
    lose_the_first_answer(desk, stored=True)
    async with desk.delivering(reconciling=True):
        await until(lambda: [desk.states(one), desk.states(two)] == [["sent"], ["sent"]], "both are sent")
    assert desk.inbox.texts("anna") == ["one", "two"]


async def test_a_send_that_was_not_stored_is_sent_again_after_settling(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one, two = desk.arrive("anna", "one"), desk.arrive("anna", "two")
    lose_the_first_answer(desk, stored=False)
    async with desk.delivering(reconciling=True):
        await until(lambda: [desk.states(one), desk.states(two)] == [["sent"], ["sent"]], "both are sent")
    assert desk.inbox.texts("anna") == ["one", "two"]


@pytest.mark.parametrize(
    "error",
    [
        MessageError("refused", code="inbox.refused"),
        TemporaryError("too far back", code="inbox.look_incomplete", scope=Scope.MESSAGE),
    ],
)
async def test_a_conversation_that_cannot_be_read_is_not_guessed_about(make_desk: MakeDesk, error: Exception) -> None:
    desk = make_desk()
    one, two = desk.arrive("anna", "one"), desk.arrive("anna", "two")
    lose_the_first_answer(desk, stored=True)
    desk.inbox.on_look = failing(error)
    async with desk.delivering(reconciling=True):
        await until(
            lambda: [desk.states(one), desk.states(two)] == [["held"], ["sent"]], "one is held, the lane goes on"
        )
    assert desk.inbox.texts("anna") == ["one", "two"]


async def test_a_conversation_that_can_be_read_again_in_time_is_not_held(make_desk: MakeDesk) -> None:
    desk = make_desk(unknown_settle_seconds=20)
    one = desk.arrive("anna", "one")
    lose_the_first_answer(desk, stored=True)
    desk.inbox.on_look = failing(TemporaryError("?", code="inbox.look_incomplete", scope=Scope.MESSAGE))
    async with desk.delivering(reconciling=True):
        await until(lambda: desk.inbox.calls["look"] >= 2, "it was looked for")
        desk.inbox.on_look = lambda _conversation: None
        await until(lambda: desk.states(one) == ["sent"], "it is found")
    assert desk.inbox.texts("anna") == ["one"]


async def test_a_participant_that_cannot_be_resolved_any_more_does_not_stay_unknown(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one = desk.arrive("anna", "one")
    asked: list[str] = []

    def answer(value: str) -> Mapping | None:
        asked.append(value)
        if len(asked) > 1:
            raise TemporaryError("gone", code="inbox.refused", scope=Scope.MESSAGE)
        return None

    desk.inbox.on_resolve = answer
    lose_the_first_answer(desk, stored=False)
    async with desk.delivering(reconciling=True):
        await until(lambda: desk.states(one) == ["held"], "it is held")


async def test_what_was_merged_away_is_found_in_the_other_conversation(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one = desk.arrive("anna", "one")

    def answer(_text: str) -> outcome.SendOutcome:
        body = json.loads(desk.ledger.deliveries.on_the_wire("main")[0].request)
        desk.inbox.store({**body, "conversationId": "c-bea@example.com"})
        desk.inbox.on_resolve = lambda _value: Mapping("k-2", "c-bea@example.com")
        return UNCLEAR

    desk.inbox.on_send = answer
    async with desk.delivering(reconciling=True):
        await until(lambda: desk.states(one) == ["sent"], "it is found")
    assert desk.inbox.texts("bea") == ["one"]
    assert desk.inbox.calls["send"] == 1


async def test_a_bug_at_one_row_is_its_own(make_desk: MakeDesk) -> None:
    desk = make_desk(unknown_settle_seconds=20)
    bad, good = desk.arrive("bad", "bad"), desk.arrive("anna", "good")
    stored: set[str] = set()

    def answer(text: str) -> outcome.SendOutcome:
        if text not in stored:
            stored.add(text)
            rows = desk.ledger.deliveries.on_the_wire("main")
            desk.inbox.store(next(json.loads(row.request) for row in rows if f'"{text}"' in row.request))
        return UNCLEAR

    def look(conversation_id: str) -> None:
        if "bad" in conversation_id:
            raise ZeroDivisionError

    desk.inbox.on_send, desk.inbox.on_look = answer, look
    async with desk.delivering(reconciling=True):
        await until(lambda: desk.states(good) == ["sent"], "the other one is found")
        assert desk.states(bad) == ["unknown"]


async def test_looks_after_a_resend_that_fail_for_good_are_given_up(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one = desk.arrive("anna", "one")
    lose_the_first_answer(desk, stored=False)
    async with desk.delivering(reconciling=True):
        await until(lambda: desk.states(one) == ["sent"], "it is sent again")
        desk.inbox.on_look = failing(MessageError("refused", code="inbox.refused"))
        before = desk.inbox.calls["look"]
        await until(lambda: desk.rechecks() == 0, "no look is due any more")
    assert desk.inbox.calls["look"] <= before + 4


async def test_a_second_copy_is_recorded_as_doubled(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one = desk.arrive("anna", "one")
    lose_the_first_answer(desk, stored=False)
    async with desk.delivering(reconciling=True):
        await until(lambda: desk.states(one) == ["sent"], "it is sent again")
        late = desk.inbox.stored["c-anna@example.com"][0].raw
        desk.inbox.store({"conversationId": "c-anna@example.com", "message": late})
        await until(lambda: desk.line(one).doubled_with == "1001", "the second copy is on record")


async def test_another_message_of_the_same_text_on_its_way_is_no_second_copy(make_desk: MakeDesk) -> None:
    desk = make_desk()
    one = desk.arrive("anna", "same")
    lose_the_first_answer(desk, stored=False)
    async with desk.delivering(reconciling=True):
        await until(lambda: desk.states(one) == ["sent"], "it is sent again")
        twin = desk.arrive("anna", "same")
        lose_the_first_answer(desk, stored=True)
        desk.deliverer.wake()
        await until(lambda: desk.states(twin) == ["sent"] and desk.rechecks() == 0, "the twin is found")
    assert desk.line(one).doubled_with is None
    assert len(desk.inbox.texts("anna")) == 2


async def test_where_the_inbox_changes_texts_nothing_is_sent_again(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.ledger.inboxes.set_fault("main", "inbox.text_changed", "texts are changed", desk.began)
    one, two = desk.arrive("anna", "one"), desk.arrive("anna", "two")
    lose_the_first_answer(desk, stored=False)
    async with desk.delivering(reconciling=True):
        await until(
            lambda: [desk.states(one), desk.states(two)] == [["held"], ["sent"]], "it is held, the lane goes on"
        )
    story = desk.ledger.messages.story(one)
    assert story is not None
    [why] = [event.detail for event in story.events if event.kind == "delivery.held"]
    assert "changes texts" in str(why)


async def test_a_fault_of_changed_texts_is_taken_back_when_they_come_back_as_they_were(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.book.UNCHANGED_AGAIN", 3)
    desk = make_desk()
    changed = outcome.Accepted("900", 900, None, text_changed=True)
    desk.inbox.on_send = lambda text: changed if text == "odd" else None

    def fault() -> object:
        row = desk.ledger.inboxes.get("main")
        return None if row is None else row.fault

    odd = desk.arrive("anna", "odd")
    async with desk.delivering():
        await until(lambda: desk.states(odd) == ["sent"] and fault() is not None, "the fault is shown")
        for number in range(3):
            desk.arrive("anna", f"plain {number}")
        desk.deliverer.wake()
        await until(lambda: fault() is None, "it is taken back")


async def test_a_clock_set_back_does_not_put_looks_off_and_settling_begins_anew(make_desk: MakeDesk) -> None:
    """The send was lost tomorrow, by the clock as it was then."""
    desk = make_desk(unknown_settle_seconds=0.3)
    ahead = AheadClock()
    desk.clock = ahead
    desk.take_lease()
    one = desk.arrive("anna", "one")
    lose_the_first_answer(desk, stored=True)
    ahead.ahead = timedelta(days=1)
    async with desk.delivering():
        await until(lambda: desk.states(one) == ["unknown"], "its outcome is unknown")
    ahead.ahead = timedelta(0)
    async with desk.delivering(reconciling=True):
        await until(lambda: desk.states(one) == ["sent"], "it is found")
    assert desk.inbox.texts("anna") == ["one"]
