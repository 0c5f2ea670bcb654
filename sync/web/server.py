"""The HTTP server of the page, in the daemon's event loop, with bounds on what it takes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import structlog
import uvicorn

from sync.clock import Clock
from sync.errors import ConfigError
from sync.settings import WebSettings
from sync.web.app import Sight, application
from sync.web.sessions import Sessions

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

log = structlog.get_logger()

REQUESTS_MAX = 32
"""Connections and requests at the same time; more are answered 503."""
HEAD_MAX_BYTES = 16 * 1024
KEEP_ALIVE_SECONDS = 5
END_SECONDS = 2.0
BACKLOG = 64


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the daemon's."""
        yield


class WebServer:
    """Listens where `[web]` says."""

    def __init__(self, settings: WebSettings, sight: Sight, clock: Clock) -> None:
        self._settings = settings
        sessions = Sessions(settings.password, settings.session_hours, clock)
        host = settings.listen.rpartition(":")[0].strip("[]")
        hosts = sorted({"localhost", "127.0.0.1", "::1", "[::1]", host, f"[{host}]", *settings.hosts})
        self._server = _Server(
            uvicorn.Config(
                cast("ASGI3Application", application(sight, sessions, hosts, frozenset(settings.hosts))),
                http="h11",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=REQUESTS_MAX,
                h11_max_incomplete_event_size=HEAD_MAX_BYTES,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=round(END_SECONDS),
            )
        )
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens. Raises ConfigError `config.web_listen` where it cannot."""
        host, _, port = self._settings.listen.rpartition(":")
        try:
            listener = _listener(host.strip("[]"), int(port))
        except OSError as error:
            raise ConfigError(
                f"the page cannot listen on {self._settings.listen}: {error.strerror or error}",
                code="config.web_listen",
                next_step="write another address or port as [web] listen",
            ) from None
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve([listener]), name="web")
        log.info("web.listening", address=self._settings.listen, port=self.port)

    async def stop(self) -> None:
        """Answers no more."""
        if self._task is None:
            return
        self._server.should_exit = True
        _, late = await asyncio.wait({self._task}, timeout=END_SECONDS)
        for task in late:
            task.cancel()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named so that asyncio switches off Nagle's algorithm, which costs 40 ms a request.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
