"""Messages: send one, list a conversation backwards. Source: Inbox API, `/inbox/v2/messages`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from sync.budget import Priority
from sync.errors import Scope, TemporaryError
from sync.inbox.calls import Calls
from sync.inbox.errors import CONVERSATION_GONE_CODES, INBOX_NOT_FOUND, refusal, unreadable
from sync.inbox.ids import checked_id, message_id_in
from sync.inbox.outcome import moment_of, sequence_of
from sync.message import Json

PATH: Final = "/inbox/v2/messages"
PAGE_SIZE: Final = 100
MAX_PAGES: Final = 20
"""A look that has to go further back than 2,000 messages has gone wrong."""
_GONE: Final = frozenset({404})
_NO_SUCH: Final = frozenset({400, 404, 409, 428})
_NOBODYS_ID: Final = "00000000-0000-4000-8000-000000000000"
SKEW_SECONDS: Final = 120.0
"""How much a clock may be off beyond what the Date header tells (it is cut to the second, and answers take time)."""


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A message as the Inbox lists it. `created_at` is by this machine's clock (None when it is not told), `app_id` ""
    when it was typed in the chat widget, `raw` the whole message for `canonical_hash`."""

    id: str
    sequence: int
    created_at: datetime | None
    direction: str
    visibility: str
    app_id: str
    raw: dict[str, Json]


async def look(calls: Calls, conversation_id: str, *, after_sequence: int, not_before: datetime) -> list[InboxMessage]:
    """The messages after the mark, newest first. With a mark of 0: those created since `not_before`. None for a
    conversation that is gone (merged into another, where the caller looks next, or its contact was deleted).

    Raises AuthError, MessageError, and TemporaryError: also when the mark was not reached (`inbox.look_incomplete`), so
    that "not in the list" always means that the whole list was seen.
    """
    earliest = not_before - timedelta(seconds=SKEW_SECONDS)
    found: dict[str, InboxMessage] = {}
    cursor = ""
    seen_cursors: set[str] = set()
    for _ in range(MAX_PAGES):
        page, following = await _page(calls, conversation_id, cursor)
        for message in page:
            if _is_new(message, after_sequence, earliest):
                found[message.id] = message
        newest_first = all(a.sequence >= b.sequence for a, b in pairwise(page))
        if newest_first and page and not _is_new(page[-1], after_sequence, earliest):
            break
        if not following and len(page) < PAGE_SIZE:
            break
        if not following or following in seen_cursors:
            raise _incomplete()
        seen_cursors.add(following)
        cursor = following
    else:
        raise _incomplete()
    return sorted(found.values(), key=lambda message: message.sequence, reverse=True)


async def probe(calls: Calls) -> None:
    """The cheapest read that needs a working Inbox and its permissions: of a conversation that cannot exist. A refusal
    in the API's own words is as good an answer as any. Raises AuthError, TemporaryError."""
    answer = await calls.call(
        "list messages",
        "GET",
        PATH,
        params={"conversationId": _NOBODYS_ID, "visibility": "BUSINESS", "paging.limit": "1"},
        tolerate=_NO_SUCH,
        priority=Priority.URGENT,
    )
    if answer.fault is not None and answer.fault.code == INBOX_NOT_FOUND:
        raise refusal(answer.fault, "list messages")


def _is_new(message: InboxMessage, after_sequence: int, earliest: datetime) -> bool:
    if after_sequence > 0 and message.sequence > 0:
        return message.sequence > after_sequence
    return message.created_at is None or message.created_at >= earliest


async def _page(calls: Calls, conversation_id: str, cursor: str) -> tuple[list[InboxMessage], str]:
    """One page and the cursor of the next ("" after the last)."""
    params = {
        "conversationId": checked_id(conversation_id, "conversation"),
        "visibility": "BUSINESS",
        "paging.limit": str(PAGE_SIZE),
        "sorting.order": "DESC",
    }
    if cursor:
        params["paging.cursor"] = cursor
    answer = await calls.call("list messages", "GET", PATH, params=params, tolerate=_GONE, priority=Priority.URGENT)
    if answer.fault is not None:
        if answer.fault.code not in CONVERSATION_GONE_CODES:
            raise refusal(answer.fault, "list messages")
        return [], ""
    items = answer.data.get("messages")
    if not isinstance(items, list):
        raise unreadable("list messages")
    offset = timedelta(seconds=calls.clock_offset_seconds)
    page = [message for item in items if (message := message_in(item, offset)) is not None]
    if len(page) < len(items):
        raise unreadable("list messages")  # what cannot be read might be the one that is looked for
    metadata = answer.data.get("pagingMetadata")
    cursors = metadata.get("cursors") if isinstance(metadata, dict) else None
    following = cursors.get("next") if isinstance(cursors, dict) else None
    return page, following if isinstance(following, str) else ""


def message_in(value: Json, offset: timedelta) -> InboxMessage | None:
    """A message out of a list, None when it has no id. `offset`: the service's clock minus ours. Pure."""
    if not isinstance(value, dict):
        return None
    message_id = message_id_in(value.get("id"))
    if message_id is None:
        return None
    created_at = moment_of(value.get("createdDate"))
    return InboxMessage(
        id=message_id,
        sequence=sequence_of(value),
        created_at=None if created_at is None else created_at - offset,
        direction=_text(value.get("direction")),
        visibility=_text(value.get("visibility")),
        app_id=_text(value.get("appId")),
        raw=value,
    )


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _incomplete() -> TemporaryError:
    return TemporaryError(
        "the conversation could not be read back to the point where the send began",
        code="inbox.look_incomplete",
        next_step="nothing; it is read again",
        scope=Scope.MESSAGE,
    )
