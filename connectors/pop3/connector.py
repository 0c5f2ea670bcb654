"""The `pop3` connector: what `sync.connector` asks for. A session lasts as long as a pass: while it is open the maildrop
is locked for others, and shows nothing new."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sync.connector import (
    LISTED_MAX,
    ConnectorConfig,
    ConnectorInfo,
    Finding,
    PassContext,
    Severity,
    SignIn,
    Stream,
)
from sync.errors import InboxSyncError, MessageError
from sync.kit.recent import Recent, pieces
from sync.kit.threads import in_thread
from sync.mail import open_file
from sync.message import Attachment, Batch, Content, Found, Json, Listed

from .check import findings
from .config import Pop3Config
from .identity import identity_of
from .maildrop import Loaded, Maildrop, load, load_again
from .session import Session
from .suspects import Suspects
from .wire import Wire

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
        self._identity = identity_of(config)
        self._session = Session(config, self._identity)
        self._uses = 0
        """Passes, listings and fetches that are under way: the last one ends the session."""
        self._recent: Recent[str, bytes] = Recent()
        self._suspects = Suspects()

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
        await self._session.aclose()  # one that a listing has open shows nothing new
        looked_at = ctx.now()
        async with self._in_session(ctx):
            try:
                maildrop = await self._session.run(_maildrop)
                done = Batch((), _Bookmark(digest=maildrop.digest).model_dump(), EPOCH, looked_at)
                if mark is None or mark.digest != maildrop.digest:
                    known = await _known(maildrop.ids, ctx)
                    new = [name for name in maildrop.ids if name not in known]
                    size = self._config.batch_messages
                    for start in range(0, len(new), size):
                        found = await self._headers(new[start : start + size], looked_at)
                        if start + size < len(new):
                            yield Batch(tuple(found), _Bookmark().model_dump(), EPOCH)
                        else:
                            done = Batch(tuple(found), done.cursor, EPOCH, looked_at)
                yield done
            finally:
                await self.aclose()

    async def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        """What the maildrop holds, by the arrival that `poll` tells; of what the ledger knows no header is asked for. The
        session stays open between two pieces, unless a pass comes: each sign-in may cost a pause."""
        del stream
        looked_at = ctx.now()
        async with self._in_session(ctx):
            ids = (await self._session.run(_maildrop)).ids
            for start in range(0, max(len(ids), 1), LISTED_MAX):
                some = ids[start : start + LISTED_MAX]
                known = await _known(some, ctx)
                new = [name for name in some if name not in known]
                found: list[Found] = []
                for at in range(0, len(new), self._config.batch_messages):
                    found += await self._headers(new[at : at + self._config.batch_messages], looked_at)
                yield Listed(
                    tuple(one for one in found if since is None or one.arrived_at >= since),
                    known=tuple(name for name in some if name in known),
                    epoch=EPOCH,
                )

    async def _headers(self, ids: Sequence[str], looked_at: datetime) -> Sequence[Found]:
        """Raises what the session raises. A message at whose header the connection broke, although others could be read,
        comes without one the next time: it must not keep the others from coming."""
        found = await self._session.run(partial(self._suspects.look, ids, looked_at))
        return sorted(found, key=lambda one: one.arrived_at)

    # -- content

    def _limit_bytes(self, ctx: PassContext) -> int:
        return min(self._config.max_message_bytes or ctx.size_limit_bytes, ctx.size_limit_bytes)

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """The content of these messages, in the session of the pass where one is open. Left out: those that the server
        lists and does not give."""
        del epoch
        contents: dict[str, Content] = {}
        refused: list[str] = []
        async with self._in_session(ctx):
            for name in ids:
                loaded = await self._session.run(partial(_load, name, self._limit_bytes(ctx)))
                if loaded.content is None:
                    refused.append(name)
                else:
                    contents[name] = loaded.content
                if loaded.raw:
                    self._recent.keep(name, loaded.raw)
        if refused:
            ctx.log.warning("pop3.not_returned", stream=stream.key, ids=refused)
        return contents

    # -- files

    async def open_attachment(
        self, stream: Stream, epoch: str, external_id: str, attachment: Attachment, ctx: PassContext
    ) -> AsyncIterator[bytes]:
        """A file of a mail that was just loaded from what is at hand; the mail of any other one is loaded again, whole:
        POP3 knows no parts."""
        del stream, epoch
        raw = self._recent.get(external_id)
        if raw is None:
            async with self._in_session(ctx):
                raw = await self._session.run(partial(_load_again, external_id, self._limit_bytes(ctx)))
            self._recent.keep(external_id, raw)
        data = await in_thread(partial(open_file, raw, attachment.ref), name="pop3-file")
        if data is None:
            raise MessageError(f"the mail has no part {attachment.ref or '(unnamed)'}", code="pop3.attachment_gone")
        for piece in pieces(data):
            yield piece

    # -- signing in

    async def begin_sign_in(self, ctx: PassContext) -> SignIn | None:
        """Starts a sign-in by OAuth. Raises ConfigError where the maildrop has a password."""
        self._identity.use(ctx)
        return await self._identity.tokens.begin_sign_in()

    async def continue_sign_in(self, answer: str, ctx: PassContext) -> SignIn | None:
        """One try to finish it."""
        self._identity.use(ctx)
        return await self._identity.tokens.continue_sign_in(answer)

    # -- the session

    @asynccontextmanager
    async def _in_session(self, ctx: PassContext) -> AsyncIterator[None]:
        """The session that is opened inside lasts to the end, or to that of the pass or listing around it."""
        self._identity.use(ctx)
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1
            if not self._uses:
                await self._session.aclose()

    def abort(self) -> None:
        """Closes the socket now; what waits on it fails with a TemporaryError."""
        self._session.abort()

    async def aclose(self) -> None:
        """Ends the session."""
        self._recent.clear()
        await self._session.aclose()

    # -- check

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        """Connection, TLS, sign-in, and what the maildrop holds."""
        try:
            async with self._in_session(ctx):
                count, capabilities = await self._session.run(
                    lambda wire, maildrop: (len(maildrop.entries), wire.capabilities)
                )
        except InboxSyncError as error:
            return [Finding(Severity.ERROR, str(error), next_step=error.next_step, code=error.code)]
        return list(findings(self._config, count, capabilities))


def _maildrop(_wire: Wire, maildrop: Maildrop) -> Maildrop:
    return maildrop


def _load(name: str, limit_bytes: int, wire: Wire, maildrop: Maildrop) -> Loaded:
    return load(wire, maildrop, name, limit_bytes)


def _load_again(name: str, limit_bytes: int, wire: Wire, maildrop: Maildrop) -> bytes:
    return load_again(wire, maildrop, name, limit_bytes)


async def _known(ids: Sequence[str], ctx: PassContext) -> frozenset[str]:
    known: set[str] = set()
    for start in range(0, len(ids), KNOWN_IDS):
        known |= await ctx.known(EPOCH, ids[start : start + KNOWN_IDS])
    return frozenset(known)
