"""imaplib on a socket of our own, by the hooks that it documents for this (`open`, `read`, `readline`, `shutdown`).

They add what it lacks: a time limit for connecting apart from the one for reading, lines longer than a megabyte (one
SEARCH answer of a large folder is one line), a bound for literals, and a socket that another thread may close.
"""

from __future__ import annotations

import contextlib
import imaplib
import socket
import ssl
from collections.abc import Callable
from io import BufferedReader
from typing import Any, cast

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longest line taken from a server: the UIDs of some six million messages in one SEARCH answer."""
MAX_ANSWER_LITERAL_BYTES = 1024 * 1024
"""Longest literal outside of message content (a folder's name, header lines of one message)."""
_READ_AHEAD_BYTES = 64 * 1024


class LiteralTooLong(Exception):
    """The server sends more in one piece than was asked for; the connection cannot be used any more. Not one of
    imaplib's errors: those it replaces by others on their way."""


class Client(imaplib.IMAP4):
    """imaplib on a socket that `dial` opens, with bounded lines and literals."""

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        self._dial = dial
        self._reader: BufferedReader | None = None
        self.literal_limit_bytes = MAX_ANSWER_LITERAL_BYTES
        super().__init__()

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        """Opens the socket; `dial` knows where to and for how long to wait."""
        del timeout
        self.host, self.port = host, port
        self.use(self._dial())

    def use(self, sock: socket.socket) -> None:
        """Goes on with this socket. What was read ahead on the one before is dropped, so that nothing sent before
        STARTTLS can pose as an answer from behind it (RFC 9051 §11.1)."""
        self.sock = sock
        self._reader = cast("BufferedReader", sock.makefile("rb", buffering=_READ_AHEAD_BYTES))

    def read(self, size: int) -> bytes:
        """A literal, whole. Raises LiteralTooLong."""
        if size > self.literal_limit_bytes:
            raise LiteralTooLong(f"a literal of {size} bytes, where at most {self.literal_limit_bytes} were expected")
        octets = self._reader.read(size) if self._reader else b""
        if len(octets) < size:
            raise self.abort("socket error: EOF")
        return octets

    def readline(self) -> bytes:
        """A line; empty at the end of the stream."""
        line = self._reader.readline(MAX_LINE_BYTES + 1) if self._reader else b""
        if len(line) > MAX_LINE_BYTES:
            raise self.abort(f"a line of more than {MAX_LINE_BYTES} bytes")
        return line

    def capability(self) -> tuple[str, list[Any]]:
        """As imaplib has it, which would take the words of a refusal for capabilities."""
        kind, data = super().capability()
        if kind != "OK":
            raise self.error(f"CAPABILITY: {kind} {data[-1].decode('utf-8', 'replace') if data and data[-1] else ''}")
        return kind, data

    def hand_over(self) -> tuple[socket.socket, bytes]:
        """The socket, non-blocking, and what was read ahead on it; this object is of no use afterwards."""
        reader, self._reader = self._reader, None
        self.sock.settimeout(0)
        read_ahead = b""
        if reader is not None:
            with contextlib.suppress(ssl.SSLWantReadError):
                while octets := reader.read1(_READ_AHEAD_BYTES):
                    read_ahead += octets
            reader.close()
        return self.sock, read_ahead

    def shutdown(self) -> None:
        """Closes the socket."""
        with contextlib.suppress(OSError):
            if self._reader:
                self._reader.close()
        with contextlib.suppress(OSError):
            self.sock.close()
