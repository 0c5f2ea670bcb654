"""The HTTP client of the whole program: bounded in time and size, no redirects, no proxies from the environment.

`exchange` tells what happened, with the evidence of what was written, and never repeats a request. `request` is the
same for connectors (`sync.connector.Http`), with failures as TemporaryError.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json as jsonlib
import logging
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

import h11
import httpx

from sync import __version__
from sync.errors import Scope, TemporaryError
from sync.http.exchange import Answered, Evidence, Exchange, Failed, HttpLimits, Phase, Why, WritingForbidden
from sync.http.streamed import Streamed
from sync.http.wire import EVIDENCE_EXTENSION, MAX_CONNECTIONS, PUBLIC_ONLY_EXTENSION, PrivateAddress, WireTransport
from sync.message import Json

_SENTENCES: Final = {
    Why.TIMEOUT: "{host} did not answer in time ({phase})",
    Why.REFUSED: "{host} refused the connection: nothing listens there",
    Why.NAME: "the name {host} cannot be resolved",
    Why.UNREACHABLE: "{host} cannot be reached",
    Why.CERTIFICATE: "the certificate of {host} is not valid for it or not trusted",
    Why.TLS: "{host} does not speak TLS as expected",
    Why.CLOSED: "{host} closed the connection ({phase})",
    Why.GARBAGE: "{host} answered with something that is not HTTP",
    Why.TOO_LARGE: "the answer of {host} is larger than allowed",
    Why.FORBIDDEN: "the request was given up before its first byte",
    Why.MALFORMED: "the request could not be made: its address or a header is not valid",
    Why.PRIVATE: "{host} is an address of a private network, to which nothing outside may lead",
}
_PHASES: Final = {
    Phase.POOL: "waiting for a free connection",
    Phase.CONNECT: "connecting",
    Phase.WRITE: "writing the request",
    Phase.ANSWER: "waiting for the answer",
}


_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose requests say the length of their body also when there is none (RFC 9110, section 8.6)."""
URLS_KEPT: Final = 64
"""Addresses understood once; most requests go to a few."""


def quiet_loggers() -> None:
    """httpx and httpcore log whole addresses, with user names and keys in them, at INFO."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class HttpClient:
    """One per process is enough: connections are pooled per origin, at most `connections` to each. `limits` gives every
    bound by itself instead of the two time-outs. `transport` is for the fidelity suite; it must report to `Evidence`."""

    def __init__(
        self,
        *,
        connect_timeout_seconds: float = 10.0,
        answer_timeout_seconds: float = 30.0,
        connections: int = MAX_CONNECTIONS,
        limits: HttpLimits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        user_agent: str = f"inbox-sync/{__version__}",
    ) -> None:
        quiet_loggers()
        self._limits = limits or HttpLimits.of(connect_timeout_seconds, answer_timeout_seconds)
        self._transport = transport or WireTransport(max_connections=connections)
        self._headers = {"user-agent": user_agent, "accept": "application/json", "accept-encoding": "identity"}

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Json = None,
        content: bytes | AsyncIterable[bytes] | None = None,
        limits: HttpLimits | None = None,
        evidence: Evidence | None = None,
        may_write: Callable[[], bool] | None = None,
    ) -> Exchange:
        """One request, at most once on the wire. A `content` in pieces needs its Content-Length among the headers; what
        it raises comes out as it is. `may_write` is asked as the last step before the first byte; pass
        `evidence` instead to know what was written even when this call is cancelled. Raises nothing but
        CancelledError: then the connection has been closed."""
        if evidence is None:
            evidence = Evidence(may_write) if may_write else Evidence()
        limits = limits or self._limits
        host = ""
        try:
            request = self._build(method, url, params, headers, json, content, limits, evidence)
            host = _host(request.url)
        except (httpx.InvalidURL, ValueError, TypeError):
            return _failed(evidence, Why.MALFORMED, "the server")
        return await self._exchange(request, limits, evidence, host)

    async def _exchange(self, request: httpx.Request, limits: HttpLimits, evidence: Evidence, host: str) -> Exchange:
        status: int | None = None
        try:
            async with asyncio.timeout(limits.total_seconds):
                response = await self._transport.handle_async_request(request)
                status = response.status_code
                body = await _read(response, limits.answer_max_bytes)
        except WritingForbidden:
            return _failed(evidence, Why.FORBIDDEN, host)
        except (httpx.TransportError, OSError) as exc:  # OSError includes TimeoutError, of the total
            return _failed(evidence, _why(exc), host, status)
        if body is None:
            return _failed(evidence, Why.TOO_LARGE, host, status)
        return Answered(status, response.headers, body)

    def _build(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        json: Json,
        content: bytes | AsyncIterable[bytes] | None,
        limits: HttpLimits,
        evidence: Evidence,
    ) -> httpx.Request:
        target = _target_with(url, params) if params else _target(url)
        sent = self._headers | {name.lower(): value for name, value in (headers or {}).items()}
        if json is not None:
            content = jsonlib.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            sent.setdefault("content-type", "application/json")
        sent.setdefault("host", target.netloc.decode("ascii"))
        stream: httpx.ByteStream | _Pieces
        if content is None or isinstance(content, bytes):
            stream = httpx.ByteStream(content or b"")  # and nothing is worked out anew
            if content is not None or method in _WITH_BODY:
                sent["content-length"] = str(len(content or b""))
        else:
            stream = _Pieces(content)
        timeout = {
            "pool": limits.pool_seconds,
            "connect": limits.connect_seconds,
            "write": limits.write_seconds,
            "read": limits.answer_seconds,
        }
        request = httpx.Request(
            method,
            target,
            headers=sent,
            stream=stream,
            extensions={"timeout": timeout, EVIDENCE_EXTENSION: evidence},
        )
        if isinstance(stream, httpx.ByteStream):
            request.read()
        return request

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Json = None,
        content: bytes | None = None,
        max_bytes: int | None = None,
    ) -> Answered:
        """`sync.connector.Http`. Raises TemporaryError (scope source, code `http.<why>`) when no answer came."""
        limits = None if max_bytes is None else replace(self._limits, answer_max_bytes=max_bytes)
        result = await self.exchange(
            method, url, params=params, headers=headers, json=json, content=content, limits=limits
        )
        if isinstance(result, Answered):
            return result
        raise _temporary(result)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        public_only: bool = False,
        silence_seconds: float | None = None,
    ) -> AsyncIterator[Streamed]:
        """`sync.connector.Http`: a GET. What the connection holds goes with the block. Raises TemporaryError as
        `request` does."""
        evidence = Evidence()
        limits = self._limits if silence_seconds is None else replace(self._limits, answer_seconds=silence_seconds)
        try:
            request = self._build("GET", url, params, headers, None, None, limits, evidence)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise _temporary(_failed(evidence, Why.MALFORMED, "the server")) from None
        host = _host(request.url)
        request.extensions[PUBLIC_ONLY_EXTENSION] = public_only
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                response = await self._transport.handle_async_request(request)
        except (httpx.TransportError, OSError) as error:
            raise _temporary(_failed(evidence, _why(error), host)) from error
        try:
            yield Streamed(response, lambda error: _temporary(_failed(evidence, _why(error), host)))
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()


def _target_with(url: str, params: Mapping[str, str]) -> httpx.URL:
    """The address with parameters. Raises httpx.InvalidURL."""
    if "?" in url or "#" in url:
        return _target(url).copy_merge_params(params)
    return _understand(f"{url}?{urlencode(params)}")  # hardly one comes twice


@functools.lru_cache(maxsize=URLS_KEPT)
def _target(url: str) -> httpx.URL:
    """The address, understood. Raises httpx.InvalidURL."""
    return _understand(url)


def _understand(url: str) -> httpx.URL:
    target = httpx.URL(url)
    if target.scheme not in ("http", "https") or not target.host:
        raise httpx.InvalidURL("neither http nor https")
    return target


class _Pieces(httpx.AsyncByteStream):
    """A body that is made while it is written."""

    def __init__(self, content: AsyncIterable[bytes]) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._content:
            yield piece


async def _read(response: httpx.Response, max_bytes: int) -> bytes | None:
    """The body as it came, or None when it is larger than `max_bytes`. Closes the answer."""
    if isinstance(response.stream, httpx.ByteStream):  # it is there, and holds nothing
        body = b"".join(response.stream)
        return body if len(body) <= max_bytes else None
    try:
        if not isinstance(response.stream, httpx.AsyncByteStream):
            return response.content
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.stream:
            size += len(chunk)
            if size > max_bytes:
                return None
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        await response.aclose()


def _host(url: httpx.URL) -> str:
    return f"{url.host}:{url.port}" if url.port else url.host


_NEXT_STEP = "Nothing if it passes; else check the address, the network and the certificate."
_MEND_CERTIFICATE = (
    "Use the name that stands in the certificate; for an authority of your own let SSL_CERT_FILE name its PEM file where "
    "inbox-sync runs; an expired certificate has to be renewed on the server."
)


def _temporary(failed: Failed) -> TemporaryError:
    """A failure as connectors get it."""
    return TemporaryError(
        f"{failed.sentence[:1].upper()}{failed.sentence[1:]}.",
        code=f"http.{failed.why}",
        next_step=_MEND_CERTIFICATE if failed.why is Why.CERTIFICATE else _NEXT_STEP,
        scope=Scope.SOURCE,
    )


def _failed(evidence: Evidence, why: Why, host: str, status: int | None = None) -> Failed:
    sentence = _SENTENCES[why].format(host=host, phase=_PHASES[evidence.phase])
    return Failed(evidence.written, evidence.phase, why, sentence, status)


def _why(exc: BaseException) -> Why:
    """What to say about a failure; the innermost cause knows best."""
    chain = [exc]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    kinds: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Why], ...] = (
        (PrivateAddress, Why.PRIVATE),
        ((ssl.SSLCertVerificationError, ssl.CertificateError), Why.CERTIFICATE),
        ((socket.gaierror, UnicodeError), Why.NAME),
        (ssl.SSLError, Why.TLS),
        ((httpx.LocalProtocolError, h11.LocalProtocolError, httpx.UnsupportedProtocol), Why.MALFORMED),
        ((httpx.TimeoutException, TimeoutError), Why.TIMEOUT),
        ((httpx.RemoteProtocolError, h11.RemoteProtocolError), Why.GARBAGE),
        (ConnectionRefusedError, Why.REFUSED),
        ((ConnectionError, httpx.ReadError, httpx.WriteError), Why.CLOSED),
    )
    for kind, why in kinds:
        if any(isinstance(link, kind) for link in chain):
            return why
    return Why.UNREACHABLE
