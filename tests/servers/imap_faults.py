"""A proxy in front of an IMAP server that knows its commands, and breaks the connection at the one a test names.

    with ImapFaults(server.imap_port) as proxy:
        proxy.at("UID FETCH", "silence")       # half-open: the command is swallowed, nothing comes any more
        proxy.at("LOGIN", b"NO [LIMIT] later") # answered instead of the server
        proxy.calm()

Commands are told apart by a pattern over what follows the tag; `GREETING` is the moment before the server's first line.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

What: TypeAlias = "Literal['silence', 'half', 'close', 'reset', 'half and close', 'half and reset', 'bye'] | bytes"
"""`half`: a few bytes of the answer pass, then nothing. Bytes: the tagged answer to give."""

HALF_BYTES: Final = 7
BYE: Final = b"* BYE Too many connections, try again later\r\n"


@dataclass
class _Connection:
    client: socket.socket
    server: socket.socket
    down_left: int | None = None
    then: str = ""
    speaks_tls: bool = False


class ImapFaults:
    """Listens on a free loopback port. `seen` are the commands that went by, `struck` how often there was trouble."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._pattern: re.Pattern[str] | None = None
        self._what: What = "silence"
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        self.seen: list[str] = []
        self.struck = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="imap-faults").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.break_all()

    def at(self, pattern: str, what: What) -> None:
        """From now on there is trouble at each command that the pattern is found at the beginning of."""
        self._what, self._pattern = what, re.compile(pattern, re.IGNORECASE)

    def calm(self) -> None:
        """All is well again, for what is said from now on; connections that hang go on hanging."""
        self._pattern = None

    def break_all(self) -> None:
        """Ends every open connection."""
        with self._lock:
            live = list(self._live)
        for sock in live:
            _end(sock, "close")

    def open_connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._live)

    # -- serving

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._live.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True, name="imap-faults-serve").start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target_port)) as server:
                connection = _Connection(client, server)
                if not self._troubled(connection, "", "GREETING"):
                    down = threading.Thread(target=self._down, args=(connection,), daemon=True, name="imap-faults-down")
                    down.start()
                self._up(connection)
        finally:
            with self._lock:
                self._live.discard(client)
            client.close()

    def _up(self, connection: _Connection) -> None:
        buffer = b""
        while data := connection.client.recv(65_536):
            if connection.speaks_tls:
                connection.server.sendall(data)
                continue
            buffer += data
            while (end := buffer.find(b"\n") + 1) and not connection.speaks_tls:
                line, buffer = buffer[:end], buffer[end:]
                self._command(connection, line)
        connection.server.shutdown(socket.SHUT_RDWR)

    def _command(self, connection: _Connection, line: bytes) -> None:
        tag, _blank, command = line.decode("utf-8", "replace").strip().partition(" ")
        if not command:  # DONE, or what answers a challenge
            tag, command = "", tag
        self.seen.append(re.sub(r"(?i)^(LOGIN|AUTHENTICATE) .*", r"\1", command))
        if connection.down_left == 0 or self._troubled(connection, tag, command):
            return
        connection.server.sendall(line)
        connection.speaks_tls = command.upper() == "STARTTLS"

    def _troubled(self, connection: _Connection, tag: str, command: str) -> bool:
        """Makes the trouble that is due. True when the command is not to be passed on."""
        pattern, what = self._pattern, self._what
        if pattern is None or pattern.match(command) is None:
            return False
        self.struck += 1
        if isinstance(what, bytes):
            connection.client.sendall(tag.encode() + b" " + what + b"\r\n")
        elif what.startswith("half"):
            connection.then = what.partition(" and ")[2]
            connection.down_left = HALF_BYTES
            return False
        elif what == "silence":
            connection.down_left = 0
        else:
            if what == "bye":
                connection.client.sendall(BYE)
            _end(connection.client, "reset" if what == "reset" else "close")
        return True

    def _down(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):
            while data := connection.server.recv(65_536):
                if connection.down_left is None:
                    connection.client.sendall(data)
                    continue
                data = data[: connection.down_left]
                connection.down_left -= len(data)
                connection.client.sendall(data)
                if not connection.down_left and connection.then:
                    break
        if connection.down_left is None or connection.then:
            _end(connection.client, connection.then or "close")


def _end(sock: socket.socket, how: str) -> None:
    with contextlib.suppress(OSError):
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
