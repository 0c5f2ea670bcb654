"""What one HTTP exchange gives: an answer, or a failure with the evidence of what was written. Pure.

The promise of the whole program hangs on one bit: whether a failed request may have reached the server. So the bit is
never derived from an exception's class, only from the transport's own report through `Evidence`: the transport calls
`Evidence.first_byte` as the last step before it hands the request's first byte to the socket, with nothing awaited in
between. A request whose `first_byte` was never reached was provably not written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self, TypeAlias

from sync.errors import Scope, TemporaryError
from sync.message import Json

KIB = 1024
MIB = 1024 * KIB


class Phase(StrEnum):
    """How far an exchange came."""

    POOL = "pool"
    CONNECT = "connect"
    WRITE = "write"
    ANSWER = "answer"


class Why(StrEnum):
    """What ended an exchange without an answer. For sentences and counters; never evidence of what was written."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    NAME = "name"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    TLS = "tls"
    CLOSED = "closed"
    GARBAGE = "garbage"
    TOO_LARGE = "too_large"
    FORBIDDEN = "forbidden"
    MALFORMED = "malformed"
    PRIVATE = "private_address"


class WritingForbidden(Exception):
    """`may_write` said no: the request is given up before its first byte."""


def _always() -> bool:
    return True


class Evidence:
    """What is known about one request while it is on its way. One object per request, filled in by the transport.

    `written` is False until the transport is about to hand over the first byte of the request (TLS handshakes are no
    part of it). `may_write` is asked at that moment: the caller's last chance to say no.
    """

    __slots__ = ("_may_write", "phase", "written")

    def __init__(self, may_write: Callable[[], bool] = _always) -> None:
        self._may_write = may_write
        self.phase = Phase.POOL
        self.written = False

    def first_byte(self) -> None:
        """The transport calls this immediately before writing. Raises `WritingForbidden` when it must not."""
        if not self._may_write():
            raise WritingForbidden
        self.written = True
        self.phase = Phase.WRITE


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one exchange. `total_seconds` bounds all phases together, also against a server that drips."""

    pool_seconds: float
    connect_seconds: float
    write_seconds: float
    answer_seconds: float
    total_seconds: float
    answer_max_bytes: int = 8 * MIB

    @classmethod
    def of(cls, connect_seconds: float, answer_seconds: float) -> Self:
        """The bounds that follow from the two settings an operator has: all together take at most their sum."""
        return cls(
            pool_seconds=connect_seconds,
            connect_seconds=connect_seconds,
            write_seconds=answer_seconds,
            answer_seconds=answer_seconds,
            total_seconds=connect_seconds + answer_seconds,
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer: status, headers (names in lower case) and body. It is also the `HttpAnswer` of connectors."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def status_code(self) -> int:
        """The status, by the name that the connector contract uses."""
        return self.status

    @property
    def content(self) -> bytes:
        """The body, by the name that the connector contract uses."""
        return self.body

    @property
    def text(self) -> str:
        """The body as UTF-8; what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Json:
        """The body as JSON. Raises TemporaryError (`http.not_json`) when it is none: a gateway's error page, say."""
        value, readable = parse_json(self.body)
        if not readable:
            raise TemporaryError(
                f"the service answered {self.status} with something that is not JSON",
                code="http.not_json",
                next_step="nothing if it passes; else check the address in the configuration",
                scope=Scope.SOURCE,
            )
        return value


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer. `written` False is positive evidence that no byte of the request was written; True means that it may
    have been. `status` is known when the answer began and broke off. `sentence` names no path, query or header."""

    written: bool
    phase: Phase
    why: Why
    sentence: str
    status: int | None = None


Exchange: TypeAlias = Answered | Failed
"""The result of one HTTP exchange."""


def parse_json(body: bytes) -> tuple[Json, bool]:
    """(value, True), or (None, False) for what is no JSON, including nesting deeper than Python follows."""
    try:
        value: Json = json.loads(body)
    except (ValueError, RecursionError):
        return None, False
    return value, True
