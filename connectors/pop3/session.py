"""The one session of a source: opened when it is needed, used by one thread at a time. While it is open the maildrop is
locked for others, and shows nothing new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sync.kit.oauth import Credential, Identity
from sync.kit.threads import in_thread

from .config import Pop3Config
from .faults import REFUSED, Stage, translate
from .maildrop import Maildrop, list_maildrop
from .wire import Wire

T = TypeVar("T")


class Session:
    """Runs blocking jobs in the session, in turn. What goes wrong comes out as one of `sync.errors`, and ends it."""

    def __init__(self, config: Pop3Config, identity: Identity) -> None:
        self._config = config
        self._identity = identity
        self._turn = asyncio.Lock()
        self._wire: Wire | None = None
        self._maildrop: Maildrop | None = None

    async def run(self, job: Callable[[Wire, Maildrop], T]) -> T:
        """Does a job in the open session, or in a new one. Numbers are those of the session: each new one is listed."""
        async with self._turn:
            if self._wire is not None and not self._wire.closed and self._maildrop is not None:
                return await self._on(self._wire, job, None)
            return await self._identity.signed_in(lambda credential: self._on_new(job, credential), refused=REFUSED)

    async def _on_new(self, job: Callable[[Wire, Maildrop], T], credential: Credential) -> T:
        self._wire, self._maildrop = Wire(self._config), None
        return await self._on(self._wire, job, credential)

    async def _on(self, wire: Wire, job: Callable[[Wire, Maildrop], T], credential: Credential | None) -> T:
        def work() -> T:
            stage = Stage.COMMAND if credential is None else Stage.CONNECT
            try:
                if credential is not None:
                    wire.connect()
                    stage = Stage.LOGIN
                    wire.log_in(credential)
                    stage = Stage.COMMAND
                    self._maildrop = list_maildrop(wire)
                return job(wire, self._maildrop or Maildrop({}))
            except Exception as error:  # noqa: BLE001  all of it is translated; `from` is decided at run time
                wire.close()
                cause = None if stage is Stage.LOGIN else error  # a server's words may repeat the password
                secret = credential.secret if credential is not None else ""
                delay = wire.capabilities.get("LOGIN-DELAY", "")
                raise translate(error, self._config, stage, secret=secret, login_delay=delay) from cause

        try:
            return await in_thread(work, name="pop3")
        except asyncio.CancelledError:
            wire.abort()
            raise

    def abort(self) -> None:
        """Closes the socket now, from any thread; the job on it fails with a TemporaryError."""
        wire = self._wire
        if wire is not None:
            wire.abort()

    async def aclose(self) -> None:
        """Ends the session, if there is one."""
        async with self._turn:
            wire, self._wire, self._maildrop = self._wire, None, None
            if wire is not None and not wire.closed:
                await in_thread(wire.log_out, name="pop3-logout")
