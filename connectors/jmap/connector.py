"""The `jmap` connector: what `sync.connector` asks for. Nothing is kept between passes but the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
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
from sync.errors import InboxSyncError, TemporaryError
from sync.kit.recent import Recent, pieces
from sync.kit.threads import in_thread
from sync.mail import open_file, understand
from sync.message import Attachment, Batch, Content, Found, Gone, Json, Listed, Message

from .client import Client
from .config import JmapConfig
from .events import wait_for_news
from .listing import changes_since, emails, everything, found_of
from .mailboxes import Place, missing, places
from .parts import by_parts, open_part, part_missing
from .shapes import Email, Mailbox, Mailboxes

KNOWN_AT_ONCE = 1000
"""Ids that the ledger is asked about in one question."""
SINCE_MARGIN = timedelta(days=1)
"""The horizon looks at arrival and Date; the server filters by arrival, and clocks differ."""


class Bookmark(BaseModel):
    """The cursor: the state of the account up to which this mailbox is listed; empty: it has to be listed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    v: int = 1
    account: str = ""
    state: str = ""

    @classmethod
    def read(cls, cursor: Json) -> Bookmark | None:
        """The bookmark in a cursor; None for one that this version cannot read."""
        try:
            mark = cls.model_validate(cursor)
        except ValidationError:
            return None
        return mark if mark.v == 1 else None


class JmapConnector:
    """A mailbox over JMAP. Only reads: no keyword and no mailbox of any mail changes."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="jmap",
        summary="A mailbox on a JMAP server, by Email id",
        experimental=True,
        permissions=("urn:ietf:params:jmap:mail, read",),
    )
    Config: ClassVar[type[ConnectorConfig]] = JmapConfig

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, JmapConfig):
            raise TypeError("JmapConnector takes a JmapConfig")
        self._config = config
        self._client = Client(config)
        self._mailboxes: tuple[Mailbox, ...] = ()
        self._recent: Recent[str, bytes] = Recent()
        self._states: dict[str, str] = {}
        """By stream, the account's state up to which the last pass listed it."""

    @property
    def account(self) -> str:
        """Host and user, or the account's id where a token says who it is."""
        return f"{self._config.host}/{self._config.account_id or self._config.username or ''}"

    # -- streams

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """The configured mailboxes, those that do not exist last: their `poll` raises ConfigError."""
        return [place.stream for place in await self._places(ctx)]

    async def _places(self, ctx: PassContext) -> list[Place]:
        answer = await self._client.call(ctx, "Mailbox/get", {"ids": None}, Mailboxes)
        self._mailboxes = answer.list
        return places(self._config, self._mailboxes)

    async def _mailbox_id(self, stream: Stream, ctx: PassContext) -> str:
        found = next((one for one in places(self._config, self._mailboxes) if one.stream.key == stream.key), None)
        if found is None or found.mailbox_id is None:
            found = next((one for one in await self._places(ctx) if one.stream.key == stream.key), None)
        if found is None or found.mailbox_id is None:
            raise missing(stream.key, self._config.host, self._mailboxes)
        return found.mailbox_id

    # -- polling

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        """What is new in the mailbox: by Email/changes where the server can tell, else by listing it."""
        looked_at = ctx.now()
        mark = Bookmark.read(cursor)
        if cursor is not None and mark is None:
            ctx.log.warning("jmap.cursor_unreadable", stream=stream.key)
        mailbox_id = await self._mailbox_id(stream, ctx)
        account_id = await self._client.account_id(ctx)
        news = None
        if mark is not None and mark.state and mark.account == account_id:
            news = await changes_since(self._client, ctx, mark.state)
            if news is None:
                ctx.log.info("jmap.listed_again", stream=stream.key)
        if news is None:
            since = None if ctx.since is None else ctx.since - SINCE_MARGIN
            news = await everything(self._client, ctx, mailbox_id, since)
        known = await _known(account_id, news.ids, ctx)
        new = [name for name in news.ids if name not in known]
        size = self._config.batch_messages
        done = Bookmark(account=account_id, state=news.state).model_dump()
        for start in range(0, len(new), size):
            found = await self._look(new[start : start + size], mailbox_id, looked_at, ctx)
            if start + size < len(new):
                halfway = Bookmark(account=account_id).model_dump() if mark is None or not mark.state else cursor
                yield Batch(tuple(found), halfway, account_id)
            else:
                yield Batch(tuple(found), done, account_id, looked_at)
        self._states[stream.key] = news.state
        if not new:
            yield Batch((), done, account_id, looked_at)
        self._recent.clear()

    async def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        """What the mailbox holds, by `receivedAt`; of what the ledger knows the ids alone are asked for."""
        looked_at = ctx.now()
        mailbox_id = await self._mailbox_id(stream, ctx)
        account_id = await self._client.account_id(ctx)
        news = await everything(self._client, ctx, mailbox_id, since)
        for start in range(0, max(len(news.ids), 1), LISTED_MAX):
            some = news.ids[start : start + LISTED_MAX]
            known = await _known(account_id, some, ctx)
            new = [name for name in some if name not in known]
            found: list[Found] = []
            for at in range(0, len(new), self._config.batch_messages):
                found += await self._look(new[at : at + self._config.batch_messages], mailbox_id, looked_at, ctx)
            yield Listed(
                tuple(one for one in found if since is None or one.arrived_at >= since),
                known=tuple(name for name in some if name in known),
                epoch=account_id,
            )

    async def _look(
        self, ids: Sequence[str], mailbox_id: str, looked_at: datetime, ctx: PassContext
    ) -> Sequence[Found]:
        listed = await emails(self._client, ctx, ids, Email.LISTED)
        found = [found_of(email, looked_at) for email in listed if mailbox_id in email.mailbox_ids]
        return sorted(found, key=lambda one: (one.arrived_at, one.external_id))

    # -- content

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """The content of these mails, from their bytes as they were received."""
        del stream, epoch
        limit_bytes = min(self._config.max_message_bytes or ctx.size_limit_bytes, ctx.size_limit_bytes)
        contents: dict[str, Content] = {name: Gone("the server has it no more") for name in ids}
        for email in await emails(self._client, ctx, ids, ("id", "blobId", "size")):
            contents[email.id] = await self._load(ctx, email, limit_bytes)
        return contents

    async def _load(self, ctx: PassContext, email: Email, limit_bytes: int) -> Content:
        if email.size > limit_bytes:
            return await by_parts(self._client, ctx, email, limit_bytes)
        try:
            raw = await self._client.blob(ctx, email.blob_id, limit_bytes)
        except TemporaryError as error:
            if error.code != "http.too_large":
                raise
            return await by_parts(self._client, ctx, email, limit_bytes)  # its size was a lie
        if raw is None:
            return Gone("the server has it no more")
        content = understand(raw, limit_bytes=limit_bytes)
        if isinstance(content, Message) and content.attachments:
            self._recent.keep(email.id, raw)
        return content

    async def open_attachment(
        self, stream: Stream, epoch: str, external_id: str, attachment: Attachment, ctx: PassContext
    ) -> AsyncIterator[bytes]:
        """A file of a mail that was just loaded from what is at hand; of any other one its part alone."""
        del stream, epoch
        raw = self._recent.get(external_id)
        if raw is None:
            async for piece in open_part(self._client, ctx, external_id, attachment):
                for some in pieces(piece):
                    yield some
            return
        data = await in_thread(partial(open_file, raw, attachment.ref), name="jmap-file")
        if data is None:
            raise part_missing(attachment)
        for piece in pieces(data):
            yield piece

    # -- waiting

    async def wait(self, ctx: PassContext) -> frozenset[str] | None:
        """Waits until the server tells that the account's mail has changed. None where push is off or the server has no
        stream of events. Its connection is one besides those of passes, and holds no thread."""
        if not self._config.push or not await wait_for_news(self._client, ctx, self._states):
            return None
        return frozenset()

    # -- signing in

    async def begin_sign_in(self, ctx: PassContext) -> SignIn | None:
        """Starts a sign-in by OAuth. Raises ConfigError where the mailbox has a password or a token."""
        return await self._client.oauth.tokens(ctx).begin_sign_in()

    async def continue_sign_in(self, answer: str, ctx: PassContext) -> SignIn | None:
        """One try to finish it."""
        return await self._client.oauth.tokens(ctx).continue_sign_in(answer)

    async def aclose(self) -> None:
        """Forgets the session; there is no connection of its own."""
        self._client.forget()
        self._recent.clear()

    # -- check

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        """Session, sign-in, and every mailbox with what it holds."""
        try:
            session = await self._client.session(ctx)
            account_id = await self._client.account_id(ctx)
            found = await self._places(ctx)
            await self._client.must_reach(ctx)
        except InboxSyncError as error:
            return [_finding(error)]
        name = session.accounts[account_id].name if account_id in session.accounts else ""
        findings = [
            Finding(
                Severity.OK, f"Signed in at {self._config.host}; account {name or account_id}.", code="jmap.signed_in"
            )
        ]
        by_id = {one.id: one for one in self._mailboxes}
        for place in found:
            if place.mailbox_id is None:
                findings.append(_finding(missing(place.stream.key, self._config.host, self._mailboxes)))
                continue
            count = by_id[place.mailbox_id].total_emails
            sentence = f'Mailbox "{place.stream.key}" ({place.stream.role}): {count} messages.'
            findings.append(Finding(Severity.OK, sentence, code="jmap.mailbox"))
        return findings


async def _known(epoch: str, ids: Sequence[str], ctx: PassContext) -> frozenset[str]:
    known: set[str] = set()
    for start in range(0, len(ids), KNOWN_AT_ONCE):
        known |= await ctx.known(epoch, ids[start : start + KNOWN_AT_ONCE])
    return frozenset(known)


def _finding(error: InboxSyncError) -> Finding:
    return Finding(Severity.ERROR, str(error), next_step=error.next_step, code=error.code)
