"""An HTTP/1.1 transport for httpx on asyncio and h11, which knows exactly whether a request was written.

Why our own: docs/design/0001-http-transport.md. It writes the request itself, so `Evidence.first_byte` is no guess; it
never sends a request a second time; and it never takes bytes for an answer that were not asked for.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, TypeAlias

import h11
import httpx

from sync.http.connection import Connection, is_public
from sync.http.exchange import Evidence, Phase
from sync.http.plain import Plain

EVIDENCE_EXTENSION: Final = "inbox_sync.evidence"
"""Key in `httpx.Request.extensions` under which a transport finds the `Evidence` to fill in."""

PUBLIC_ONLY_EXTENSION: Final = "inbox_sync.public_only"
"""Key in `httpx.Request.extensions`: True when the request may only go to an address of the public network."""

IDLE_SECONDS: Final = 4.0
"""How long a connection waits for its next request: less than the 5 s after which common servers (Node, uvicorn) close
idle connections, because a request that crosses such a close has no clear outcome."""
MAX_CONNECTIONS: Final = 256
"""Connections to one origin; as many as an inbox may have lanes."""
HAPPY_EYEBALLS_SECONDS: Final = 0.25
"""RFC 8305, section 5: delay between connection attempts to the addresses of one name."""
CLOSE_WAIT_SECONDS: Final = 1.0

_KEEP_ALIVE_TIMEOUT = re.compile(r"timeout\s*=\s*(\d{1,6})")

Origin: TypeAlias = tuple[str, str, int]


class PrivateAddress(httpx.ConnectError):
    """A name of the public network led to a private address; nothing was written there."""


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Certificates and host names are verified; SSL_CERT_FILE and SSL_CERT_DIR add an operator's own authorities. httpx
    would take them instead of the public ones, and the Inbox could not be reached any more. Raises OSError for a file
    that cannot be read."""
    context = httpx.create_ssl_context(trust_env=False)
    own_file, own_folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if own_file or own_folder:
        context.load_verify_locations(own_file or None, own_folder or None)
    return context


class _Body(httpx.AsyncByteStream):
    """The rest of an answer; hands the connection back when it was read to its end, and aborts it otherwise."""

    def __init__(
        self, connection: Connection, release: Callable[[Connection, bool], None], seconds: float | None
    ) -> None:
        self._connection = connection
        self._release = release
        self._seconds = seconds
        self._open = True
        self._whole = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            event = await self._connection.next_event(self._seconds)
        except TimeoutError as exc:
            raise httpx.ReadTimeout("the answer stalled") from exc
        except OSError as exc:
            raise httpx.ReadError("the connection broke within the answer") from exc
        except h11.RemoteProtocolError as exc:
            raise httpx.RemoteProtocolError("the answer broke off or is no HTTP") from exc
        if isinstance(event, h11.Data):
            return bytes(event.data)
        self._whole = isinstance(event, h11.EndOfMessage)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._release(self._connection, self._whole)


class _Pool:
    """The connections to one origin. The one used last is used next, so that surplus ones run out."""

    def __init__(self, origin: Origin, context: Callable[[], ssl.SSLContext], max_connections: int) -> None:
        self._origin = origin
        self._context = context
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()

    async def take(self, evidence: Evidence, pool_seconds: float | None, connect_seconds: float | None) -> Connection:
        if self._slots.locked():
            try:
                async with asyncio.timeout(pool_seconds):
                    await self._slots.acquire()
            except TimeoutError as exc:
                raise httpx.PoolTimeout("all connections are in use") from exc
        else:
            await self._slots.acquire()  # at once
        try:
            while self._idle:
                connection = self._idle.pop()
                if connection.idle_timer is not None:
                    connection.idle_timer.cancel()
                if connection.usable:
                    return connection
                self._drop(connection)
            evidence.phase = Phase.CONNECT
            return await self._connect(connect_seconds)
        except BaseException:
            self._slots.release()
            raise

    async def _connect(self, connect_seconds: float | None) -> Connection:
        scheme, host, port = self._origin
        context = self._context() if scheme == "https" else None
        try:
            async with asyncio.timeout(connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection,
                    host,
                    port,
                    ssl=context,
                    server_hostname=None if context is None else host,
                    ssl_handshake_timeout=connect_seconds + 1 if context is not None and connect_seconds else None,
                    # One address needs no race; and CPython leaves the winner's socket open when the race is cancelled.
                    happy_eyeballs_delay=None if _is_address(host) else HAPPY_EYEBALLS_SECONDS,
                )
        except TimeoutError as exc:
            raise httpx.ConnectTimeout("no connection in time") from exc
        except (OSError, UnicodeError, ssl.CertificateError) as exc:
            raise httpx.ConnectError("no connection") from exc
        self._all.add(connection)
        return connection

    def release(self, connection: Connection, whole: bool) -> None:  # noqa: FBT001  the one question of a release
        if whole and connection.finish():
            connection.idle_timer = asyncio.get_running_loop().call_later(
                connection.idle_seconds, self._expire, connection
            )
            self._idle.append(connection)
        else:
            self._drop(connection)
        self._slots.release()

    def _expire(self, connection: Connection) -> None:
        with suppress(ValueError):
            self._idle.remove(connection)
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.abort()
        self._all.discard(connection)

    async def aclose(self) -> None:
        connections = list(self._all)
        for connection in connections:
            if connection.idle_timer is not None:
                connection.idle_timer.cancel()
            self._drop(connection)
        self._idle.clear()
        if connections:
            await asyncio.wait([c.closed for c in connections], timeout=CLOSE_WAIT_SECONDS)


class WireTransport(httpx.AsyncBaseTransport):
    """Raises httpx's exceptions, as every transport does; what was written is told by the request's `Evidence`."""

    def __init__(
        self,
        *,
        ssl_context: Callable[[], ssl.SSLContext] = default_ssl_context,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._context = ssl_context
        self._max_connections = max_connections
        self._pools: dict[Origin, _Pool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange up to the answer's headers; the body follows by streaming. Never repeats a request."""
        evidence: Evidence = request.extensions.get(EVIDENCE_EXTENSION) or Evidence()
        timeout: dict[str, float | None] = request.extensions.get("timeout", {})
        url = request.url
        host = url.raw_host.decode("ascii")  # the IDNA form, as certificates name it
        origin = (url.scheme, host, url.port or (443 if url.scheme == "https" else 80))
        public_only = bool(request.extensions.get(PUBLIC_ONLY_EXTENSION))
        if public_only and _is_private_by_name(host):  # not even connected to; other names are looked at when they are
            raise PrivateAddress("a private address")
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = _Pool(origin, self._context, self._max_connections)
        connection = await pool.take(evidence, timeout.get("pool"), timeout.get("connect"))
        try:
            if public_only and not connection.peer_is_public:
                raise PrivateAddress("a private address")  # noqa: TRY301  the connection goes, as after every failure
            answer = await self._write_and_read(connection, request, evidence, timeout)
        except BaseException:
            pool.release(connection, whole=False)
            raise
        if isinstance(answer, Plain):
            connection.idle_seconds = _idle_seconds(answer.headers)
            pool.release(connection, whole=True)
            return httpx.Response(answer.status, headers=answer.headers, stream=httpx.ByteStream(answer.body))
        connection.idle_seconds = _idle_seconds(answer.headers)
        return httpx.Response(
            answer.status_code,
            headers=answer.headers.raw_items(),
            stream=_Body(connection, pool.release, timeout.get("read")),
        )

    async def _write_and_read(
        self,
        connection: Connection,
        request: httpx.Request,
        evidence: Evidence,
        timeouts: dict[str, float | None],
    ) -> Plain | h11.Response:
        try:
            await connection.write(request, evidence, timeouts.get("write"))
        except TimeoutError as exc:
            raise httpx.WriteTimeout("the server stopped reading") from exc
        except h11.LocalProtocolError:
            raise httpx.LocalProtocolError("the request is no valid HTTP") from None  # h11's text quotes header values
        evidence.phase = Phase.ANSWER
        try:
            return await connection.answer(timeouts.get("read"))
        except TimeoutError as exc:
            raise httpx.ReadTimeout("no answer in time") from exc
        except OSError as exc:
            raise httpx.ReadError("the connection broke before the answer") from exc
        except h11.RemoteProtocolError as exc:
            raise httpx.RemoteProtocolError("the answer is no HTTP") from exc

    async def aclose(self) -> None:
        """Closes all connections; exchanges on their way fail."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_private_by_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or (_is_address(host) and not is_public(host))


def _idle_seconds(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """How long the connection may idle: our bound, or one second less than the server's `Keep-Alive: timeout=N`."""
    for name, value in headers:
        if name == b"keep-alive":
            match = _KEEP_ALIVE_TIMEOUT.search(value.decode("latin-1"))
            if match:
                return min(IDLE_SECONDS, max(0.0, float(match[1]) - 1.0))
    return IDLE_SECONDS
