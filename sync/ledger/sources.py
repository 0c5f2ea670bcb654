"""Sources: their start, their account, and how their passes went."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, select, update

from sync.errors import ConfigError
from sync.ledger import schema
from sync.ledger.dialect import insert_into, is_postgres
from sync.ledger.events import new_event, write_events
from sync.ledger.fence import need_lease
from sync.ledger.fetches import hold_up_nothing
from sync.ledger.repository import Repository, reads, writes
from sync.ledger.retention import read_forgotten_until
from sync.ledger.rows import REMOVED, LeaseRef, PassEnd, SourceRow
from sync.ledger.schema import in_state
from sync.states import DeliveryState

_S = schema.sources.c
_T = schema.streams.c
_D = schema.deliveries.c

_BY_NAME = select(schema.sources).where(_S.name == bindparam("name"))

NO_FAULT = {"state": "ok", "code": "", "sentence": "", "next_step": "", "failures": 0}


class Sources(Repository):
    """The sources of the ledger."""

    @writes
    def load(
        self,
        tx: Connection,
        name: str,
        inbox: str,
        connector: str,
        account: str,
        horizon: datetime | None,
        now: datetime,
        *,
        starts_pass: bool = False,
        lease: LeaseRef | None = None,
    ) -> SourceRow:
        """Makes a configured source known.

        `horizon` is used at the first load only (None: everything is wanted). `account` names whose messages these are
        (host and user); when it changes, ids mean something else: the generation grows, and the streams start without a
        cursor. An empty account changes nothing. A removed source comes back as it was. `starts_pass`: a pass begins;
        until it ends the source has no next one, and that is how others know that it is at work (or that its process
        died at it). Raises LeaseLost when another process polls the source by now: `lease` is the pass's.
        """
        need_lease(tx, lease)
        row = _get(tx, name)
        known = row is not None and row.state != REMOVED and (row.inbox, row.connector) == (inbox, connector)
        if row is None or not known or account not in ("", row.account):
            row = _bring_up_to_date(tx, name, inbox, connector, account, horizon, now)
        if starts_pass:
            tx.execute(update(schema.sources).where(_S.id == row.id).values(last_pass_at=now, next_pass_at=None))
            row = replace(row, last_pass_at=now, next_pass_at=None)
        return replace(row, forgotten_until=read_forgotten_until(tx))

    @reads
    def get(self, tx: Connection, name: str) -> SourceRow | None:
        """The source, None when the ledger has not met it."""
        row = _get(tx, name)
        return None if row is None else replace(row, forgotten_until=read_forgotten_until(tx))

    @reads
    def all(self, tx: Connection) -> tuple[SourceRow, ...]:
        """Every source, removed ones too, by name."""
        return all_sources(tx)

    @writes
    def mark_removed(self, tx: Connection, names: Collection[str], now: datetime) -> tuple[str, ...]:
        """Marks the sources that are not among the configured `names`; their rows stay. Returns those newly marked."""
        gone = [row for row in all_sources(tx) if row.name not in names and row.state != REMOVED]
        for row in gone:
            tx.execute(
                update(schema.sources)
                .where(_S.id == row.id)
                .values(
                    state=REMOVED,
                    code="source.removed",
                    sentence="it is not in the configuration any more",
                    next_step="put it back to fetch what is still found only, or drop those messages",
                    next_pass_at=None,
                )
            )
        write_events(tx, [new_event("source.removed", now, inbox=row.inbox, source=row.name) for row in gone])
        return tuple(row.name for row in gone)

    @writes
    def pass_ended(
        self,
        tx: Connection,
        name: str,
        now: datetime,
        end: PassEnd,
        release_by: datetime,
        lease: LeaseRef | None = None,
    ) -> None:
        """A pass has ended. Pending deliveries of the source wait for its streams until `release_by` at most. Raises
        LeaseLost when another process polls the source by now."""
        need_lease(tx, lease)
        row = _lock(tx, name)
        values: dict[str, object] = {
            "code": end.code,
            "sentence": end.sentence,
            "next_step": end.next_step,
            "failures": 0 if end.ok else row.failures + 1,
            "next_pass_at": end.next_pass_at,
            "counts": json.dumps(dict(end.counts)),
        }
        if row.state != REMOVED:
            values["state"] = end.state
        if end.ok:
            values["last_good_pass_at"] = now
        tx.execute(update(schema.sources).where(_S.id == row.id).values(**values))
        tx.execute(
            update(schema.deliveries)
            .where(_D.source_id == row.id, in_state(_D.state, DeliveryState.PENDING), _D.release_at > release_by)
            .values(release_at=release_by)
        )
        if not end.loads:
            hold_up_nothing(tx, row.id, end.put_off, now)
        if row.state not in (REMOVED, end.state):
            kind = "source.well_again" if end.state == "ok" else f"source.{end.state}"
            detail = {"sentence": end.sentence}
            write_events(tx, [new_event(kind, now, inbox=row.inbox, source=name, code=end.code, detail=detail)])

    @writes
    def swept(
        self, tx: Connection, name: str, now: datetime, counts: Mapping[str, int], lease: LeaseRef | None = None
    ) -> None:
        """A sweep was made. Raises LeaseLost when another process polls the source by now."""
        need_lease(tx, lease)
        tx.execute(update(schema.sources).where(_S.name == name).values(swept_at=now, sweep=json.dumps(dict(counts))))

    @writes
    def pause(self, tx: Connection, name: str, now: datetime) -> bool:
        """Polls the source no more until it is resumed. False when it was paused already. Raises ConfigError
        `source.unknown`."""
        return _set_paused(tx, name, now, paused=True)

    @writes
    def resume(self, tx: Connection, name: str, now: datetime) -> bool:
        """Polls the source again. False when it was not paused. Raises ConfigError `source.unknown`."""
        return _set_paused(tx, name, now, paused=False)

    @writes
    def rename(self, tx: Connection, old: str, new: str, now: datetime) -> SourceRow:
        """Gives a source's rows to another name. A source of the new name may exist as long as it has no messages (the
        daemon met the new name before the operator said what it is). Raises ConfigError `source.unknown`,
        `source.exists`."""
        row = _lock(tx, old)
        other = _get(tx, new)
        if other is not None:
            if other.id == row.id:
                return row
            _remove_empty(tx, other)
        changes: dict[str, object] = {"name": new}
        if row.state == REMOVED:
            changes |= NO_FAULT
        tx.execute(update(schema.sources).where(_S.id == row.id).values(**changes))
        write_events(tx, [new_event("source.renamed", now, inbox=row.inbox, source=new, detail={"before": old})])
        return need_source(tx, new)


def _bring_up_to_date(
    tx: Connection, name: str, inbox: str, connector: str, account: str, horizon: datetime | None, now: datetime
) -> SourceRow:
    fresh = {"name": name, "inbox": inbox, "connector": connector, "account": account, "generation": 1}
    forgotten = read_forgotten_until(tx)  # a copy of what was forgotten elsewhere would look new
    if forgotten is not None:
        horizon = forgotten if horizon is None else max(horizon, forgotten)
    tx.execute(
        insert_into(tx, schema.sources).on_conflict_do_nothing(),
        [{**fresh, "horizon": horizon, "created_at": now}],
    )
    row = _lock(tx, name)
    changes: dict[str, object] = {}
    events = []
    other_account = bool(account and row.account and account != row.account)
    if other_account or (row.connector != connector and row.connector):
        changes |= {"generation": row.generation + 1, **NO_FAULT}
        _start_over(tx, row.id, now)
        events.append(new_event("source.account_changed", now, inbox=inbox, source=name))
    if row.inbox != inbox:
        events.append(new_event("source.inbox_changed", now, inbox=inbox, source=name, detail={"before": row.inbox}))
    if row.state == REMOVED:
        changes |= NO_FAULT
        events.append(new_event("source.returned", now, inbox=inbox, source=name))
    changes |= {"inbox": inbox, "connector": connector, "account": account or row.account}
    tx.execute(update(schema.sources).where(_S.id == row.id).values(**changes))
    write_events(tx, events)
    return need_source(tx, name)


def all_sources(tx: Connection) -> tuple[SourceRow, ...]:
    """Every source, as a part of the caller's transaction."""
    return tuple(map(_source, tx.execute(select(schema.sources).order_by(_S.name)).mappings()))


def need_source(tx: Connection, name: str) -> SourceRow:
    """The source, or ConfigError `source.unknown` with the names that are near."""
    row = _get(tx, name)
    if row is None:
        names = list(tx.execute(select(_S.name).order_by(_S.name)).scalars())
        near = difflib.get_close_matches(name, names, n=1)
        raise ConfigError(
            f'there is no source "{name}"' + (f'; did you mean "{near[0]}"?' if near else ""),
            code="source.unknown",
            next_step=f"known sources: {', '.join(names)}"
            if names
            else "the ledger knows none yet: check the name against the file; inbox-sync run makes them known",
            source=name,
        )
    return row


def _lock(tx: Connection, name: str) -> SourceRow:
    if is_postgres(tx):  # on SQLite the transaction alone may write
        tx.execute(select(_S.id).where(_S.name == name).with_for_update(key_share=True))
    return need_source(tx, name)


def _get(tx: Connection, name: str) -> SourceRow | None:
    row = tx.execute(_BY_NAME, {"name": name}).mappings().one_or_none()
    return None if row is None else _source(row)


def _start_over(tx: Connection, source_id: int, now: datetime) -> None:
    tx.execute(
        update(schema.streams)
        .where(_T.source_id == source_id)
        .values(epoch=None, cursor=None, complete_until=None, first_loaded_at=None, updated_at=now)
    )


def _set_paused(tx: Connection, name: str, now: datetime, *, paused: bool) -> bool:
    row = _lock(tx, name)
    if row.paused == paused:
        return False
    tx.execute(update(schema.sources).where(_S.id == row.id).values(paused=paused))
    write_events(tx, [new_event("source.paused" if paused else "source.resumed", now, inbox=row.inbox, source=name)])
    return True


def _remove_empty(tx: Connection, row: SourceRow) -> None:
    used = tx.execute(
        select(func.count()).select_from(
            select(schema.messages.c.id).where(schema.messages.c.source_id == row.id).limit(1).subquery()
        )
    ).scalar_one()
    if used:
        raise ConfigError(
            f'a source "{row.name}" with messages of its own exists already',
            code="source.exists",
            next_step="choose another name, in the file too",
            source=row.name,
        )
    tx.execute(delete(schema.backfills).where(schema.backfills.c.source_id == row.id))
    tx.execute(delete(schema.tallies).where(schema.tallies.c.source_id == row.id))
    tx.execute(delete(schema.streams).where(_T.source_id == row.id))
    tx.execute(delete(schema.sources).where(_S.id == row.id))


def _source(values: RowMapping) -> SourceRow:
    return SourceRow(
        id=values[_S.id],
        name=values[_S.name],
        inbox=values[_S.inbox],
        connector=values[_S.connector],
        account=values[_S.account],
        generation=values[_S.generation],
        horizon=values[_S.horizon],
        paused=values[_S.paused],
        state=values[_S.state],
        code=values[_S.code],
        sentence=values[_S.sentence],
        next_step=values[_S.next_step],
        failures=values[_S.failures],
        last_pass_at=values[_S.last_pass_at],
        last_good_pass_at=values[_S.last_good_pass_at],
        next_pass_at=values[_S.next_pass_at],
        counts=json.loads(values[_S.counts]),
        created_at=values[_S.created_at],
        swept_at=values[_S.swept_at],
        sweep=json.loads(values[_S.sweep]),
    )
