"""The HTTP side: a lean ASGI application for the API, and connections that can be cut like real ones."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sync.sandbox.emulator import Emulator, Reply, Visit
from sync.sandbox.errors import Refusal, SandboxError
from sync.sandbox.faults import Fault
from sync.sandbox.requests import MAX_BODY_BYTES, MAX_UPLOAD_BYTES, PREFIXES, Request
from sync.sandbox.values import dump_json

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

AsgiMessage: TypeAlias = MutableMapping[str, object]
Scope: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]
Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_CONNECTION = "sandbox.connection"
_RESET = struct.pack("ii", 1, 0)
_SHUTDOWN_SECONDS = 5.0
_TICK_SECONDS = 1.0
_GARBAGE = b"<html><body>It works!</body></html>"


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted connection."""

    number: int
    transport: asyncio.Transport
    requests: int = 0

    def close(self) -> None:
        """Send what was written, then end the connection in good order (FIN)."""
        self.transport.close()

    def reset(self) -> None:
        """Tear the connection down (RST)."""
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


class _Cut(Exception):
    """The connection was cut on purpose: there is nothing more to answer."""


class Api:
    """The ASGI application: API calls go to the emulator, everything else to `pages`."""

    def __init__(self, emulator: Emulator, pages: AsgiApp) -> None:
        self._emulator = emulator
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not str(scope["path"]).startswith(PREFIXES):
            await self._pages(scope, receive, send)
            return
        connection = cast("Connection", scope[_CONNECTION])
        with contextlib.suppress(_Cut):
            await self._serve(_request(scope, connection), connection, receive, send)

    async def _serve(self, request: Request, connection: Connection, receive: Receive, send: Send) -> None:
        if fault := self._emulator.meet_head(request):
            await _cut(connection, receive, reset=fault.action == "early_reset")
        try:
            request.body = await _read_body(request, receive)
        except Refusal as problem:
            visit = self._emulator.admit(request)
            visit.refusal, visit.fault, visit.modifiers = problem, None, []
        else:
            visit = self._emulator.admit(request)
        try:
            await self._act(visit, connection, receive, send)
        except (_Cut, asyncio.CancelledError):
            if visit.entry.finished is None:
                self._emulator.finish(visit, None)
            raise

    async def _act(self, visit: Visit, connection: Connection, receive: Receive, send: Send) -> None:
        for modifier in visit.modifiers:
            if modifier.action == "delay_before":
                await _hold(modifier.seconds, receive)
        if visit.fault is None:
            reply = self._emulator.perform(visit)
        else:
            reply = await self._fail(visit, visit.fault, connection, receive)
        for modifier in visit.modifiers:
            if modifier.action == "delay":
                await _hold(modifier.seconds, receive)
        self._emulator.finish(visit, reply.status)
        await _answer(reply, visit, send)
        if visit.fault and visit.fault.action == "close_after":
            connection.close()

    async def _fail(self, visit: Visit, fault: Fault, connection: Connection, receive: Receive) -> Reply:
        """The answer to a request that meets a fault, unless there is none: then the connection is cut."""
        match fault.action:
            case "close_after":
                return self._emulator.perform(visit)
            case "status" | "garbage":
                if fault.stored:
                    self._emulator.perform(visit)
                visit.entry.code = fault.code or ""
                return _refused(fault) if fault.action == "status" else Reply(200, _GARBAGE)
            case "late_commit":
                self._emulator.perform_later(visit, fault.seconds)
                if fault.status is not None:
                    return _refused(fault)
                if fault.hang_seconds:
                    await _hold(fault.hang_seconds, receive)
            case "truncate":
                reply = self._emulator.perform(visit)
                connection.transport.write(_broken(reply, fault.part))
            case "drop_after_store" | "reset_after_store" | "hang_after_store":
                self._emulator.perform(visit)
        if fault.action.startswith("hang"):
            await _hold(fault.seconds, receive)
        return await _cut(connection, receive, reset=fault.action.startswith("reset"))


def _refused(fault: Fault) -> Reply:
    problem = Refusal(fault.status or 500, fault.code or "", "a fault on order", retry_after=fault.retry_after)
    body = Reply(problem.status, retry_after=fault.retry_after)
    if (content := problem.body()) is not None:
        body.body = dump_json(content)
    return body


def _request(scope: Scope, connection: Connection) -> Request:
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in cast("list[tuple[bytes, bytes]]", scope["headers"])
    }
    connection.requests += 1
    return Request(
        method=str(scope["method"]),
        path=str(scope["path"]),
        query=cast("bytes", scope["query_string"]).decode("latin-1"),
        headers=headers,
        base_url=f"http://{headers.get('host', '127.0.0.1')}",
        connection=connection.number,
        reused_connection=connection.requests > 1,
    )


async def _read_body(request: Request, receive: Receive) -> bytes:
    limit = MAX_UPLOAD_BYTES if request.path.startswith("/_media/") else MAX_BODY_BYTES
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _Cut
        chunk = cast("bytes", event.get("body", b""))
        size += len(chunk)
        if size > limit:
            raise Refusal(413, description=f"the body is larger than {limit} bytes")
        chunks.append(chunk)
        if not event.get("more_body"):
            return b"".join(chunks)


async def _answer(reply: Reply, visit: Visit, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-wix-request-id", visit.entry.request_id.encode()),
    ]
    if reply.retry_after is not None:
        headers.append((b"retry-after", reply.retry_after.encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _broken(reply: Reply, part: str) -> bytes:
    head = f"HTTP/1.1 {reply.status} OK\r\ncontent-type: application/json\r\n".encode()
    if part == "headers":
        return head
    return head + f"content-length: {len(reply.body)}\r\n\r\n".encode() + reply.body[: len(reply.body) // 2]


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hold(seconds: float, receive: Receive) -> None:
    """Wait; a client that goes away in the meantime ends the request."""
    try:
        async with asyncio.timeout(seconds):
            await _gone(receive)
    except TimeoutError:
        return
    raise _Cut


async def _cut(connection: Connection, receive: Receive, *, reset: bool = False) -> NoReturn:
    """End the connection and with it the request."""
    if reset:
        connection.reset()
    else:
        connection.close()
    await _gone(receive)
    raise _Cut


class Listener(uvicorn.Server):
    """uvicorn without its signal handlers, which leaves no connection behind when it stops."""

    def __init__(self, emulator: Emulator, app: AsgiApp) -> None:
        self._connections: set[Connection] = set()
        super().__init__(
            uvicorn.Config(
                cast("ASGI3Application", app),
                http=_protocol(emulator, self._connections),
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
            )
        )
        self.listening = threading.Event()
        self._ended = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Renew the Date header each second until `end`."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection at once: nothing here is worth waiting for."""
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        for connection in list(self._connections):
            connection.transport.abort()
        if tasks := set(self.server_state.tasks):
            _, hanging = await asyncio.wait(tasks, timeout=_SHUTDOWN_SECONDS)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        for server in self.servers:
            await server.wait_closed()

    def end(self) -> None:
        """Stop. To be called in the server's loop."""
        self.should_exit = True
        self._ended.set()


def _protocol(emulator: Emulator, connections: set[Connection]) -> type[asyncio.Protocol]:
    """uvicorn's protocol, with the connection put into the scope and faults at accept."""
    numbers = itertools.count(1)

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            inner = cast("AsgiApp", self.app)
            self.connection = Connection(next(numbers), transport)
            connections.add(self.connection)

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                scope[_CONNECTION] = self.connection
                await inner(scope, receive, send)

            self.app = cast("ASGI3Application", app)
            fault = emulator.meet_connection(self.connection.number)
            if fault is not None and fault.action == "accept_reset":
                self.connection.reset()
            elif fault is not None:
                self.connection.close()

        def connection_lost(self, exc: Exception | None) -> None:
            connections.discard(self.connection)
            super().connection_lost(exc)

    return Protocol


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Connections wait in its queue until the server runs.

    Raises `SandboxError` for an address other than loopback: the sandbox knows no users.
    """
    if not (host == "localhost" or ipaddress.ip_address(host).is_loopback):
        raise SandboxError(f"the sandbox has no access control and listens on loopback only, not on {host}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named so that asyncio switches off Nagle's algorithm, which costs 40 ms a request.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
