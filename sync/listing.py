"""Looking through a source by its connector's `list`, piece by piece, between its passes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sync.connector import Fetches, Lists, Stream
from sync.decide import SourceRules, judge_headers
from sync.errors import ConfigError, TemporaryError
from sync.ledger import SourceRow, StreamRow
from sync.message import Found, Listed
from sync.passes import KnownBy
from sync.poll import Poller
from sync.states import BACKFILL_ONLY

SETTLED_AFTER = timedelta(minutes=10)
"""What arrived less than this before a stream was last looked at may still be the next pass's: the service's clock and
ours differ, and services show what arrived a little late."""


@dataclass(frozen=True, slots=True)
class Place:
    """A stream of a source as the ledger has it, loaded at least once."""

    stream: Stream
    row: StreamRow


async def places(poller: Poller, source: SourceRow) -> tuple[Sequence[Place], Sequence[str]]:
    """The source's streams that were loaded at least once, and the names of the others."""
    async with poller.turn():
        streams = await poller.connector.streams(poller.terms.context(source))
    rows = {row.key: row for row in await poller.ledger.call(poller.ledger.streams.of_source, poller.name)}
    found = [
        Place(stream, row)
        for stream in streams
        if (row := rows.get(stream.key)) is not None and row.epoch is not None and row.first_loaded_at is not None
    ]
    there = {place.stream.key for place in found}
    return found, [stream.key for stream in streams if stream.key not in there]


async def pieces(
    poller: Poller, source: SourceRow, place: Place, since: datetime | None, known_by: KnownBy | None = None
) -> AsyncIterator[Listed]:
    """What a stream holds. Passes go on between two pieces. Raises TemporaryError `source.renumbered` where the
    numbering is not the one the ledger has: the next pass sees to that first."""
    connector = poller.connector
    if not isinstance(connector, Lists):
        raise cannot_list(poller)
    listing = connector.list(place.stream, since, poller.terms.context(source, place.row, known_by))
    try:
        while True:
            async with poller.turn():
                piece = await anext(listing, None)
            if piece is None:
                return
            if piece.epoch != place.row.epoch:
                raise TemporaryError(
                    f'the folder "{place.stream.key}" of {poller.name} was numbered anew',
                    code="source.renumbered",
                    next_step="nothing: the next pass recognises its messages, then this goes on",
                    source=poller.name,
                )
            yield piece
            if piece.pause_seconds > 0:
                await poller.pause(piece.pause_seconds)
    finally:
        if isinstance(listing, AsyncGenerator):
            await listing.aclose()


def can_load_listed(poller: Poller) -> bool:
    """Whether what a listing names can be loaded: what sweeps and backfills need."""
    return isinstance(poller.connector, Lists) and isinstance(poller.connector, Fetches)


def cannot_list(poller: Poller) -> ConfigError:
    """For a connector that lacks what is needed."""
    name = poller.connector.info.name
    return ConfigError(
        f"the connector {name} of source {poller.name} cannot list what the service holds",
        code="source.cannot_list",
        next_step=f"ask its author for `list` and `fetch` (inbox-sync connector show {name})",
        source=poller.name,
    )


def is_aged(found: Found, rules: SourceRules, now: datetime) -> bool:
    """Whether the rules of live mail leave it out for its age: only a backfill brings it in."""
    skip = judge_headers(found, "", rules, now)
    return skip is not None and skip.reason in BACKFILL_ONLY


def is_settled(found: Found, place: Place) -> bool:
    """Whether a pass should have seen it."""
    until = place.row.complete_until
    margin = SETTLED_AFTER + timedelta(seconds=place.stream.overlap_seconds)
    return until is not None and found.arrived_at <= until - margin
