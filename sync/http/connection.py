"""One HTTP/1.1 connection on asyncio: writes a request, reports the first byte, reads the answer.

Answers that are not plain (`sync.http.plain`) go through h11, which is then told of the request after the fact.
"""

from __future__ import annotations

import asyncio
import functools
import re
import select
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeAlias, cast

import h11
import httpx

from sync.http.exchange import KIB, Evidence
from sync.http.plain import HEAD_MAX_BYTES, Plain, read_plain

WRITE_PIECE_BYTES: Final = 256 * KIB
MAX_INTERIM_ANSWERS: Final = 16
"""1xx answers before the real one."""
HEADS_KEPT: Final = 64
"""Heads of requests that differ in nothing but their length and credentials are made once."""

_Event: TypeAlias = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]
_Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
_CREDENTIALS: Final = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
"""Headers that are not kept beyond their exchange."""
_TARGET: Final = re.compile(rb"[!-~]+")
"""A request's target as h11 checks it (RFC 9112, section 3.2, has narrower ones)."""
_ANY_TARGET: Final = b"/"
_VALUE: Final = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
"""A header's value (RFC 9110, section 5.5)."""
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_ANSWERED_WITHOUT_BODY: Final = frozenset({"HEAD", "CONNECT"})
"""Whatever the answer's headers say (RFC 9112, section 6.3)."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request as it was (or is being) written; `length`: bytes of its body; `framed`: its head tells them."""

    method: str
    target: bytes
    headers: _Headers
    length: int
    framed: bool


_NOTHING_SENT: Final = _Sent("", b"", (), 0, framed=False)


def is_public(address: str) -> bool:
    """Whether it is an address of the public network; what is no address is not."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_global


class Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time. After any failure it is aborted and never used again."""

    _transport: asyncio.Transport  # set by `connection_made`, before anybody has the connection
    _poll: select.poll

    def __init__(self) -> None:
        self._h11: h11.Connection | None = None
        self._sent = _NOTHING_SENT
        self._written = 0
        self._whole = False
        self._received = b""
        self._ended = False
        self._lost = False
        self._error: Exception | None = None
        self._busy = False
        self._writable = True
        self._wakeup: asyncio.Future[None] | None = None
        self._arrived = False
        self.idle_seconds = 0.0
        self.idle_timer: asyncio.TimerHandle | None = None
        self.closed = asyncio.get_running_loop().create_future()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll = select.poll()
        self._poll.register(
            transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLHUP | select.POLLERR
        )

    def data_received(self, data: bytes) -> None:
        """Called by the event loop: a part of the answer, or bytes nobody asked for."""
        if not self._busy:
            self.abort()  # nobody asked: whatever this is, it answers no request of ours
            return
        self._arrived = True
        if self._h11 is not None:
            self._h11.receive_data(data)
        else:
            self._received = self._received + data if self._received else data
        if self._wakeup is None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Called by the event loop: the other end will send nothing more."""
        self._lost = True
        if self._busy:
            self._arrived = True
            self._end()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop: the connection is closed."""
        if not self._lost:
            self._lost, self._error = True, exc
            if exc is None and self._busy:
                self._end()
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        """Called by the event loop: too much waits to be written."""
        self._writable = False

    def resume_writing(self) -> None:
        """Called by the event loop: there is room to write again."""
        self._writable = True
        self._wake()

    def _end(self) -> None:
        self._ended = True
        if self._h11 is not None:
            self._h11.receive_data(b"")

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _wait(self, timeout_seconds: float | None = None) -> None:
        """Until something happens. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        waiter = self._wakeup = loop.create_future()
        timer = None if timeout_seconds is None else loop.call_later(timeout_seconds, _time_out, waiter)
        if not self._lost and not self._transport.is_closing():
            self._transport.resume_reading()
        try:
            await waiter
        finally:
            self._wakeup = None
            if timer is not None:
                timer.cancel()

    # What an exchange does

    @property
    def usable(self) -> bool:
        """Idle and alive as far as this end can know, without waiting. Anything readable on an idle connection is a
        close or an answer to nobody."""
        if self._lost or self._busy or self._transport.is_closing():
            return False
        return not self._poll.poll(0)

    @property
    def peer_is_public(self) -> bool:
        """Whether the other end has an address of the public network: not this machine, not one behind a router."""
        peer = self._transport.get_extra_info("peername")
        return bool(peer) and is_public(str(peer[0]))

    async def write(self, request: httpx.Request, evidence: Evidence, timeout_seconds: float | None) -> None:
        """Writes the request. Returns early when an answer or a close arrives first; reading tells which. Raises
        h11.LocalProtocolError before the first byte for what cannot be written."""
        if self._lost or self._transport.is_closing():
            raise httpx.ConnectError("closed before the request")
        announced = _announced(request)
        body = b"" if announced is not None else await request.aread()
        length = len(body) if announced is None else announced
        target, raw = request.url.raw_path, request.headers.raw
        headers = tuple(one for one in raw if one[0].lower() not in _FRAMING)
        framed = len(headers) < len(raw)
        head = _with_credentials(request.method, target, headers)
        if framed:
            head = b"%bcontent-length: %d\r\n\r\n" % (head[:-2], length)
        self._begin(_Sent(request.method, target, headers, length, framed))
        if announced is not None:
            await self._write_pieces(request, head, evidence, timeout_seconds)
            return
        for start in range(0, max(1, len(body)), WRITE_PIECE_BYTES):
            piece = body[start : start + WRITE_PIECE_BYTES]
            self._written += len(piece)
            if start == 0:
                evidence.first_byte()  # nothing may be awaited from here to the write
                piece = head + piece
            self._transport.write(piece)
            if not self._writable:
                await self._drain(timeout_seconds)
            if self._stopped:
                return
        self._whole = True

    async def _write_pieces(
        self, request: httpx.Request, head: bytes, evidence: Evidence, timeout_seconds: float | None
    ) -> None:
        """The same for a body that is made while it is written, and of which no more than a piece is held."""
        async for data in request.stream:  # type: ignore[union-attr]  # `_announced` looked
            for start in range(0, len(data), WRITE_PIECE_BYTES):
                piece = data[start : start + WRITE_PIECE_BYTES]
                if self._written + len(piece) > self._sent.length:
                    raise h11.LocalProtocolError("the body is longer than was announced")
                self._written += len(piece)
                if head:
                    evidence.first_byte()  # nothing may be awaited from here to the write
                self._transport.write(head + piece)
                head = b""
                if not self._writable:
                    await self._drain(timeout_seconds)
                if self._stopped:
                    return
        if head or self._written < self._sent.length:
            raise h11.LocalProtocolError("the body is shorter than was announced")
        self._whole = True

    def _begin(self, sent: _Sent) -> None:
        self._busy = True
        self._sent, self._written, self._whole = sent, 0, False
        self._received, self._h11 = b"", None
        self._arrived = False

    async def _drain(self, timeout_seconds: float | None) -> None:
        async with asyncio.timeout(timeout_seconds):
            while not (self._writable or self._stopped):
                await self._wait()

    @property
    def _stopped(self) -> bool:
        """Whether going on to write is pointless: the other end closed, or has begun to answer."""
        return self._lost or self._arrived

    async def answer(self, timeout_seconds: float | None) -> Plain | h11.Response:
        """The whole answer, or status and headers of one whose rest comes by `next_event`. Errors as there."""
        while not self._received and not self._lost:
            await self._wait(timeout_seconds)
        if self._whole and self._sent.method not in _ANSWERED_WITHOUT_BODY:
            plain = read_plain(self._received)
            if plain is not None:
                return plain
        return await self._answer_head(timeout_seconds)

    async def _answer_head(self, timeout_seconds: float | None) -> h11.Response:
        for _ in range(MAX_INTERIM_ANSWERS):
            event = await self.next_event(timeout_seconds)
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("closed without an answer")
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                break
        raise h11.RemoteProtocolError("neither an answer nor a step towards one")

    async def next_event(self, timeout_seconds: float | None) -> _Event:
        """The next part of the answer. Raises TimeoutError, ConnectionError, h11.RemoteProtocolError."""
        machine = self._machine()
        while True:
            with suppress(h11.RemoteProtocolError) if self._lost else nullcontext():
                event = machine.next_event()
                if event is not h11.NEED_DATA:
                    return event
            if self._lost:  # also what is wrong with a malformed answer then is that it ends too early
                raise self._error or ConnectionResetError("closed")
            await self._wait(timeout_seconds)

    def _machine(self) -> h11.Connection:
        """h11, as it would be if it had made the request."""
        if self._h11 is None:
            sent, self._h11 = self._sent, h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
            headers = [*sent.headers, (b"content-length", b"%d" % sent.length)] if sent.framed else [*sent.headers]
            self._h11.send(h11.Request(method=sent.method, target=sent.target, headers=headers))
            for start in range(0, self._written, WRITE_PIECE_BYTES):  # it counts them, and does not look
                self._h11.send(h11.Data(data=bytes(min(WRITE_PIECE_BYTES, self._written - start))))
            if self._whole:
                self._h11.send(h11.EndOfMessage())
            if self._received:
                self._h11.receive_data(self._received)
            if self._ended:
                self._h11.receive_data(b"")
        return self._h11

    def finish(self) -> bool:
        """After a whole answer: whether the connection can carry another request."""
        self._busy = False
        self._sent = _NOTHING_SENT
        if self._lost or not self._whole:
            return False
        if self._h11 is not None:
            both_done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
            if not both_done or self._h11.trailing_data[0]:
                return False
        self._h11 = None
        self._transport.resume_reading()
        return True

    def abort(self) -> None:
        """Closes at once and drops what was not written yet."""
        self._lost = True
        self._transport.abort()
        self._wake()


def _announced(request: httpx.Request) -> int | None:
    """The length of a body that comes in pieces; None for one that is at hand."""
    if isinstance(request.stream, httpx.SyncByteStream) or not isinstance(request.stream, httpx.AsyncByteStream):
        return None
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None


def _time_out(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _with_credentials(method: str, target: bytes, headers: _Headers) -> bytes:
    """Request line and headers. What is kept for the next request has no credentials, which come last, and no target: each
    file is put somewhere else."""
    secret = [one for one in headers if one[0].lower() in _CREDENTIALS]
    if secret:
        headers = tuple(one for one in headers if one[0].lower() not in _CREDENTIALS)
        if not all(_VALUE.fullmatch(value) for _, value in secret):
            raise h11.LocalProtocolError("illegal header value")  # without the value
    if not _TARGET.fullmatch(target):
        raise h11.LocalProtocolError("illegal target")
    rest = _head(method, headers)
    head = b"%b %b%b" % (method.encode("ascii"), target, rest)
    return head[:-2] + b"".join(b"%b: %b\r\n" % one for one in secret) + b"\r\n" if secret else head


@functools.lru_cache(maxsize=HEADS_KEPT)
def _head(method: str, headers: _Headers) -> bytes:
    """What follows the target in the request line, and the headers, checked by h11."""
    request = h11.Request(method=method, target=_ANY_TARGET, headers=list(headers))
    head = h11.Connection(h11.CLIENT).send(request) or b""
    return head[len(method) + 1 + len(_ANY_TARGET) :]
