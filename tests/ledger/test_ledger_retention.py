"""Old rows are forgotten, and nothing that was forgotten is ever sent again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sync.decide import Skip
from sync.errors import ConfigError
from sync.ledger import BackfillTerms
from sync.ledger.retention import ROWS
from sync.states import Reason
from tests.ledger.conftest import Place
from tests.ledger.desk import NOON, Desk, loaded

DAY = 86_400.0
BEFORE = NOON - timedelta(days=10)


def forget(desk: Desk) -> int:
    """A whole round; how many messages went."""
    desk.ledger.retention.move_horizons(BEFORE)
    count, last = 0, 0
    while True:
        step = desk.ledger.retention.forget(last, BEFORE)
        count += step.messages
        if step.last_id is None:
            return count
        last = step.last_id


def counts(place: Place) -> tuple[object, ...]:
    tables = ("messages", "deliveries", "payloads", "raws", "events WHERE message_id IS NOT NULL")
    return tuple(place.values(f"SELECT count(*) FROM {table}")[0][0] for table in tables)


def test_what_is_old_and_final_goes_with_all_that_belongs_to_it_and_the_rest_stays(place: Place, desk: Desk) -> None:
    for days in (-30, -20, -5):
        desk.send(desk.arrive("anna", arrived=days * DAY))
    desk.record(desk.seen(None, skip=Skip(Reason.LOOP, "a loop"), arrived=-30 * DAY))
    desk.arrive("bert", arrived=-30 * DAY)
    assert forget(desk) == 3
    assert [row[0] for row in place.values("SELECT state FROM deliveries ORDER BY id")] == ["sent", "pending"]
    status = desk.ledger.overview.status()
    assert status.deliveries["sent"] == 1
    assert status.messages["loaded"] == 2
    assert status.messages["skipped"] == 0
    desk.send(*desk.window())
    assert forget(desk) == 1
    assert counts(place)[:3] == (1, 1, 0)


def test_what_is_dated_later_than_it_arrived_is_kept_as_long_as_its_date_asks_for(place: Place, desk: Desk) -> None:
    desk.send(desk.arrive("anna", arrived=-30 * DAY))
    place.run("UPDATE messages SET written_at = arrived_at")
    late = f"written_at + {int(25 * DAY * 1_000_000)}" if place.kind == "sqlite" else "written_at + interval '25 days'"
    place.run(f"UPDATE messages SET written_at = {late}")
    assert forget(desk) == 0


def test_a_row_that_others_repeat_goes_and_they_stay(place: Place, desk: Desk) -> None:
    desk.record(desk.seen("1", loaded("anna"), fingerprint="one", arrived=-30 * DAY))
    desk.send(*desk.window())
    desk.record(desk.seen("2", loaded("anna"), fingerprint="one", arrived=-1 * DAY), view=desk.view(epoch="2"))
    assert place.values("SELECT count(*) FROM messages WHERE duplicate_of IS NOT NULL") == [(1,)]
    assert forget(desk) == 1
    assert place.values("SELECT state, duplicate_of FROM messages") == [("skipped", None)]


def test_horizons_move_up_and_never_down(desk: Desk) -> None:
    forget(desk)
    known = desk.ledger.sources.get("support")
    assert known is not None
    assert known.horizon == BEFORE
    desk.ledger.retention.move_horizons(BEFORE - timedelta(days=5))
    known = desk.ledger.sources.get("support")
    assert known is not None
    assert known.horizon == BEFORE
    assert desk.ledger.retention.forgotten_until() == BEFORE


def test_a_new_source_does_not_bring_what_was_forgotten(desk: Desk) -> None:
    forget(desk)
    assert desk.load_source("second").horizon == BEFORE


def test_no_backfill_reaches_what_was_forgotten(desk: Desk) -> None:
    forget(desk)
    with pytest.raises(ConfigError, match="would be sent again") as refused:
        desk.ledger.backfills.start("support", BackfillTerms(BEFORE - timedelta(seconds=1), None, None), NOON)
    assert refused.value.code == "backfill.forgotten"
    desk.ledger.backfills.start("support", BackfillTerms(BEFORE, None, None), NOON)


def test_a_round_looks_at_every_message_in_steps(place: Place, desk: Desk) -> None:
    skip = Skip(Reason.LOOP, "a loop")
    desk.record(*(desk.seen(None, skip=skip, arrived=-30 * DAY) for _number in range(ROWS + 5)))
    assert forget(desk) == ROWS + 5
    assert counts(place)[0] == 0


def test_old_events_about_no_message_go_in_steps(place: Place, desk: Desk) -> None:
    before = place.values("SELECT count(*) FROM events WHERE message_id IS NULL")[0][0]
    desk.ledger.sources.rename("support", "help", NOON - timedelta(days=30))
    assert desk.ledger.retention.forget_events(BEFORE) == 1
    assert desk.ledger.retention.forget_events(BEFORE) == 0
    assert place.values("SELECT count(*) FROM events WHERE message_id IS NULL") == [(before,)]


def test_what_has_no_date_is_kept_since_it_may_arrive_anew_by_the_clock_of_whoever_looks(
    place: Place, desk: Desk
) -> None:
    desk.send(desk.arrive("anna", arrived=-30 * DAY))
    place.run("UPDATE messages SET written_at = NULL")
    assert forget(desk) == 0
    assert place.values("SELECT state FROM deliveries") == [("sent",)]


def test_who_asks_for_a_source_hears_until_when_rows_may_be_missing(desk: Desk) -> None:
    known = desk.ledger.sources.get("support")
    assert known is not None
    assert known.forgotten_until is None
    forget(desk)
    assert desk.load_source("support").forgotten_until == BEFORE
