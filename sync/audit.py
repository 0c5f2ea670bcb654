"""The audit: what a source has and the ledger has not, and the other way round, each with the reason.

Reads only. Every message of both sides is counted in exactly one line, so that the totals add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sync.clock import Clock
from sync.decide import Seen
from sync.fetch import see_found
from sync.ledger import Preview, SourceRow, Standing
from sync.listing import Place, is_aged, is_settled, pieces, places
from sync.message import Found, Listed
from sync.poll import Poller

PAGE = 1000
"""Rows of the ledger read at a time."""
EXAMPLES_MAX = 50
"""Messages that are named one by one."""

MISSING = "missing"
NOT_POLLED = "not polled yet"
NO_ROW = "left alone"
DUPLICATE = "known elsewhere"
WOULD_SKIP = "would be skipped"
LISTED = "still listed"
UNLISTED = "no longer listed"
RENUMBERED = "earlier numbering"
NOT_READ = "folder not read"


class Line(NamedTuple):
    """What is counted together: a word for where it stands, and the reason ("" where the word says it all)."""

    what: str
    reason: str = ""


class Example(NamedTuple):
    """A message by name. `message_id` is the ledger's, None where it has no row."""

    line: Line
    stream: str
    external_id: str
    arrived_at: datetime
    message_id: int | None


@dataclass(slots=True)
class Report:
    """What an audit found. `left_out`: folders that were never polled to their end."""

    streams: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    at_source: Counter[Line] = field(default_factory=Counter)
    in_ledger: Counter[Line] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Messages that should have a row and have none."""
        return self.at_source[Line(MISSING)]

    def name(self, example: Example) -> None:
        """Names a message, the missing ones before all others."""
        self.examples.append(example)
        if len(self.examples) > EXAMPLES_MAX:
            self.examples.sort(key=lambda one: one.line.what != MISSING)
            self.examples.pop()


async def audit(poller: Poller, source: SourceRow, since: datetime, clock: Clock) -> Report:
    """Compares a source with the ledger, from `since` on. Raises what the connector raises."""
    report = Report()
    began = clock.now()
    loaded, report.left_out[:] = await places(poller, source)
    listed: set[int] = set()
    for place in loaded:
        report.streams.append(place.stream.key)
        async for piece in pieces(poller, source, place, since):
            await _known(poller, source, place, piece, since, listed, report)
            await _unknown(poller, source, place, piece, clock.now(), report)
    await _ledger_side(poller, source, loaded, since, began, listed, report)
    return report


async def _known(
    poller: Poller,
    source: SourceRow,
    place: Place,
    piece: Listed,
    since: datetime,
    listed: set[int],
    report: Report,
) -> None:
    view = poller.terms.view(source, place.row, piece.epoch)
    for row in await poller.ledger.call(poller.ledger.audits.standings, view.stream_id, view.epoch, piece.known):
        listed.add(row.message_id)
        if row.arrived_at >= since:
            report.at_source[Line(row.stands, row.reason)] += 1


async def _unknown(
    poller: Poller, source: SourceRow, place: Place, piece: Listed, now: datetime, report: Report
) -> None:
    rules = poller.terms.rules(source, place.stream, place.row, piece.epoch)
    view = poller.terms.view(source, place.row, piece.epoch)
    seen = [see_found(found, rules, now) for found in piece.found]
    verdicts: Sequence[Preview] = await poller.ledger.call(poller.ledger.messages.judge, view, seen)
    for found, one, verdict in zip(piece.found, seen, verdicts, strict=True):
        aged = is_aged(found, rules, now)
        line = _line_of(found, one, verdict, place, aged=aged)
        report.at_source[line] += 1
        if line.what == MISSING:
            report.name(Example(line, place.stream.key, found.external_id, found.arrived_at, None))


def _line_of(found: Found, one: Seen, verdict: Preview, place: Place, *, aged: bool) -> Line:
    if aged and one.skip is not None:
        return Line(NO_ROW, one.skip.reason.value)
    if not is_settled(found, place):
        return Line(NOT_POLLED)
    if verdict is Preview.DUPLICATE:
        return Line(DUPLICATE, "duplicate")
    if one.skip is not None:
        return Line(WOULD_SKIP, one.skip.reason.value)
    return Line(MISSING)


async def _ledger_side(
    poller: Poller,
    source: SourceRow,
    loaded: Sequence[Place],
    since: datetime,
    began: datetime,
    listed: set[int],
    report: Report,
) -> None:
    present = {place.row.id: poller.terms.view(source, place.row, place.row.epoch or "").epoch for place in loaded}
    names = await poller.ledger.call(poller.ledger.streams.ids_of_source, poller.name)
    for stream_id, name in names.items():
        after = ("", "")
        while rows := await poller.ledger.call(poller.ledger.audits.page, stream_id, since, after, PAGE):
            after = (rows[-1].epoch, rows[-1].external_id)
            for row in rows:
                if row.seen_at > began:
                    continue  # it came while this looked
                line = Line(_where(row, present.get(stream_id), listed), row.stands)
                report.in_ledger[line] += 1
                if line.what == UNLISTED:
                    report.name(Example(line, name, row.external_id, row.arrived_at, row.message_id))


def _where(row: Standing, epoch: str | None, listed: set[int]) -> str:
    if row.message_id in listed:
        return LISTED
    if epoch is None:
        return NOT_READ
    return UNLISTED if row.epoch == epoch else RENUMBERED
