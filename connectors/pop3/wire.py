"""The one module that speaks POP3 (RFC 1939, 2449, 2595, 5034): a typed, blocking connection with bounded answers.

The standard library's poplib refuses lines over 2 KB, which mail has, and reads answers without a bound. Every method
blocks, for one thread at a time; `abort` alone may be called from any thread. Errors come out as they are (OSError,
ssl.SSLError, Refused, NoTokens, NotPop3, AnswerTooLong): `faults.translate` gives them their meaning.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

from sync.errors import ConfigError
from sync.kit.oauth import TOKEN_MECHANISMS, Credential, sasl_response
from sync.kit.tls import Tls, tls_context

from .config import Pop3Config

MAX_STATUS_LINE_BYTES = 4096
"""RFC 2449 §4 allows 512; servers that quote themselves are given more."""
MAX_LISTING_BYTES = 256 * 1024 * 1024
"""A UIDL or LIST answer: some three million messages."""
MAX_CAPABILITY_BYTES = 64 * 1024
MAX_OVERFLOW_BYTES = 16 * 1024 * 1024
"""Of an answer that may be cut, what is read on beyond the cut so that the connection stays usable."""
MAX_NAMELESS = 100
"""Messages without a UIDL that are told apart by their headers; with more of them the server counts as having none."""
MAX_CHALLENGES = 3
"""A sign-in by token takes two at most: the token, and what ends the exchange when it was refused."""
LOGOUT_TIMEOUT_SECONDS = 5.0
_PIECE_BYTES = 64 * 1024


class Refused(Exception):
    """The server answered -ERR: the connection is sound, this command was not done."""

    def __init__(self, command: str, text: str) -> None:
        super().__init__(f"{command}: {text}")
        self.command = command
        self.text = text


class NoTokens(Exception):
    """The server takes no tokens on this connection; what it offers instead."""

    def __init__(self, offered: str) -> None:
        super().__init__(offered)
        self.offered = offered


class NotPop3(Exception):
    """What came is no POP3 answer."""


class AnswerTooLong(Exception):
    """More came than was asked for; the connection cannot be used any more. `begin` is what was read of it."""

    def __init__(self, begin: bytes) -> None:
        super().__init__(f"an answer of more than {len(begin)} bytes")
        self.begin = begin


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of the maildrop: its number in this session, its UIDL ("" where the server gives it none), its size in
    bytes as LIST claims."""

    number: int
    uidl: str
    size: int | None


class Wire:
    """One session. `connect`, `log_in`, then commands; `log_out` ends it without changing anything."""

    def __init__(self, config: Pop3Config) -> None:
        self._config = config
        self._guard = threading.Lock()
        self._socket: socket.socket | None = None
        self._reader: BinaryIO | None = None
        self._aborted = False
        self._closed = False
        self.capabilities: dict[str, str] = {}
        self.busy_with = 0
        """The number of the message that was asked for last: where a connection breaks, the one it broke at."""

    # -- life cycle

    def connect(self) -> None:
        """Opens the connection and reads the greeting; after it the connection is protected as configured."""
        config = self._config
        context = None if config.tls is Tls.NONE else tls_context(config.ca_file, code="pop3.ca_file")
        self._use(self._dial(context if config.tls is Tls.IMPLICIT else None))
        self._status("greeting")
        self._read_capabilities()
        if config.tls is Tls.STARTTLS and context is not None:
            self._start_tls(context)

    def _dial(self, context: ssl.SSLContext | None) -> socket.socket:
        config = self._config
        failure: OSError | None = None
        found = socket.getaddrinfo(config.host, config.effective_port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _name, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                self._hold(sock)
                sock.settimeout(config.connect_timeout_seconds)
                sock.connect(address)
                if context is not None:
                    sock = self._protect(sock, context)
            except ssl.SSLError:
                sock.close()
                raise
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure or OSError("the name has no address")

    def _protect(self, sock: socket.socket, context: ssl.SSLContext) -> socket.socket:
        protected = context.wrap_socket(sock, server_hostname=self._config.host, do_handshake_on_connect=False)
        try:
            self._hold(protected)
            protected.do_handshake()
        except BaseException:
            protected.close()
            raise
        return protected

    def _hold(self, sock: socket.socket) -> None:
        with self._guard:
            self._socket = sock
            if self._aborted:
                raise ConnectionAbortedError("the connection was given up")

    def _use(self, sock: socket.socket) -> None:
        """Goes on with this socket. What was read ahead on the one before is dropped: nothing sent before STLS can
        pose as an answer from behind it (RFC 2595 §7)."""
        sock.settimeout(self._config.read_timeout_seconds)
        self._reader = cast("BinaryIO", sock.makefile("rb", buffering=_PIECE_BYTES))

    def _start_tls(self, context: ssl.SSLContext) -> None:
        if "STLS" not in self.capabilities:
            raise ConfigError(
                f"{self._config.host} offers no STARTTLS on port {self._config.effective_port}.",
                code="pop3.starttls_missing",
                next_step='Use tls = "implicit" with port 995; ask the provider which of the two it has.',
            )
        self._ask("STLS")
        plain = self._live()
        plain.settimeout(self._config.connect_timeout_seconds)
        self._use(self._protect(plain, context))
        self._read_capabilities()

    def abort(self) -> None:
        """Makes whatever blocks on this connection fail now. From any thread."""
        with self._guard:
            self._aborted = True
            sock = self._socket
            if sock is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's: it would drop the TLS layer first

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked on it any more."""
        with self._guard:
            return self._closed or self._aborted

    def log_out(self) -> None:
        """Ends the session. RSET first: some servers mark what was read as seen unless it is taken back."""
        with contextlib.suppress(OSError, Refused, NotPop3, AnswerTooLong):
            self._live().settimeout(LOGOUT_TIMEOUT_SECONDS)
            with contextlib.suppress(Refused):
                self._ask("RSET")
            self._ask("QUIT")
        self.close()

    def close(self) -> None:
        """Closes without a word. May be called again."""
        with self._guard:
            self._closed = True
            reader, self._reader = self._reader, None
            sock, self._socket = self._socket, None
        with contextlib.suppress(OSError):
            if reader is not None:
                reader.close()
        if sock is not None:
            sock.close()

    # -- commands

    def log_in(self, credential: Credential) -> None:
        """With a token XOAUTH2 or OAUTHBEARER; with a password USER and PASS, or AUTH PLAIN (RFC 5034) where the server
        has no USER or the password is not ASCII."""
        if credential.is_token:
            self._present_token(credential)
        else:
            self._present_password(credential.username, credential.secret)
        self._read_capabilities()  # some servers tell more to whom they know (RFC 2449 §5)

    def _mechanisms(self) -> list[str]:
        return self.capabilities.get("SASL", "").upper().split()

    def _present_token(self, credential: Credential) -> None:
        """The token comes in a line of its own: as a part of AUTH it would be too long (RFC 5034 §4, 255 octets)."""
        offered = self._mechanisms()
        mechanism = next((name for name in TOKEN_MECHANISMS if name in offered), None)
        if mechanism is None:
            raise NoTokens(" ".join(offered))
        answer = sasl_response(mechanism, credential, self._config.host, self._config.effective_port)
        self._send(f"AUTH {mechanism}\r\n")
        for _challenge in range(MAX_CHALLENGES):
            if not self._challenged("AUTH"):
                return
            self._send(base64.b64encode(answer(b"")).decode() + "\r\n")
        raise NotPop3("AUTH was answered by challenges without end")

    def _present_password(self, username: str, password: str) -> None:
        plain = "PLAIN" in self._mechanisms()
        if plain and ("USER" not in self.capabilities or not (username + password).isascii()):
            self._ask("AUTH PLAIN", awaits="+")
            self._ask(base64.b64encode(f"\0{username}\0{password}".encode()).decode(), name="AUTH")
        else:
            self._ask(f"USER {username}", name="USER")
            self._ask(f"PASS {password}", name="PASS")

    def listing(self) -> list[Entry]:
        """Every message of the maildrop, in its order. Raises ConfigError where the server has no UIDL, or gives too many
        messages none."""
        try:
            uidls = self._pairs("UIDL")
        except Refused as error:
            if error.text.startswith("["):  # a response code (RFC 2449 §8): another trouble than not to know UIDL
                raise
            raise self._no_uidl() from error
        sizes = dict(self._pairs("LIST"))
        named = dict(uidls)
        nameless = [number for number in sizes if number not in named]
        if len(nameless) > MAX_NAMELESS:
            raise self._no_uidl()
        listed = [*uidls, *((number, "") for number in nameless)]
        return [Entry(number, uidl, _size(sizes.get(number, ""))) for number, uidl in listed]

    def _no_uidl(self) -> ConfigError:
        return ConfigError(
            f"{self._config.host} has no UIDL: its messages cannot be told apart from one day to the next.",
            code="pop3.no_uidl",
            next_step='Read this mailbox with connector = "imap".',
        )

    def _pairs(self, command: str) -> list[tuple[int, str]]:
        self._ask(command)
        pairs = []
        for line in self._many_lines(MAX_LISTING_BYTES).splitlines():
            number, _, value = line.strip().partition(b" ")
            if number.isdigit() and value.strip():
                pairs.append((int(number), value.strip().decode("latin-1")))
        return pairs

    def tops(self, numbers: Sequence[int], lines: int, limit_bytes: int) -> Iterator[tuple[int, bytes | None]]:
        """The header and so many lines of each message, cut after `limit_bytes`; None where the server refuses. Sent in
        one go where it allows that (RFC 2449 §6.6)."""
        commands = [f"TOP {number} {lines}" for number in numbers]
        pipelined = "PIPELINING" in self.capabilities
        if pipelined:
            self._send("".join(f"{command}\r\n" for command in commands))
        for number, command in zip(numbers, commands, strict=True):
            self.busy_with = number
            if not pipelined:
                self._send(f"{command}\r\n")
            try:
                self._status("TOP")
            except Refused:
                yield number, None
            else:
                yield number, self._many_lines(limit_bytes, overflow_bytes=MAX_OVERFLOW_BYTES)

    def message(self, number: int, limit_bytes: int) -> bytes:
        """The whole message. Raises AnswerTooLong, with what was read, beyond `limit_bytes`."""
        self.busy_with = number
        self._ask(f"RETR {number}", name="RETR")
        return self._many_lines(limit_bytes)

    def _read_capabilities(self) -> None:
        try:
            self._ask("CAPA")
        except Refused:
            self.capabilities = {"USER": ""} if not self.capabilities else self.capabilities
            return
        lines = self._many_lines(MAX_CAPABILITY_BYTES).decode("ascii", "replace").splitlines()
        self.capabilities = {name.upper(): rest for name, _, rest in (line.partition(" ") for line in lines)}

    # -- lines

    def _live(self) -> socket.socket:
        with self._guard:
            if self._socket is None or self._aborted:
                raise ConnectionAbortedError("the connection is closed")
            return self._socket

    def _send(self, text: str) -> None:
        self._live().sendall(text.encode())

    def _ask(self, command: str, *, name: str = "", awaits: str = "+OK") -> None:
        self._send(f"{command}\r\n")
        self._status(name or command, awaits)

    def _status(self, command: str, awaits: str = "+OK") -> None:
        if not self._status_line(command).startswith(awaits):
            raise NotPop3(f"{command} was answered by something else")

    def _challenged(self, command: str) -> bool:
        """Whether the server asks for more (RFC 5034 §4); False: it is satisfied."""
        return not self._status_line(command).startswith("+OK")

    def _status_line(self, command: str) -> str:
        line = self._read(MAX_STATUS_LINE_BYTES).decode("utf-8", "replace").rstrip("\r\n")
        if line.startswith("+"):
            return line
        if line.startswith("-ERR"):
            raise Refused(command, line[4:].strip())
        raise NotPop3(f"{command} was answered by something else")

    def _read(self, limit_bytes: int) -> bytes:
        if self._reader is None:
            raise ConnectionAbortedError("the connection is closed")
        line = self._reader.readline(limit_bytes)
        if not line:
            raise ConnectionResetError("the server closed the connection")
        return line

    def _many_lines(self, limit_bytes: int, *, overflow_bytes: int = 0) -> bytes:
        """A multi-line answer without its end, dots unstuffed (RFC 1939 §3). Beyond `limit_bytes` it is cut, if no more
        than `overflow_bytes` follow; else raises AnswerTooLong."""
        lines = bytearray()
        left_out = 0
        at_start = True
        while True:
            piece = self._read(_PIECE_BYTES)
            if at_start and piece[:1] == b".":
                if piece in {b".\r\n", b".\n"}:
                    return bytes(lines)
                piece = piece[1:]
            at_start = piece.endswith(b"\n")
            room = max(0, limit_bytes - len(lines)) if overflow_bytes else len(piece)
            lines += piece[:room]
            left_out += len(piece) - min(room, len(piece))
            if len(lines) > limit_bytes or left_out > overflow_bytes:
                raise AnswerTooLong(bytes(lines))


def _size(text: str) -> int | None:
    digits = text.partition(" ")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else None
