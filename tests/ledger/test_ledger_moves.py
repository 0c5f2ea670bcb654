"""What an operator asks and moves: lists, stories, another try, no more tries."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest

from sync.decide import Dead, Skip, Vanished, Verdict
from sync.delivery import Accepted, Change, NotWritten, OnTheWire, Refused, Settled, Unclear, Waiting
from sync.ledger import MessageFilter
from sync.states import (
    DELIVERY_MOVES,
    MESSAGE_MOVES,
    DeliveryState,
    Event,
    MessageState,
    Reason,
)
from tests.ledger.conftest import Place
from tests.ledger.desk import Desk, loaded


def kill(desk: Desk, row: Waiting) -> None:
    assert desk.commit(Refused(row.delivery_id, row.attempt, desk.now, "inbox.400", "no", None)) == [True]


def hold(desk: Desk, row: Waiting) -> None:
    desk.commit(desk.intent(row))
    desk.commit(Unclear(row.delivery_id, row.attempt + 1, desk.now, "c", "s", desk.now))
    assert desk.commit(Settled(row.delivery_id, row.attempt + 1, desk.now, hold=True)) == [True]


def test_lists_are_newest_first_and_go_on_where_they_ended(desk: Desk) -> None:
    ids = desk.record(*(desk.seen(n, loaded(), arrived=n) for n in range(5))).new_message_ids
    listed = desk.ledger.messages.list(MessageFilter(limit=2))
    assert [line.id for line in listed] == [ids[4], ids[3]]
    more = desk.ledger.messages.list(MessageFilter(limit=10, after_id=ids[3]))
    assert [line.id for line in more] == [ids[2], ids[1], ids[0]]
    assert more[0].subject == "Order 7"
    assert (more[0].source, more[0].inbox, more[0].stream) == ("support", "main", "INBOX")


def test_lists_are_filtered(desk: Desk) -> None:
    other = desk.load_source("sales", account="s")
    desk.record(desk.seen(1, loaded()), view=desk.view(desk.load_streams("sales")[0], source=other))
    dead, skipped = desk.record(
        desk.seen(2, Dead(b"", "")), desk.seen(3, Skip(Reason.LOOP)), desk.seen(4)
    ).new_message_ids[:2]
    refused = desk.arrive("anna", arrived=100)
    kill(desk, refused)

    def found(**conditions: object) -> list[int]:
        return [line.id for line in desk.ledger.messages.list(MessageFilter(**conditions))]  # type: ignore[arg-type]

    assert found(failed=True) == [refused.message_id, dead]
    assert found(state=DeliveryState.DEAD) == [refused.message_id, dead]
    assert found(state=MessageState.SKIPPED) == [skipped]
    assert found(reason="loop") == [skipped]
    assert found(reason="refused") == [refused.message_id]
    assert len(found(source="sales")) == 1
    assert len(found(inbox="main")) == 5
    assert found(inbox="other") == []
    assert found(since=desk.at(50)) == [refused.message_id]
    assert found(state=DeliveryState.PENDING, source="support") == []
    assert found(limit=0) == []


def test_a_story_tells_what_happened_in_order(desk: Desk) -> None:
    row = desk.arrive("anna", "ben")
    desk.commit(desk.intent(row))
    desk.commit(NotWritten(row.delivery_id, 1, desk.now, "http.refused", "refused"))
    desk.ledger.messages.drop([row.message_id], desk.now)
    story = desk.ledger.messages.story(row.message_id)
    assert story is not None
    assert [one.kind for one in story.events] == ["delivery.not_written", "operator.drop"]
    assert [one.participant.name for one in story.message.deliveries] == ["Anna", "Ben"]
    assert story.message.deliveries[0].direction == "PARTICIPANT_TO_BUSINESS"
    assert desk.ledger.messages.story(999) is None


def test_a_dead_delivery_is_tried_again_with_its_kept_content(desk: Desk) -> None:
    row = desk.arrive()
    kill(desk, row)
    (outcome,) = desk.ledger.messages.retry([row.message_id], desk.now)
    assert outcome.moved
    waiting = desk.window()[0]
    assert (waiting.late, waiting.failures, waiting.retry_at, waiting.request) == (True, 0, None, None)
    assert desk.ledger.messages.spooled_bytes() > 0
    desk.send(waiting)


def test_a_held_delivery_is_sent_again_as_it_was(desk: Desk) -> None:
    row = desk.arrive()
    hold(desk, row)
    assert desk.ledger.messages.retry([row.message_id], desk.now)[0].moved
    waiting = desk.window()[0]
    assert waiting.request == '{"text": "hello"}'
    desk.commit(desk.intent(waiting))
    assert desk.ledger.deliveries.on_the_wire("main")[0].resends == 1


def test_what_has_no_content_any_more_is_fetched_again(desk: Desk) -> None:
    skipped, gone, dead = desk.record(
        desk.seen(1, Skip(Reason.LOOP)), desk.seen(2), desk.seen(3, Dead(b"raw", "why"))
    ).new_message_ids
    desk.ledger.messages.load_contents({gone: Vanished()}, desk.now, desk.now)
    outcomes = desk.ledger.messages.retry([skipped, gone, dead], desk.now)
    assert all(one.moved for one in outcomes)
    due = desk.ledger.messages.to_fetch("support", desk.now, 10)
    assert {(row.message_id, row.late, row.fetch_attempts) for row in due} == {
        (n, True, 0) for n in (skipped, gone, dead)
    }
    desk.ledger.messages.load_contents({skipped: loaded()}, desk.now, desk.now)
    assert desk.window()[0].late


def test_content_fetched_again_revives_what_had_failed_and_nothing_else(desk: Desk, place: Place) -> None:
    desk.arrive("anna", "ben", "carl")
    sent, dead, held = desk.window()
    desk.send(sent)
    kill(desk, dead)
    hold(desk, held)
    place.run("DELETE FROM payloads")
    assert "fetched again" in desk.ledger.messages.retry([sent.message_id], desk.now)[0].sentence
    assert (
        desk.ledger.messages.load_contents({sent.message_id: loaded("anna", "ben", "carl", "dora")}, desk.now, desk.now)
        == 3
    )
    assert desk.delivery_states(sent.message_id) == ["sent", "pending", "pending", "pending"]


def test_a_retry_says_why_it_cannot(desk: Desk) -> None:
    old, new, skipped = desk.record(
        desk.seen(1, skip=Skip(Reason.BEFORE_HORIZON)), desk.seen(2, loaded()), desk.seen(3, Skip(Reason.LOOP))
    ).new_message_ids
    row = desk.arrive()
    desk.send(row)
    desk.ledger.sources.mark_removed([], desk.now)
    outcomes = desk.ledger.messages.retry([old, new, skipped, row.message_id, 999], desk.now)
    assert [one.moved for one in outcomes] == [False] * 5
    words = [one.sentence for one in outcomes]
    for part, sentence in zip(
        ["backfill", "on its way", "cannot give it again", "delivered", "no such"], words, strict=True
    ):
        assert part in sentence
    desk.load_source("support")
    assert desk.ledger.messages.retry([skipped], desk.now, fetching=["other"])[0].moved is False
    assert desk.ledger.messages.retry([skipped], desk.now, fetching=["support"])[0].moved is True


def test_dropping_skips_what_is_open_and_leaves_what_is_on_the_wire(desk: Desk) -> None:
    found = desk.record(desk.seen(1)).new_message_ids[0]
    desk.arrive("anna", "ben", "carl")
    pending, sending, unknown = desk.window()
    desk.commit(desk.intent(sending), desk.intent(unknown))
    desk.commit(Unclear(unknown.delivery_id, 1, desk.now, "c", "s", desk.now))
    outcomes = desk.ledger.messages.drop([found, pending.message_id, 999], desk.now)
    assert [one.moved for one in outcomes] == [True, True, False]
    assert "may have arrived" in outcomes[1].sentence
    assert desk.delivery_states(pending.message_id) == ["skipped", "sending", "skipped"]
    assert desk.states([found, pending.message_id]) == ["skipped(operator)", "loaded"]
    again = desk.ledger.messages.drop([found, pending.message_id], desk.now)
    assert [one.moved for one in again] == [False, False]
    assert desk.commit(desk.accepted(sending)) == [True]


def test_a_dropped_message_can_be_brought_back(desk: Desk) -> None:
    row = desk.arrive("anna")
    desk.ledger.messages.drop(MessageFilter(source="support"), desk.now)
    assert desk.states([row.message_id]) == ["skipped(operator)"]
    assert desk.ledger.messages.spooled_bytes() == 0
    assert desk.ledger.messages.retry(MessageFilter(state=MessageState.SKIPPED), desk.now)[0].moved
    assert desk.states([row.message_id]) == ["loaded"]
    assert [one.delivery_id for one in desk.window()] == [row.delivery_id]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_tallies_are_the_counts_and_moves_are_those_of_the_table(
    desk: Desk, place: Place, seed: int
) -> None:
    """A walk over everything that moves rows, at random."""
    chance = random.Random(seed)
    before: dict[int, str] = {}
    messages_before: dict[int, str] = {}
    names = ["anna", "ben", "carl"]
    moves = {(start, end) for (start, _), ends in DELIVERY_MOVES.items() for end in ends}
    message_moves = {(start, end) for (start, _), ends in MESSAGE_MOVES.items() for end in ends}
    # several steps may happen between two looks: compare with paths of the table, not with single moves
    reach, message_reach = closure(moves), closure(message_moves)
    for _ in range(40):
        step(desk, chance, names)
        now = {int(str(a)): str(b) for a, b in place.values("SELECT id, state FROM deliveries")}
        for number, state in now.items():
            if before.get(number) != state:
                assert (before.get(number), state) in reach, (before.get(number), state)
        messages_now = {int(str(a)): str(b) for a, b in place.values("SELECT id, state FROM messages")}
        for number, state in messages_now.items():
            if messages_before.get(number) != state:
                assert (messages_before.get(number), state) in message_reach, (messages_before.get(number), state)
        before, messages_before = now, messages_now
    counted = Counter(
        {
            tuple(row[:3]): int(str(row[3]))
            for row in place.values(
                "SELECT kind, state, reason, sum(count) FROM tallies GROUP BY 1, 2, 3 HAVING sum(count) <> 0"
            )
        }
    )
    real: Counter[tuple[object, ...]] = Counter()
    for kind, table in (("message", "messages"), ("delivery", "deliveries")):
        for row in place.values(f"SELECT state, reason, count(*) FROM {table} GROUP BY 1, 2"):
            real[kind, *row[:2]] = int(str(row[2]))
    assert counted == real


def closure(moves: Iterable[tuple[object, object]]) -> set[tuple[object, object]]:
    reach = set(moves)
    while True:
        more = {(a, d) for a, b in reach for c, d in reach if b == c} - reach
        if not more:
            return reach
        reach |= more


def step(desk: Desk, chance: random.Random, names: list[str]) -> None:
    rows = desk.window()
    wire = desk.ledger.deliveries.on_the_wire("main")
    choice = chance.randrange(9)
    if choice <= 2:
        content = chance.choice(
            [loaded(*chance.sample(names, chance.randint(1, 3))), None, Skip(Reason.LOOP), Dead(b"x", "y")]
        )
        view = desk.view(chance.choice([desk.inbox, desk.sent]), epoch=chance.choice(["1", "1", "1", "2"]))
        fingerprint = chance.choice([None, "a", "b", "c"])
        desk.record(desk.seen(None, content, fingerprint=fingerprint), view=view, finished=chance.random() < 0.3)
    elif choice == 3:
        desk.commit(*(desk.intent(row) for row in rows if chance.random() < 0.7))
    elif choice == 4:
        desk.commit(*(answer_to(desk, chance, one) for one in wire))
    elif choice == 5:
        due = desk.ledger.messages.to_fetch("support", desk.now, 10)
        verdicts: Sequence[Verdict] = [loaded("anna"), Skip(Reason.OWN_ADDRESS), Vanished(), Dead(b"x", "y")]
        desk.ledger.messages.load_contents({row.message_id: chance.choice(verdicts) for row in due}, desk.now, desk.now)
    elif choice == 6:
        due = desk.ledger.messages.to_fetch("support", desk.now, 10)
        desk.ledger.messages.fetch_failed([row.message_id for row in due], desk.now, desk.now, 2)
    elif choice == 7:
        desk.ledger.messages.retry([chance.randint(1, 30) for _ in range(5)], desk.now)
    else:
        desk.ledger.messages.drop([chance.randint(1, 30) for _ in range(2)], desk.now)


def answer_to(desk: Desk, chance: random.Random, one: OnTheWire) -> Change:
    """Something that may become of a delivery on the wire."""
    here: list[Change] = [
        Accepted(one.delivery_id, one.attempt, desk.now, f"wix-{chance.random()}", 1),
        Unclear(one.delivery_id, one.attempt, desk.now, "c", "s", desk.now),
        NotWritten(one.delivery_id, one.attempt, desk.now, "c", "s"),
        Refused(one.delivery_id, one.attempt, desk.now, "c", "s", chance.choice([None, desk.now])),
    ]
    if one.state is DeliveryState.UNKNOWN:
        here[1:] = [Settled(one.delivery_id, one.attempt, desk.now, chance.random() < 0.5, None)]
    return chance.choice(here)


def test_every_event_of_the_table_is_known_to_the_ledger() -> None:
    """A new move in `sync.states` needs a thought here."""
    assert {event for _, event in DELIVERY_MOVES} | {event for _, event in MESSAGE_MOVES} == set(Event)
