"""The transports that the fidelity suite judges. A candidate is named here, judged, and dropped or taken."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from sync.http import EVIDENCE_EXTENSION, Evidence, Phase, WireTransport

CONNECTIONS_PER_SHARD: Final = 8


class ShardedHttpcore(httpx.AsyncBaseTransport):
    """httpx's own transport, its trace events as evidence, in shards small enough for its quadratic pool."""

    def __init__(self, *, ssl_context: Callable[[], ssl.SSLContext], max_connections: int) -> None:
        limits = httpx.Limits(max_connections=min(max_connections, CONNECTIONS_PER_SHARD), keepalive_expiry=4.0)
        shards = max(1, max_connections // CONNECTIONS_PER_SHARD)
        context = ssl_context()
        self._shards = [httpx.AsyncHTTPTransport(verify=context, limits=limits, trust_env=False) for _ in range(shards)]
        self._load = [0] * shards

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        evidence: Evidence = request.extensions[EVIDENCE_EXTENSION]

        async def trace(event: str, _info: Mapping[str, object]) -> None:
            if event == "connection.connect_tcp.started":
                evidence.phase = Phase.CONNECT
            elif event == "http11.send_request_headers.started":
                evidence.first_byte()
            elif event == "http11.receive_response_headers.started":
                evidence.phase = Phase.ANSWER

        request.extensions["trace"] = trace
        shard = self._load.index(min(self._load))
        self._load[shard] += 1
        try:
            return await self._shards[shard].handle_async_request(request)
        finally:
            self._load[shard] -= 1

    async def aclose(self) -> None:
        for shard in self._shards:
            await shard.aclose()


@dataclass(frozen=True)
class Candidate:
    name: str
    make: Callable[[Callable[[], ssl.SSLContext], int], httpx.AsyncBaseTransport]


WIRE = Candidate("wire", lambda context, n: WireTransport(ssl_context=context, max_connections=n))
HTTPCORE = Candidate("httpcore", lambda context, n: ShardedHttpcore(ssl_context=context, max_connections=n))

CANDIDATES = (WIRE, HTTPCORE) if os.environ.get("INBOX_SYNC_JUDGE") == "all" else (WIRE,)
"""The transport in use. With INBOX_SYNC_JUDGE=all also those that were judged and not taken."""
