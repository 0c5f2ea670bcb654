"""A TCP proxy that breaks connections on purpose, between a client and a real server.

with FaultProxy(("127.0.0.1", server.imap_port)) as proxy:
    proxy.fault(Fault(cut_down_bytes=4096, how="rst"))
"""

from __future__ import annotations

import contextlib
import operator
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Literal, Self

_CHUNK_BYTES = 65_536
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Fault:
    """What goes wrong. Byte counts are per connection, from when it was opened.

    `refuse`: new connections are reset. `silent`: they are accepted, and nothing more. `cut_down_bytes`,
    `cut_up_bytes`: so many bytes from (to) the server pass, then the connection ends by `how` (`hang`: it stays open
    and nothing passes). `piece_bytes`: data comes in pieces of this size. `latency_seconds`: before each piece.
    `change`: a function over what the server sends.
    """

    refuse: bool = False
    silent: bool = False
    cut_down_bytes: int | None = None
    cut_up_bytes: int | None = None
    how: Literal["rst", "fin", "hang"] = "rst"
    piece_bytes: int | None = None
    latency_seconds: float = 0.0
    change: Callable[[bytes], bytes] | None = None


NO_FAULT = Fault()


class FaultProxy:
    """Listens on a free loopback port. `connections`, `up_bytes` and `down_bytes` count over its whole life."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._fault = NO_FAULT
        self._changed = threading.Condition()
        self._live: set[socket.socket] = set()
        self._stopped = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.up_bytes = 0
        self.down_bytes = 0
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def fault(self, fault: Fault = NO_FAULT) -> None:
        """From now on, also on open connections. Without argument: all is well again."""
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def open_connections(self) -> int:
        """How many clients are connected now."""
        with self._changed:
            return len(self._live)

    def break_all(self, how: Literal["rst", "fin"] = "rst") -> None:
        """Ends every open connection."""
        with self._changed:
            live = list(self._live)
        for sock in live:
            _end(sock, how)

    def stop(self) -> None:
        """Ends everything."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._listener.close()
        self.break_all("fin")

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._fault.refuse:
                _end(client, "rst")
                client.close()
            else:
                threading.Thread(target=self._serve, args=(client,), daemon=True, name="proxy-serve").start()

    def _serve(self, client: socket.socket) -> None:
        with self._changed:
            self._live.add(client)
        try:
            self._wait_while(lambda fault: fault.silent)
            with contextlib.suppress(OSError), socket.create_connection(self._target, timeout=10) as server:
                server.settimeout(None)
                up = threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True, name="proxy-up")
                up.start()
                self._pump(server, client, "down")
                up.join()
        finally:
            with self._changed:
                self._live.discard(client)
            client.close()

    def _wait_while(self, holds: Callable[[Fault], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not holds(self._fault))

    def _pump(self, source: socket.socket, sink: socket.socket, way: Literal["up", "down"]) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                fault = self._fault
                limit = fault.cut_down_bytes if way == "down" else fault.cut_up_bytes
                if way == "down" and fault.change:
                    data = fault.change(data)
                cut = limit is not None and passed + len(data) >= limit
                if limit is not None and cut:
                    data = data[: max(0, limit - passed)]
                self._forward(sink, data, fault)
                passed += len(data)
                if way == "down":
                    self.down_bytes += len(data)
                else:
                    self.up_bytes += len(data)
                if cut:
                    if fault.how == "hang":
                        self._wait_while(partial(operator.is_, fault))
                    for sock in (source, sink):
                        _end(sock, "fin" if fault.how == "fin" else "rst")
                    return
        for sock in (source, sink):
            _end(sock, "fin")

    def _forward(self, sink: socket.socket, data: bytes, fault: Fault) -> None:
        step = fault.piece_bytes or len(data) or 1
        for start in range(0, len(data), step):
            if fault.latency_seconds:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, timeout=fault.latency_seconds)
            sink.sendall(data[start : start + step])


def _end(sock: socket.socket, how: Literal["rst", "fin"]) -> None:
    with contextlib.suppress(OSError):
        if how == "rst":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
