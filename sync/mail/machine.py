"""Mail that no person wrote: the rules by which it is told apart."""

from __future__ import annotations

from sync.message import Message

MARKER_HEADER = "x-inbox-sync"
"""Set on everything this program ever sends out as mail, so that it recognises its own output."""


def is_loop(message: Message) -> bool:
    """True when the mail is this program's own output come back: it carries our marker."""
    return any(name == MARKER_HEADER for name, _ in message.headers)
