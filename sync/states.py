"""The states of messages and deliveries, and every move between them (DESIGN.md §2, "States").

| of       | from              | event            | to       |
| -------- | ----------------- | ---------------- | -------- |
| message  | –                 | seen             | found    |
| message  | –, found          | content loaded   | loaded   |
| message  | found             | vanished         | gone     |
| message  | –, found, loaded  | rule             | skipped  |
| message  | –, found          | unreadable       | dead     |
| delivery | –                 | created          | pending, held |
| delivery | pending           | intent           | sending  |
| delivery | sending           | accepted         | sent     |
| delivery | sending           | not written      | pending  |
| delivery | sending           | refused          | pending, dead |
| delivery | pending           | refused          | pending, dead |
| delivery | sending           | no clear answer  | unknown  |
| delivery | unknown           | read back        | sent     |
| delivery | unknown           | settled          | pending, held |
| message  | skipped(duplicate) | took over       | found    |
| message  | skipped(before horizon, too old) | backfilled | found, skipped |
| message  | skipped(internal, vanished) | shown  | found    |
| delivery | pending, held     | rule             | skipped  |
| both     | dead, skipped, held, gone | retry    | pending (delivery), found or loaded (message) |
| both     | any not final, held | drop           | skipped  |

`pending → refused` is a delivery whose participant or attachment could not be resolved, before any send.
A backfill judges anew what was skipped for its age only: it is found, or skipped for another reason.
`pending, held → rule` is a message that its service takes back before it is delivered (made internal, redacted to
nothing), and `shown` one that it shows later: edits are judged as new messages are.
A duplicate takes over when the message it repeats turns out to be gone before it was loaded.
A delivery is created as held when its participant sent too many within an hour (`participant_messages_per_hour`), or
when the address in From is not the sender's (`unverified_senders`).
Final are sent, skipped, dead, held, gone; but for these, only an operator's retry leaves them (never `sent`), and a drop
leaves `held`, which waits for an operator's word.
"""

from __future__ import annotations

from enum import StrEnum


class MessageState(StrEnum):
    """Where a message is."""

    FOUND = "found"
    LOADED = "loaded"
    SKIPPED = "skipped"
    GONE = "gone"
    DEAD = "dead"


class DeliveryState(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"
    SENDING = "sending"
    UNKNOWN = "unknown"
    SENT = "sent"
    SKIPPED = "skipped"
    HELD = "held"
    DEAD = "dead"


class Event(StrEnum):
    """What moves a message or a delivery."""

    SEEN = "seen"
    CONTENT_LOADED = "content_loaded"
    VANISHED = "vanished"
    RULE = "rule"
    UNREADABLE = "unreadable"
    CREATED = "created"
    INTENT = "intent"
    ACCEPTED = "accepted"
    NOT_WRITTEN = "not_written"
    REFUSED = "refused"
    NO_CLEAR_ANSWER = "no_clear_answer"
    READ_BACK = "read_back"
    SETTLED = "settled"
    TOOK_OVER = "took_over"
    BACKFILLED = "backfilled"
    SHOWN = "shown"
    RETRY = "retry"
    DROP = "drop"


class Reason(StrEnum):
    """Why something was skipped, held, or died. Kept in the ledger and told by `message show`."""

    BEFORE_HORIZON = "before_horizon"
    TOO_OLD = "too_old"
    DUPLICATE = "duplicate"
    LOOP = "loop"
    OWN_ADDRESS = "own_address"
    NO_IDENTITY = "no_identity"
    POLICY = "policy"
    OPERATOR = "operator"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    HELD_TOO_LONG = "held_too_long"
    OUTCOME_UNKNOWN = "outcome_unknown"
    RATE_LIMITED = "rate_limited"
    UNVERIFIED_SENDER = "unverified_sender"
    INTERNAL = "internal"
    AUTO_REPLY = "auto_reply"
    BOUNCE = "bounce"
    MAILING_LIST = "mailing_list"
    NOTIFICATION = "notification"
    SITE_NOTIFICATION = "site_notification"


BACKFILL_ONLY = frozenset({Reason.BEFORE_HORIZON, Reason.TOO_OLD})
"""Reasons that only a backfill overrules: a retry of thousands of these would flood an Inbox."""

_M = MessageState
_D = DeliveryState

MESSAGE_MOVES: dict[tuple[MessageState | None, Event], frozenset[MessageState]] = {
    (None, Event.SEEN): frozenset({_M.FOUND}),
    (None, Event.CONTENT_LOADED): frozenset({_M.LOADED}),
    (_M.FOUND, Event.CONTENT_LOADED): frozenset({_M.LOADED}),
    (_M.FOUND, Event.VANISHED): frozenset({_M.GONE}),
    (None, Event.RULE): frozenset({_M.SKIPPED}),
    (_M.FOUND, Event.RULE): frozenset({_M.SKIPPED}),
    (_M.LOADED, Event.RULE): frozenset({_M.SKIPPED}),
    (None, Event.UNREADABLE): frozenset({_M.DEAD}),
    (_M.FOUND, Event.UNREADABLE): frozenset({_M.DEAD}),
    (_M.SKIPPED, Event.TOOK_OVER): frozenset({_M.FOUND}),
    (_M.SKIPPED, Event.BACKFILLED): frozenset({_M.FOUND, _M.SKIPPED}),
    (_M.SKIPPED, Event.SHOWN): frozenset({_M.FOUND}),
    (_M.DEAD, Event.RETRY): frozenset({_M.FOUND, _M.LOADED}),
    (_M.SKIPPED, Event.RETRY): frozenset({_M.FOUND, _M.LOADED}),
    (_M.GONE, Event.RETRY): frozenset({_M.FOUND}),
    (_M.FOUND, Event.DROP): frozenset({_M.SKIPPED}),
    (_M.LOADED, Event.DROP): frozenset({_M.SKIPPED}),
}
"""Every allowed move of a message."""

DELIVERY_MOVES: dict[tuple[DeliveryState | None, Event], frozenset[DeliveryState]] = {
    (None, Event.CREATED): frozenset({_D.PENDING, _D.HELD}),
    (_D.PENDING, Event.INTENT): frozenset({_D.SENDING}),
    (_D.PENDING, Event.REFUSED): frozenset({_D.PENDING, _D.DEAD}),
    (_D.PENDING, Event.RULE): frozenset({_D.SKIPPED}),
    (_D.HELD, Event.RULE): frozenset({_D.SKIPPED}),
    (_D.SENDING, Event.ACCEPTED): frozenset({_D.SENT}),
    (_D.SENDING, Event.NOT_WRITTEN): frozenset({_D.PENDING}),
    (_D.SENDING, Event.REFUSED): frozenset({_D.PENDING, _D.DEAD}),
    (_D.SENDING, Event.NO_CLEAR_ANSWER): frozenset({_D.UNKNOWN}),
    (_D.UNKNOWN, Event.READ_BACK): frozenset({_D.SENT}),
    (_D.UNKNOWN, Event.SETTLED): frozenset({_D.PENDING, _D.HELD}),
    (_D.DEAD, Event.RETRY): frozenset({_D.PENDING}),
    (_D.SKIPPED, Event.RETRY): frozenset({_D.PENDING}),
    (_D.HELD, Event.RETRY): frozenset({_D.PENDING}),
    (_D.PENDING, Event.DROP): frozenset({_D.SKIPPED}),
    (_D.UNKNOWN, Event.DROP): frozenset({_D.SKIPPED}),
    (_D.HELD, Event.DROP): frozenset({_D.SKIPPED}),
}
"""Every allowed move of a delivery. A delivery in `sending` cannot be dropped: its request may be on the wire."""

FINAL_MESSAGE_STATES = frozenset({_M.SKIPPED, _M.GONE, _M.DEAD})
FINAL_DELIVERY_STATES = frozenset({_D.SENT, _D.SKIPPED, _D.HELD, _D.DEAD})
OPEN_DELIVERY_STATES = frozenset(_D) - FINAL_DELIVERY_STATES
ON_THE_WIRE_STATES = frozenset({_D.SENDING, _D.UNKNOWN})
"""At most one delivery of a conversation is in one of these, and the database holds it."""
