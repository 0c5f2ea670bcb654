"""The `jmap` connector: what `sync.connector` asks for. Nothing is kept between passes but the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, Http, PassContext, Severity, Stream
from sync.errors import ConfigError, InboxSyncError, TemporaryError
from sync.mail import understand
from sync.message import Batch, Content, Found, Gone, Json

from .client import Client
from .config import JmapConfig
from .listing import News, changes_since, emails, everything, found_of
from .mailboxes import Place, missing, places
from .shapes import Email, Mailbox, Mailboxes

KNOWN_AT_ONCE = 1000
"""Ids that the ledger is asked about in one question."""
OVERSIZE_TEXT_BYTES = 256 * 1024
"""How much text of a message over the size limit is loaded."""
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

    @property
    def account(self) -> str:
        """Host and user, or the account's id where a token says who it is."""
        return f"{self._config.host}/{self._config.account_id or self._config.username or ''}"

    # -- streams

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """The configured mailboxes, those that do not exist last: their `poll` raises ConfigError."""
        return [place.stream for place in await self._places(ctx)]

    async def _places(self, ctx: PassContext) -> list[Place]:
        answer = await self._client.call(_http(ctx), "Mailbox/get", {"ids": None}, Mailboxes)
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
        http, looked_at = _http(ctx), ctx.now()
        mark = Bookmark.read(cursor)
        if cursor is not None and mark is None:
            ctx.log.warning("jmap.cursor_unreadable", stream=stream.key)
        mailbox_id = await self._mailbox_id(stream, ctx)
        account_id = await self._client.account_id(http)
        news = None
        if mark is not None and mark.state and mark.account == account_id:
            news = await changes_since(self._client, http, mark.state)
            if news is None:
                ctx.log.info("jmap.listed_again", stream=stream.key)
        if news is None:
            since = None if ctx.since is None else ctx.since - SINCE_MARGIN
            news = await everything(self._client, http, mailbox_id, since)
        new = await _unknown(account_id, news, ctx)
        size = min(self._config.batch_messages, (await self._client.session(http)).capabilities.core.max_objects_in_get)
        done = Bookmark(account=account_id, state=news.state).model_dump()
        for start in range(0, len(new), size):
            found = await self._look(http, new[start : start + size], mailbox_id, looked_at)
            if start + size < len(new):
                halfway = Bookmark(account=account_id).model_dump() if mark is None or not mark.state else cursor
                yield Batch(tuple(found), halfway, account_id)
            else:
                yield Batch(tuple(found), done, account_id, looked_at)
        if not new:
            yield Batch((), done, account_id, looked_at)

    async def _look(self, http: Http, ids: Sequence[str], mailbox_id: str, looked_at: datetime) -> list[Found]:
        listed = await emails(self._client, http, ids, Email.LISTED)
        found = [found_of(email, looked_at) for email in listed.list if mailbox_id in email.mailbox_ids]
        return sorted(found, key=lambda one: (one.arrived_at, one.external_id))

    # -- content

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """The content of these mails, from their bytes as they were received."""
        del stream, epoch
        http = _http(ctx)
        limit_bytes = min(self._config.max_message_bytes or ctx.size_limit_bytes, ctx.size_limit_bytes)
        contents: dict[str, Content] = {}
        size = (await self._client.session(http)).capabilities.core.max_objects_in_get
        for start in range(0, len(ids), size):
            listed = await emails(self._client, http, ids[start : start + size], ("id", "blobId", "size"))
            contents.update({name: Gone("the server has it no more") for name in listed.not_found})
            for email in listed.list:
                contents[email.id] = await self._load(http, email, limit_bytes)
        return contents

    async def _load(self, http: Http, email: Email, limit_bytes: int) -> Content:
        if email.size > limit_bytes:
            return await self._beginning(http, email)
        try:
            raw = await self._client.blob(http, email.blob_id, limit_bytes)
        except TemporaryError as error:
            if error.code != "http.too_large":
                raise
            return await self._beginning(http, email)  # its size was a lie
        return Gone("the server has it no more") if raw is None else understand(raw, limit_bytes=limit_bytes)

    async def _beginning(self, http: Http, email: Email) -> Content:
        """A mail over the size limit: its header as it stands, and the text as the server decodes it."""
        more: dict[str, Json] = {"fetchTextBodyValues": True, "maxBodyValueBytes": OVERSIZE_TEXT_BYTES}
        listed = await emails(self._client, http, (email.id,), Email.BEGINNING, **more)
        if not listed.list:
            return Gone("the server has it no more")
        (whole,) = listed.list
        kept = [line for line in whole.headers if not line.name.lower().startswith("content-")]
        header = "".join(f"{line.name}:{line.value.rstrip()}\r\n" for line in kept)
        text = "\r\n\r\n".join(value.value for value in whole.body_values.values())
        raw = f"{header}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}"
        return understand(raw.encode("utf-8", "replace"), full_size=max(email.size, len(raw) + 1))

    async def aclose(self) -> None:
        """Forgets the session; there is no connection of its own."""
        self._client.forget()

    # -- check

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        """Session, sign-in, and every mailbox with what it holds."""
        try:
            session = await self._client.session(_http(ctx))
            account_id = await self._client.account_id(_http(ctx))
            found = await self._places(ctx)
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


async def _unknown(epoch: str, news: News, ctx: PassContext) -> list[str]:
    new: list[str] = []
    for start in range(0, len(news.ids), KNOWN_AT_ONCE):
        some = news.ids[start : start + KNOWN_AT_ONCE]
        known = await ctx.known(epoch, some)
        new += [name for name in some if name not in known]
    return new


def _http(ctx: PassContext) -> Http:
    if ctx.http is None:
        raise ConfigError("This connector needs an HTTP client in its context.", code="jmap.no_http")
    return ctx.http


def _finding(error: InboxSyncError) -> Finding:
    return Finding(Severity.ERROR, str(error), next_step=error.next_step, code=error.code)
