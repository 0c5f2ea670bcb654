"""The Inbox API: client, credentials, contacts, conversations, messages, what refusals mean, and reading back."""

from __future__ import annotations

from sync.inbox import outcome
from sync.inbox.client import InboxClient, Mapping
from sync.inbox.media import MEDIA_SECONDS, NotTaken
from sync.inbox.messages import InboxMessage
from sync.inbox.outcome import SendOutcome
from sync.inbox.readback import match

__all__ = [
    "MEDIA_SECONDS",
    "InboxClient",
    "InboxMessage",
    "Mapping",
    "NotTaken",
    "SendOutcome",
    "match",
    "outcome",
]
