"""Inboxes, sources, streams and leases: what is configured, and how it fares."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sync.decide import Dead, Skip
from sync.errors import ConfigError
from sync.ledger import Ledger, Mapped, PassEnd
from sync.settings import LedgerSettings
from sync.states import Reason
from tests.ledger.conftest import ON_POSTGRESQL, Place
from tests.ledger.desk import NOON, Desk, loaded


def test_the_start_of_a_source_is_fixed_when_it_is_first_loaded(ledger: Ledger) -> None:
    for horizon in (NOON, NOON + timedelta(days=1), None):
        row = ledger.sources.load("s", inbox="main", connector="imap", account="a", horizon=horizon, now=NOON)
        assert row.horizon == NOON
    assert ledger.sources.load("all", "main", "imap", "a", None, NOON).horizon is None


def test_another_account_under_the_same_name_is_another_numbering(desk: Desk) -> None:
    desk.record(desk.seen(1, loaded(), fingerprint="a"), cursor={"uid": 1}, complete_until=desk.now, finished=True)
    row = desk.load_source("support", account="anna@imap.example.net")
    assert row.generation == 2
    stream = desk.load_streams("support")[0]
    assert (stream.cursor, stream.epoch, stream.complete_until, stream.first_loaded_at) == (None, None, None, None)
    assert desk.ledger.events.recent(1)[0].kind == "source.account_changed"
    again = desk.record(desk.seen(1, loaded(), fingerprint="a"), view=desk.view(stream, source=row))
    assert again.skipped == {"duplicate": 1}
    assert desk.load_source("support", account="").generation == 2
    assert desk.load_source("support", account="anna@imap.example.net").generation == 2


def test_a_removed_source_is_kept_and_comes_back(desk: Desk) -> None:
    desk.arrive()
    assert desk.ledger.sources.mark_removed(["other"], desk.now) == ("support",)
    assert desk.ledger.sources.mark_removed(["other"], desk.now) == ()
    removed = desk.ledger.sources.get("support")
    assert removed is not None
    assert (removed.state, removed.code) == ("removed", "source.removed")
    assert len(desk.window()) == 1
    back = desk.load_source("support")
    assert (back.state, back.code, back.generation) == ("ok", "", 1)


def test_how_passes_ended_is_kept(desk: Desk) -> None:
    sources = desk.ledger.sources
    desk.start_pass("support", desk.at(1))
    sources.pass_ended("support", desk.at(2), PassEnd(ok=True, next_pass_at=desk.at(60), counts={"found": 3}), desk.now)
    for failures in (1, 2):
        end = PassEnd(False, "failing", "imap.down", "it is down", "wait", desk.at(90))
        sources.pass_ended("support", desk.at(3), end, desk.now)
        row = sources.get("support")
        assert row is not None
        assert (row.state, row.code, row.failures) == ("failing", "imap.down", failures)
    row = sources.get("support")
    assert row is not None
    assert (row.last_pass_at, row.last_good_pass_at, row.next_pass_at) == (desk.at(1), desk.at(2), desk.at(90))
    sources.pass_ended("support", desk.at(4), PassEnd(ok=True, counts={"new": 1}), desk.now)
    row = sources.get("support")
    assert row is not None
    assert (row.state, row.code, row.failures, row.counts) == ("ok", "", 0, {"new": 1})
    assert [one.kind for one in desk.ledger.events.recent(2)] == ["source.well_again", "source.failing"]


def test_pausing_and_resuming_say_whether_anything_changed(desk: Desk) -> None:
    sources = desk.ledger.sources
    assert [sources.pause("support", desk.now), sources.pause("support", desk.now)] == [True, False]
    assert [row.paused for row in sources.all()] == [True]
    assert [sources.resume("support", desk.now), sources.resume("support", desk.now)] == [True, False]
    with pytest.raises(ConfigError, match='did you mean "support"') as caught:
        sources.pause("suport", desk.now)
    assert caught.value.code == "source.unknown"


def test_renaming_keeps_the_rows_of_a_source(desk: Desk) -> None:
    desk.arrive()
    desk.ledger.sources.mark_removed([], desk.now)
    desk.load_source("help")  # the daemon met the new name first
    desk.load_streams("help")
    renamed = desk.ledger.sources.rename("support", "help", desk.now)
    assert (renamed.id, renamed.state) == (desk.source.id, "ok")
    assert [row.source for row in desk.window()] == ["help"]
    assert [row.name for row in desk.ledger.sources.all()] == ["help"]
    other = desk.load_source("other", account="o")
    desk.record(desk.seen(1, loaded()), view=desk.view(desk.load_streams("other")[0], source=other))
    with pytest.raises(ConfigError) as caught:
        desk.ledger.sources.rename("help", "other", desk.now)
    assert caught.value.code == "source.exists"
    with pytest.raises(ConfigError) as caught:
        desk.ledger.sources.rename("nobody", "x", desk.now)
    assert caught.value.code == "source.unknown"
    assert desk.ledger.sources.rename("help", "help", desk.now).id == desk.source.id


def test_streams_come_in_the_order_asked_for_and_keep_their_cursor(desk: Desk) -> None:
    desk.record(cursor=[1, {"a": None}])
    rows = desk.ledger.streams.load(
        "support", [("Sent", "sent", 0), ("INBOX", "both", 1), ("New", "received", 2)], NOON
    )
    assert [(row.key, row.role, row.rank, row.cursor) for row in rows] == [
        ("Sent", "sent", 0, None),
        ("INBOX", "both", 1, [1, {"a": None}]),
        ("New", "received", 2, None),
    ]
    assert desk.ledger.streams.load("support", [], NOON) == []


def test_an_inbox_is_parked_and_well_again(ledger: Ledger) -> None:
    inboxes = ledger.inboxes
    first = inboxes.load("main", "site", NOON)
    assert (first.state, first.app_id, first.budget, first.fault) == ("ok", "", None, None)
    for failures in (1, 2):
        inboxes.park("main", "inbox.500", "it fails", "wait", NOON + timedelta(seconds=5), NOON)
        row = inboxes.get("main")
        assert row is not None
        assert (row.state, row.code, row.failures, row.parked_at) == ("parked", "inbox.500", failures, NOON)
    inboxes.unpark("main", NOON)
    inboxes.save_budget("main", {"used": [1, 2]})
    inboxes.note_app_id("main", "app-1")
    inboxes.set_fault("main", "inbox.text_changed", "texts are changed", NOON)
    inboxes.set_fault("main", "inbox.text_changed", "texts are changed", NOON + timedelta(hours=1))
    row = inboxes.load("main", "site", NOON)
    assert (row.state, row.code, row.failures, row.budget, row.app_id) == ("ok", "", 0, {"used": [1, 2]}, "app-1")
    assert row.fault is not None
    assert row.fault.since == NOON
    inboxes.take_back_fault("main", "another")
    assert inboxes.get("main").fault is not None  # type: ignore[union-attr]
    inboxes.take_back_fault("main", "inbox.text_changed")
    assert [one.fault for one in inboxes.all()] == [None]
    assert inboxes.get("other") is None
    with pytest.raises(ConfigError):
        inboxes.park("other", "c", "s", "n", None, NOON)


def test_another_site_under_the_same_name_forgets_contacts_and_conversations(desk: Desk) -> None:
    row = desk.arrive()
    desk.ledger.participants.remember([Mapped(row.participant_id, "contact", "conversation-1")], desk.now)
    desk.send(row)
    desk.ledger.inboxes.load("main", "site-2", desk.now)
    known = desk.ledger.participants.get(row.participant_id)
    assert known is not None
    assert (known.contact_id, known.conversation_id) == (None, None)
    assert desk.ledger.deliveries.conversations("main", ["conversation-1"]) == {}


def test_status_counts_what_is_where(desk: Desk) -> None:
    desk.record(
        desk.seen(1, loaded("anna", "ben"), arrived=9),
        desk.seen(2),
        desk.seen(3, Skip(Reason.LOOP)),
        desk.seen(4, Dead(b"", "")),
        desk.seen(5, skip=Skip(Reason.TOO_OLD)),
    )
    first, second = desk.window()
    desk.send(first)
    desk.commit(desk.intent(second))
    status = desk.ledger.overview.status()
    (inbox,), (source,) = status.inboxes, status.sources
    assert (inbox.deliveries["sent"], inbox.deliveries["sending"], inbox.deliveries["pending"]) == (1, 1, 0)
    assert inbox.oldest_pending_arrived_at == desk.at(9)
    assert source.messages == {"found": 1, "loaded": 1, "skipped": 2, "gone": 0, "dead": 1}
    assert (source.skipped, source.dead) == ({"loop": 1, "too_old": 1}, {"unreadable": 1})
    assert source.deliveries == inbox.deliveries == status.deliveries
    assert status.messages == source.messages


def test_a_lease_has_one_holder_and_a_fence_that_rises(ledger: Ledger) -> None:
    leases = ledger.leases
    mine = leases.take("inbox:main", "a", 3600)
    assert mine is not None
    assert leases.take("inbox:main", "b", 3600) is None
    assert leases.renew(["inbox:main"], "b", 3600) == {}
    renewed = leases.take("inbox:main", "a", 7200)
    assert renewed is not None
    assert renewed.fence == mine.fence
    assert renewed.expires_at > mine.expires_at
    assert list(leases.renew(["inbox:main", "inbox:other"], "a", 3600)) == ["inbox:main"]
    assert leases.release("inbox:main", "b", mine.fence) is False
    assert leases.release("inbox:main", "a", mine.fence) is True
    next_one = leases.take("inbox:main", "b", 3600)
    assert next_one is not None
    assert next_one.fence == mine.fence + 1
    forced = leases.take("inbox:main", "c", 3600, force=True)
    assert forced is not None
    assert forced.fence == mine.fence + 2
    assert leases.get("inbox:main") == forced
    assert leases.get("inbox:none") is None


def test_an_expired_lease_can_be_taken_by_anybody(ledger: Ledger) -> None:
    assert ledger.leases.take("l", "a", -1) is not None
    taken = ledger.leases.take("l", "b", 60)
    assert taken is not None
    assert taken.fence == 2


@ON_POSTGRESQL
def test_leases_on_postgresql_go_by_the_servers_clock(place: Place) -> None:
    far_off = Ledger.open(place.settings, now=lambda: datetime.fromisoformat("2001-01-01T00:00:00+00:00"))
    place.opened.append(far_off)
    assert far_off.leases.take("l", "a", 3600) is not None
    assert place.open().leases.take("l", "b", 3600) is None


def test_leases_on_sqlite_go_by_the_clock_that_is_given(tmp_path: Path) -> None:
    clock = [NOON]
    ledger = Ledger.open(LedgerSettings(url=f"sqlite:///{tmp_path}/l.db"), now=lambda: clock[0])
    assert ledger.leases.take("l", "a", 30) is not None
    clock[0] += timedelta(seconds=29)
    assert ledger.leases.take("l", "b", 30) is None
    clock[0] += timedelta(seconds=1)
    assert ledger.leases.take("l", "b", 30) is not None
    ledger.close()
