"""A stand-in for the core: polls a connector as the daemon does, and keeps what the ledger would keep."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sync.connector import Connector, Fetches, Http, HttpAnswer, HttpStream, Lists, PassContext, Stream, TokenStore
from sync.http import HttpClient
from sync.message import Batch, Content, Found, Gone, Json, Listed, Message

SIZE_LIMIT_BYTES = 25_000_000
PASS_SECONDS = 120.0


@dataclass(slots=True)
class LogKeeper:
    """A logger that remembers every event with its fields."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def debug(self, event: str, **fields: object) -> None:
        """Keeps it."""
        self.events.append((event, fields))

    info = debug
    warning = debug

    def names(self) -> list[str]:
        """The events without their fields."""
        return [event for event, _fields in self.events]


class OneCallHttp:
    """The HTTP client of the daemon, closed after each request: a test leaves no connection behind."""

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
    ) -> HttpAnswer:
        """`sync.connector.Http`."""
        client = HttpClient()
        try:
            return await client.request(
                method, url, params=params, headers=headers, json=json, content=content, max_bytes=max_bytes
            )
        finally:
            await client.aclose()

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        public_only: bool = False,
        silence_seconds: float | None = None,
    ) -> AsyncIterator[HttpStream]:
        """`sync.connector.Http`."""
        client = HttpClient()
        try:
            async with client.stream(
                url, params=params, headers=headers, public_only=public_only, silence_seconds=silence_seconds
            ) as answer:
                yield answer
        finally:
            await client.aclose()


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as the core would have it: where it was found, and its content."""

    stream: Stream
    epoch: str
    found: Found
    content: Content | None

    @property
    def text(self) -> str:
        """The message's text; empty where there is none."""
        return self.content.text if isinstance(self.content, Message) else ""


def make_context(
    *,
    log: LogKeeper | None = None,
    since: datetime | None = None,
    now: datetime | None = None,
    size_limit_bytes: int = SIZE_LIMIT_BYTES,
    http: Http | None = None,
) -> PassContext:
    """A pass's context for calling a connector by hand; `now` stands still if it is given."""
    return PassContext(
        log=log or LogKeeper(),
        now=(lambda: now) if now is not None else (lambda: datetime.now(UTC)),
        deadline_at=(now or datetime.now(UTC)) + timedelta(seconds=PASS_SECONDS),
        size_limit_bytes=size_limit_bytes,
        since=since,
        http=http or OneCallHttp(),
    )


@dataclass(slots=True)
class Reader:
    """Runs passes over a connector. Cursors go through JSON text, ids it has seen are known, content is fetched where
    the connector wants it so. `batches` keeps everything the connector said, `edited` what came in another version."""

    connector: Connector
    since: datetime | None = None
    now: datetime | None = None
    size_limit_bytes: int = SIZE_LIMIT_BYTES
    http: Http | None = None
    tokens: TokenStore | None = None
    log: LogKeeper = field(default_factory=LogKeeper)
    cursors: dict[str, str] = field(default_factory=dict)
    seen: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    batches: list[tuple[Stream, Batch]] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    epochs: dict[str, str] = field(default_factory=dict)
    versions: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    edited: list[Arrived] = field(default_factory=list)

    def context(self, stream: Stream | None = None) -> PassContext:
        """The context for one stream of a pass."""

        async def known(epoch: str, ids: Sequence[str]) -> frozenset[str]:
            return frozenset(self.seen.get((stream.key if stream else "", epoch), set()).intersection(ids))

        async def versions(epoch: str, ids: Sequence[str]) -> Mapping[str, str]:
            held = self.versions.get((stream.key if stream else "", epoch), {})
            return {name: held[name] for name in ids if name in held}

        made = make_context(
            log=self.log, since=self.since, now=self.now, size_limit_bytes=self.size_limit_bytes, http=self.http
        )
        return PassContext(
            log=made.log,
            now=made.now,
            deadline_at=made.deadline_at,
            size_limit_bytes=made.size_limit_bytes,
            since=made.since,
            known=known,
            http=made.http,
            epoch=self.epochs.get(stream.key) if stream else None,
            tokens=self.tokens,
            versions=versions,
        )

    async def run_pass(self) -> list[Arrived]:
        """Polls every stream to its end. What it returns was not seen before."""
        arrived: list[Arrived] = []
        for stream in await self.connector.streams(self.context()):
            arrived += await self.poll(stream)
        return arrived

    async def poll(self, stream: Stream, *, most_batches: int | None = None) -> list[Arrived]:
        """Polls one stream, or only the first batches of it, as if the daemon had died after them."""
        arrived: list[Arrived] = []
        count = 0
        polling = self.connector.poll(stream, self.cursor(stream), self.context(stream))
        async for batch in polling:
            arrived += await self.take(stream, batch)
            count += 1
            if count == most_batches:
                break
        close = getattr(polling, "aclose", None)
        if close is not None:
            await close()
        return arrived

    async def list_everything(self, since: datetime | None = None) -> list[tuple[Stream, Listed]]:
        """Every piece that the connector lists, of all its streams; none where it cannot list."""
        pieces: list[tuple[Stream, Listed]] = []
        if isinstance(self.connector, Lists):
            for stream in await self.connector.streams(self.context()):
                pieces += [(stream, piece) async for piece in self.connector.list(stream, since, self.context(stream))]
        return pieces

    def cursor(self, stream: Stream) -> Json:
        """The stream's cursor as it comes back from the database."""
        text = self.cursors.get(stream.key)
        cursor: Json = json.loads(text) if text is not None else None
        return cursor

    async def take(self, stream: Stream, batch: Batch) -> list[Arrived]:
        """Records a batch and loads what came without content."""
        self.batches.append((stream, batch))
        self.cursors[stream.key] = json.dumps(batch.cursor)
        self.epochs[stream.key] = batch.epoch
        seen = self.seen.setdefault((stream.key, batch.epoch), set())
        held = self.versions.setdefault((stream.key, batch.epoch), {})
        new = [found for found in batch.found if found.external_id not in seen]
        edits = [
            found
            for found in batch.found
            if found.external_id in seen and held.get(found.external_id, found.version) != found.version
        ]
        seen.update(found.external_id for found in new)
        held.update({found.external_id: found.version for found in batch.found if found.version})
        wanted = [found.external_id for found in [*new, *edits] if found.content is None]
        contents: dict[str, Content] = {}
        if wanted and isinstance(self.connector, Fetches):
            self.fetched += wanted
            contents = dict(await self.connector.fetch(stream, batch.epoch, wanted, self.context(stream)))
        came = {
            found.external_id: Arrived(stream, batch.epoch, found, found.content or contents.get(found.external_id))
            for found in [*new, *edits]
            if not isinstance(contents.get(found.external_id), Gone)
        }
        self.edited += [came[found.external_id] for found in edits if found.external_id in came]
        return [came[found.external_id] for found in new if found.external_id in came]
