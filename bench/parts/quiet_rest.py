"""A connector for benchmarks: asks a REST service for what is new, with a conditional GET. Nothing ever is.

Loaded by `bench/many_sources.py` only, by way of an entry point in a folder on PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from pydantic import Field

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Stream
from sync.errors import TemporaryError
from sync.message import Batch, Json

ENTRY_POINT = "quiet_rest = bench.parts.quiet_rest:QuietRest"


class QuietRestConfig(ConnectorConfig):
    """Where to ask."""

    url: str = Field(description="What is asked for news.")


class QuietRest:
    """One stream of a service that answers 304 to `If-None-Match`."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(name="quiet_rest", summary="For benchmarks: nothing is ever new")
    Config: ClassVar[type[ConnectorConfig]] = QuietRestConfig

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, QuietRestConfig):
            raise TypeError("QuietRest takes a QuietRestConfig")
        self._url = config.url

    @property
    def account(self) -> str:
        return self._url

    async def check(self, _ctx: PassContext) -> Sequence[Finding]:
        return ()

    async def streams(self, _ctx: PassContext) -> Sequence[Stream]:
        return (Stream("all"),)

    async def poll(self, _stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        looked_at = ctx.now()
        if ctx.http is None:
            raise TemporaryError("there is no HTTP client", code="quiet_rest.http")
        etag = cursor if isinstance(cursor, str) else ""
        answer = await ctx.http.request("GET", self._url, headers={"if-none-match": etag} if etag else {})
        if answer.status_code not in (200, 304):
            raise TemporaryError(f"it answered {answer.status_code}", code="quiet_rest.answer")
        yield Batch((), cursor=answer.headers.get("etag", etag), complete_until=looked_at)

    async def aclose(self) -> None:
        """Holds nothing."""
