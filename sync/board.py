"""The deliverer's view of what waits in one inbox: which participant to resolve next, which delivery to send next.

Pure, in memory, rebuilt from the ledger at any time. It holds the order of DESIGN.md §2:

* one delivery of a lane (a conversation) at a time, in the order of `OrderKey`;
* the head of a lane that waits for a retry or for its sibling streams holds the lane, also while its participant is
  to be asked for anew before that retry;
* several participants may turn out to be one contact, and so one lane. So a delivery waits while an earlier one
  belongs to a participant whose conversation is not known yet: the *frontier*;
* live before backfill, a lane with both counting as live: its live delivery waits behind the backfill before it, which
  inherits the priority. No live delivery waits for backfill of other lanes, not even while their participants are not
  resolved: there are two frontiers (docs/design/0005-backfill-and-audit.md);
* sources take turns.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sync.decide import is_released, waits_for_retry, waits_for_room, was_set_back
from sync.delivery import OrderKey, Release, Waiting


class _Lane:
    """The deliveries of one conversation, or of one participant that is not resolved yet, in order. Never empty
    while the board knows it."""

    __slots__ = (
        "_order",
        "aside",
        "asleep",
        "before",
        "busy",
        "key",
        "live",
        "offered",
        "postponed_at",
        "resolve_at",
        "rows",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.rows: dict[int, Waiting] = {}
        self.busy = False
        self.live = 0
        self.offered: tuple[bool, OrderKey, str] | None = None
        self.postponed_at: datetime | None = None
        self.resolve_at: datetime | None = None
        self.aside = False
        self.asleep: datetime | None = None
        self.before: str | None = None
        """Of a participant that is to be asked for anew: the conversation it had."""
        self._order: list[tuple[OrderKey, int]] = []

    def put(self, row: Waiting) -> None:
        old = self.rows.get(row.delivery_id)
        if old is None or old.order != row.order:
            heapq.heappush(self._order, (row.order, row.delivery_id))
        if old is not None:
            self.live -= not old.backfill
        self.live += not row.backfill
        self.rows[row.delivery_id] = row

    def take(self, delivery_id: int) -> None:
        self.live -= not self.rows.pop(delivery_id).backfill

    def head(self) -> Waiting:
        while True:
            order, delivery_id = self._order[0]
            row = self.rows.get(delivery_id)
            if row is not None and row.order == order:
                return row
            heapq.heappop(self._order)

    @property
    def backfill(self) -> bool:
        return self.live == 0

    def first_live(self) -> OrderKey | None:
        """The earliest live delivery's place."""
        if self.live == len(self.rows):
            return self.head().order
        return min((row.order for row in self.rows.values() if not row.backfill), default=None)

    def postponed(self, now: datetime) -> bool:
        return self.resolve_at is not None and self.resolve_at > now and not was_set_back(self.postponed_at, now)

    def asleep_until(self, now: datetime) -> datetime | None:
        """When its participant may be asked for, None when that is now."""
        head = self.head()
        moments = (
            self.resolve_at if self.postponed(now) else None,
            head.retry_at if waits_for_retry(head, now) else None,
        )
        return max((at for at in moments if at is not None), default=None)

    def waits(self, now: datetime) -> bool:
        """Whether nothing of it moves, and nobody waits for it, before a later try."""
        return waits_for_retry(self.head(), now) or (self.aside and self.postponed(now))


class Board:
    """What waits. Rows come in by `load`, leave by `finish_send` and `forget_missing`; `next_send` and `next_resolve`
    mark what they give as busy until `finish_send` or `finish_resolve`."""

    def __init__(self, mapping_ttl: timedelta, release_of: Callable[[str], Release | None]) -> None:
        self._mapping_ttl = mapping_ttl
        self._release_of = release_of
        self._lanes: dict[str, _Lane] = {}
        self._lane_of: dict[int, str] = {}
        self._on_the_wire: set[str] = set()
        self._awaited: frozenset[int] = frozenset()
        self._resolved: dict[int, tuple[str | None, str, datetime]] = {}
        self._ready: dict[tuple[bool, str], list[tuple[bool, OrderKey, str]]] = {}
        self._unresolved: set[str] = set()
        self._to_resolve: list[tuple[bool, OrderKey, str]] = []
        self._asleep: list[tuple[datetime, str]] = []
        self._resolved_until: datetime | None = None
        self._renewing: dict[str, set[str]] = {}
        self._turn: list[str] = []
        self._frontiers: tuple[OrderKey | None, OrderKey | None] = (None, None)
        self._frontier_known = False

    # ------------------------------------------------------------------ what is there

    def __len__(self) -> int:
        return len(self._lane_of)

    def __contains__(self, delivery_id: int) -> bool:
        return delivery_id in self._lane_of

    def load(self, rows: Iterable[Waiting], now: datetime) -> None:
        """Takes rows from the ledger. Rows already here are brought up to date unless their lane is at work."""
        touched: set[str] = set()
        for fresh in rows:
            row = self._with_mapping(fresh)
            key = self._lane_key(row, now)
            known = self._lane_of.get(row.delivery_id)
            if known is not None:
                if self._lanes[known].busy:
                    continue
                if known != key:
                    self._take_out(row.delivery_id)
                    touched.add(known)
            self._put_in(row, key)
            touched.add(key)
        self._offer_all(touched)

    def forget_missing(self, present: set[int]) -> None:
        """Drops idle rows that the ledger has no more as pending. `present`: all that it has."""
        touched = set()
        for delivery_id, key in list(self._lane_of.items()):
            if delivery_id not in present and not self._lanes[key].busy:
                self._take_out(delivery_id)
                touched.add(key)
        self._offer_all(touched)

    def set_on_the_wire(self, conversation_ids: Iterable[str], participant_ids: Iterable[int] = ()) -> set[str]:
        """Which conversations have a delivery in `sending` or `unknown` that is not at work here, and whose deliveries
        these are: they wait. A participant waits in every conversation, since the one on the wire may have been merged
        into another meanwhile. Returns the conversations that wait no more."""
        before = self._on_the_wire
        freed_people = self._awaited
        self._on_the_wire, self._awaited = set(conversation_ids), frozenset(participant_ids)
        freed = before - self._on_the_wire
        self._offer_all({_conversation_key(c) for c in freed})
        if freed_people - self._awaited:
            self._offer_all(set(self._lanes))
        return freed

    def _is_awaited(self, lane: _Lane) -> bool:
        """Whether something of this lane is on the wire."""
        if lane.key.removeprefix("c:") in self._on_the_wire:
            return True
        return bool(self._awaited) and any(row.participant_id in self._awaited for row in lane.rows.values())

    def _is_held(self, lane: _Lane, now: datetime) -> bool:
        """Whether an earlier delivery into this conversation was refused and waits for its next try: before it its
        participant is asked for anew, and until then it stands in a lane of its own."""
        earlier = (self._lanes[key].head() for key in self._renewing.get(lane.key.removeprefix("c:"), ()))
        return any(waits_for_retry(head, now) and head.order < lane.head().order for head in earlier)

    # ------------------------------------------------------------------ resolving

    def next_resolve(self, now: datetime, *, with_backfill: bool = True) -> Waiting | None:
        """The earliest delivery whose participant needs a conversation (or a renewed one), marked busy."""
        woken_all = was_set_back(self._resolved_until, now)
        self._resolved_until = now
        while self._asleep and (woken_all or self._asleep[0][0] <= now):
            at, key = heapq.heappop(self._asleep)
            sleeper = self._lanes.get(key)
            if sleeper is not None and sleeper.asleep == at:
                sleeper.asleep = None
                self._offer_to_resolve(key)
        while self._to_resolve:
            offer = heapq.heappop(self._to_resolve)
            lane = self._lanes.get(offer[2])
            if lane is None or lane.offered != offer:
                continue
            if offer[0] and not with_backfill:  # and so is everything behind it
                heapq.heappush(self._to_resolve, offer)
                return None
            lane.offered = None
            if lane.busy:
                continue  # offered again when it is not
            until = lane.asleep_until(now)
            if until is None:
                lane.busy = True
                return lane.head()
            if until != lane.asleep:
                lane.asleep = until
                heapq.heappush(self._asleep, (until, lane.key))
        return None

    def postpone_resolve(self, participant_id: int, now: datetime, until: datetime, *, aside: bool) -> None:
        """The participant is not asked for again before `until`. `aside`: until then no other delivery waits for it."""
        lane = self._lanes.get(_participant_key(participant_id))
        if lane is not None:
            lane.postponed_at, lane.resolve_at, lane.aside = now, until, aside
            self._offer_to_resolve(lane.key)

    def forget_resolved(self, before: datetime) -> None:
        """Drops what was resolved before rows were last read from the ledger: these rows say it themselves."""
        self._resolved = {key: mapping for key, mapping in self._resolved.items() if mapping[2] >= before}

    def finish_resolve(self, row: Waiting, contact_id: str | None, conversation_id: str | None, now: datetime) -> None:
        """Ends what `next_resolve` began. `conversation_id` None: it failed, and the row stays where it is."""
        key = _participant_key(row.participant_id)
        lane = self._lanes.get(key)
        if lane is None:
            return
        lane.busy = False
        self._frontier_known = False
        if conversation_id is None:
            self._offer_to_resolve(key)
            return
        self._resolved[row.participant_id] = (contact_id, conversation_id, now)
        rows = list(lane.rows.values())
        for moved in rows:
            self._take_out(moved.delivery_id)
        for moved in rows:
            self._put_in(self._with_mapping(moved), _conversation_key(conversation_id))
        self._offer_all({_conversation_key(conversation_id)})

    def forget_mapping(self, participant_id: int, now: datetime) -> None:
        """The participant's conversation must be asked for again before anything more is sent to it."""
        self._resolved.pop(participant_id, None)
        stale = [
            row
            for lane in self._lanes.values()
            if not lane.busy
            for row in lane.rows.values()
            if row.participant_id == participant_id
        ]
        self.load([replace(row, resolved_at=None) for row in stale], now)

    # ------------------------------------------------------------------ sending

    def next_send(self, now: datetime, *, with_backfill: bool = True) -> Waiting | None:
        """The next delivery that may go now, its lane marked busy; None when all that waits has to wait. A lane with
        nothing live comes after all others, and not at all without `with_backfill`."""
        live_frontier, backfill_frontier = self._current_frontiers(now)
        row = self._take_in_turn(live_frontier, now, backfill=False)
        if row is None and with_backfill:
            row = self._take_in_turn(backfill_frontier, now, backfill=True)
        return row

    def _take_in_turn(self, frontier: OrderKey | None, now: datetime, *, backfill: bool) -> Waiting | None:
        for _ in range(len(self._turn)):
            source = self._turn.pop(0)
            self._turn.append(source)
            row = self._take_from((backfill, source), frontier, now)
            if row is not None:
                return row
        return None

    def finish_send(self, row: Waiting, kept: Waiting | None) -> None:
        """Ends what `next_send` began. `kept` is the row as it waits on, None when it is pending no more."""
        key = self._lane_of.get(row.delivery_id)
        if key is None:
            return
        lane = self._lanes[key]
        lane.busy = False
        if kept is None:
            self._take_out(row.delivery_id)
        else:
            lane.put(self._with_mapping(kept))
        self._offer_all({key})

    def next_wake_at(self, now: datetime, *, with_backfill: bool = True) -> datetime | None:
        """When something that only waits for time may move, None when nothing does. Without `with_backfill`: in lanes
        where something live waits."""
        moments = []
        for lane in self._lanes.values():
            if lane.busy or (lane.backfill and not with_backfill):
                continue
            head = lane.head()
            if waits_for_retry(head, now) and head.retry_at is not None:
                moments.append(head.retry_at)
            elif lane.resolve_at is not None and lane.postponed(now):
                moments.append(lane.resolve_at)
            elif waits_for_room(head, release := self._release_of(head.source)):
                continue  # no time helps: the ledger will have news
            elif not is_released(head, release, now):
                moments.append(head.release_at)
        return min(moments, default=None)

    def reoffer(self) -> None:
        """Looks at every idle lane again: time has passed, or siblings became known."""
        self._frontier_known = False
        self._offer_all(set(self._lanes))

    def blocked(self, now: datetime, *, alone: bool) -> int:
        """How many rows sit in lanes that cannot move now, and may hide some that can: the window is made larger by as
        many. `alone`: there is one source only. Then what waits for its siblings hides nothing: all of a first load does,
        and whatever comes after it waits with it."""
        return sum(
            len(lane.rows)
            for lane in self._lanes.values()
            if self._is_awaited(lane)
            or waits_for_retry(lane.head(), now)
            or self._waits_for_room(lane)
            or not (alone or is_released(lane.head(), self._release_of(lane.head().source), now))
        )

    def all_wait(self, now: datetime, *, with_backfill: bool = True) -> bool:
        """Whether every lane is held by a delivery that was refused and waits for its next try, or waits for an earlier
        message that finds no room in the spool. Without `with_backfill`: every one where something live waits."""
        lanes = (lane for lane in self._lanes.values() if with_backfill or not lane.backfill)
        return all(lane.waits(now) or self._is_held(lane, now) or self._waits_for_room(lane) for lane in lanes)

    def _waits_for_room(self, lane: _Lane) -> bool:
        head = lane.head()
        return waits_for_room(head, self._release_of(head.source))

    # ------------------------------------------------------------------ inside

    def _with_mapping(self, row: Waiting) -> Waiting:
        mapping = self._resolved.get(row.participant_id)
        if mapping is None:
            return row
        if row.resolved_at is not None and row.resolved_at >= mapping[2]:
            del self._resolved[row.participant_id]
            return row
        return replace(row, contact_id=mapping[0], conversation_id=mapping[1], resolved_at=mapping[2])

    def _lane_key(self, row: Waiting, now: datetime) -> str:
        fresh = row.resolved_at is not None and row.resolved_at + self._mapping_ttl > now
        if row.conversation_id is not None and fresh:
            return _conversation_key(row.conversation_id)
        return _participant_key(row.participant_id)

    def _put_in(self, row: Waiting, key: str) -> None:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
            if key.startswith("p:"):
                self._unresolved.add(key)
        lane.put(row)
        self._lane_of[row.delivery_id] = key
        if key.startswith("p:"):
            self._frontier_known = False
            self._offer_to_resolve(key)
            self._note_renewal(lane, row.conversation_id)

    def _note_renewal(self, lane: _Lane, conversation_id: str | None) -> None:
        """Which conversation a participant had that is to be asked for anew; None: none, or no more."""
        if lane.before == conversation_id:
            return
        if lane.before is not None:
            self._renewing[lane.before].discard(lane.key)
            if not self._renewing[lane.before]:
                del self._renewing[lane.before]
            self._offer_all({_conversation_key(lane.before)})
        lane.before = conversation_id
        if conversation_id is not None:
            self._renewing.setdefault(conversation_id, set()).add(lane.key)

    def _take_out(self, delivery_id: int) -> None:
        key = self._lane_of.pop(delivery_id)
        lane = self._lanes[key]
        lane.take(delivery_id)
        if not lane.rows:
            del self._lanes[key]
            self._unresolved.discard(key)
            self._note_renewal(lane, None)
        if key.startswith("p:"):
            self._frontier_known = False
            self._offer_to_resolve(key)

    def _offer_to_resolve(self, key: str) -> None:
        """Its participant is to be asked for, in the order of what is offered now."""
        lane = self._lanes.get(key)
        if lane is None or lane.busy or not key.startswith("p:"):
            return
        offer = (lane.backfill, lane.head().order, key)
        if offer != lane.offered:
            lane.offered = offer
            heapq.heappush(self._to_resolve, offer)

    def _offer_all(self, keys: Iterable[str]) -> None:
        for key in keys:
            lane = self._lanes.get(key)
            if lane is None or lane.busy or not key.startswith("c:") or self._is_awaited(lane):
                continue
            head = lane.head()
            if (False, head.source) not in self._ready:
                self._ready[False, head.source], self._ready[True, head.source] = [], []
                self._turn.append(head.source)
            offer = (lane.backfill, head.order, key)
            if offer != lane.offered:  # what waits for time is looked at again and again
                lane.offered = offer
                heapq.heappush(self._ready[lane.backfill, head.source], offer)

    def _take_from(self, ready: tuple[bool, str], frontier: OrderKey | None, now: datetime) -> Waiting | None:
        """The first lane of a source that may send. Entries are offers: one whose lane has moved on is dropped."""
        heap = self._ready[ready]
        while heap:
            backfill, order, key = heap[0]
            lane = self._lanes.get(key)
            if lane is None or lane.busy or self._is_awaited(lane):
                self._pop_offer(heap)
                continue
            head = lane.head()
            if head.order != order or lane.backfill != backfill or waits_for_retry(head, now):
                self._pop_offer(heap)
                continue
            if self._is_held(lane, now):
                self._pop_offer(heap)
                continue
            if frontier is not None and order > frontier:
                return None
            if not is_released(head, self._release_of(head.source), now):
                return None
            self._pop_offer(heap)
            lane.busy = True
            return head
        return None

    def _pop_offer(self, heap: list[tuple[bool, OrderKey, str]]) -> None:
        offer = heapq.heappop(heap)
        lane = self._lanes.get(offer[2])
        if lane is not None and lane.offered == offer:
            lane.offered = None

    def _current_frontiers(self, now: datetime) -> tuple[OrderKey | None, OrderKey | None]:
        """What live deliveries may not pass (live ones whose participants are not resolved), and what backfill may not
        pass (any)."""
        if not self._frontier_known:
            lanes = [lane for lane in (self._lanes[key] for key in self._unresolved) if not lane.waits(now)]
            live = (order for lane in lanes if (order := lane.first_live()) is not None)
            self._frontiers = min(live, default=None), min((lane.head().order for lane in lanes), default=None)
            self._frontier_known = True
        return self._frontiers


def _conversation_key(conversation_id: str) -> str:
    return f"c:{conversation_id}"


def _participant_key(participant_id: int) -> str:
    return f"p:{participant_id}"
