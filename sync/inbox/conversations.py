"""Conversations: one per participant, got or made by one call; there is no list of them.

Source: Inbox API, `/inbox/v2/conversations`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sync.inbox.calls import Calls
from sync.inbox.errors import Fault, unreadable
from sync.inbox.ids import checked_id, id_in
from sync.message import Json

PATH: Final = "/inbox/v2/conversations"
_ABOUT_THE_CONTACT: Final = frozenset({400, 404, 409, 428})


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation's id, and the contact it belongs to as far as the Inbox says ("" where it does not)."""

    id: str
    contact_id: str


async def get_or_create(calls: Calls, contact_id: str) -> Conversation | Fault:
    """The contact's conversation, or the refusal when the Inbox does not take this contact (what it answers for a
    deleted or merged-away one is not documented). Raises AuthError, TemporaryError, MessageError."""
    answer = await calls.call(
        "open a conversation",
        "POST",
        PATH,
        json={"participantId": {"contactId": checked_id(contact_id, "contact")}},
        tolerate=_ABOUT_THE_CONTACT,
    )
    if answer.fault is not None:
        return answer.fault
    conversation = _conversation_in(answer.data.get("conversation"))
    if conversation is None:
        raise unreadable("open a conversation")
    return conversation


def _conversation_in(value: Json) -> Conversation | None:
    if not isinstance(value, dict):
        return None
    conversation_id = id_in(value.get("id"))
    if conversation_id is None:
        return None
    participant = value.get("participant")
    contact_id = id_in(participant.get("contactId")) if isinstance(participant, dict) else None
    return Conversation(conversation_id, contact_id or "")
