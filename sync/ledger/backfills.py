"""Backfills: the jobs, what each has listed, and bringing that in piece by piece."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, Select, delete, func, select, update

from sync.decide import Seen, Skip, claim_of, identify, occurrences
from sync.errors import ConfigError
from sync.ledger import claims, record, schema
from sync.ledger.dialect import insert_into
from sync.ledger.engine import Database
from sync.ledger.events import new_event, write_events
from sync.ledger.fence import need_lease
from sync.ledger.repository import Repository, chunks, reads, writes
from sync.ledger.retention import read_forgotten_until
from sync.ledger.revive import find_aged
from sync.ledger.rows import Backfill, BackfillItem, BackfillTerms, LeaseRef, Preview, Progressed, View
from sync.ledger.schema import in_state
from sync.ledger.sources import need_source
from sync.ledger.types import key_text
from sync.message import Json
from sync.states import ON_THE_WIRE_STATES, DeliveryState, MessageState, Reason

_B = schema.backfills.c
_I = schema.backfill_items.c
_M = schema.messages.c
_D = schema.deliveries.c
_S = schema.sources.c
_T = schema.streams.c

LISTING, BRINGING, DONE, STOPPED = "listing", "bringing", "done", "stopped"


class Backfills(Repository):
    """The backfills of the ledger. `raw_max_bytes` bounds the raw copies of unreadable messages. What does a job says by
    which `lease` of its source: the methods that take one raise LeaseLost when another process holds it by now."""

    def __init__(self, database: Database, raw_max_bytes: int) -> None:
        super().__init__(database)
        self._raw_max_bytes = raw_max_bytes

    # ------------------------------------------------------------------ the job

    @writes
    def start(self, tx: Connection, source: str, terms: BackfillTerms, now: datetime) -> Backfill:
        """Starts a job; where one with the same terms is open, that goes on. Raises ConfigError `backfill.running` where
        another one is open, `backfill.forgotten` where it reaches to what was forgotten, and `source.unknown`."""
        row = need_source(tx, source)
        _refuse_forgotten(tx, terms)
        tx.execute(select(_S.id).where(_S.id == row.id).with_for_update(key_share=True))
        there = _open_of(tx, source)
        if there is None:
            values = {"source_id": row.id, "since": terms.since, "until": terms.until, "most": terms.most}
            times = {"started_at": now, "updated_at": now}
            tx.execute(insert_into(tx, schema.backfills).values(state=LISTING, **values, **times))
            detail = {"since": terms.since.isoformat()}
            write_events(tx, [new_event("backfill.started", now, inbox=row.inbox, source=source, detail=detail)])
            there = _open_of(tx, source)
        if there is None or there.terms != terms:
            raise ConfigError(
                f"another backfill of {source} is not finished yet",
                code="backfill.running",
                next_step=f"inbox-sync backfill {source} goes on with it; --status shows it, --stop ends it",
                source=source,
            )
        return there

    @writes
    def stop(self, tx: Connection, source: str, now: datetime) -> Backfill | None:
        """Ends an open job; what it has recorded is still delivered. None when there is none."""
        there = _open_of(tx, source)
        if there is None:
            return None
        _end(tx, there, STOPPED, now)
        return _get(tx, there.id)

    @reads
    def latest(self, tx: Connection, source: str) -> Backfill | None:
        """The newest job of a source, open or not."""
        return _first(tx, _jobs().where(_S.name == source).order_by(_B.id.desc()).limit(1))

    @reads
    def open(self, tx: Connection) -> tuple[Backfill, ...]:
        """Every job that is not finished."""
        return tuple(
            _backfill(row)
            for row in tx.execute(_jobs().where(_B.state.in_(schema.OPEN_BACKFILL)).order_by(_B.id)).mappings()
        )

    @writes
    def tell(
        self,
        tx: Connection,
        backfill_id: int,
        fault: tuple[str, str, str],
        now: datetime,
        *,
        lease: LeaseRef | None = None,
    ) -> None:
        """What keeps a job from going on, as (code, sentence, next step); empty texts: nothing does."""
        need_lease(tx, lease)
        code, sentence, next_step = fault
        tx.execute(
            update(schema.backfills)
            .where(_B.id == backfill_id)
            .values(code=code, sentence=sentence, next_step=next_step, updated_at=now)
        )

    @writes
    def finish(self, tx: Connection, backfill_id: int, now: datetime, *, lease: LeaseRef | None = None) -> None:
        """Everything was brought in and nothing of it waits."""
        need_lease(tx, lease)
        job = _get(tx, backfill_id)
        if job is not None and job.is_open:
            _end(tx, job, DONE, now)

    # ------------------------------------------------------------------ listing

    @reads
    def known(self, tx: Connection, stream_id: int, epoch: str, ids: Sequence[str]) -> frozenset[str]:
        """Which of these ids a backfill need not look at: those with a row that was not skipped for its age only.
        `epoch` with its generation, as in `View`."""
        places = record.known_places(tx, stream_id, epoch, ids).places
        aged = find_aged(tx, [message_id for message_id, *_ in places.values()])
        return frozenset(one for one in ids if (place := places.get(key_text(one))) and place[0] not in aged)

    @reads
    def judge(
        self, tx: Connection, view: View, seen: Sequence[Seen], counted: Mapping[bytes, int]
    ) -> tuple[tuple[Preview, bytes | None], ...]:
        """What `bring` would make of each place, and the claim it would take; nothing is written. `counted`: places of
        this view that were judged before and not recorded, by fingerprint."""
        places = record.known_places(tx, view.stream_id, view.epoch, [one.external_id for one in seen]).places
        aged = find_aged(tx, [message_id for message_id, *_ in places.values()])
        fresh = [one for one in seen if key_text(one.external_id) not in places]
        in_ledger = record.counts_of(tx, view, fresh)
        numbers = dict(
            zip(
                [one.external_id for one in fresh],
                occurrences(fresh, dict(Counter(in_ledger) + Counter(dict(counted)))),
                strict=True,
            )
        )
        for one in seen:
            place = places.get(key_text(one.external_id))
            if place is not None and place[0] in aged:
                numbers[one.external_id] = aged[place[0]].occurrence
        judged = [one for one in seen if one.external_id in numbers]
        counts = [numbers[one.external_id] for one in judged]
        wanted = {claim for one, n in zip(judged, counts, strict=True) if (claim := claim_of(one, n)) is not None}
        holders = claims.find_holders(tx, view, wanted)
        verdicts = {
            one.external_id: (record.preview_of(one, identity), identity.claim)
            for one, identity in zip(judged, identify(judged, counts, holders.taken), strict=True)
        }
        return tuple(verdicts.get(one.external_id, (Preview.KNOWN, None)) for one in seen)

    @writes
    def add(
        self,
        tx: Connection,
        backfill_id: int,
        view: View,
        seen: Sequence[Seen],
        now: datetime,
        *,
        lease: LeaseRef | None = None,
    ) -> bool:
        """Notes what was listed. What is noted already counts once. False: the job is not open any more."""
        need_lease(tx, lease)
        job = _get(tx, backfill_id)
        if job is None or not job.is_open:
            return False
        rows = [_item_row(backfill_id, view, one) for one in seen]
        if rows:
            statement = insert_into(tx, schema.backfill_items).on_conflict_do_nothing().returning(_I.id)
            _count(tx, backfill_id, {"listed": len(tx.execute(statement, rows).all())}, now)
        return True

    @writes
    def stream_listed(
        self,
        tx: Connection,
        backfill_id: int,
        stream_id: int,
        counts: Mapping[str, int],
        now: datetime,
        *,
        lease: LeaseRef | None = None,
    ) -> None:
        """A stream was listed to its end. `counts`: what of it need not be brought in."""
        need_lease(tx, lease)
        job = _get(tx, backfill_id)
        if job is not None and stream_id not in job.listed:
            _set(tx, backfill_id, now, listed=json.dumps([*job.listed, stream_id]))
            _count(tx, backfill_id, counts, now)

    @writes
    def all_listed(
        self, tx: Connection, backfill_id: int, folders_left_out: int, now: datetime, *, lease: LeaseRef | None = None
    ) -> None:
        """Every stream was listed, but for so many that could not be: from now on messages are brought in."""
        need_lease(tx, lease)
        _count(tx, backfill_id, {"folders_left_out": folders_left_out}, now)
        tx.execute(
            update(schema.backfills)
            .where(_B.id == backfill_id, _B.state == LISTING)
            .values(state=BRINGING, updated_at=now)
        )

    @writes
    def list_again(
        self, tx: Connection, backfill_id: int, stream_id: int, now: datetime, *, lease: LeaseRef | None = None
    ) -> None:
        """A stream was numbered anew: what was listed of it means nothing any more."""
        need_lease(tx, lease)
        job = _get(tx, backfill_id)
        if job is None or not job.is_open:
            return
        gone = tx.execute(
            delete(schema.backfill_items).where(_I.backfill_id == backfill_id, _I.stream_id == stream_id)
        ).rowcount
        listed = json.dumps([one for one in job.listed if one != stream_id])
        _set(tx, backfill_id, now, listed=listed, state=LISTING)
        _count(tx, backfill_id, {"listed": -gone}, now)

    # ------------------------------------------------------------------ bringing in

    @reads
    def next_items(self, tx: Connection, backfill_id: int, limit: int) -> tuple[BackfillItem, ...]:
        """What comes next, in order of arrival over all streams."""
        query = (
            select(schema.backfill_items, _T.key)
            .join(schema.streams, _T.id == _I.stream_id)
            .where(_I.backfill_id == backfill_id)
            .order_by(_I.arrived_at, _I.stream_rank, _I.id)
            .limit(limit)
        )
        return tuple(_item(row) for row in tx.execute(query).mappings())

    @writes
    def bring(
        self,
        tx: Connection,
        backfill_id: int,
        groups: Sequence[tuple[View, Sequence[Seen]]],
        done: Sequence[int],
        now: datetime,
        *,
        vanished: int = 0,
        lease: LeaseRef | None = None,
    ) -> int:
        """Records messages of several streams, and takes the items `done` off the list, in one transaction. Returns how
        many deliveries came of it; nothing is done for a job that is not open any more."""
        need_lease(tx, lease)
        job = _get(tx, backfill_id)
        if job is None or not job.is_open:
            return 0
        deliveries = 0
        outcome: Counter[str] = Counter(vanished=vanished)
        outcome["brought"] = sum(one.skip is None for _, seen in groups for one in seen)
        for view, seen in groups:
            recording = record.Recording(
                tx, view, now=now, release_at=now, backfill=True, raw_max_bytes=self._raw_max_bytes
            )
            deliveries += recording.run(seen, None).deliveries
            outcome += _outcome(tx, view, seen)
        for some in chunks(done):
            tx.execute(delete(schema.backfill_items).where(_I.backfill_id == backfill_id, _I.id.in_(some)))
        _count(tx, backfill_id, {**outcome, "deliveries": deliveries}, now)
        return deliveries

    @writes
    def drop_rest(self, tx: Connection, backfill_id: int, now: datetime, *, lease: LeaseRef | None = None) -> None:
        """The job has brought in as many as it may: what else it listed is left out."""
        need_lease(tx, lease)
        left = tx.execute(delete(schema.backfill_items).where(_I.backfill_id == backfill_id)).rowcount
        _count(tx, backfill_id, {"left_out": left}, now)

    @reads
    def progress(self, tx: Connection, backfill_id: int) -> Progressed:
        """How far a job is."""
        job = _get(tx, backfill_id)
        if job is None:
            return Progressed()
        items = select(func.count()).select_from(schema.backfill_items).where(_I.backfill_id == backfill_id)
        return Progressed(
            int(tx.execute(items).scalar_one()), waiting_of(tx, job.source_id, job.inbox), failed_of(tx, job)
        )


def waiting_of(tx: Connection, source_id: int, inbox: str) -> int:
    """Backfilled messages and deliveries of a source that are not final. Each part has a partial index."""
    found = (
        select(func.count())
        .select_from(schema.messages)
        .where(_M.source_id == source_id, in_state(_M.state, MessageState.FOUND), _M.backfill)
    )
    counts = [tx.execute(found).scalar_one()]
    for states in ((DeliveryState.PENDING,), tuple(ON_THE_WIRE_STATES)):
        query = (
            select(func.count())
            .select_from(schema.deliveries)
            .where(_D.inbox == inbox, in_state(_D.state, *states), _D.backfill, _D.source_id == source_id)
        )
        counts.append(tx.execute(query).scalar_one())
    return sum(counts)


def failed_of(tx: Connection, job: Backfill) -> int:
    """Backfilled deliveries of the job's source that failed since it was started."""
    query = (
        select(func.count())
        .select_from(schema.deliveries)
        .where(
            in_state(_D.state, DeliveryState.DEAD, DeliveryState.HELD),
            _D.source_id == job.source_id,
            _D.backfill,
            _D.updated_at >= job.started_at,
        )
    )
    return int(tx.execute(query).scalar_one())


# ---------------------------------------------------------------------------------------------------- inside


def _jobs() -> Select[*tuple[object, ...]]:
    return select(schema.backfills, _S.name.label("source"), _S.inbox.label("inbox")).join(
        schema.sources, _S.id == _B.source_id
    )


def _first(tx: Connection, query: Select[*tuple[object, ...]]) -> Backfill | None:
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _backfill(row)


def _refuse_forgotten(tx: Connection, terms: BackfillTerms) -> None:
    """What was forgotten would be sent a second time."""
    forgotten = read_forgotten_until(tx)
    if forgotten is not None and terms.since < forgotten:
        raise ConfigError(
            f"what came before {forgotten:%Y-%m-%d %H:%M} UTC was forgotten ([ledger] keep_days), and would be sent again",
            code="backfill.forgotten",
            next_step=f"--since {forgotten:%Y-%m-%dT%H:%M:%S}+00:00 or later",
        )


def _open_of(tx: Connection, source: str) -> Backfill | None:
    return _first(tx, _jobs().where(_S.name == source, _B.state.in_(schema.OPEN_BACKFILL)))


def _get(tx: Connection, backfill_id: int) -> Backfill | None:
    return _first(tx, _jobs().where(_B.id == backfill_id))


def _backfill(row: RowMapping) -> Backfill:
    return Backfill(
        id=row[_B.id],
        source_id=row[_B.source_id],
        source=row["source"],
        inbox=row["inbox"],
        terms=BackfillTerms(row[_B.since], row[_B.until], row[_B.most]),
        state=row[_B.state],
        is_open=row[_B.state] in schema.OPEN_BACKFILL,
        listed=tuple(json.loads(row[_B.listed])),
        counts=json.loads(row[_B.counts]),
        code=row[_B.code],
        sentence=row[_B.sentence],
        next_step=row[_B.next_step],
        started_at=row[_B.started_at],
        ended_at=row[_B.ended_at],
    )


def _item_row(backfill_id: int, view: View, one: Seen) -> dict[str, object]:
    return {
        "backfill_id": backfill_id,
        "stream_id": view.stream_id,
        "stream_rank": view.stream_rank,
        "epoch": view.epoch,
        "external_id": key_text(one.external_id),
        "arrived_at": one.arrived_at,
        "written_at": one.written_at,
        "size_bytes": one.size,
        "fingerprint": one.fingerprint,
        "claim_scope": one.claim_scope,
        "reason": "" if one.skip is None else one.skip.reason.value,
        "detail": "" if one.skip is None else one.skip.detail,
    }


def _item(row: RowMapping) -> BackfillItem:
    reason = row[_I.reason]
    seen = Seen(
        external_id=row[_I.external_id],
        arrived_at=row[_I.arrived_at],
        written_at=row[_I.written_at],
        size=row[_I.size_bytes],
        fingerprint=row[_I.fingerprint],
        claim_scope=row[_I.claim_scope],
        skip=Skip(Reason(reason), row[_I.detail]) if reason else None,
    )
    return BackfillItem(row[_I.id], row[_I.stream_id], row[_T.key], row[_I.epoch], seen)


def _outcome(tx: Connection, view: View, seen: Sequence[Seen]) -> Counter[str]:
    """Where these places stand now, as counts: by state, skipped and dead ones by reason (`skipped.duplicate`)."""
    outcome: Counter[str] = Counter()
    for some in chunks({key_text(one.external_id) for one in seen}):
        query = (
            select(_M.state, _M.reason, func.count())
            .where(_M.stream_id == view.stream_id, _M.epoch == view.epoch, _M.external_id.in_(some))
            .group_by(_M.state, _M.reason)
        )
        for state, reason, count in tx.execute(query):
            outcome[f"{state}.{reason}" if reason else state] += count
    return outcome


def _count(tx: Connection, backfill_id: int, changes: Mapping[str, int], now: datetime) -> None:
    job = _get(tx, backfill_id)
    if job is None:
        return
    counts = Counter(job.counts)
    counts.update(changes)
    _set(tx, backfill_id, now, counts=json.dumps({key: n for key, n in sorted(counts.items()) if n}))


def _set(tx: Connection, backfill_id: int, now: datetime, **values: str) -> None:
    tx.execute(update(schema.backfills).where(_B.id == backfill_id).values(updated_at=now, **values))


def _end(tx: Connection, job: Backfill, state: str, now: datetime) -> None:
    tx.execute(delete(schema.backfill_items).where(_I.backfill_id == job.id))
    tx.execute(
        update(schema.backfills)
        .where(_B.id == job.id)
        .values(state=state, ended_at=now, updated_at=now, code="", sentence="", next_step="")
    )
    detail: dict[str, Json] = {"counts": dict(job.counts)}
    write_events(tx, [new_event(f"backfill.{state}", now, inbox=job.inbox, source=job.source, detail=detail)])
