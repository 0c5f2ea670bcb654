"""What is told to the operator, and when: once when something stops working, once when it is well again. Pure.

A trouble has to last before it is told, and to be away for a while before it counts as over, so that nothing flaps.
Things that happen and do not last (a message held, one doubled) are counted, and told together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError


class AlertKind(StrEnum):
    """`trouble`: it does not work; `well`: it works again; `happened`: something to look at."""

    TROUBLE = "trouble"
    WELL = "well"
    HAPPENED = "happened"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that does not work now. `about` is an operator's name for it (`source support`) and its identity."""

    about: str
    code: str
    sentence: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Counted:
    """Things that happened so often by now. `sentence` is completed by a number before it."""

    about: str
    code: str
    count: int
    sentence: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell."""

    kind: AlertKind
    about: str
    code: str
    sentence: str
    next_step: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Watched:
    """A trouble that is known. `gone_at`: since when it has been away."""

    code: str
    sentence: str
    since: datetime
    told: bool = False
    gone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many were told, and when."""

    count: int
    told_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What has been told. Kept in the ledger, so that a restart tells nothing twice."""

    troubles: Mapping[str, Watched] = field(default_factory=dict)
    counts: Mapping[str, Tally] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a trouble lasts before it is told, how long it is away before it is over, and how often what happens is
    told at most."""

    after: timedelta
    well_after: timedelta
    again_after: timedelta


def look(
    memory: Memory, troubles: Sequence[Trouble], counted: Sequence[Counted], now: datetime, patience: Patience
) -> tuple[Memory, list[Alert]]:
    """What is to be told now, and what is to be remembered once it was."""
    alerts: list[Alert] = []
    watched: dict[str, Watched] = {}
    present = {one.about: one for one in troubles}
    for about, trouble in present.items():
        known = memory.troubles.get(about)
        since = now if known is None else known.since
        told = known is not None and known.told
        if not told and now - since >= patience.after:
            alerts.append(Alert(AlertKind.TROUBLE, about, trouble.code, trouble.sentence, trouble.next_step, since))
            told = True
        watched[about] = Watched(trouble.code, trouble.sentence, since, told)
    for about, known in memory.troubles.items():
        if about in present:
            continue
        gone_at = known.gone_at or now
        if now - gone_at < patience.well_after:
            watched[about] = replace(known, gone_at=gone_at)
        elif known.told:
            alerts.append(Alert(AlertKind.WELL, about, known.code, f"{about} is well again", "", known.since))
    counts = _happened(memory.counts, counted, now, patience, alerts)
    return Memory(watched, counts), alerts


def _happened(
    known: Mapping[str, Tally], counted: Sequence[Counted], now: datetime, patience: Patience, alerts: list[Alert]
) -> dict[str, Tally]:
    counts: dict[str, Tally] = {}
    for one in counted:
        key = f"{one.about} {one.code}"
        before = known.get(key)
        if before is None:
            counts[key] = Tally(one.count)  # what was there when watching began is no news
        elif one.count <= before.count:
            counts[key] = replace(before, count=one.count)
        elif before.told_at is not None and now - before.told_at < patience.again_after:
            counts[key] = before
        else:
            sentence = f"{one.about}: {one.count - before.count} {one.sentence}"
            alerts.append(Alert(AlertKind.HAPPENED, one.about, one.code, sentence, one.next_step, now))
            counts[key] = Tally(one.count, now)
    return counts


def untold(memory: Memory, before: Memory, alert: Alert) -> Memory:
    """`memory`, but for an alert that nobody took: it is found again at the next look. `before`: what was known then."""
    if alert.kind is AlertKind.HAPPENED:
        key = f"{alert.about} {alert.code}"
        return replace(memory, counts={**memory.counts, key: before.counts[key]})
    if alert.kind is AlertKind.WELL:
        known = before.troubles[alert.about]
    else:
        known = replace(memory.troubles[alert.about], told=False)
    return replace(memory, troubles={**memory.troubles, alert.about: known})


_MEMORY: TypeAdapter[Memory] = TypeAdapter(Memory)


def memory_to_json(memory: Memory) -> str:
    """As the ledger keeps it."""
    return _MEMORY.dump_json(memory).decode()


def memory_from_json(text: str | None) -> Memory:
    """What `memory_to_json` wrote; nothing remembered where it cannot be read."""
    try:
        return Memory() if text is None else _MEMORY.validate_json(text)
    except ValidationError:
        return Memory()
