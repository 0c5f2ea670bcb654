"""Which of the messages in a conversation may be the send whose answer is missing. Pure.

Source of the rule: Inbox API, "An ambiguous send", and DESIGN.md §2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sync.inbox.messages import SKEW_SECONDS, InboxMessage
from sync.message import Json
from sync.render import canonical_hash


def match(
    candidates: Iterable[InboxMessage],
    *,
    request_body: Json,
    request_hash: str,
    app_id: str,
    not_before: datetime,
    held_ids: Collection[str],
) -> list[InboxMessage]:
    """Those that show what `request_body` asked for, oldest first: same direction and visibility, same canonical content
    (`request_hash`), created in the window, by our app where both are known, and not held by another delivery."""
    message = request_body.get("message") if isinstance(request_body, dict) else None
    asked = message if isinstance(message, dict) else {}
    earliest = not_before - timedelta(seconds=SKEW_SECONDS)
    matching = [
        candidate
        for candidate in candidates
        if candidate.id not in held_ids
        and candidate.direction == asked.get("direction")
        and candidate.visibility == asked.get("visibility")
        and (not app_id or not candidate.app_id or candidate.app_id == app_id)
        and (candidate.created_at is None or candidate.created_at >= earliest)
        and canonical_hash(candidate.raw) == request_hash
    ]
    return sorted(matching, key=lambda candidate: candidate.sequence)
