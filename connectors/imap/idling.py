"""One connection in IDLE (RFC 2177), without I/O: octets and the time come in, octets to send go out. Pure.

    ENTERING ─"+"─▶ IDLING ─renewal is due: DONE─▶ LEAVING ─tagged OK: IDLE─▶ ENTERING …

What ends it is a reason (`Ended`); the connection is then of no use any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

MAX_LINE_BYTES = 64 * 1024
"""Longest line taken while waiting: notices are short, whatever is longer is no notice."""

_NOTICE = re.compile(rb"\* (\d{1,10}) (EXISTS|EXPUNGE)\b", re.IGNORECASE)
_LITERAL = re.compile(rb"\{(\d{1,10})\+?\}$")


class Why(Enum):
    """Why waiting on a connection came to its end."""

    REFUSED = "refused"
    """The server answered IDLE with NO or BAD."""
    BYE = "bye"
    """The server said good-bye, or closed."""
    SILENT = "silent"
    """No answer to IDLE or DONE in time: the other end may be gone since long (half-open)."""
    MISSED = "missed"
    """A plain poll found mail that was never announced: what this connection sees has stopped (a frozen view)."""
    GARBLED = "garbled"
    """What came is no IMAP."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end, with the server's words where it said some."""

    why: Why
    text: str = ""


class _State(Enum):
    ENTERING = "entering"
    IDLING = "idling"
    LEAVING = "leaving"


class Idling:
    """`messages` is what the folder held when it was opened. Times are seconds of one clock, which the caller reads;
    at `due_at` it calls `tick`. `renew_seconds`: how long one IDLE lasts. `answer_seconds`: how long the server may
    take to answer IDLE and DONE. `announce_seconds`: how long after a plain poll found mail its notice may come."""

    def __init__(
        self, messages: int | None, *, renew_seconds: float, answer_seconds: float, announce_seconds: float
    ) -> None:
        self.ended: Ended | None = None
        self._messages = messages
        self._renew_seconds = renew_seconds
        self._answer_seconds = answer_seconds
        self._announce_seconds = announce_seconds
        self._state = _State.ENTERING
        self._state_due_at = 0.0
        self._doubt_at: float | None = None
        self._announced = False
        self._news = False
        self._tags = 0
        self._buffer = b""
        self._skip_bytes = 0

    # -- what it means

    @property
    def idling(self) -> bool:
        """Whether the server has promised to tell."""
        return self.ended is None and self._state is _State.IDLING

    @property
    def due_at(self) -> float:
        """When `tick` is to be called."""
        return self._state_due_at if self._doubt_at is None else min(self._state_due_at, self._doubt_at)

    @property
    def has_news(self) -> bool:
        """Whether mail was announced since `take_news`."""
        return self._news

    def take_news(self) -> bool:
        """Whether mail was announced since the last call."""
        news, self._news = self._news, False
        return news

    def remember_news(self) -> None:
        """Mail that came before the server was asked to tell."""
        self._news = self._announced = True

    def found_by_poll(self, messages: int | None, now: float) -> None:
        """A plain poll has found new mail in this folder, which now holds so many `messages`: unless that was announced,
        or is so soon, the view is frozen."""
        seen = messages is not None and self._messages is not None and messages <= self._messages
        if not (seen or self._announced or self._doubt_at is not None):
            self._doubt_at = now + self._announce_seconds
        self._announced = False

    # -- what goes over the wire

    def begin(self, now: float) -> bytes:
        """Asks for IDLE."""
        self._tags += 1
        self._state, self._state_due_at = _State.ENTERING, now + self._answer_seconds
        return b"I%d IDLE\r\n" % self._tags

    def tick(self, now: float) -> bytes:
        """Time has passed: renews IDLE when that is due, ends what got no answer."""
        if self.ended is not None:
            return b""
        if self._doubt_at is not None and now >= self._doubt_at:
            self.ended = Ended(Why.MISSED)
        elif now >= self._state_due_at:
            if self._state is _State.IDLING:
                self._state, self._state_due_at = _State.LEAVING, now + self._answer_seconds
                return b"DONE\r\n"
            self.ended = Ended(Why.SILENT)
        return b""

    def receive(self, octets: bytes, now: float) -> bytes:
        """What the server sent; empty octets are the end of the stream."""
        if not octets:
            self.ended = self.ended or Ended(Why.BYE)
        self._buffer += octets
        answer = b""
        while self.ended is None and (line := self._line()) is not None:
            answer += self._heard(line, now)
        return answer

    def _line(self) -> bytes | None:
        if self._skip_bytes:
            skipped = min(self._skip_bytes, len(self._buffer))
            self._buffer, self._skip_bytes = self._buffer[skipped:], self._skip_bytes - skipped
        line, ends, rest = self._buffer.partition(b"\n")
        if len(line) > MAX_LINE_BYTES:
            self.ended = Ended(Why.GARBLED)
            return None
        if not ends or self._skip_bytes:
            return None
        self._buffer = rest
        line = line.rstrip(b"\r")
        if literal := _LITERAL.search(line):
            self._skip_bytes = int(literal[1])
        return line

    def _heard(self, line: bytes, now: float) -> bytes:
        if line.startswith(b"+"):
            if self._state is _State.ENTERING:
                self._state, self._state_due_at = _State.IDLING, now + self._renew_seconds
            return b""
        if notice := _NOTICE.match(line):
            self._noticed(notice[2].upper(), int(notice[1]))
        elif line[:5].upper() == b"* BYE":
            self.ended = Ended(Why.BYE, _words(line[5:]))
        elif line.startswith(b"I%d " % self._tags):
            return self._answered(line.partition(b" ")[2], now)
        return b""

    def _noticed(self, what: bytes, number: int) -> None:
        """More messages than before are news; fewer are not, nor are flags, nor the same number said again."""
        if what == b"EXPUNGE":
            if self._messages:
                self._messages -= 1
            return
        if self._messages is None or number > self._messages:
            self._news = self._announced = True
            self._doubt_at = None
        self._messages = number

    def _answered(self, answer: bytes, now: float) -> bytes:
        if answer[:2].upper() != b"OK":
            self.ended = Ended(Why.REFUSED, _words(answer))
            return b""
        return self.begin(now)  # after DONE; a server that ends IDLE by itself is asked again, too


def _words(octets: bytes) -> str:
    return octets.strip().decode("utf-8", "replace")
