"""What a Send Message request may hold. Pure.

The list is closed at every level, so that target channels (which would *deliver* the imported message to the customer)
cannot be asked for by any code, present or future: an unknown key is a bug, not a setting.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from sync.inbox.ids import id_in
from sync.message import Direction, Json

_Shape: TypeAlias = "dict[str, _Shape | None]"
"""Allowed keys; None: a plain value. A list stands for its items."""

_MEDIA: Final[_Shape] = dict.fromkeys(("id", "url", "filename", "width", "height", "mimeType"))
_ITEM: Final[_Shape] = {"text": None, "image": _MEDIA, "file": _MEDIA}
_BUTTON: Final[_Shape] = {"label": None, "launchUrl": None, "postbackProperties": {"interactionId": None}}
_CONTENT: Final[_Shape] = {
    "previewText": None,
    "title": None,
    "basic": {"items": _ITEM},
    "minimal": dict.fromkeys(("text", "iconUrl", "url")),
    "form": {"title": None, "description": None, "fields": dict.fromkeys(("name", "value")), "media": _ITEM},
    "template": {
        "title": None,
        "imageUrl": None,
        "orientation": None,
        "textLines": None,
        "buttons": _BUTTON,
    },
}
_REQUEST: Final[_Shape] = {
    "conversationId": None,
    "message": {
        "content": _CONTENT,
        "direction": None,
        "visibility": None,
        "silent": None,
        "badges": dict.fromkeys(("text", "iconUrl", "badgeVisibility")),
    },
    "sendNotifications": None,
    "sendAs": None,
}
_KINDS: Final = frozenset({"basic", "minimal", "form", "template"})


def check_request(body: Json) -> str:
    """The conversation's id of a Send Message request. Raises ValueError, naming the key, on anything not allowed."""
    _check(body, _REQUEST, "the request")
    request = body if isinstance(body, dict) else {}
    message = request.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(content, dict) or len(_KINDS & content.keys()) != 1:
        raise ValueError("a send request needs message.content with exactly one of basic, form, minimal, template")
    if message.get("direction") not in {direction.value for direction in Direction}:
        raise ValueError("message.direction is neither PARTICIPANT_TO_BUSINESS nor BUSINESS_TO_PARTICIPANT")
    if message.get("visibility") not in ("BUSINESS", "BUSINESS_AND_PARTICIPANT"):
        raise ValueError("message.visibility is neither BUSINESS nor BUSINESS_AND_PARTICIPANT")
    if request.get("sendAs", "CALLER") not in ("CALLER", "PARTICIPANT"):
        raise ValueError("sendAs is neither CALLER nor PARTICIPANT")
    conversation_id = id_in(request.get("conversationId"))
    if conversation_id is None:
        raise ValueError("a send request needs a conversationId")
    return conversation_id


def _check(value: Json, shape: _Shape | None, where: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check(item, shape, where)
    elif isinstance(value, dict):
        if shape is None:
            raise ValueError(f"{where} must be a plain value")
        for key, inner in value.items():
            if key not in shape:
                raise ValueError(f'"{key}" is not allowed in {where} of a send')
            _check(inner, shape[key], key)
    elif shape is not None:
        raise ValueError(f"{where} must be an object")
