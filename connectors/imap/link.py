"""The one connection of a source: opened when it is needed, kept between passes, used by one thread at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sync.errors import InboxSyncError
from sync.kit.oauth import Credential, Identity
from sync.kit.threads import in_thread

from .config import ImapConfig
from .faults import REFUSED, Stage, is_broken, is_busy, is_lost, translate
from .wire import Refused, Wire

T = TypeVar("T")


class Link:
    """Runs blocking jobs on the connection, in turn. What goes wrong comes out as one of `sync.errors`."""

    def __init__(self, config: ImapConfig, identity: Identity) -> None:
        self._config = config
        self._identity = identity
        self._turn = asyncio.Lock()
        self._wire: Wire | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is kept (it may have died since)."""
        return self._wire is not None

    @property
    def has_listed(self) -> bool:
        """Whether folders were listed on the connection that is kept."""
        return self._wire is not None and self._wire.listed

    async def renew(self) -> None:
        """Puts a fresh connection in the place of the one that is kept."""
        await self.aclose()
        await self.run(lambda _fresh: None)

    async def run(self, job: Callable[[Wire], T], *, folder: str = "") -> T:
        """Does a job on the connection, opening one if need be. A connection that was kept and turns out to be dead
        is replaced once: every job only reads."""
        async with self._turn:
            kept = self._wire
            if kept is not None and not kept.aborted:
                try:
                    return await self._on(kept, job, folder)
                except LostError as lost:
                    if kept.aborted:
                        raise lost.meaning from lost.__cause__
            try:
                return await self._identity.signed_in(
                    lambda credential: self._on_new(credential, job, folder), refused=REFUSED
                )
            except LostError as lost:
                raise lost.meaning from lost.__cause__

    async def _on_new(self, credential: Credential, job: Callable[[Wire], T], folder: str) -> T:
        self._wire = wire = Wire(self._config)
        return await self._on(wire, lambda fresh: job(open_wire(fresh, self._config, credential)), folder)

    async def _on(self, wire: Wire, job: Callable[[Wire], T], folder: str) -> T:
        def work() -> T:
            return run_on(wire, lambda: job(wire), self._config, folder)

        sound = False
        try:
            result = await in_thread(work, name="imap")
            sound = True
        except asyncio.CancelledError:
            wire.abort()
            raise
        except InboxSyncError:
            sound = not wire.closed
            raise
        finally:
            if not sound and self._wire is wire:
                self._wire = None
        return result

    def abort(self) -> None:
        """Closes the socket now, from any thread; the job on it fails with a TemporaryError."""
        wire = self._wire
        if wire is not None:
            wire.abort()

    async def aclose(self) -> None:
        """Logs out and closes."""
        async with self._turn:
            wire, self._wire = self._wire, None
            if wire is not None:
                await in_thread(wire.log_out, name="imap-logout")


def open_wire(wire: Wire, config: ImapConfig, credential: Credential) -> Wire:
    """Connects and signs in; blocking. Raises one of `sync.errors`."""
    try:
        wire.connect()
    except Exception as error:
        raise translate(error, config, Stage.CONNECT) from error
    try:
        wire.log_in(credential)
    except Exception as error:  # noqa: BLE001  whatever it is, it must not drag a server's words about the password along
        raise translate(error, config, Stage.LOGIN, secret=credential.secret) from None
    return wire


def run_on(wire: Wire, job: Callable[[], T], config: ImapConfig, folder: str) -> T:
    """Does a blocking job on a connection. What goes wrong comes out as one of `sync.errors`, LostError among them; the
    connection is closed unless it is still sound."""
    with wire.in_use():
        try:
            return job()
        except Refused as error:
            if is_busy(error.text) or is_broken(error.text):
                wire.close()  # a server in trouble may be so for as long as this connection lives
            raise translate(error, config, Stage.COMMAND, folder) from error
        except InboxSyncError:
            wire.close()
            raise
        except Exception as error:
            wire.close()
            meaning = translate(error, config, Stage.COMMAND, folder)
            if is_lost(error):
                raise LostError(meaning) from error
            raise meaning from error


class LostError(Exception):
    """The connection broke under a job; `meaning` is what to raise if it may not be replaced."""

    def __init__(self, meaning: InboxSyncError) -> None:
        super().__init__(str(meaning))
        self.meaning = meaning
