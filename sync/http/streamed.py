"""An answer whose body is read piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import httpx

from sync.errors import TemporaryError


class Streamed:
    """Status, headers (names in lower case) and the body while it comes. It is also the `HttpStream` of connectors."""

    def __init__(self, response: httpx.Response, failure: Callable[[BaseException], TemporaryError]) -> None:
        self._response = response
        self._failure = failure

    @property
    def status_code(self) -> int:
        """The status."""
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._response.headers

    async def pieces(self, piece_bytes: int = 1024 * 1024) -> AsyncIterator[bytes]:
        """The body, once, in pieces of this size; the last one may be smaller. Raises TemporaryError."""
        held = bytearray()
        async for chunk in self._chunks():
            held += chunk
            while len(held) >= piece_bytes:
                yield bytes(held[:piece_bytes])
                del held[:piece_bytes]
        if held:
            yield bytes(held)

    async def _chunks(self) -> AsyncIterator[bytes]:
        stream = self._response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            yield self._response.content
            return
        try:
            async for chunk in stream:
                yield chunk
        except (httpx.TransportError, OSError) as error:
            raise self._failure(error) from error
