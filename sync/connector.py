"""The connector contract: what a plugin implements, and the words to use for it.

Glossary. A *source* is one configured connector instance. A *stream* is a part of it with its own cursor (a mail
folder, a helpdesk's comment feed). A *cursor* is the connector's JSON bookmark: where to look next; what has been seen
is in the ledger, so a cursor may look back (a stream declares its `overlap_seconds`) and repeats are dropped. An *epoch*
names a numbering of ids (UIDVALIDITY). The *horizon* is the source's stored start: what arrived and was written before
it is never sent. A *pass* is one poll of one source.

A connector is a class with a pydantic `Config` and a few async methods. It never sleeps, retries, schedules, touches
SQL, or logs a secret: it raises `AuthError`, `TemporaryError`, `MessageError` or `ConfigError` and the core acts. It
may import `sync.connector`, `sync.message`, `sync.errors`, `sync.mail`, `sync.text` and `sync.kit`, and nothing else of
`sync`.

Life of a pass: `streams()` → for each stream `poll(stream, cursor, ctx)`, an async iterator of batches. After each
batch the core commits rows and cursor in one transaction, and may call `fetch` for what is new before it asks for the
next batch. A pass beyond its deadline is cancelled and `abort()` closes its sockets.

Besides, where a connector can `list` what a stream holds, the core compares it with the ledger (`audit`), looks once a
day for what the service showed late (the sweep), and brings in what came before the horizon (`backfill`). The last two
load what they find, and so need `fetch`, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from sync.message import Attachment, Batch, Content, Json, Listed

API_VERSION = 1
"""Raised when a connector written for an older contract would misbehave; the registry refuses other versions."""

LISTED_MAX = 1000
"""Messages in one piece of a listing at most, known ones and others together."""

PIECE_MAX_BYTES = 1024 * 1024
"""Bytes of a file in one piece at most."""


class StreamRole(StrEnum):
    """What a stream holds. In a `sent` stream an own address in From means business-to-participant; in a `received`
    stream it is skipped, because anyone can forge it. `both`: the service itself says who is an agent."""

    RECEIVED = "received"
    SENT = "sent"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Stream:
    """A part of a source with its own cursor. `key` is stable and unique in the source (a folder's name, UTF-8).
    `overlap_seconds`: how far polls look back because the service commits or indexes late."""

    key: str
    role: StreamRole = StreamRole.RECEIVED
    overlap_seconds: float = 0.0


class Severity(StrEnum):
    """How bad a finding is: `ok` and `note` do not fail `check`."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `inbox-sync check`: what was looked at, how it is, and what to do about it."""

    severity: Severity
    sentence: str
    next_step: str = ""
    code: str = ""


class Log(Protocol):
    """The logger a connector gets: event first, then ids. Nothing secret, no addresses or bodies above debug."""

    def debug(self, event: str, **fields: object) -> object: ...
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


class HttpAnswer(Protocol):
    """An HTTP response, read whole (bounded by the client's size limit)."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Json: ...


class HttpStream(Protocol):
    """An HTTP response whose body is read piece by piece, once."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def pieces(self, piece_bytes: int = PIECE_MAX_BYTES) -> AsyncIterator[bytes]: ...


class Http(Protocol):
    """The HTTP client a connector gets (bounded, with time-outs; it follows no redirect). Network failures come as
    TemporaryError. `max_bytes`: the most an answer may hold, where the usual bound does not fit.

    `stream` is for files and for what has no end: no more than a piece of the body is held (each of `piece_bytes` but the
    last one), and the time-out is for silence (`silence_seconds`, where the usual one does not fit), not for the whole.
    With `public_only` it asks no address of a private network, whatever the name resolves to (`http.private_address`)."""

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
    ) -> HttpAnswer: ...

    def stream(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        public_only: bool = False,
        silence_seconds: float | None = None,
    ) -> AbstractAsyncContextManager[HttpStream]: ...


class TokenStore(Protocol):
    """Where a source's tokens are kept: one JSON value, secret, in the ledger. `save` takes the version that `load`
    gave, and says False when somebody else has saved meanwhile."""

    async def load(self) -> tuple[Json, int]: ...
    async def save(self, value: Json, version: int) -> bool: ...


async def _nothing_known(_epoch: str, _ids: Sequence[str]) -> frozenset[str]:
    return frozenset()


async def _no_versions(_epoch: str, _ids: Sequence[str]) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class PassContext:
    """What a pass gives its connector.

    `since` is the horizon (UTC): messages whose arrival and date both lie before it may be left out and counted in
    `Batch.before_horizon`; None means everything. `known(epoch, ids)` returns those ids the ledger has already (their
    headers need not be asked again, their content must not be); `versions(epoch, ids)` the version in which it has them,
    where one was given. `deadline_at` is for bounding requests;
    `size_limit_bytes` the most one message's content may take: larger ones come as headers and a note. `epoch` is the
    numbering under which the ledger knows the stream (None: it was never polled), for what only a cursor could tell.
    `tokens` keeps what a sign-in brought (`sync.kit.oauth`). `is_listing`: nobody waits for this, passes come first.
    """

    log: Log
    now: Callable[[], datetime]
    deadline_at: datetime
    size_limit_bytes: int
    since: datetime | None = None
    known: Callable[[str, Sequence[str]], Awaitable[frozenset[str]]] = _nothing_known
    http: Http | None = None
    epoch: str | None = None
    tokens: TokenStore | None = None
    versions: Callable[[str, Sequence[str]], Awaitable[Mapping[str, str]]] = _no_versions
    is_listing: bool = False


class ConnectorConfig(BaseModel):
    """Base of a connector's settings: unknown keys are refused, values cannot change. Secrets are `SecretStr` fields;
    in the TOML file they are references (`{ credential = "…" }`), resolved before the connector sees them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class ConnectorInfo:
    """What `connector list` shows. `experimental`: never met a live account."""

    name: str
    summary: str
    api_version: int = API_VERSION
    experimental: bool = False
    permissions: tuple[str, ...] = field(default_factory=tuple)


class Connector(Protocol):
    """What every connector has. Constructed with its validated `Config`; no I/O before the first call."""

    info: ClassVar[ConnectorInfo]
    Config: ClassVar[type[ConnectorConfig]]

    def __init__(self, config: ConnectorConfig) -> None: ...

    @property
    def account(self) -> str:
        """Which account this is (`imap.example.com/support@example.com`), no secret. When it changes, the core treats
        every stream as renumbered: cursors start again, and fingerprints recognise what was delivered before."""
        ...

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        """Looks at everything the configuration names and says what an operator should mend. Raises nothing."""
        ...

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """The streams of this source, in a stable order."""
        ...

    def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        """What is new in `stream` since `cursor` (None: first sight). At least one batch, possibly empty; the last one
        says `complete_until`. A cursor this version cannot read is treated as None."""
        ...

    async def aclose(self) -> None:
        """Closes everything. May be called twice; the connector may be used again afterwards."""
        ...


@runtime_checkable
class Fetches(Protocol):
    """For services where looking is cheaper than loading, or that can give a single message again."""

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """The content of these ids. An id missing from the answer was not returned this time and is asked for again;
        after some tries it is `gone`. May be called between two batches of a poll of the same source."""
        ...


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in under way, for the person in front of `inbox-sync auth`: open `url`, type `code` there. `wants_answer`:
    the address at which the browser ends is to be pasted; else it is asked every `interval_seconds` whether it is done,
    until `expires_at`."""

    url: str
    code: str
    wants_answer: bool
    interval_seconds: float
    expires_at: datetime


@runtime_checkable
class SignsIn(Protocol):
    """For services where a person signs in once (OAuth). Raises ConfigError where the source is configured otherwise."""

    async def begin_sign_in(self, ctx: PassContext) -> SignIn | None:
        """Starts a sign-in. None: there is nobody to sign in, and it works without."""
        ...

    async def continue_sign_in(self, answer: str, ctx: PassContext) -> SignIn | None:
        """One try to finish it. None: signed in."""
        ...


@runtime_checkable
class Attaches(Protocol):
    """For services whose messages have files. Without it, files are named in the text and nothing more."""

    def open_attachment(
        self, stream: Stream, epoch: str, external_id: str, attachment: Attachment, ctx: PassContext
    ) -> AsyncIterator[bytes]:
        """The bytes of one file of a message, decoded, in pieces of at most `PIECE_MAX_BYTES`. `attachment` is as the
        message named it (`ref`). Called soon after its message was loaded, so that what is at hand need not be asked
        for twice; the reader may stop early, when a file turns out larger than it may be. Raises MessageError when it
        is not there (any more) or cannot be read, TemporaryError when it may be there later."""
        ...


@runtime_checkable
class Waits(Protocol):
    """For services that tell when there is something new (push). It makes messages come sooner and nothing else: the
    source is polled at its interval all the same, and `poll` alone says what there is."""

    async def wait(self, ctx: PassContext) -> frozenset[str] | None:
        """Returns when something may be new in these streams (empty: somewhere); a pass over *all* streams follows at
        once. None: there is nothing to wait for (switched off, or the service has no such thing); it is asked again
        much later.

        Waiting holds no thread. It runs beside passes and must not disturb them. It may be cancelled at any time.
        What becomes new between two calls makes the next one return at once; what `poll` has told already need not.
        An error is logged and the source waits again after a growing delay; it never parks or slows the source.
        `ctx.deadline_at` has no meaning here."""
        ...


@runtime_checkable
class Lists(Protocol):
    """For services that can say what a stream holds. Reads only, and moves no cursor."""

    def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        """Everything in `stream` that arrived at `since` (UTC) or later, by the service's word for arrival, which is
        what `poll` gives as `arrived_at`; None: everything. In pieces of at most `LISTED_MAX`, in any order; at least
        one piece, possibly empty; nothing twice.

        Ids go through `ctx.known` before anything else is asked about them: those it names come in `Listed.known`
        (they may lie before `since`, where only loading more would tell), all others as `Found` without content.
        Between two pieces the stream may be polled and fetched from; what arrives or goes meanwhile may be in it or
        not. Raises TemporaryError when the stream is numbered anew while it is listed."""
        ...


@runtime_checkable
class Aborts(Protocol):
    """For connectors that hold sockets in threads, where cancelling a task stops nothing."""

    def abort(self) -> None:
        """Closes the sockets now, from any thread, without waiting."""
        ...
