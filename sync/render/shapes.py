"""The Send Message request (`POST /inbox/v2/messages`), as far as imported messages use it.

There is no field here for target channels: a channel there would make the Inbox deliver the message to the customer
once more, so that no code can ask for it. The conversation's id is added when the request is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sync.message import Direction, Json
from sync.text.units import cut_units

MAX_TEXT_UNITS = 16_384
"""UTF-16 units of one text item (1 at least)."""

MAX_PREVIEW_UNITS = 256
MAX_BADGE_UNITS = 100
"""Not documented; short enough to be read on a bubble."""

MAX_URL_UNITS = 2_000
MAX_FILENAME_UNITS = 255
MAX_MIME_TYPE_CHARS = 100


class Visibility(StrEnum):
    """Who sees a message. Imported ones are for the business: the customer has them already."""

    BUSINESS = "BUSINESS"


class SendAs(StrEnum):
    """In whose name a message is sent; left out, it is the app."""

    PARTICIPANT = "PARTICIPANT"


@dataclass(frozen=True, slots=True)
class Badge:
    """The source's name on the bubble."""

    text: str
    icon_url: str = ""

    def to_json(self) -> dict[str, Json]:
        """As the API spells it."""
        badge: dict[str, Json] = {"text": self.text}
        if self.icon_url:
            badge["iconUrl"] = self.icon_url
        return badge


@dataclass(frozen=True, slots=True)
class MediaItem:
    """An uploaded file. An image is shown (`width` and `height` in pixels, 0 where unknown), everything else is offered."""

    file_id: str
    filename: str
    mime_type: str
    is_image: bool = False
    width: int = 0
    height: int = 0

    def to_json(self) -> dict[str, Json]:
        """As the API spells it."""
        media: dict[str, Json] = {"id": self.file_id, "filename": cut_units(self.filename, MAX_FILENAME_UNITS)}
        if not self.is_image:
            media["mimeType"] = self.mime_type[:MAX_MIME_TYPE_CHARS]
            return {"file": media}
        if self.width and self.height:
            media |= {"width": self.width, "height": self.height}
        return {"image": media}


@dataclass(frozen=True, slots=True)
class SendRequest:
    """One message of basic content: each text and each file is a bubble of its own. `minimal`: the only text is one line
    of minimal content, which the Inbox shows as an activity."""

    direction: Direction
    items: tuple[str | MediaItem, ...]
    preview_text: str
    silent: bool
    badge: Badge | None = None
    send_notifications: bool = False
    send_as: SendAs | None = None
    visibility: Visibility = Visibility.BUSINESS
    minimal: bool = False

    def to_json(self) -> dict[str, Json]:
        """The body without `conversationId`."""
        content: dict[str, Json] = {"basic": {"items": [_item(item) for item in self.items]}}
        if self.minimal:
            content = {"minimal": _item(self.items[0])}
        if self.preview_text:
            content["previewText"] = self.preview_text
        message: dict[str, Json] = {
            "direction": self.direction.value,
            "visibility": self.visibility.value,
            "silent": self.silent,
            "content": content,
        }
        if self.badge is not None:
            message["badges"] = [self.badge.to_json()]
        body: dict[str, Json] = {"message": message, "sendNotifications": self.send_notifications}
        if self.send_as is not None:
            body["sendAs"] = self.send_as.value
        return body


def _item(item: str | MediaItem) -> dict[str, Json]:
    return {"text": item} if isinstance(item, str) else item.to_json()
