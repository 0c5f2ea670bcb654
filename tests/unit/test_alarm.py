"""What is told, and when: once when it stops, once when it is well, and nothing flaps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sync.alarm import (
    Alert,
    AlertKind,
    Counted,
    Memory,
    Patience,
    Trouble,
    look,
    memory_from_json,
    memory_to_json,
    untold,
)

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
PATIENCE = Patience(timedelta(minutes=5), timedelta(minutes=2), timedelta(hours=1))
DOWN = Trouble("source support", "imap.refused", "the server refuses", "inbox-sync check")


class Watch:
    """Looks from time to time, and remembers as the ledger does."""

    def __init__(self) -> None:
        self.kept = memory_to_json(Memory())

    def at(self, minutes: float, *troubles: Trouble, counted: tuple[Counted, ...] = ()) -> list[Alert]:
        now = NOON + timedelta(minutes=minutes)
        memory, alerts = look(memory_from_json(self.kept), troubles, counted, now, PATIENCE)
        self.kept = memory_to_json(memory)
        return alerts


def test_a_trouble_that_lasts_is_told_once_and_so_is_its_end() -> None:
    watch = Watch()
    assert watch.at(0, DOWN) == []
    assert watch.at(4.9, DOWN) == []
    [told] = watch.at(5, DOWN)
    assert (told.kind, told.about, told.code) == (AlertKind.TROUBLE, "source support", "imap.refused")
    assert (told.next_step, told.since) == ("inbox-sync check", NOON)
    assert watch.at(6, DOWN) == []
    assert watch.at(500, DOWN) == []
    assert watch.at(501) == []
    assert watch.at(502.9) == []
    [well] = watch.at(503)
    assert (well.kind, well.about, well.since) == (AlertKind.WELL, "source support", NOON)
    assert watch.at(504) == []


def test_a_short_trouble_is_never_told() -> None:
    watch = Watch()
    for minute in range(0, 60, 5):
        assert watch.at(minute, DOWN) == []
        assert watch.at(minute + 1) == []
        assert watch.at(minute + 3.5) == []
    assert watch.at(90) == []


def test_what_comes_and_goes_is_told_once_and_its_end_once() -> None:
    """Away for less than two minutes is not away."""
    watch = Watch()
    told = [alert for minute in range(60) for alert in watch.at(minute, *([DOWN] if minute % 3 else []))]
    assert [alert.kind for alert in told] == [AlertKind.TROUBLE]
    told = [alert for minute in range(60, 70) for alert in watch.at(minute)]
    assert [alert.kind for alert in told] == [AlertKind.WELL]


def test_another_reason_for_the_same_trouble_is_no_news() -> None:
    watch = Watch()
    watch.at(0, DOWN)
    assert len(watch.at(5, DOWN)) == 1
    assert watch.at(6, Trouble("source support", "imap.timeout", "it is silent", "")) == []


def test_what_happened_is_counted_from_the_first_look_on_and_told_together() -> None:
    watch = Watch()

    def held(count: int) -> tuple[Counted, ...]:
        return (Counted("source support", "delivery.held", count, "deliveries are held for you", "look"),)

    assert watch.at(0, counted=held(7)) == []
    [told] = watch.at(1, counted=held(9))
    assert (told.kind, told.sentence) == (AlertKind.HAPPENED, "source support: 2 deliveries are held for you")
    assert watch.at(2, counted=held(10)) == []
    assert watch.at(3, counted=held(20)) == []
    [told] = watch.at(62, counted=held(20))
    assert told.sentence == "source support: 11 deliveries are held for you"
    assert watch.at(200, counted=held(3)) == []
    [told] = watch.at(300, counted=held(4))
    assert told.sentence.startswith("source support: 1 ")


def test_an_alert_that_nobody_took_is_found_again_and_no_other_with_it() -> None:
    other = Trouble("inbox main", "inbox.refused", "it refuses", "")
    held = Counted("source support", "delivery.held", 1, "deliveries are held for you", "")
    memory, _ = look(Memory(), [DOWN, other], [held], NOON, PATIENCE)
    later = NOON + timedelta(minutes=6)
    more = replace(held, count=3)
    told, alerts = look(memory, [DOWN, other], [more], later, PATIENCE)
    assert len(alerts) == 3
    for missed in alerts:
        left = untold(told, memory, missed)
        _, again = look(memory_from_json(memory_to_json(left)), [DOWN, other], [more], later, PATIENCE)
        assert again == [missed]
    gone, _ = look(told, [other], [more], later, PATIENCE)
    well = later + timedelta(minutes=3)
    after, [end] = look(gone, [other], [more], well, PATIENCE)
    _, again = look(untold(after, gone, end), [other], [more], well, PATIENCE)
    assert again == [end]


def test_a_memory_that_cannot_be_read_is_an_empty_one() -> None:
    assert memory_from_json("{") == memory_from_json(None) == Memory()
