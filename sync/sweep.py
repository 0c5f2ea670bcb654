"""The sweep: once a day a source is looked through for messages that the service showed only after its cursor passed.

They are recorded like any other, judged by the rules of live mail. What comes after a newer one of its conversation was
sent is flagged late, as everywhere.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from sync.clock import Clock
from sync.ledger import LeaseRef, SourceRow
from sync.listing import is_aged, is_settled, pieces, places
from sync.passes import PassReport
from sync.poll import Poller

log = structlog.get_logger()


async def sweep(poller: Poller, source: SourceRow, clock: Clock, lease: LeaseRef | None = None) -> PassReport:
    """Looks back `sweep_days`. Raises what the connector raises (the next sweep looks again), and LeaseLost when another
    process has taken `lease` over, and nothing was recorded since."""
    report = PassReport(poller.name)
    began = clock.elapsed_seconds()
    since = clock.now() - timedelta(days=poller.settings.sweep_days)
    if source.horizon is not None:
        since = max(since, source.horizon)
    loaded, _others = await places(poller, source)
    for place in loaded:
        async for piece in pieces(poller, source, place, since):
            rules = poller.terms.rules(source, place.stream, place.row, piece.epoch)
            now = clock.now()
            late = [one for one in piece.found if is_settled(one, place) and not is_aged(one, rules, now)]
            report.found += len(piece.found) + len(piece.known)
            report.repeated += len(piece.known)
            if late:
                async with poller.turn(lease):
                    ctx = poller.terms.context(source, place.row)
                    await poller.bring_in(source, place.stream, place.row, ctx, (piece.epoch, late), None, report)
    report.seconds = clock.elapsed_seconds() - began
    counts = {"found": report.found, "new": report.new, "deliveries": report.deliveries}
    await poller.ledger.call(poller.ledger.sources.swept, poller.name, clock.now(), counts, lease)
    tell = log.warning if report.new else log.info
    tell("sweep.ended", source=poller.name, found=report.found, new=report.new, deliveries=report.deliveries)
    return report
