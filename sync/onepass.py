"""What the `sync` command does: a pass of each source, then waiting until nothing that came of it can move any more.

Its dry run looks at the sources as a pass would, and records and sends nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import structlog

from sync.answers import OnProgress, Progress, SyncAnswer, SyncSourceAnswer, worst_exit_code
from sync.clock import Clock
from sync.errors import InboxSyncError, Interrupted, TemporaryError
from sync.ledger import Ledger, Status
from sync.passes import PassReport
from sync.preview import preview_source
from sync.runtime import Runtime
from sync.show import bug_of, fault_of, inbox_answer
from sync.states import OPEN_DELIVERY_STATES

log = structlog.get_logger()

QUIET_POLL_SECONDS = 0.05
PROGRESS_SECONDS = 0.5
PARKED_FOR_GOOD = frozenset({"inbox.credentials_refused", "inbox.not_permitted", "inbox.no_instance"})
"""Why an inbox is parked until somebody does something; for other reasons it goes on by itself."""


class OnePass:
    """One `sync`. It waits for live mail; a backfill goes on for as long as it takes, whoever syncs meanwhile. `poll`
    makes a pass of a source, `is_given_up` tells whether nobody goes on with `runtime`, so that waiting for it would not
    end."""

    def __init__(
        self,
        runtime: Runtime,
        ledger: Ledger,
        clock: Clock,
        on_progress: OnProgress,
        *,
        poll: Callable[[str], Awaitable[PassReport | None]],
        is_given_up: Callable[[], bool],
    ) -> None:
        self._runtime = runtime
        self._ledger = ledger
        self._clock = clock
        self._on_progress = on_progress
        self._poll_source = poll
        self._is_given_up = is_given_up

    async def run(self, names: Sequence[str], *, named: bool) -> SyncAnswer:
        """A pass of these sources and the deliveries that come of it. `named`: the operator asked for this very source,
        so it counts when it is not polled, and what is wrong with others does not."""
        inboxes_of = {name: self._runtime.pollers[name].inbox for name in names}
        before = _by_source(await self._ledger.call(self._ledger.overview.status))
        reports: dict[str, PassReport] = {}
        for done, name in enumerate(names):
            self._on_progress(_progress("polling", name, done, len(names), f"polling {name}"))
            reports[name] = await self._poll(name, named=named)
        await self._until_quiet(set(inboxes_of.values()))
        status: Status = await self._ledger.call(self._ledger.overview.status)
        after = _by_source(status)
        lines = [
            _sync_line(name, inbox, reports[name], before.get(name, {}), after.get(name, {}))
            for name, inbox in inboxes_of.items()
        ]
        used = {line["inbox"] for line in lines}
        now = self._clock.now()
        inboxes = [answer for row in status.inboxes if (answer := inbox_answer(row, now))["name"] in used]
        errors = [report.error for report in reports.values()] + (
            [] if named else [*self._runtime.loaded.failed_sources.values()]
        )
        codes = [error.exit_code for error in errors if error is not None]
        codes += [1 for line in lines if line["dead"]]
        codes += [75 for line in lines if line["pending"] or line["unknown"]]
        codes += [1 if fault["code"] in PARKED_FOR_GOOD else 75 for one in inboxes if (fault := one["fault"])]
        exit_code = worst_exit_code(codes)
        return {
            "ok": exit_code == 0,
            "exit_code": exit_code,
            "dry_run": False,
            "sources": lines,
            "inboxes": inboxes,
            "previews": [],
            "previews_left_out": 0,
        }

    async def _poll(self, name: str, *, named: bool) -> PassReport:
        """A pass. A bug in a connector is this source's fault and stops no other one."""
        try:
            report = await self._poll_source(name)
        except InboxSyncError:
            raise
        except Exception as error:
            log.exception("pass.bug", source=name)
            return PassReport(name, error=bug_of(error))
        if report is None:
            report = PassReport(name)
            if named:
                report.error = await self._why_not_polled(name)
        return report

    async def _why_not_polled(self, name: str) -> InboxSyncError:
        known = await self._ledger.call(self._ledger.sources.get, name)
        if known is not None and known.paused:
            sentence, step = f"{name} is paused", f"inbox-sync source resume {name}"
            return InboxSyncError(sentence, code="source.paused", next_step=step, source=name)
        return TemporaryError(
            f"another daemon polls {name} at the moment",
            code="source.held_elsewhere",
            next_step="nothing: what it finds is delivered all the same",
            source=name,
        )

    async def _until_quiet(self, sides: set[str]) -> None:
        """Until nothing of these inboxes can move any more."""
        total = 0
        told_at = -PROGRESS_SECONDS
        while True:
            if self._is_given_up():
                raise Interrupted(
                    "the daemon is stopping, or has read its file again", next_step="type the command again in a moment"
                )
            quiet = all([await self._is_quiet(name) for name in sides])
            if quiet or self._clock.elapsed_seconds() - told_at >= PROGRESS_SECONDS:
                told_at = self._clock.elapsed_seconds()
                waiting = _open_deliveries(await self._ledger.call(self._ledger.overview.status), sides)
                total = max(total, waiting)
                self._on_progress(_progress("delivering", "", total - waiting, total, f"{waiting} deliveries to go"))
            if quiet:
                return
            await self._clock.sleep(QUIET_POLL_SECONDS)

    async def _is_quiet(self, inbox: str) -> bool:
        """Whether nothing of this inbox can move now. Where another process delivers, the ledger tells."""
        side = self._runtime.sides.get(inbox)
        if side is None:
            return False  # it left with a reload, which is noticed next
        if side.serving is not None:
            return await side.is_quiet(with_backfill=False)
        if side.trouble is not None:
            raise side.trouble  # it would be waited for without end
        status: Status = await self._ledger.call(self._ledger.overview.status)
        parked = any(row.inbox.name == inbox and row.inbox.state == "parked" for row in status.inboxes)
        lease = await self._ledger.call(self._ledger.leases.get, f"inbox:{inbox}")
        elsewhere = lease is not None and lease.holder != self._runtime.keeper.holder
        return not _open_deliveries(status, {inbox}) or (elsewhere and parked)


async def preview(runtime: Runtime, names: Sequence[str], on_progress: OnProgress) -> SyncAnswer:
    """What a pass of these sources would find, and up to `PREVIEWS_MAX` of the messages."""
    answer: SyncAnswer = {
        "ok": True,
        "dry_run": True,
        "sources": [],
        "inboxes": [],
        "previews": [],
        "previews_left_out": 0,
    }
    codes: list[int] = []
    for done, name in enumerate(names):
        on_progress(_progress("polling", name, done, len(names), f"looking at {name}"))
        line, error = await preview_source(runtime.pollers[name], answer)
        answer["sources"].append(line)
        codes.append(0 if error is None else error.exit_code)
    codes += [error.exit_code for error in runtime.loaded.failed_sources.values()]
    answer["exit_code"] = worst_exit_code(codes)
    answer["ok"] = answer["exit_code"] == 0
    return answer


def _open_deliveries(status: Status, inboxes: set[str]) -> int:
    """Those of live mail."""
    mine = [row for row in status.inboxes if row.inbox.name in inboxes]
    everything = sum(n for row in mine for state, n in row.deliveries.items() if state in OPEN_DELIVERY_STATES)
    return everything - sum(n for row in mine for states in row.backfilled.values() for n in states.values())


def _by_source(status: Status) -> dict[str, dict[str, int]]:
    """Deliveries by state; of those that are open, only live mail's."""
    counts = {row.source.name: Counter(row.deliveries) for row in status.sources}
    for row in status.inboxes:
        for source, states in row.backfilled.items():
            counts[source].subtract(states)
    return {source: dict(states) for source, states in counts.items()}


def _progress(stage: str, about: str, done: int, total: int | None, sentence: str) -> Progress:
    return {"stage": stage, "about": about, "done": done, "total": total, "sentence": sentence}


def _sync_line(
    name: str, inbox: str, report: PassReport, before: dict[str, int], after: dict[str, int]
) -> SyncSourceAnswer:
    return {
        "name": name,
        "inbox": inbox,
        "fault": None if report.error is None else fault_of(report.error),
        "found": report.found,
        "repeated": report.repeated,
        "new": report.new,
        "before_horizon": report.before_horizon,
        "skipped": dict(report.skipped),
        "dead_messages": dict(report.dead),
        "sent": after.get("sent", 0) - before.get("sent", 0),
        "late": after.get("late", 0) - before.get("late", 0),
        "pending": after.get("pending", 0) + after.get("sending", 0),
        "unknown": after.get("unknown", 0),
        "held": after.get("held", 0),
        "dead": after.get("dead", 0) - before.get("dead", 0),
        "seconds": report.seconds,
    }
