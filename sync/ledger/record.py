"""Recording a batch: places, claims, contents, deliveries and the cursor, in one transaction.

Inserting is the test (`ON CONFLICT DO NOTHING … RETURNING`). What was not inserted lost a race, and is judged again
with what the winner has written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, and_, bindparam, func, select, update

from sync.decide import Dead, Identity, Loaded, Seen, Skip, claim_of, identify, occurrences
from sync.errors import Scope, TemporaryError
from sync.ledger import claims, schema
from sync.ledger.contents import DeadItem, LoadedItem, Place, Stored, store_dead, store_loaded
from sync.ledger.dialect import insert_into, lock_until_end
from sync.ledger.edits import Edit, record_edits
from sync.ledger.fetches import vanish_all
from sync.ledger.prepared import ForKeys
from sync.ledger.revive import find_aged, revive
from sync.ledger.rows import Mark, Preview, Recorded, View
from sync.ledger.schema import in_state
from sync.ledger.settle import settle
from sync.ledger.tallies import Tally
from sync.ledger.types import key_text
from sync.states import MessageState, Reason

_M = schema.messages.c
_S = schema.sources.c
_T = schema.streams.c

_HERE = and_(_M.stream_id == bindparam("stream"), _M.epoch == bindparam("epoch"))
_KNOWN_PLACES = ForKeys(
    select(_M.external_id, _M.id, _M.state, _M.version).where(
        _HERE, _M.external_id.in_(bindparam("keys", expanding=True))
    )
)
_COUNTS = ForKeys(
    select(_M.fingerprint, func.count())
    .where(_HERE, _M.fingerprint.in_(bindparam("keys", expanding=True)))
    .group_by(_M.fingerprint)
)

_STREAM = (
    select(_S.generation, _S.id, _T.first_loaded_at, _T.epoch)
    .join(schema.streams, _T.source_id == _S.id)
    .where(_T.id == bindparam("stream"))
    .with_for_update(of=schema.streams, key_share=True)
)
_OLD_MARK = select(_T.epoch, _T.complete_until, _T.first_loaded_at).where(_T.id == bindparam("stream"))
_OF_OLD_NUMBERING = select(_M.id).where(
    _M.source_id == bindparam("source"),
    _M.stream_id == bindparam("stream"),
    in_state(_M.state, MessageState.FOUND),
    _M.epoch != bindparam("epoch"),
)

RACE_TRIES = 5
"""How often places that lost a race are judged again before the batch is given up for this time."""


@dataclass(slots=True)
class Known:
    """What the ledger has of a batch's places before it is recorded: id, state and version by external id."""

    places: dict[str, tuple[int, str, str]] = field(default_factory=dict)

    def split(self, seen: Sequence[Seen]) -> list[Seen]:
        """The places that are new, the first of each id."""
        fresh: dict[str, Seen] = {}
        for one in seen:
            key = key_text(one.external_id)
            if key not in self.places:
                fresh.setdefault(key, one)
        return list(fresh.values())

    def edits(self, seen: Sequence[Seen]) -> list[Edit]:
        """The places that are known in another version, the last one of each."""
        found: dict[int, Edit] = {}
        for one in seen:
            message_id, state, version = self.places.get(key_text(one.external_id), (0, "", ""))
            if message_id and one.version and key_text(one.version) != version:
                found[message_id] = Edit(message_id, state, version, replace(one, version=key_text(one.version)))
        return list(found.values())


def known_places(tx: Connection, stream_id: int, epoch: str, external_ids: Sequence[str]) -> Known:
    """Which of these ids have a row in this view."""
    rows = _KNOWN_PLACES.read(tx, {key_text(one) for one in external_ids}, stream=stream_id, epoch=epoch)
    places = cast("list[tuple[str, int, str, str]]", rows)
    return Known({key: (message_id, state, version) for key, message_id, state, version in places})


def counts_of(tx: Connection, view: View, fresh: Sequence[Seen]) -> dict[bytes, int]:
    """How many places of the view have the fingerprint of one of these."""
    wanted = {one.fingerprint for one in fresh if one.fingerprint is not None}
    return dict(cast("list[tuple[bytes, int]]", _COUNTS.read(tx, wanted, stream=view.stream_id, epoch=view.epoch)))


def numbers_of(tx: Connection, view: View, fresh: Sequence[Seen]) -> list[int]:
    """Which occurrence of its fingerprint each new place is."""
    return occurrences(fresh, counts_of(tx, view, fresh))


def wanted_claims(fresh: Sequence[Seen], numbers: Sequence[int]) -> set[bytes]:
    """The claims that these places would take."""
    found = (claim_of(one, number) for one, number in zip(fresh, numbers, strict=True))
    return {claim for claim in found if claim is not None}


def preview(tx: Connection, view: View, seen: Sequence[Seen]) -> list[Preview]:
    """What `record` would make of each place."""
    known = known_places(tx, view.stream_id, view.epoch, [one.external_id for one in seen])
    fresh = known.split(seen)
    numbers = numbers_of(tx, view, fresh)
    holders = claims.find_holders(tx, view, wanted_claims(fresh, numbers))
    verdicts = {
        key_text(one.external_id): preview_of(one, identity)
        for one, identity in zip(fresh, identify(fresh, numbers, holders.taken), strict=True)
    }
    return [verdicts.pop(key_text(one.external_id), Preview.KNOWN) for one in seen]


def preview_of(one: Seen, identity: Identity) -> Preview:
    """What becomes of a new place."""
    if identity.duplicate_of is not None:
        return Preview.DUPLICATE
    if one.skip is not None or isinstance(one.content, Skip):
        return Preview.SKIP
    return Preview.NEW


class Recording:
    """One batch on its way into the ledger."""

    def __init__(
        self, tx: Connection, view: View, *, now: datetime, release_at: datetime, backfill: bool, raw_max_bytes: int
    ) -> None:
        self._tx = tx
        self._view = view
        self._now = now
        self._release_at = release_at
        self._backfill = backfill
        self._raw_max_bytes = raw_max_bytes
        self._tally = Tally()
        self._skipped: Counter[str] = Counter()
        self._dead: Counter[str] = Counter()
        self._states: Counter[str] = Counter()
        self._ids: dict[str, int] = {}
        self._loaded: list[LoadedItem] = []
        self._raw: list[DeadItem] = []
        self._first_load = False

    def run(self, seen: Sequence[Seen], mark: Mark | None) -> Recorded:
        """Records everything and moves the stream's mark. None: what is recorded was not found by going on from the
        cursor, and the stream stays where it is."""
        lock_until_end(self._tx, f"record:{self._view.inbox}")
        self._lock_stream(mark)
        known = known_places(self._tx, self._view.stream_id, self._view.epoch, [one.external_id for one in seen])
        fresh = known.split(seen)
        repeated = len(seen) - len(fresh)
        fresh += self._tellings(known, known.edits(seen))
        self._insert_all(fresh)
        stored = store_loaded(
            self._tx,
            self._loaded,
            self._tally,
            self._now,
            self._release_at,
            keep_max_bytes=self._raw_max_bytes,
        )
        store_dead(self._tx, self._raw, self._now, self._raw_max_bytes)
        if self._backfill:
            self._revive(known, seen)
        filled = self._fill_known(known, seen)
        if mark is not None:
            self._move_mark(mark)
        self._tally.write(self._tx)
        order = [self._ids[key] for one in fresh if (key := key_text(one.external_id)) in self._ids]
        return Recorded(
            new_message_ids=tuple(order),
            repeated=repeated,
            found=self._states[MessageState.FOUND],
            loaded=self._states[MessageState.LOADED],
            skipped=dict(self._skipped),
            dead=dict(self._dead),
            deliveries=stored.pending + filled.pending,
            limited=stored.limited + filled.limited,
        )

    # ------------------------------------------------------------------ the stream

    def _lock_stream(self, mark: Mark | None) -> None:
        row = self._tx.execute(_STREAM, {"stream": self._view.stream_id}).one()
        epoch = row.epoch if mark is None else mark.epoch
        if f"{row.generation}:{epoch}" != self._view.epoch or row.id != self._view.source_id:
            raise TemporaryError(
                f'the account or a numbering of source "{self._view.source}" changed meanwhile; what was found is left out',
                code="ledger.stale_pass",
                next_step="nothing: the next pass starts anew",
                scope=Scope.SOURCE,
                source=self._view.source,
            )
        self._first_load = row.first_loaded_at is None

    def _move_mark(self, mark: Mark) -> None:
        if mark.partial:
            number = update(schema.streams).where(_T.id == self._view.stream_id)
            self._tx.execute(number.values(epoch=mark.epoch, updated_at=self._now))
            return
        old = self._tx.execute(_OLD_MARK, {"stream": self._view.stream_id}).one()
        complete_until = mark.complete_until
        if old.epoch == mark.epoch and old.complete_until is not None:
            complete_until = old.complete_until if complete_until is None else max(old.complete_until, complete_until)
        self._tx.execute(
            update(schema.streams)
            .where(_T.id == self._view.stream_id)
            .values(
                epoch=mark.epoch,
                cursor=None if mark.cursor is None else json.dumps(mark.cursor),
                complete_until=complete_until,
                first_loaded_at=old.first_loaded_at or (self._now if mark.finished else None),
                before_horizon=_T.before_horizon + mark.before_horizon,
                updated_at=self._now,
            )
        )
        if mark.finished:
            self._leave_old_numbering()

    def _leave_old_numbering(self) -> None:
        """What was found under an old numbering and did not turn up in the complete new one is gone."""
        view = self._view
        values = {"source": view.source_id, "stream": view.stream_id, "epoch": view.epoch}
        lost = list(self._tx.execute(_OF_OLD_NUMBERING, values).scalars())
        if lost:
            vanish_all(self._tx, dict.fromkeys(lost, "the numbering changed"), self._tally, self._now)

    # ------------------------------------------------------------------ new places

    def _insert_all(self, fresh: Sequence[Seen]) -> None:
        left = list(zip(fresh, numbers_of(self._tx, self._view, fresh), strict=True))
        displaced: dict[bytes, int] = {}
        owners: dict[bytes, int] = {}
        for _ in range(RACE_TRIES):
            if not left:
                break
            holders = claims.find_holders(
                self._tx, self._view, wanted_claims([one for one, _ in left], [number for _, number in left])
            )
            if holders.stale:
                claims.free(self._tx, list(holders.stale.values()))
                displaced |= holders.stale
            identities = identify([one for one, _ in left], [number for _, number in left], holders.taken)
            self._insert([(one, identity) for (one, _), identity in zip(left, identities, strict=True)], owners)
            left = [pair for pair in left if key_text(pair[0].external_id) not in self._ids]
        if left:
            raise TemporaryError(
                "other processes keep recording the same messages", code="ledger.busy", scope=Scope.SOURCE
            )
        successors = {old: owners[claim] for claim, old in displaced.items() if claim in owners}
        if successors:
            claims.replace_holders(self._tx, successors, self._tally, self._now)

    def _insert(self, judged: Sequence[tuple[Seen, Identity]], owners: dict[bytes, int]) -> None:
        rows = [self._row(one, identity) for one, identity in judged]
        inserted = self._tx.execute(
            insert_into(self._tx, schema.messages).on_conflict_do_nothing().returning(_M.external_id, _M.id), rows
        )
        new: dict[str, int] = {row.external_id: row.id for row in inserted}
        self._ids |= new
        for (one, identity), row in zip(judged, rows, strict=True):
            message_id = new.get(key_text(one.external_id))
            if message_id is not None:
                self._count(one, identity, message_id, str(row["state"]), str(row["reason"]))
                if identity.claim is not None:
                    owners[identity.claim] = message_id

    def _row(self, one: Seen, identity: Identity) -> dict[str, object]:
        state, reason, detail = _standing(one, identity)
        view = self._view
        return {
            "source_id": view.source_id,
            "stream_id": view.stream_id,
            "epoch": view.epoch,
            "external_id": key_text(one.external_id),
            "arrived_at": one.arrived_at,
            "written_at": one.written_at,
            "size_bytes": one.size,
            "fingerprint": one.fingerprint,
            "occurrence": identity.occurrence,
            "claim": identity.claim,
            "state": state,
            "reason": reason,
            "detail": detail,
            "duplicate_of": identity.duplicate_of,
            "seen_at": self._now,
            "backfill": self._backfill,
            "updated_at": self._now,
            "version": key_text(one.version),
        }

    def _count(self, one: Seen, identity: Identity, message_id: int, state: str, reason: str) -> None:
        self._tally.message(self._view.source_id, state, reason)
        self._states[state] += 1
        if state == MessageState.SKIPPED:
            self._skipped[reason] += 1
        elif state == MessageState.DEAD:
            self._dead[reason] += 1
        if identity.duplicate_of is not None or one.skip is not None:
            return
        if isinstance(one.content, Dead):
            self._raw.append((message_id, one.content))
        elif isinstance(one.content, Loaded):
            place = Place(
                message_id=message_id,
                source_id=self._view.source_id,
                inbox=self._view.inbox,
                stream_rank=self._view.stream_rank,
                arrived_at=one.arrived_at,
                seen_at=self._now,
                backfill=self._backfill,
                is_new=True,
                hourly_limit=0 if self._first_load else self._view.hourly_limit,
            )
            self._loaded.append((place, one.content))

    # ------------------------------------------------------------------ known places

    def _tellings(self, known: Known, edits: Sequence[Edit]) -> list[Seen]:
        """What is new because known messages were edited."""
        view = self._view
        edited = record_edits(self._tx, view.inbox, edits, self._tally, self._now, tell=view.tell_edits)
        self._found_again(known, edited.shown)
        if not edited.told:
            return []
        return known_places(self._tx, view.stream_id, view.epoch, [one.external_id for one in edited.told]).split(
            edited.told
        )

    @staticmethod
    def _found_again(known: Known, message_ids: Collection[int]) -> None:
        for key, (message_id, _state, version) in known.places.items():
            if message_id in message_ids:
                known.places[key] = (message_id, MessageState.FOUND, version)

    def _revive(self, known: Known, seen: Sequence[Seen]) -> None:
        """Rows that only a backfill brings in are judged anew."""
        keys = {key_text(one.external_id): one for one in seen}
        asked = {place[0]: keys[key] for key, place in known.places.items() if place[1] == MessageState.SKIPPED}
        found = revive(self._tx, self._view, asked, find_aged(self._tx, list(asked)), self._tally, self._now)
        self._found_again(known, found)

    def _fill_known(self, known: Known, seen: Sequence[Seen]) -> Stored:
        """Rows that were found earlier without content, and have it now."""
        verdicts = {}
        for one in seen:
            message_id, state, _version = known.places.get(key_text(one.external_id), (0, "", ""))
            if state == MessageState.FOUND and one.content is not None:
                verdicts[message_id] = one.content
        if not verdicts:
            return Stored()
        return settle(
            self._tx,
            verdicts,
            self._tally,
            now=self._now,
            release_at=self._release_at,
            raw_max_bytes=self._raw_max_bytes,
            hourly_limit=self._view.hourly_limit,
        )


def _standing(one: Seen, identity: Identity) -> tuple[str, str, str]:
    """State, reason and detail of a new row."""
    if identity.duplicate_of is not None:
        return MessageState.SKIPPED, Reason.DUPLICATE, ""
    if one.skip is not None:
        return MessageState.SKIPPED, one.skip.reason, one.skip.detail
    match one.content:
        case None:
            return MessageState.FOUND, "", ""
        case Skip(reason, detail):
            return MessageState.SKIPPED, reason, detail
        case Dead(_, why):
            return MessageState.DEAD, Reason.UNREADABLE, why
        case Loaded():
            return MessageState.LOADED, "", ""
