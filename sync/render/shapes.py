"""The Send Message request (`POST /inbox/v2/messages`), as far as imported messages use it.

There is no field here for target channels: a channel there would make the Inbox deliver the message to the customer
once more, so that no code can ask for it. The conversation's id is added when the request is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sync.message import Direction, Json

MAX_TEXT_UNITS = 16_384
"""UTF-16 units of one text item (1 at least)."""

MAX_PREVIEW_UNITS = 256
MAX_BADGE_UNITS = 100
"""Not documented; short enough to be read on a bubble."""

MAX_URL_UNITS = 2_000


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
class SendRequest:
    """One message of basic content: each text is a bubble of its own."""

    direction: Direction
    texts: tuple[str, ...]
    preview_text: str
    silent: bool
    badge: Badge | None = None
    send_notifications: bool = False
    send_as: SendAs | None = None
    visibility: Visibility = Visibility.BUSINESS

    def to_json(self) -> dict[str, Json]:
        """The body without `conversationId`."""
        content: dict[str, Json] = {"basic": {"items": [{"text": text} for text in self.texts]}}
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
