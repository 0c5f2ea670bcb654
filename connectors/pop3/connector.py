"""The `pop3` connector: what `sync.connector` asks for. A session lasts as long as a pass: while it is open the maildrop
is locked for others, and shows nothing new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Severity, Stream
from sync.errors import InboxSyncError
from sync.kit.threads import in_thread
from sync.kit.tls import Tls
from sync.message import Batch, Content, Found, Json

from .config import Pop3Config
from .faults import Stage, translate
from .maildrop import Maildrop, list_maildrop, load, look_at_headers
from .wire import Wire

T = TypeVar("T")

INBOX = Stream("INBOX")
"""The one stream: POP3 knows no folders."""
EPOCH = "uidl"
KNOWN_IDS = 1000
"""Ids the ledger is asked about at a time."""


class _Bookmark(BaseModel):
    """The cursor: `digest` names the maildrop as it was when everything in it had been listed."""

    model_config = ConfigDict(extra="forbid", strict=True)
    v: int = 1
    digest: str = ""

    @classmethod
    def read(cls, cursor: Json) -> _Bookmark | None:
        """The bookmark in a cursor; None for one that this version cannot read."""
        try:
            mark = cls.model_validate(cursor)
        except ValidationError:
            return None
        return mark if mark.v == 1 else None


class Pop3Connector:
    """A maildrop over POP3. Nothing is deleted, and what was read is not marked."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="pop3", summary="A maildrop on a POP3 server, by UIDL", permissions=("read the maildrop",)
    )
    Config: ClassVar[type[ConnectorConfig]] = Pop3Config

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, Pop3Config):
            raise TypeError("Pop3Connector takes a Pop3Config")
        self._config = config
        self._turn = asyncio.Lock()
        self._wire: Wire | None = None
        self._maildrop: Maildrop | None = None
        self._passes = 0

    @property
    def account(self) -> str:
        """Host and user: another port or kind of TLS is the same maildrop."""
        return f"{self._config.host.lower()}/{self._config.username}"

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """The inbox."""
        del ctx
        return (INBOX,)

    # -- polling

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        """Headers of what the ledger does not know. What lies before the horizon is listed, too: without an order that
        can be relied upon nothing else tells old from new at the next pass."""
        mark = _Bookmark.read(cursor)
        if cursor is not None and mark is None:
            ctx.log.warning("pop3.cursor_unreadable", stream=stream.key)
        looked_at = ctx.now()
        self._passes += 1
        try:
            maildrop = await self._run(lambda _wire, listed: listed)
            done = Batch((), _Bookmark(digest=maildrop.digest).model_dump(), EPOCH, looked_at)
            if mark is None or mark.digest != maildrop.digest:
                new = await _unknown(maildrop.ids, ctx)
                size = self._config.batch_messages
                for start in range(0, len(new), size):
                    found = await self._headers(new[start : start + size], looked_at)
                    if start + size < len(new):
                        yield Batch(tuple(found), _Bookmark().model_dump(), EPOCH)
                    else:
                        done = Batch(tuple(found), done.cursor, EPOCH, looked_at)
            yield done
        finally:
            self._passes -= 1
            await self.aclose()

    async def _headers(self, ids: Sequence[str], looked_at: datetime) -> list[Found]:
        def look(wire: Wire, maildrop: Maildrop) -> list[Found]:
            there = [name for name in ids if name in maildrop.entries]
            return look_at_headers(wire, maildrop, there, looked_at)

        return await self._run(look)

    # -- content

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """The content of these messages, in the session of the pass where one is open. Left out: those that the server
        lists and does not give."""
        del epoch
        limit_bytes = min(self._config.max_message_bytes or ctx.size_limit_bytes, ctx.size_limit_bytes)
        contents: dict[str, Content] = {}
        refused: list[str] = []
        try:
            for name in ids:
                content = await self._run(partial(_load, name, limit_bytes))
                if content is None:
                    refused.append(name)
                else:
                    contents[name] = content
        finally:
            if not self._passes:
                await self.aclose()
        if refused:
            ctx.log.warning("pop3.not_returned", stream=stream.key, ids=refused)
        return contents

    # -- the session

    async def _run(self, job: Callable[[Wire, Maildrop], T]) -> T:
        """Does a job in the open session, or in a new one. Numbers are those of the session: each new one is listed."""
        async with self._turn:
            if self._wire is None or self._wire.closed:
                self._wire = Wire(self._config)
                self._maildrop = None
            wire = self._wire

            def work() -> T:
                stage = Stage.CONNECT
                try:
                    if self._maildrop is None:
                        wire.connect()
                        stage = Stage.LOGIN
                        wire.log_in(self._config.username, self._config.password.get_secret_value())
                        stage = Stage.COMMAND
                        self._maildrop = list_maildrop(wire)
                    stage = Stage.COMMAND
                    return job(wire, self._maildrop)
                except Exception as error:  # noqa: BLE001  all of it is translated; `from` is decided at run time
                    wire.close()
                    cause = None if stage is Stage.LOGIN else error  # a server's words may repeat the password
                    raise translate(error, self._config, stage) from cause

            try:
                return await in_thread(work, name="pop3")
            except asyncio.CancelledError:
                wire.abort()
                raise

    def abort(self) -> None:
        """Closes the socket now; what waits on it fails with a TemporaryError."""
        wire = self._wire
        if wire is not None:
            wire.abort()

    async def aclose(self) -> None:
        """Ends the session."""
        async with self._turn:
            wire, self._wire, self._maildrop = self._wire, None, None
            if wire is not None and not wire.closed:
                await in_thread(wire.log_out, name="pop3-logout")

    # -- check

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        """Connection, TLS, sign-in, and what the maildrop holds."""
        del ctx
        where = f"{self._config.host}:{self._config.effective_port}"
        try:
            count = await self._run(lambda _wire, maildrop: len(maildrop.entries))
        except InboxSyncError as error:
            return [Finding(Severity.ERROR, str(error), next_step=error.next_step, code=error.code)]
        finally:
            await self.aclose()
        protected = "without TLS" if self._config.tls is Tls.NONE else "its certificate is verified"
        findings = [
            Finding(
                Severity.OK,
                f"Signed in at {where} as {self._config.username}; {protected}. The maildrop holds {_messages(count)}.",
                code="pop3.signed_in",
            ),
            Finding(
                Severity.NOTE,
                "POP3 shows the inbox only: replies that agents send from a mail program are not seen.",
                next_step='Use connector = "imap" if the provider has it.',
                code="pop3.inbox_only",
            ),
        ]
        if self._config.tls is Tls.NONE and self._config.allow_plaintext:
            findings.append(
                Finding(
                    Severity.WARNING,
                    f"The password travels readable to {where}.",
                    next_step='Use tls = "implicit" or "starttls" if the server has it.',
                    code="pop3.plaintext",
                )
            )
        return findings


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _load(name: str, limit_bytes: int, wire: Wire, maildrop: Maildrop) -> Content | None:
    return load(wire, maildrop, name, limit_bytes)


async def _unknown(ids: Sequence[str], ctx: PassContext) -> list[str]:
    new: list[str] = []
    for start in range(0, len(ids), KNOWN_IDS):
        some = ids[start : start + KNOWN_IDS]
        known = await ctx.known(EPOCH, some)
        new += [name for name in some if name not in known]
    return new
