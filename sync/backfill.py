"""Backfills: what came before a source's start is listed whole, then brought in by arrival, a bounded part at a time.

    list every stream ─▶ items in the ledger, by arrival ─▶ load some ─▶ record as backfill ─▶ wait until some are sent

A job lives in the ledger and is done by whoever holds its source's lease. Each step is one transaction, so that it can
end anywhere and be taken up there (docs/design/0005-backfill-and-audit.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

import structlog

from sync.clock import Clock
from sync.decide import Seen, SourceRules
from sync.errors import InboxSyncError, MessageError, TemporaryError
from sync.fetch import FAILURES_IN_A_ROW, FETCH_HUNG, has_files, is_about_messages, see_found, with_content
from sync.ledger import Backfill, BackfillItem, BackfillTerms, LeaseRef, Preview, SourceRow
from sync.listing import Place, is_aged, is_settled, pieces, places
from sync.message import Content, Found, Gone, Listed
from sync.poll import Poller

log = structlog.get_logger()

BRING_AT_ONCE = 50
"""Messages loaded and recorded in one step."""
SPOOL_SHARE = 0.5
"""A backfill leaves the rest of the spool to live mail."""
FOLDERS_AWAITED = timedelta(hours=1)
"""So long a job waits for folders that were never polled to their end; then it goes on without them, and says so."""
REQUESTS_FOR_A_STRANGER = 3
"""Requests until a customer's conversation is known: the contact asked for and created, the conversation opened."""


FOLDERS_NAMED = 3


class Step(Enum):
    """What a step of a job did."""

    WORKED = "worked"
    WAITS = "waits"
    DONE = "done"


@dataclass(slots=True)
class Picked:
    """What of a piece is the backfill's: `fresh` is left to the next pass, which has not had its chance yet."""

    seen: list[Seen] = field(default_factory=list)
    fresh: int = 0


class Backfiller:
    """Does one source's backfills. `lease`: the source's, without which nothing is written (None where nobody else can
    be at work)."""

    def __init__(self, poller: Poller, clock: Clock, *, spool_max_bytes: int, lease: LeaseRef | None = None) -> None:
        self._poller = poller
        self._ledger = poller.ledger
        self._clock = clock
        self._spool_max_bytes = spool_max_bytes
        self._lease = lease

    async def step(self, job: Backfill, source: SourceRow) -> Step:
        """The next step of an open job. Raises what the connector and the ledger raise: it can be tried again."""
        if job.state == "listing":
            return await self._list(job, source)
        return await self._bring(job, source)

    # ------------------------------------------------------------------ listing

    async def _list(self, job: Backfill, source: SourceRow) -> Step:
        if source.last_pass_at is None or source.next_pass_at is None:
            return Step.WAITS  # a pass comes first: what is live is known before anything older
        found, left_out = await places(self._poller, source)
        if not found:
            raise TemporaryError(
                f"no folder of {source.name} was ever polled to its end",
                code="backfill.not_polled",
                next_step="inbox-sync status says why; the backfill begins after that",
                source=source.name,
            )
        if left_out and timedelta(0) <= self._clock.now() - job.started_at < FOLDERS_AWAITED:
            raise _awaited(source.name, left_out)
        for name in left_out:
            log.warning("backfill.stream_left_out", source=source.name, stream=name)
        for place in found:
            if place.row.id not in job.listed and not await self._list_place(job, source, place):
                return Step.DONE
        now = self._clock.now()
        await self._ledger.call(self._ledger.backfills.all_listed, job.id, len(left_out), now, lease=self._lease)
        return Step.WORKED

    async def _list_place(self, job: Backfill, source: SourceRow, place: Place) -> bool:
        """Lists one stream to its end. False when the job was stopped meanwhile."""
        backfills = self._ledger.backfills
        counts: Counter[str] = Counter()
        async for piece in pieces(self._poller, source, place, job.terms.since, backfills.known):
            picked = self.pick(source, place, job.terms, piece)
            view = self._poller.terms.view(source, place.row, piece.epoch)
            counts.update(known=len(piece.known), fresh=picked.fresh)
            now = self._clock.now()
            if not await self._ledger.call(backfills.add, job.id, view, picked.seen, now, lease=self._lease):
                return False
        now = self._clock.now()
        await self._ledger.call(backfills.stream_listed, job.id, place.row.id, counts, now, lease=self._lease)
        return True

    def pick(self, source: SourceRow, place: Place, terms: BackfillTerms, piece: Listed) -> Picked:
        """What of a piece is asked for, and what their headers say of them."""
        live = self._poller.terms.rules(source, place.stream, place.row, piece.epoch)
        rules = _without_age(live)
        # To the second: what a pass took for older than the start must not be left to a pass, which will not take it.
        to_the_second = replace(live, horizon_slack=timedelta(0))
        now = self._clock.now()
        picked = Picked()
        for found in piece.found:
            if not _is_asked_for(found, terms):
                continue
            if not is_aged(found, to_the_second, now) and not is_settled(found, place):
                picked.fresh += 1
                continue
            picked.seen.append(see_found(found, rules, now))
        return picked

    # ------------------------------------------------------------------ bringing in

    async def _bring(self, job: Backfill, source: SourceRow) -> Step:
        backfills = self._ledger.backfills
        now = self._clock.now()
        progress = await self._ledger.call(backfills.progress, job.id)
        most = job.terms.most
        brought = job.counts.get("brought", 0)
        if progress.left and most is not None and brought >= most:
            await self._ledger.call(backfills.drop_rest, job.id, now, lease=self._lease)
            return Step.WORKED
        if not progress.left:
            if progress.waiting:
                return Step.WAITS
            await self._ledger.call(backfills.finish, job.id, now, lease=self._lease)
            return Step.DONE
        window = self._poller.settings.backfill_window
        room = window - progress.waiting
        if room < min(BRING_AT_ONCE, window) or await self._is_spool_full():
            return Step.WAITS
        items = await self._ledger.call(backfills.next_items, job.id, min(BRING_AT_ONCE, room))
        return await self._bring_some(job, source, _no_more_than(items, most, brought))

    async def _is_spool_full(self) -> bool:
        spooled = await self._ledger.call(self._ledger.messages.spooled_bytes)
        return spooled >= self._spool_max_bytes * SPOOL_SHARE

    async def _bring_some(self, job: Backfill, source: SourceRow, items: Sequence[BackfillItem]) -> Step:
        backfills = self._ledger.backfills
        now = self._clock.now()
        there, _others = await places(self._poller, source)
        by_id = {place.row.id: place for place in there}
        groups = []
        vanished = 0
        for stream_id, some in _by_stream(items).items():
            place = by_id.get(stream_id)
            if place is None or place.row.epoch is None:
                vanished += len(some)
                continue
            view = self._poller.terms.view(source, place.row, place.row.epoch)
            if any(item.epoch != view.epoch for item in some):
                await self._ledger.call(backfills.list_again, job.id, stream_id, now, lease=self._lease)
                return Step.WORKED
            contents = await self._load(source, place, [one.seen.external_id for one in some if one.seen.skip is None])
            rules = _without_age(self._poller.terms.rules(source, place.stream, place.row, place.row.epoch))
            left = [one.seen for one in some if not isinstance(contents.get(one.seen.external_id), Gone)]
            vanished += len(some) - len(left)
            seen = [with_content(one, contents.get(one.external_id), rules) for one in left]
            groups.append((view, await self._with_files(source, place, seen)))
        done = [item.id for item in items]
        await self._ledger.call(
            backfills.bring, job.id, groups, done, self._clock.now(), vanished=vanished, lease=self._lease
        )
        return Step.WORKED

    async def _with_files(self, source: SourceRow, place: Place, seen: Sequence[Seen]) -> Sequence[Seen]:
        """Those whose files cannot be had now come without content: they are loaded later, in passes."""
        poller = self._poller
        ctx = poller.terms.context(source, place.row)
        done: list[Seen] = []
        room = await poller.fetcher.spooler.room()
        for one in seen:
            if not has_files(one):
                done.append(one)
                continue
            async with poller.turn():
                try:
                    epoch = place.row.epoch or ""
                    done.append(await poller.fetcher.with_files(place.stream, epoch, one, ctx, room))
                except TemporaryError as error:
                    log.warning("backfill.files_not_loaded", source=source.name, id=one.external_id, code=error.code)
                    done.append(replace(one, content=None))
        return done

    async def _load(self, source: SourceRow, place: Place, ids: Sequence[str]) -> Mapping[str, Content]:
        """Contents; together as far as it goes, else one by one, so that one bad message costs one message: it is
        recorded without content and loaded later, in passes, as every suspect."""
        poller = self._poller
        epoch = place.row.epoch or ""
        ctx = poller.terms.context(source, place.row)
        async with poller.turn():
            try:
                return await poller.fetcher.fetch(place.stream, epoch, ids, ctx)
            except (TemporaryError, MessageError) as error:
                if not _may_be_one(error):
                    raise
        contents: dict[str, Content] = {}
        in_a_row = 0
        for one in ids:
            async with poller.turn():
                try:
                    contents |= await poller.fetcher.fetch(place.stream, epoch, [one], ctx)
                    in_a_row = 0
                except (TemporaryError, MessageError) as error:
                    in_a_row += 1
                    if not _may_be_one(error) or in_a_row == FAILURES_IN_A_ROW:
                        raise
                    log.warning("backfill.not_loaded", source=source.name, external_id=one, code=error.code)
        return contents


@dataclass(slots=True)
class Forecast:
    """What a backfill would do, by headers. `strangers`: authors nobody has written to yet, as far as known."""

    listed: int = 0
    known: int = 0
    fresh: int = 0
    messages: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    strangers: int = 0


async def forecast(poller: Poller, backfiller: Backfiller, source: SourceRow, terms: BackfillTerms) -> Forecast:
    """Looks at everything a backfill would list, and writes nothing."""
    made = Forecast()
    claimed: set[bytes] = set()
    authors: set[int] = set()
    backfills = poller.ledger.backfills
    found, _others = await places(poller, source)
    for place in found:
        counted: Counter[bytes] = Counter()
        async for piece in pieces(poller, source, place, terms.since, backfills.known):
            picked = backfiller.pick(source, place, terms, piece)
            view = poller.terms.view(source, place.row, piece.epoch)
            judged = await poller.ledger.call(backfills.judge, view, picked.seen, dict(counted))
            made.listed += len(picked.seen)
            made.known += len(piece.known)
            made.fresh += picked.fresh
            authors |= {hash(one.fingerprint.author) for one in piece.found if one.fingerprint is not None}
            for one, (verdict, claim) in zip(picked.seen, judged, strict=True):
                if one.fingerprint is not None:
                    counted[one.fingerprint] += 1
                if verdict is Preview.DUPLICATE or (claim is not None and claim in claimed):
                    made.skipped["duplicate"] += 1
                elif one.skip is not None:
                    made.skipped[one.skip.reason.value] += 1
                elif verdict is not Preview.KNOWN:
                    made.messages += 1
                if claim is not None:
                    claimed.add(claim)
    if terms.most is not None and made.messages > terms.most:
        made.left_out = made.messages - terms.most
        made.messages = terms.most
    made.strangers = min(len(authors), made.messages)
    return made


def seconds_to_send(messages: int, strangers: int, requests_per_minute: float) -> float:
    """How long that takes at an inbox's budget, if nothing else uses it."""
    return (messages + strangers * REQUESTS_FOR_A_STRANGER) * 60.0 / requests_per_minute


def _awaited(source: str, folders: Sequence[str]) -> TemporaryError:
    named = ", ".join(f'"{name}"' for name in folders[:FOLDERS_NAMED])
    more = f" and {len(folders) - FOLDERS_NAMED} more" if len(folders) > FOLDERS_NAMED else ""
    return TemporaryError(
        f"{named}{more} of {source} was never polled to its end",
        code="backfill.folder_awaited",
        next_step="inbox-sync status says why; after an hour the backfill goes on without it",
        source=source,
    )


def _is_asked_for(found: Found, terms: BackfillTerms) -> bool:
    return found.arrived_at >= terms.since and (terms.until is None or found.arrived_at < terms.until)


def _without_age(rules: SourceRules) -> SourceRules:
    return replace(rules, horizon=None, known_until=None)


def _may_be_one(error: InboxSyncError) -> bool:
    """Whether a failed fetch of several may be about one of them."""
    return is_about_messages(error) or error.code == FETCH_HUNG


def _by_stream(items: Sequence[BackfillItem]) -> dict[int, list[BackfillItem]]:
    grouped: dict[int, list[BackfillItem]] = {}
    for item in items:
        grouped.setdefault(item.stream_id, []).append(item)
    return grouped


def _no_more_than(items: Sequence[BackfillItem], most: int | None, brought: int) -> Sequence[BackfillItem]:
    """The items up to the one that makes it `most` messages; those that are skipped do not count."""
    if most is None:
        return items
    room = most - brought
    for position, item in enumerate(items):
        if room <= 0:
            return items[:position]
        room -= item.seen.skip is None
    return items
