"""Conversations and their messages: stable ids, strict order, pages with opaque cursors."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

from sync.sandbox.values import JsonObject, iso_time

_NAMESPACE = uuid.UUID("6f0f6d5e-54a1-4b0c-9d5a-2c1f0a8f6f43")


@dataclass(frozen=True, slots=True)
class Who:
    """The person a conversation is with: `kind` is contactId, memberId or anonymousVisitorId."""

    kind: str
    id: str


@dataclass(slots=True)
class Message:
    """One stored message. `body` has the shape of the API, without `id`, `sequence` and `createdDate`."""

    sequence: int
    """Epoch microseconds, unique and rising: also the id."""
    conversation_id: str
    body: JsonObject
    visible: int = 0
    """Lists show it from this moment (epoch microseconds) on."""
    created: str = ""
    """Only where a client's own date was kept."""
    request: JsonObject = field(default_factory=dict)
    """What the request said beside the message: sendAs, sendNotifications, targetChannels."""

    @property
    def id(self) -> str:
        """The id, which is also the sequence, as a decimal string."""
        return str(self.sequence)

    def as_json(self, *, badges: bool = True) -> JsonObject:
        """The message as the API gives it."""
        body = self.body if badges else {key: value for key, value in self.body.items() if key != "badges"}
        return {
            "id": self.id,
            **body,
            "sequence": self.id,
            "createdDate": self.created or iso_time(self.sequence),
        }


@dataclass(slots=True)
class Conversation:
    """One conversation with one participant."""

    id: str
    who: Who
    created: int
    messages: list[Message] = field(default_factory=list)
    """In the order of their sequence."""
    merged_from: list[str] = field(default_factory=list)

    def put(self, message: Message) -> None:
        """Store a message at the place its sequence gives it."""
        if not self.messages or self.messages[-1].sequence < message.sequence:
            self.messages.append(message)
        else:
            insort(self.messages, message, key=lambda each: each.sequence)

    @property
    def latest(self) -> int:
        """When something last happened, in epoch microseconds."""
        return self.messages[-1].sequence if self.messages else self.created


def conversation_id(site_id: str, who: Who) -> str:
    """The conversation of a participant: always the same one."""
    return str(uuid.uuid5(_NAMESPACE, f"{site_id}/{who.kind}/{who.id}"))


@dataclass(frozen=True, slots=True)
class Page:
    """A page of messages and the cursors around it."""

    messages: list[Message]
    next: str | None
    previous: str | None


class BadCursorError(ValueError):
    """A cursor which this list did not give out."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a cursor says: go on after (or, `back`, before) this sequence, in this kind of list."""

    sequence: int
    both_sides: bool
    ascending: bool
    back: bool


def list_page(
    conversation: Conversation, *, both_sides: bool, ascending: bool, limit: int, cursor: str | None, now: int
) -> Page:
    """One page. `both_sides` leaves out what only the business sees; raises `BadCursorError`."""
    mark = _read_cursor(cursor, conversation.id) if cursor else None
    if mark:
        both_sides, ascending = mark.both_sides, mark.ascending
    back = mark is not None and mark.back
    chosen: list[Message] = []
    more = False
    for position in _positions(conversation.messages, mark.sequence if mark else None, ascending is not back):
        message = conversation.messages[position]
        if message.visible > now or (both_sides and message.body.get("visibility") == "BUSINESS"):
            continue
        if len(chosen) == limit:
            more = True
            break
        chosen.append(message)
    if back:
        chosen.reverse()

    def cursor_at(message: Message, *, back: bool) -> str:
        return _cursor(conversation.id, _Mark(message.sequence, both_sides, ascending, back))

    forward = cursor_at(chosen[-1], back=False) if chosen and (more or back) else None
    backward = cursor_at(chosen[0], back=True) if chosen and mark and (more or not back) else None
    return Page(chosen, forward, backward)


def _positions(messages: list[Message], mark: int | None, upwards: bool) -> range:  # noqa: FBT001  internal
    if upwards:
        start = 0 if mark is None else bisect_right(messages, mark, key=lambda each: each.sequence)
        return range(start, len(messages))
    end = len(messages) if mark is None else bisect_left(messages, mark, key=lambda each: each.sequence)
    return range(end - 1, -1, -1)


def _cursor(conversation: str, mark: _Mark) -> str:
    text = json.dumps([conversation, mark.sequence, mark.both_sides, mark.ascending, mark.back])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, conversation: str) -> _Mark:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        of, sequence, both_sides, ascending, back = json.loads(text)
    except (ValueError, binascii.Error, TypeError) as problem:
        raise BadCursorError("the cursor cannot be read") from problem
    if of != conversation or not isinstance(sequence, int):
        raise BadCursorError("the cursor belongs to another list")
    return _Mark(sequence, bool(both_sides), bool(ascending), bool(back))
