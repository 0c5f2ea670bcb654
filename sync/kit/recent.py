"""What a connector has just loaded, kept for a moment: a mail's files are asked for soon after the mail."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sized
from typing import Generic, TypeVar

from sync.connector import PIECE_MAX_BYTES

Key = TypeVar("Key", bound=Hashable)
Mail = TypeVar("Mail", bound=Sized)
"""Bytes, or what holds as many as its length says."""

RECENT_MAX_BYTES = 32 * 1024 * 1024
"""Kept in all; the oldest go first. More than one batch of ordinary mails."""


class Recent(Generic[Key, Mail]):
    """The mails that were loaded last, by key, at most `max_bytes` of them. Used from one thread at a time."""

    def __init__(self, max_bytes: int = RECENT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Key, Mail] = OrderedDict()

    def keep(self, key: Key, mail: Mail) -> None:
        """Keeps a mail, if it fits at all."""
        self._bytes -= len(self._kept.pop(key, b""))
        if len(mail) > self._max_bytes:
            return
        self._kept[key] = mail
        self._bytes += len(mail)
        while self._bytes > self._max_bytes:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= len(gone)

    def get(self, key: Key) -> Mail | None:
        """The mail, if it is still there."""
        return self._kept.get(key)

    def clear(self) -> None:
        """Forgets everything."""
        self._kept.clear()
        self._bytes = 0


def pieces(data: bytes) -> Iterator[bytes]:
    """Bytes that are at hand, as `Attaches.open_attachment` gives them."""
    for start in range(0, len(data), PIECE_MAX_BYTES):
        yield data[start : start + PIECE_MAX_BYTES]
