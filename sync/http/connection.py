"""One HTTP/1.1 connection on asyncio and h11: writes a request, reports the first byte, reads the answer."""

from __future__ import annotations

import asyncio
import select
from contextlib import nullcontext, suppress
from typing import Final, TypeAlias, cast

import h11
import httpx

from sync.http.exchange import KIB, Evidence

WRITE_PIECE_BYTES: Final = 256 * KIB
HEAD_MAX_BYTES: Final = 64 * KIB
MAX_INTERIM_ANSWERS: Final = 16
"""1xx answers before the real one."""

_Event: TypeAlias = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time. After any failure it is aborted and never used again."""

    _transport: asyncio.Transport  # set by `connection_made`, before anybody has the connection

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._fd = -1
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
        self._fd = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop: a part of the answer, or bytes nobody asked for."""
        if not self._busy:
            self.abort()  # nobody asked: whatever this is, it answers no request of ours
            return
        self._arrived = True
        self._h11.receive_data(data)
        if self._wakeup is None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Called by the event loop: the other end will send nothing more."""
        self._lost = True
        if self._busy:
            self._arrived = True
            self._h11.receive_data(b"")
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop: the connection is closed."""
        if not self._lost:
            self._lost, self._error = True, exc
            if exc is None and self._busy:
                self._h11.receive_data(b"")
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

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _wait(self) -> None:
        self._wakeup = asyncio.get_running_loop().create_future()
        if not self._lost and not self._transport.is_closing():
            self._transport.resume_reading()
        try:
            await self._wakeup
        finally:
            self._wakeup = None

    # What an exchange does

    @property
    def usable(self) -> bool:
        """Idle and alive as far as this end can know, without waiting. Anything readable on an idle connection is a
        close or an answer to nobody."""
        if self._lost or self._busy or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    async def write(self, request: httpx.Request, evidence: Evidence, timeout_seconds: float | None) -> None:
        """Writes the request. Returns early when an answer or a close arrives first; reading tells which."""
        if self._lost or self._transport.is_closing():
            raise httpx.ConnectError("closed before the request")
        self._busy = True
        self._arrived = False
        head = self._h11.send(
            h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        )
        pending = head or b""
        first = True
        async for chunk in request.stream:  # type: ignore[union-attr]
            for start in range(0, len(chunk), WRITE_PIECE_BYTES):
                framed = self._h11.send(h11.Data(data=chunk[start : start + WRITE_PIECE_BYTES]))
                pending += framed or b""
                if first or len(pending) >= WRITE_PIECE_BYTES:
                    if not await self._put(pending, evidence if first else None, timeout_seconds):
                        return
                    pending, first = b"", False
        pending += self._h11.send(h11.EndOfMessage()) or b""
        if pending:
            await self._put(pending, evidence if first else None, timeout_seconds)

    async def _put(self, data: bytes, evidence: Evidence | None, timeout_seconds: float | None) -> bool:
        if evidence is not None:
            evidence.first_byte()  # nothing may be awaited from here to the write
        self._transport.write(data)
        await self._drain(timeout_seconds)
        return not self._stopped

    async def _drain(self, timeout_seconds: float | None) -> None:
        if self._blocked:
            async with asyncio.timeout(timeout_seconds):
                while self._blocked:
                    await self._wait()

    @property
    def _blocked(self) -> bool:
        return not (self._writable or self._stopped)

    @property
    def _stopped(self) -> bool:
        """Whether going on to write is pointless: the other end closed, or has begun to answer."""
        return self._lost or self._arrived

    async def next_event(self, timeout_seconds: float | None) -> _Event:
        """The next part of the answer. Raises TimeoutError, ConnectionError, h11.RemoteProtocolError."""
        while True:
            with suppress(h11.RemoteProtocolError) if self._lost else nullcontext():
                event = self._h11.next_event()
                if event is not h11.NEED_DATA:
                    return event
            if self._lost:  # also what is wrong with a malformed answer then is that it ends too early
                raise self._error or ConnectionResetError("closed")
            async with asyncio.timeout(timeout_seconds):
                await self._wait()

    async def answer_head(self, timeout_seconds: float | None) -> h11.Response:
        """Status and headers of the answer. Errors as `next_event`."""
        for _ in range(MAX_INTERIM_ANSWERS):
            event = await self.next_event(timeout_seconds)
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("closed without an answer")
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                break
        raise h11.RemoteProtocolError("neither an answer nor a step towards one")

    def finish(self) -> bool:
        """After a whole answer: whether the connection can carry another request."""
        self._busy = False
        both_done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        if not both_done or self._h11.trailing_data[0] or self._lost:
            return False
        self._h11.start_next_cycle()
        self._transport.resume_reading()
        return True

    def abort(self) -> None:
        """Closes at once and drops what was not written yet."""
        self._lost = True
        self._transport.abort()
        self._wake()
