"""What the `backfill` command does: forecast, start, follow."""

from __future__ import annotations

from collections.abc import Mapping

from sync.answers import BackfillAnswer, OnProgress, Progress
from sync.backfill import Backfiller, forecast, seconds_to_send
from sync.clock import Clock
from sync.errors import ConfigError
from sync.ledger import Backfill, BackfillTerms, Ledger, Progressed
from sync.listing import can_load_listed, cannot_list
from sync.poll import Poller
from sync.show import moment

FOLLOW_SECONDS = 0.5
NEEDS_SOMEBODY = frozenset(
    {"inbox.credentials_refused", "inbox.not_permitted", "inbox.no_instance", "backfill.not_polled"}
)
"""Faults for which waiting is of no use: following ends, the job stays."""


class Follow:
    """One source's backfill, as an operator sees it."""

    def __init__(self, source: str, ledger: Ledger, clock: Clock, requests_per_minute: float) -> None:
        self._source = source
        self._ledger = ledger
        self._clock = clock
        self._requests_per_minute = requests_per_minute

    async def start(self, terms: BackfillTerms | None) -> Backfill:
        """A new job, or the one that is open: with the same terms, or without any. Raises ConfigError."""
        if terms is not None:
            return await self._ledger.call(self._ledger.backfills.start, self._source, terms, self._clock.now())
        job = await self._ledger.call(self._ledger.backfills.latest, self._source)
        if job is None or not job.is_open:
            raise ConfigError(
                f"{self._source} has no backfill to go on with",
                code="backfill.none",
                next_step=f"say from when on: inbox-sync backfill {self._source} --since 2026-01-31",
            )
        return job

    async def stop(self) -> BackfillAnswer:
        """Ends the open job."""
        job = await self._ledger.call(self._ledger.backfills.stop, self._source, self._clock.now())
        if job is None:
            raise ConfigError(
                f"{self._source} has no backfill that could be stopped",
                code="backfill.none",
                next_step=f"inbox-sync backfill {self._source} --status shows the last one",
            )
        return await self.look()

    async def look(self) -> BackfillAnswer:
        """How the newest job is."""
        job = await self._ledger.call(self._ledger.backfills.latest, self._source)
        if job is None:
            return _nothing(self._source)
        progress = await self._ledger.call(self._ledger.backfills.progress, job.id)
        answer = _answer(job, progress)
        answer["seconds"] = seconds_to_send(progress.left + progress.waiting, progress.left, self._requests_per_minute)
        parked = await self._ledger.call(self._ledger.inboxes.get, job.inbox)
        if job.is_open and answer["fault"] is None and parked is not None and parked.state == "parked":
            answer["fault"] = {"code": parked.code, "sentence": parked.sentence, "next_step": parked.next_step}
        return answer

    async def until_it_ends(self, job: Backfill, on_progress: OnProgress) -> BackfillAnswer:
        """Follows a job. It goes on whether anybody follows it or not."""
        while True:
            # In this order: what is told of a job that has ended is how it ended.
            latest = await self._ledger.call(self._ledger.backfills.latest, self._source)
            answer = await self.look()
            on_progress(_progress(answer))
            fault = answer["fault"]
            stuck = fault is not None and fault["code"] in NEEDS_SOMEBODY
            if stuck or latest is None or latest.id != job.id or not latest.is_open:
                break
            await self._clock.sleep(FOLLOW_SECONDS)
        if answer["state"] == "done":
            bad = bool(answer["failed"] or answer["dead"])
            answer["ok"], answer["exit_code"] = not bad, int(bad)
        else:
            answer["ok"], answer["exit_code"] = False, 75 if stuck else 1
        return answer

    async def dry_run(self, poller: Poller, terms: BackfillTerms, *, spool_max_bytes: int) -> BackfillAnswer:
        """What a backfill would bring in, by headers; nothing is written."""
        source = await self._ledger.call(self._ledger.sources.get, self._source)
        if not can_load_listed(poller):
            raise cannot_list(poller)
        if source is None or source.last_good_pass_at is None:
            raise not_polled(self._source)
        backfiller = Backfiller(poller, self._clock, spool_max_bytes=spool_max_bytes)
        made = await forecast(poller, backfiller, source, terms)
        answer = _nothing(self._source)
        answer["state"] = "dry_run"
        answer["since"], answer["until"] = terms.since.isoformat(), moment(terms.until)
        answer["limit"] = terms.most
        answer["listed"], answer["known"], answer["fresh"] = made.listed, made.known, made.fresh
        answer["messages"], answer["left_out"] = made.messages, made.left_out
        answer["skipped"] = dict(made.skipped)
        answer["seconds"] = seconds_to_send(made.messages, made.strangers, self._requests_per_minute)
        return answer


def not_polled(name: str) -> ConfigError:
    """For a source of which nothing can be said before its first pass."""
    return ConfigError(
        f"{name} was never polled, so nobody knows yet what in it is old",
        code="backfill.not_polled",
        next_step=f"inbox-sync sync --source {name}, or start the daemon; then type this again",
        source=name,
    )


def _progress(answer: BackfillAnswer) -> Progress:
    total = answer["listed"]
    if answer["state"] == "listing":
        return {
            "stage": "listing",
            "about": answer["source"],
            "done": total,
            "total": None,
            "sentence": f"listing {answer['source']}: {total} so far",
        }
    fault = answer["fault"]
    done = max(0, total - answer["left_out"] - answer["left"] - answer["waiting"])
    sentence = f"{answer['left']} to load, {answer['waiting']} to send" if fault is None else fault["sentence"]
    return {
        "stage": "delivering",
        "about": answer["source"],
        "done": done,
        "total": total - answer["left_out"],
        "sentence": sentence,
    }


def _nothing(source: str) -> BackfillAnswer:
    return {
        "ok": True,
        "exit_code": 0,
        "source": source,
        "state": "none",
        "since": None,
        "until": None,
        "limit": None,
        "started_at": None,
        "ended_at": None,
        "listed": 0,
        "known": 0,
        "fresh": 0,
        "messages": 0,
        "skipped": {},
        "dead": {},
        "vanished": 0,
        "left_out": 0,
        "folders_left_out": 0,
        "left": 0,
        "deliveries": 0,
        "waiting": 0,
        "failed": 0,
        "seconds": 0.0,
        "fault": None,
    }


def _answer(job: Backfill, progress: Progressed) -> BackfillAnswer:
    answer = _nothing(job.source)
    counts = job.counts
    answer["state"] = job.state
    answer["since"], answer["until"] = job.terms.since.isoformat(), moment(job.terms.until)
    answer["limit"] = job.terms.most
    answer["started_at"], answer["ended_at"] = moment(job.started_at), moment(job.ended_at)
    answer["listed"], answer["known"], answer["fresh"] = (
        _of(counts, "listed"),
        _of(counts, "known"),
        _of(counts, "fresh"),
    )
    answer["messages"] = _of(counts, "loaded") + _of(counts, "found")
    answer["skipped"], answer["dead"] = _by_reason(counts, "skipped"), _by_reason(counts, "dead")
    answer["vanished"], answer["left_out"] = _of(counts, "vanished"), _of(counts, "left_out")
    answer["folders_left_out"] = _of(counts, "folders_left_out")
    answer["deliveries"] = _of(counts, "deliveries")
    answer["left"], answer["waiting"], answer["failed"] = progress.left, progress.waiting, progress.failed
    if job.code:
        answer["fault"] = {"code": job.code, "sentence": job.sentence, "next_step": job.next_step}
    return answer


def _of(counts: Mapping[str, int], name: str) -> int:
    return counts.get(name, 0)


def _by_reason(counts: Mapping[str, int], state: str) -> dict[str, int]:
    start = f"{state}."
    return {name.removeprefix(start): number for name, number in counts.items() if name.startswith(start)}
