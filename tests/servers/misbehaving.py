"""A raw-socket HTTP server that misbehaves as told, and remembers every byte it really read.

A *script* is a function that is run in a thread for each accepted connection. `Peer` is its end of the connection.
Everything is bounded: a script that waits ends at the latest when the server stops.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self, TypeAlias

PATIENCE_SECONDS: Final = 10.0
CERTIFICATES: Final = Path(__file__).parent / "certificates"
LOOPBACK_CERTIFICATE: Final = CERTIFICATES / "loopback.pem"
"""Self-signed for localhost and 127.0.0.1, with its key. Good for nothing but these tests."""
ELSEWHERE_CERTIFICATE: Final = CERTIFICATES / "elsewhere.pem"
"""Self-signed for another name."""

OK: Final = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'


class Peer:
    """The server's end of one connection. `read` holds every byte of the application it took from the socket."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.sock = sock
        self.read = bytearray()
        self._stopping = stopping
        self._used = 0

    def take(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        data = self.sock.recv(size)
        self.read += data
        return data

    def request(self) -> bytes:
        """One whole request, head and body; b"" when the client closed before one was complete."""
        while (end := self.read.find(b"\r\n\r\n", self._used)) < 0:
            if not self.take(65536):
                return b""
        length = 0
        for line in bytes(self.read[self._used : end]).split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        start, self._used = self._used, end + 4 + length
        while len(self.read) < self._used:
            if not self.take(1_000_000):
                return b""
        return bytes(self.read[start : self._used])

    def peek_path(self) -> str:
        """The path of the request that is waiting, without reading it."""
        for _ in range(1000):
            data = self.sock.recv(65536, socket.MSG_PEEK)
            if not data or b"\r\n" in data:
                return data.split(b" ", 2)[1].decode() if data.count(b" ") >= 2 else ""
        return ""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Closes in order, so that the client gets what was sent."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.sock.close()

    def hang(self) -> None:
        """Does nothing until the server is stopped."""
        self._stopping.wait(PATIENCE_SECONDS)

    def wait_for_close(self) -> None:
        """Until the client has closed; what still comes is remembered."""
        while self.take(65536):
            pass


Script: TypeAlias = Callable[[Peer], None]


class MisbehavingServer:
    """`with MisbehavingServer(script) as server:` on a free loopback port; `server.url` has no trailing slash."""

    def __init__(self, script: Script, *, certificate: Path | None = None) -> None:
        self._script = script
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(0.05)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.peers: list[Peer] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        self._listener.close()
        for peer in self.peers:
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(PATIENCE_SECONDS)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_SECONDS)
        with suppress(OSError), sock:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            peer = Peer(sock, self._stopping)
            with self._lock:
                self.peers.append(peer)
            with suppress(OSError), sock:
                self._script(peer)

    @property
    def bytes_read(self) -> int:
        """What the server really read, over all connections."""
        return sum(len(peer.read) for peer in self.peers)

    def requests_with(self, token: str) -> int:
        """How many times a request whose path ends in `token` began to be read."""
        return sum(bytes(peer.read).count(f"/{token} HTTP/1.1".encode()) for peer in self.peers)


def by_path(scripts: Mapping[str, Script]) -> Script:
    """Chooses the script by the first part of the request's path, which it looks at without reading."""

    def script(peer: Peer) -> None:
        name = re.split(r"[/?]", peer.peek_path().lstrip("/"))[0]
        if name in scripts:
            scripts[name](peer)

    return script


def close_on_accept(peer: Peer) -> None:
    peer.close()


def reset_on_accept(peer: Peer) -> None:
    peer.reset()


def close_after_request(peer: Peer) -> None:
    peer.request()
    peer.close()


def reset_after_request(peer: Peer) -> None:
    peer.request()
    peer.reset()


def hang_after_request(peer: Peer) -> None:
    peer.request()
    peer.hang()


def close_after_part(peer: Peer) -> None:
    peer.take(20)
    peer.close()


def reset_after_part(peer: Peer) -> None:
    peer.take(20)
    peer.reset()


def hang_after_part(peer: Peer) -> None:
    peer.take(20)
    peer.hang()


def never_read(peer: Peer) -> None:
    peer.hang()


def half_head(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-le")
    peer.close()


def half_body(peer: Peer) -> None:
    peer.request()
    peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"mess')
    peer.close()


def half_body_then_reset(peer: Peer) -> None:
    peer.request()
    peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"mess')
    peer.reset()


def half_chunk(peer: Peer) -> None:
    peer.request()
    peer.send(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\n{"mess')
    peer.close()


def stalled_body(peer: Peer) -> None:
    peer.request()
    peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"mess')
    peer.hang()


def garbage(peer: Peer) -> None:
    peer.request()
    peer.send(b"\x16\x03\x01 220 mail.example.com ESMTP\r\n\r\n")
    peer.close()


def switching_protocols(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
    peer.hang()


def endless_interim(peer: Peer) -> None:
    peer.request()
    while not peer._stopping.is_set():
        peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def endless_header(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while not peer._stopping.is_set():
        peer.send(b"x-filler: " + b"x" * 8000 + b"\r\n")


def dripping(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not peer._stopping.wait(0.05):
        peer.send(b"x")


def ok(peer: Peer) -> None:
    while peer.request():
        peer.send(OK)
