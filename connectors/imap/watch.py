"""Waiting for news without a thread: connections of their own in IDLE, one a watched folder, read by the event loop.

A connection is made as every other one (`link.open_wire`, in a thread, for a moment); then its socket goes over to the
loop. It stays in IDLE between two calls of `Watch.wait`, and what it hears meanwhile is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence

from sync.connector import Log
from sync.errors import ConfigError, InboxSyncError, TemporaryError
from sync.kit.oauth import Credential, Identity
from sync.kit.threads import in_thread

from .bookmark import Look
from .config import ImapConfig
from .faults import REFUSED, is_busy, retry_after_seconds
from .folders import Folder
from .idling import Ended, Idling, Why
from .link import LostError, open_wire, run_on
from .wire import Wire

ANNOUNCE_SECONDS = 60.0
"""How long after a plain poll found mail in a watched folder the notice of it may come. Servers batch notices (Dovecot
by half a second) and look at network drives only now and then (Dovecot every 30 s)."""
READ_BYTES = 4096


class Waiting:
    """One connection in IDLE. `changed` is called when it heard something."""

    def __init__(self, sock: socket.socket, idling: Idling, changed: Callable[[], None]) -> None:
        self.idling = idling
        self._socket = sock
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._loop.add_reader(sock, self._readable)

    def begin(self, read_ahead: bytes) -> None:
        """Asks for IDLE."""
        self._send(self.idling.begin(self._loop.time()))
        if read_ahead:
            self._send(self.idling.receive(read_ahead, self._loop.time()))

    def tick(self) -> None:
        """Does what is due."""
        self._send(self.idling.tick(self._loop.time()))

    def close(self) -> None:
        """Closes without a word. May be called again."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _readable(self) -> None:
        """Everything that is there: TLS may hold more than the kernel tells of."""
        due_at = self.idling.due_at
        try:
            while not self._closed:
                octets = self._socket.recv(READ_BYTES)
                self._send(self.idling.receive(octets, self._loop.time()))
                if self.idling.ended is not None:
                    break
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.idling.receive(b"", self._loop.time())
        if self.idling.ended is not None:
            self.close()
        if self.idling.ended is not None or self.idling.has_news or self.idling.due_at != due_at:
            self._changed()

    def _send(self, octets: bytes) -> None:
        """A few bytes, on a connection that is otherwise still: what cannot be written at once never will be."""
        if octets and not self._closed:
            try:
                self._socket.send(octets)
            except OSError:
                self.idling.receive(b"", self._loop.time())


class Watch:
    """The waiting connections of a source."""

    def __init__(self, config: ImapConfig, identity: Identity, *, announce_seconds: float = ANNOUNCE_SECONDS) -> None:
        self._config = config
        self._identity = identity
        self._announce_seconds = announce_seconds
        self._waiting: dict[str, Waiting] = {}
        self._again_at: dict[str, float] = {}
        """By folder that failed while others did not, when its turn comes again (the loop's clock)."""
        self._looks: dict[str, Look] = {}
        self._closings = 0
        self._changed = asyncio.Event()

    def polled(self, folder: str, look: Look, *, found: bool) -> None:
        """What a plain poll saw in a folder, and whether it `found` new mail there."""
        self._looks[folder] = look
        if found and (waiting := self._waiting.get(folder)) is not None:
            waiting.idling.found_by_poll(look.messages, asyncio.get_running_loop().time())
            self._changed.set()  # there may be something due sooner

    async def wait(self, folders: Sequence[Folder], log: Log) -> frozenset[str] | None:
        """Waits until mail is announced in some of these folders; their names. None where the server has no IDLE.
        Raises what connecting raises, and TemporaryError when a connection ended, unless other folders are still being
        waited at: then that folder's turn comes again when an IDLE would be renewed."""
        for name in self._waiting.keys() - {folder.name for folder in folders}:
            self._waiting.pop(name).close()
        closings = self._closings
        while await self._open_missing(folders, log):
            if news := self._take_news():
                return news
            failed = self._drop_ended()
            self._put_off(failed, log)
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._due_at()):
                    await self._changed.wait()
            if self._closings != closings:
                raise self._meaning(Ended(Why.BYE), "")
            for waiting in self._waiting.values():
                waiting.tick()
        return None

    async def _open_missing(self, folders: Sequence[Folder], log: Log) -> bool:
        """Makes the connections that are missing. False where the server has no IDLE."""
        now = asyncio.get_running_loop().time()
        failed: dict[str, InboxSyncError] = {}
        for folder in folders:
            if folder.name not in self._waiting and self._again_at.get(folder.name, now) <= now:
                try:
                    if not await self._open(folder, log):
                        return False
                except (TemporaryError, ConfigError) as error:
                    failed[folder.name] = error
        self._put_off(failed, log)
        return True

    def _put_off(self, failed: Mapping[str, InboxSyncError], log: Log) -> None:
        """Folders at which waiting failed have their turn later. When nothing is waited at, the first error is raised."""
        for name, error in failed.items():
            if not self._waiting:
                self._again_at.clear()
                raise error
            log.warning("imap.push_failed", stream=name, code=error.code)
            self._again_at[name] = asyncio.get_running_loop().time() + self._config.idle_renew_seconds

    def _due_at(self) -> float:
        return min([*(one.idling.due_at for one in self._waiting.values()), *self._again_at.values()])

    def _take_news(self) -> frozenset[str]:
        return frozenset(name for name, waiting in self._waiting.items() if waiting.idling.take_news())

    def _drop_ended(self) -> dict[str, InboxSyncError]:
        ended = {name: one.idling.ended for name, one in self._waiting.items() if one.idling.ended is not None}
        for name in ended:
            self._waiting.pop(name).close()
        return {name: self._meaning(why, name) for name, why in ended.items()}

    def _meaning(self, ended: Ended, folder: str) -> TemporaryError:
        sentence, code = {
            Why.REFUSED: ("does not take IDLE", "imap.push_refused"),
            Why.BYE: ("ended the waiting connection", "imap.push_lost"),
            Why.SILENT: ("does not answer on the waiting connection", "imap.push_silent"),
            Why.MISSED: ("did not announce mail that a poll found", "imap.push_missed"),
            Why.GARBLED: ("sent what is no IMAP", "imap.push_lost"),
        }[ended.why]
        return TemporaryError(
            f'{self._config.host} {sentence} (folder "{folder}").',
            code="imap.throttled" if is_busy(ended.text) else code,
            next_step="Nothing: it is waited again after a while, and the folder is polled meanwhile.",
            retry_after_seconds=retry_after_seconds(ended.text),
        )

    async def _open(self, folder: Folder, log: Log) -> bool:
        """Puts a connection into IDLE. False where the server has none."""
        opened = await self._identity.signed_in(lambda credential: self._connect(folder, credential), refused=REFUSED)
        if opened is None:
            log.info("imap.no_idle", stream=folder.name)
            return False
        look, sock, read_ahead = opened
        idling = Idling(
            look.messages,
            renew_seconds=self._config.idle_renew_seconds,
            answer_seconds=self._config.read_timeout_seconds,
            announce_seconds=self._announce_seconds,
        )
        self._again_at.pop(folder.name, None)
        waiting = self._waiting[folder.name] = Waiting(sock, idling, self._changed.set)
        waiting.begin(read_ahead)
        known = self._looks.get(folder.name)
        if known is not None and (look.uidnext, look.uidvalidity) != (known.uidnext, known.uidvalidity):
            idling.remember_news()  # it came after the last poll and before IDLE
        return True

    async def _connect(self, folder: Folder, credential: Credential) -> tuple[Look, socket.socket, bytes] | None:
        """A connection with the folder open: what the look gave, its socket, and what was read ahead. None where the
        server has no IDLE."""
        wire = Wire(self._config)

        def job() -> tuple[Look, socket.socket, bytes] | None:
            open_wire(wire, self._config, credential)
            if "IDLE" not in wire.capabilities:
                wire.log_out()
                return None
            look = run_on(wire, lambda: wire.examine(folder.wire), self._config, folder.name)
            return look, *wire.hand_over()

        try:
            opened = await in_thread(job, name="imap-watch")
        except asyncio.CancelledError:
            wire.abort()
            raise
        except LostError as lost:
            wire.close()
            raise lost.meaning from lost.__cause__
        except InboxSyncError:
            wire.close()
            raise
        if opened is not None:
            wire.let_go()
        return opened

    def close(self) -> None:
        """Closes every waiting connection."""
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            one.close()
        self._closings += 1
        self._changed.set()
