"""A scripted HTTP service for tests of connectors: routes as functions, and the faults that real services have.

    with ScriptedService() as service:

        @service.get("/tickets/{id}/comments")
        def comments(asked: Asked) -> Answer:
            return page(rows, asked, size=asked.number("per_page", 100))

Runs in threads on loopback, so that it serves tests of every kind. `asked` keeps every request; `throttle`, `refuse`,
`reset`, `delay`, `cut` and `silence` put faults before the routes; `budget` counts requests and says so in headers;
`leaks` finds a secret that was shown where it does not belong.
"""

from __future__ import annotations

import contextlib
import json as jsonlib
import re
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from sync.message import Json

MAX_BODY_BYTES = 16 * 1024 * 1024
PATIENCE_SECONDS = 30.0
"""The longest answer that `delay` may hold back."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `parts` are what stood in the route's braces."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    parts: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str, default: int) -> int:
        """A number in the query."""
        text = self.query.get(name, "")
        return int(text) if text.isdigit() else default

    def json(self) -> Json:
        """The body as JSON; None if it is none."""
        try:
            value: Json = jsonlib.loads(self.body)
        except ValueError:
            return None
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `body` as JSON unless it is bytes."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, str]:
        """The bytes of the body and their type."""
        if isinstance(self.body, bytes):
            return self.body, "application/octet-stream"
        return jsonlib.dumps(self.body, ensure_ascii=False).encode("utf-8", "surrogatepass"), "application/json"


Route: TypeAlias = Callable[[Asked], object]
"""Gives an `Answer`, or what one is to hold."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """What happens in place of (or before) an answer."""

    answer: Answer | None = None
    delay_seconds: float = 0.0
    reset: bool = False
    cut_at: int | None = None
    path: str = ""


class ScriptedService:
    """One origin on loopback, `url`. Start it with `with`, or `start` and `stop`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._routes: list[tuple[str, re.Pattern[str], Route]] = []
        self._faults: deque[_Fault] = deque()
        self._lock = threading.Lock()
        self._left: int | None = None
        self._headers: dict[str, str] = {}
        self._stopping = threading.Event()
        self._speaking = threading.Event()
        self._speaking.set()
        self._gate: Callable[[Asked], Answer | None] | None = None
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Self:
        """Begins to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Answers no more; what hangs is let go."""
        self._stopping.set()
        self._speaking.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- routes

    def route(self, method: str, path: str) -> Callable[[Route], Route]:
        """`@service.route("GET", "/tickets/{id}")`. The last one that fits counts."""
        pattern = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)))

        def add(function: Route) -> Route:
            self._routes.insert(0, (method, pattern, function))
            return function

        return add

    def get(self, path: str) -> Callable[[Route], Route]:
        """A route for GET."""
        return self.route("GET", path)

    def gate(self, check: Callable[[Asked], Answer | None]) -> None:
        """Asked before every route: an answer refuses the request (a sign-in, a permission)."""
        self._gate = check

    def require(self, header: str, value: str, *, status: int = 401, body: object = None) -> None:
        """Every request needs this header with this value."""
        refusal = Answer(body if body is not None else {"error": "Invalid token"}, status)
        self.gate(lambda asked: None if asked.headers.get(header.lower()) == value else refusal)

    # -- faults: each takes the place of one answer, in the order in which they were asked for

    def refuse(
        self,
        status: int,
        *,
        times: int = 1,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
        path: str = "",
    ) -> None:
        """The next `times` requests (below `path`) get this status."""
        answer = Answer(body if body is not None else {"error": f"status {status}"}, status, headers or {})
        self._put(_Fault(answer=answer, path=path), times)

    def throttle(self, *, times: int = 1, retry_after: str | None = None, path: str = "") -> None:
        """429, with `Retry-After` (seconds, or a date) or without it."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.refuse(429, times=times, body={"error": "too many requests"}, headers=headers, path=path)

    def reset(self, *, times: int = 1, path: str = "") -> None:
        """The connection is reset instead of an answer."""
        self._put(_Fault(reset=True, path=path), times)

    def cut(self, *, after_bytes: int, times: int = 1, path: str = "") -> None:
        """The answer breaks off after so many bytes of its body."""
        self._put(_Fault(cut_at=after_bytes, path=path), times)

    def delay(self, seconds: float, *, times: int = 1, path: str = "") -> None:
        """The answer comes so much later (at most until the service stops)."""
        self._put(_Fault(delay_seconds=min(seconds, PATIENCE_SECONDS), path=path), times)

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Within the block requests are taken and not answered."""
        self._speaking.clear()
        try:
            yield
        finally:
            self._speaking.set()

    def _put(self, fault: _Fault, times: int) -> None:
        with self._lock:
            self._faults.extend([fault] * times)

    def budget(self, requests: int | None, headers: Mapping[str, str] | None = None) -> None:
        """So many requests are answered, then 429. `headers` are added to every answer, with `{left}` for what is left."""
        with self._lock:
            self._left = requests
            self._headers = dict(headers or {})

    # -- what was asked

    def paths(self) -> list[str]:
        """The paths that were asked, in order."""
        return [one.path for one in self.asked]

    def leaks(self, *secrets: str) -> list[str]:
        """The paths of requests in which one of these texts stood in the address or in a header."""
        return [
            one.path
            for one in self.asked
            if any(
                secret in text for secret in secrets for text in (one.path, *one.query.values(), *one.headers.values())
            )
        ]

    # -- answering

    def answer(self, asked: Asked) -> tuple[Answer, _Fault]:
        """The answer to a request, and what goes wrong with it. Called from the server's threads."""
        self._speaking.wait(PATIENCE_SECONDS)
        with self._lock:
            self.asked.append(asked)
            fault = next((one for one in self._faults if asked.path.startswith(one.path)), None)
            if fault is not None:
                self._faults.remove(fault)
            if self._left is not None and not (fault and fault.answer):
                self._left -= 1
            left = self._left
            told = {name: value.format(left=max(0, left or 0)) for name, value in self._headers.items()}
        fault = fault or _Fault()
        if fault.delay_seconds:
            self._stopping.wait(fault.delay_seconds)
        if fault.answer is not None:
            return fault.answer, fault
        if left is not None and left < 0:
            return Answer({"error": "too many requests"}, 429, told), fault
        made = self._routed(asked)
        return Answer(made.body, made.status, {**told, **made.headers}), fault

    def _routed(self, asked: Asked) -> Answer:
        refused = self._gate(asked) if self._gate is not None else None
        if refused is not None:
            return refused
        for method, pattern, function in self._routes:
            match = pattern.fullmatch(asked.path)
            if match is not None and method == asked.method:
                made = function(
                    Asked(asked.method, asked.path, asked.query, asked.headers, asked.body, match.groupdict())
                )
                return made if isinstance(made, Answer) else Answer(made)
        return Answer({"error": "not found"}, 404)


def page(
    rows: Sequence[object],
    asked: Asked,
    *,
    size: int,
    number: str = "page",
    first: int = 1,
    url: str = "",
) -> Answer:
    """One page of `rows` as a list, by number; with `url` (the service's) its `Link` header names the next one."""
    at = asked.number(number, first) - first
    some = list(rows[at * size : (at + 1) * size])
    headers: dict[str, str] = {}
    if url and (at + 1) * size < len(rows):
        query = urlencode({**asked.query, number: at + first + 1})
        headers["Link"] = f'<{url}{asked.path}?{query}>; rel="next"'
    return Answer(some, headers=headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, service: ScriptedService) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """A client that goes away is part of the play. A route that fails is a mistake in it, and its traceback is shown:
        all that the connector sees is that the connection was closed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_SECONDS
    wbufsize = -1

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(min(length, MAX_BODY_BYTES)) if length else b""
        asked = Asked(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            body,
        )
        answer, fault = self.server.service.answer(asked)
        if fault.reset:
            self._break_off()
            return
        data, kind = answer.encoded()
        self.send_response(answer.status)
        for name, value in {"Content-Type": kind, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if fault.cut_at is None else data[: fault.cut_at])
        self.wfile.flush()
        if fault.cut_at is not None:
            self._break_off()

    def _break_off(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle  # noqa: N815  the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as http.server names it
        """Says nothing."""


def moment(seconds_ago: float = 0.0) -> str:
    """A time as services write it: ISO 8601, whole seconds, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))
