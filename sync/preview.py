"""A dry run: looks at a source as a pass would, decides as a pass would, and records and sends nothing."""

from __future__ import annotations

import structlog

from sync.answers import PREVIEWS_MAX, PreviewAnswer, SyncAnswer, SyncSourceAnswer
from sync.connector import Stream
from sync.decide import Dead, Loaded, Seen, Skip
from sync.errors import InboxSyncError
from sync.poll import Poller
from sync.show import bug_of, fault_of
from sync.states import Reason

log = structlog.get_logger()


async def preview_source(poller: Poller, answer: SyncAnswer) -> tuple[SyncSourceAnswer, InboxSyncError | None]:
    """What a pass of this source would find, and what kept it from finding more; up to `PREVIEWS_MAX` messages go into
    `answer["previews"]`."""
    line = _empty(poller)
    failure: InboxSyncError | None = None
    try:
        async for stream, seen, verdicts, before_horizon in poller.look():
            line["found"] += len(seen) + before_horizon
            line["before_horizon"] += before_horizon
            for one, judged in zip(seen, verdicts, strict=True):
                verdict = "dead" if judged == "new" and isinstance(one.content, Dead) else judged
                _count(line, one, verdict)
                if verdict != "known":
                    _show(poller, stream, one, verdict, answer)
    except InboxSyncError as error:
        failure = error
    except Exception as error:
        log.exception("pass.bug", source=poller.name)
        failure = bug_of(error)
    line["fault"] = None if failure is None else fault_of(failure)
    return line, failure


def _count(line: SyncSourceAnswer, one: Seen, verdict: str) -> None:
    if verdict == "known":
        line["repeated"] += 1
    elif verdict == "new":
        line["new"] += 1
    elif verdict == "dead":
        line["dead_messages"][_reason(one)] = line["dead_messages"].get(_reason(one), 0) + 1
    else:
        reason = _reason(one) or verdict
        line["skipped"][reason] = line["skipped"].get(reason, 0) + 1


def _reason(one: Seen) -> str:
    if one.skip is None and isinstance(one.content, Dead):
        return Reason.UNREADABLE.value
    skip = one.skip or (one.content if isinstance(one.content, Skip) else None)
    return "" if skip is None else skip.reason.value


def _show(poller: Poller, stream: Stream, one: Seen, verdict: str, answer: SyncAnswer) -> None:
    if len(answer["previews"]) >= PREVIEWS_MAX:
        answer["previews_left_out"] += 1
        return
    row: PreviewAnswer = {
        "source": poller.name,
        "stream": stream.key,
        "external_id": one.external_id,
        "arrived_at": one.arrived_at.isoformat(),
        "verdict": verdict,
        "reason": _reason(one),
        "participants": _participants(one),
    }
    answer["previews"].append(row)


def _participants(one: Seen) -> list[str]:
    return [participant.value for participant in one.content.participants] if isinstance(one.content, Loaded) else []


def _empty(poller: Poller) -> SyncSourceAnswer:
    return {
        "name": poller.name,
        "inbox": poller.inbox,
        "fault": None,
        "found": 0,
        "repeated": 0,
        "new": 0,
        "before_horizon": 0,
        "skipped": {},
        "dead_messages": {},
        "sent": 0,
        "late": 0,
        "pending": 0,
        "unknown": 0,
        "held": 0,
        "dead": 0,
        "seconds": 0.0,
    }
