"""Backfills and sweeps over a connector in memory: what belongs to them, how much waits, and what a bad message costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from sync.audit import Line, audit
from sync.backfill import FOLDERS_AWAITED, Backfiller, Step, forecast, seconds_to_send
from sync.clock import SystemClock
from sync.connector import PassContext, Stream
from sync.errors import MessageError, TemporaryError
from sync.follow import Follow
from sync.jobs import BackfillJobs
from sync.lease import LeaseKeeper
from sync.ledger import Backfill, BackfillTerms, LeaseLost, LeaseRef, Ledger, MessageFilter
from sync.message import Batch, Found, Json, Listed
from sync.poll import Poller
from sync.sweep import sweep
from tests.unit.loop_desk import fresh_ledger, until
from tests.unit.test_poll import Shelf, poller_of

P = ParamSpec("P")
T = TypeVar("T")
NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=100)
START = NOW - timedelta(days=10)
TERMS = BackfillTerms(NOW - timedelta(days=365))


class Archive(Shelf):
    """Messages by stream, each with its arrival; `hidden` ones are polled past, and listed all the same."""

    def __init__(self, **streams: Sequence[tuple[str, datetime]]) -> None:
        super().__init__(**dict.fromkeys(streams, 0))
        self.held = {key: list(held) for key, held in streams.items()}
        self.hidden: set[str] = set()
        self.piece = 1000
        self.listings: list[str] = []

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        del cursor
        failure = self.on_poll(stream.key)
        if failure is not None:
            raise failure
        visible = [(name, at) for name, at in self.held[stream.key] if name not in self.hidden]
        found = tuple(Found(name, at, size=10) for name, at in visible if ctx.since is None or at >= ctx.since)
        yield Batch(found, "cursor", complete_until=datetime.now(UTC), before_horizon=len(visible) - len(found))

    async def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        held = [(name, at) for name, at in self.held[stream.key] if since is None or at >= since]
        for start in range(0, max(1, len(held)), self.piece):
            self.listings.append(stream.key)
            some = held[start : start + self.piece]
            known = await ctx.known("", [name for name, _at in some])
            found = tuple(Found(name, at, size=10) for name, at in some if name not in known)
            yield Listed(found, tuple(sorted(known)))


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", NOW)
    yield opened
    opened.close()


def old(count: int, prefix: str = "a", every: int = 1) -> list[tuple[str, datetime]]:
    return [(f"{prefix}{n}", OLD + timedelta(minutes=n * every)) for n in range(count)]


async def polled(archive: Archive, ledger: Ledger, **settings: object) -> Poller:
    poller = poller_of(archive, ledger, start=START.isoformat(), **settings)
    report = await poller.run_pass()
    assert report.error is None
    return poller


def backfiller_of(poller: Poller) -> Backfiller:
    return Backfiller(poller, SystemClock(), spool_max_bytes=10**9)


def job_of(ledger: Ledger) -> Backfill:
    job = ledger.backfills.latest("support")
    assert job is not None
    return job


async def steps(poller: Poller, ledger: Ledger, most: int = 100) -> Step:
    """Steps until one waits or the job is done."""
    backfiller = backfiller_of(poller)
    for _ in range(most):
        source = ledger.sources.get("support")
        assert source is not None
        step = await backfiller.step(job_of(ledger), source)
        if step is not Step.WORKED:
            return step
    raise AssertionError("it works on and on")


def keeper_of(ledger: Ledger) -> LeaseKeeper:
    return LeaseKeeper(ledger, SystemClock(), lease_seconds=60.0, alone=False, holder="us")


def lost_lease(ledger: Ledger) -> LeaseRef:
    """A lease that was ours until somebody else took it."""
    ours = ledger.leases.take("source:support", "us", 60.0)
    assert ours is not None
    assert ledger.leases.take("source:support", "them", 60.0, force=True) is not None
    return ours.ref


def waiting(ledger: Ledger) -> list[str]:
    rows = ledger.deliveries.window("main", 10_000, NOW)
    contents = ledger.messages.contents([row.message_id for row in rows])
    return [contents[row.message_id].text for row in rows]


async def test_streams_are_brought_in_by_arrival_and_no_more_waits_than_the_window(ledger: Ledger) -> None:
    archive = Archive(inbox=old(200, "a", 2), sent=[(f"b{n}", OLD + timedelta(minutes=2 * n + 1)) for n in range(200)])
    poller = await polled(archive, ledger, backfill_window=120)
    ledger.backfills.start("support", TERMS, NOW)
    assert await steps(poller, ledger) is Step.WAITS
    assert waiting(ledger) == [f"{'ab'[n % 2]}{n // 2}" for n in range(100)]
    assert ledger.backfills.progress(job_of(ledger).id).waiting <= 120
    assert all(len(ids) <= 50 for ids in archive.fetched)


async def test_a_backfill_waits_an_hour_for_a_folder_that_was_never_read_and_then_says_so(ledger: Ledger) -> None:
    archive = Archive(inbox=old(2, "a"), sent=old(2, "b"))
    broken = TemporaryError("not now", code="x.broken")
    archive.on_poll = {"sent": broken}.get
    poller = poller_of(archive, ledger, start=START.isoformat())
    await poller.run_pass()
    ledger.backfills.start("support", TERMS, datetime.now(UTC))
    with pytest.raises(TemporaryError, match='"sent" of support was never polled') as awaited:
        await steps(poller, ledger)
    assert awaited.value.code == "backfill.folder_awaited"
    archive.on_poll = lambda _key: None
    await poller.run_pass()
    await steps(poller, ledger)
    assert sorted(waiting(ledger)) == ["a0", "a1", "b0", "b1"]

    ledger.backfills.stop("support", datetime.now(UTC))
    archive.held["new"], archive.streams_held["new"] = old(1, "c"), 0
    archive.on_poll = {"new": broken}.get
    await poller.run_pass()
    ledger.backfills.start("support", TERMS, datetime.now(UTC) - FOLDERS_AWAITED)
    await steps(poller, ledger)
    assert job_of(ledger).counts["folders_left_out"] == 1


async def test_a_full_spool_stops_a_backfill_at_half(ledger: Ledger) -> None:
    poller = await polled(Archive(inbox=old(200)), ledger)
    ledger.backfills.start("support", TERMS, NOW)
    source = ledger.sources.get("support")
    assert source is not None
    backfiller = Backfiller(poller, SystemClock(), spool_max_bytes=10)
    assert await backfiller.step(job_of(ledger), source) is Step.WORKED
    await backfiller.step(job_of(ledger), source)
    assert await backfiller.step(job_of(ledger), source) is Step.WAITS
    assert len(waiting(ledger)) == 50


async def test_what_is_live_is_left_to_the_next_pass(ledger: Ledger) -> None:
    archive = Archive(inbox=old(3))
    poller = await polled(archive, ledger)
    archive.held["inbox"] += [("new", datetime.now(UTC))]
    ledger.backfills.start("support", TERMS, NOW)
    await steps(poller, ledger)
    assert waiting(ledger) == ["a0", "a1", "a2"]
    assert job_of(ledger).counts["fresh"] == 1
    assert (await poller.run_pass()).new == 1
    assert [row.backfill for row in ledger.deliveries.window("main", 10, NOW)] == [False, True, True, True]


async def test_one_bad_message_costs_one_message_and_comes_later(ledger: Ledger) -> None:
    archive = Archive(inbox=old(30))
    archive.on_fetch = lambda ids: MessageError("no", code="x.bad") if "a7" in ids else None
    poller = await polled(archive, ledger)
    ledger.backfills.start("support", TERMS, NOW)
    assert await steps(poller, ledger) is Step.WAITS
    assert waiting(ledger) == [f"a{n}" for n in range(30) if n != 7]
    (found,) = [one for one in ledger.messages.list(MessageFilter()) if one.state == "found"]
    assert found.external_id == "a7"
    archive.on_fetch = lambda _ids: None
    await poller.run_pass()
    assert "a7" in waiting(ledger)


async def test_a_source_that_fails_loses_nothing_and_is_tried_again(ledger: Ledger) -> None:
    archive = Archive(inbox=old(30))
    poller = await polled(archive, ledger)
    ledger.backfills.start("support", TERMS, NOW)
    archive.on_fetch = lambda _ids: TemporaryError("it is away", code="x.away")
    with pytest.raises(TemporaryError):
        await steps(poller, ledger)
    assert ledger.backfills.progress(job_of(ledger).id).left == 30
    archive.on_fetch = lambda _ids: None
    await steps(poller, ledger)
    assert len(waiting(ledger)) == 30


async def test_passes_go_on_between_the_pieces_of_a_listing(ledger: Ledger) -> None:
    archive = Archive(inbox=old(30))
    archive.piece = 10
    poller = await polled(archive, ledger)
    ledger.backfills.start("support", TERMS, NOW)
    job, source = job_of(ledger), ledger.sources.get("support")
    assert source is not None
    listing = asyncio.create_task(backfiller_of(poller).step(job, source))
    await until(lambda: len(archive.listings) >= 1, "the listing has begun")
    archive.held["inbox"] += [("new", datetime.now(UTC))]
    assert (await poller.run_pass()).new == 1
    await listing
    assert ledger.backfills.progress(job.id).left == 30


async def test_a_dry_run_counts_and_writes_nothing(ledger: Ledger) -> None:
    archive = Archive(inbox=old(30))
    poller = await polled(archive, ledger)
    source = ledger.sources.get("support")
    assert source is not None
    made = await forecast(poller, backfiller_of(poller), source, BackfillTerms(TERMS.since, None, 12))
    assert (made.listed, made.messages, made.left_out, made.known) == (30, 12, 18, 0)
    assert archive.fetched == []
    assert ledger.backfills.latest("support") is None
    assert seconds_to_send(195, 0, 195.0) == 60.0


async def test_a_limit_brings_the_oldest_and_then_the_job_is_done(ledger: Ledger) -> None:
    poller = await polled(Archive(inbox=old(30)), ledger)
    ledger.backfills.start("support", BackfillTerms(TERMS.since, None, 12), NOW)
    assert await steps(poller, ledger) is Step.WAITS
    assert waiting(ledger) == [f"a{n}" for n in range(12)]
    assert job_of(ledger).counts["left_out"] == 18


async def test_jobs_that_cannot_go_on_say_why_and_go_on_when_they_can(ledger: Ledger) -> None:
    archive = Archive(inbox=old(3))
    poller = await polled(archive, ledger)
    jobs = BackfillJobs(
        {"support": poller},
        ledger,
        SystemClock(),
        take_lease=keeper_of(ledger).take,
        wake=lambda _name: None,
        spool_max_bytes=10**9,
    )
    ledger.backfills.start("support", TERMS, NOW)
    archive.on_fetch = lambda _ids: TemporaryError("it is away", code="x.away")
    running = asyncio.create_task(jobs.run())
    try:
        await until(lambda: job_of(ledger).code == "x.away", "the job says why")
        archive.on_fetch = lambda _ids: None
        await until(lambda: len(waiting(ledger)) == 3, "it goes on")
        await until(lambda: not job_of(ledger).code, "and says so")
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_sweep_records_what_the_cursor_passed_and_leaves_the_rest(ledger: Ledger) -> None:
    """D18: shown late by the service."""
    hours = [
        ("seen", NOW - timedelta(hours=5)),
        ("late", NOW - timedelta(hours=4)),
        ("older", START - timedelta(days=5)),
    ]
    archive = Archive(inbox=hours)
    archive.hidden = {"late", "older"}
    poller = await polled(archive, ledger, sweep_days=30)
    archive.held["inbox"] += [("new", datetime.now(UTC))]
    source = ledger.sources.get("support")
    assert source is not None
    report = await sweep(poller, source, SystemClock())
    assert (report.new, report.repeated) == (1, 1)
    assert waiting(ledger) == ["seen", "late"]
    assert not any(row.backfill for row in ledger.deliveries.window("main", 10, NOW))
    after = ledger.sources.get("support")
    assert after is not None
    assert after.swept_at is not None
    assert after.sweep["new"] == 1
    (stream,) = ledger.streams.of_source("support")
    assert stream.cursor == "cursor"
    assert (await sweep(poller, after, SystemClock())).new == 0


async def test_a_sweep_whose_source_was_taken_over_records_nothing(ledger: Ledger) -> None:
    archive = Archive(inbox=[("late", NOW - timedelta(hours=4))])
    archive.hidden = {"late"}
    poller = await polled(archive, ledger, sweep_days=30)
    source = ledger.sources.get("support")
    assert source is not None
    lost = lost_lease(ledger)
    with pytest.raises(LeaseLost):
        await sweep(poller, source, SystemClock(), lost)
    assert waiting(ledger) == []
    archive.held["inbox"].clear()
    with pytest.raises(LeaseLost):
        await sweep(poller, source, SystemClock(), lost)
    after = ledger.sources.get("support")
    assert after is not None
    assert after.swept_at is None
    assert (await poller.run_pass()).error is None, "passes have their own lease"


async def test_a_backfill_whose_source_was_taken_over_lists_and_records_nothing(ledger: Ledger) -> None:
    poller = await polled(Archive(inbox=old(3)), ledger)
    job = ledger.backfills.start("support", TERMS, NOW)
    source = ledger.sources.get("support")
    assert source is not None
    lost = Backfiller(poller, SystemClock(), spool_max_bytes=10**9, lease=lost_lease(ledger))
    with pytest.raises(LeaseLost):
        await lost.step(job, source)
    assert job_of(ledger) == job
    assert await backfiller_of(poller).step(job, source) is Step.WORKED
    listed = job_of(ledger)
    with pytest.raises(LeaseLost):
        await lost.step(listed, source)
    assert job_of(ledger) == listed
    assert waiting(ledger) == []


async def test_a_job_that_loses_its_source_is_left_to_who_has_it(ledger: Ledger) -> None:
    archive = Archive(inbox=old(3))
    poller = await polled(archive, ledger)
    ledger.backfills.start("support", TERMS, NOW)

    def taken_over(_ids: Sequence[str]) -> None:
        lost_lease(ledger)

    archive.on_fetch = taken_over
    jobs = BackfillJobs(
        {"support": poller},
        ledger,
        SystemClock(),
        take_lease=lambda name: keeper.take(f"source:{name}"),
        wake=lambda _name: None,
        spool_max_bytes=10**9,
    )
    keeper = keeper_of(ledger)
    running = asyncio.create_task(jobs.run())
    try:
        await until(lambda: archive.fetched, "it has begun")
        await until(lambda: all(task.done() for task in jobs._running.values()), "it ends")
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert waiting(ledger) == []
    assert job_of(ledger).counts.get("brought", 0) == 0
    assert job_of(ledger).code == "", "nothing is wrong with the job"


async def test_an_audit_puts_every_message_in_one_line(ledger: Ledger) -> None:
    hours = [(f"m{n}", NOW - timedelta(hours=20 - n)) for n in range(5)]
    archive = Archive(inbox=[*old(4), *hours], sent=[("s0", NOW - timedelta(hours=3))])
    archive.hidden = {"m2"}
    poller = await polled(archive, ledger)
    archive.held["inbox"] = [one for one in archive.held["inbox"] if one[0] != "m4"] + [("new", datetime.now(UTC))]
    source = ledger.sources.get("support")
    assert source is not None
    report = await audit(poller, source, OLD, SystemClock())
    assert report.at_source == {
        Line("waiting"): 4,
        Line("left alone", "before_horizon"): 4,
        Line("missing"): 1,
        Line("not polled yet"): 1,
    }
    assert report.in_ledger == {Line("still listed", "waiting"): 4, Line("no longer listed", "waiting"): 1}
    assert [(one.line.what, one.external_id) for one in report.examples] == [
        ("missing", "m2"),
        ("no longer listed", "m4"),
    ]


async def test_what_is_told_of_a_job_that_ends_while_it_is_followed_is_how_it_ended(ledger: Ledger) -> None:
    await polled(Archive(inbox=old(3)), ledger)
    ledger.backfills.start("support", TERMS, NOW)
    follow = Follow("support", ledger, SystemClock(), 195.0)
    call = ledger.call
    asked = 0

    async def ends_meanwhile(method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal asked
        answer = await call(method, *args, **kwargs)
        asked += 1
        if asked == 2:  # in the middle of a look
            ledger.backfills.finish(job_of(ledger).id, NOW)
        return answer

    ledger.call = ends_meanwhile  # type: ignore[method-assign]
    answer = await follow.until_it_ends(job_of(ledger), lambda _progress: None)
    assert (answer["state"], answer["exit_code"]) == ("done", 0)


class Resting(Archive):
    """Wants to be left alone in the middle of a listing."""

    def __init__(self, **streams: Sequence[tuple[str, datetime]]) -> None:
        super().__init__(**streams)
        self.rests: list[float] = []

    async def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        began = SystemClock().elapsed_seconds()
        yield Listed((), pause_seconds=0.05)
        self.rests.append(SystemClock().elapsed_seconds() - began)
        async for piece in super().list(stream, since, ctx):
            yield piece


async def test_a_listing_leaves_the_service_alone_when_it_asks_for_it(ledger: Ledger) -> None:
    archive = Resting(box=[("late", NOW - timedelta(days=1))])
    archive.hidden.add("late")
    poller = await polled(archive, ledger)
    source = ledger.sources.get("support")
    assert source is not None
    report = await sweep(poller, source, SystemClock())
    assert report.found == 1
    assert archive.rests
    assert archive.rests[0] >= 0.05
