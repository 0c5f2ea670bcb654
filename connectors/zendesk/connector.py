"""The `zendesk` connector: which tickets changed by the incremental export, then the comments of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from urllib.parse import urlsplit

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Severity
from sync.errors import AuthError
from sync.kit.rest import Auth, BasicAuth, Budget, RestClient, StaticAuth, by_cursor, by_url
from sync.kit.tickets import ByTickets, Entry, Person, Said, Ticket, version_of
from sync.message import Attachment

from .config import ZendeskConfig
from .shapes import AGENTS, Comment, Comments, Export, File, Me, OneTicket, TicketRow, User, Users

PAGE_ROWS = 100
USERS_AT_ONCE = 100
"""Users that one call may name."""
PEOPLE_MAX = 5_000
"""Users remembered, so that their names are asked for once."""
BEGINNING = datetime(2007, 1, 1, tzinfo=UTC)
"""There was no Zendesk before."""
NOT_YET = timedelta(minutes=5)
"""An export may not begin in the last minute, and clocks differ."""
DELETED = "deleted"
EXPORTS = "export"
ADMIN = "the role of an administrator: incremental exports are for administrators only"


class ZendeskConnector(ByTickets[TicketRow]):
    """The tickets of one account. Only reads."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="zendesk",
        summary="Tickets of a Zendesk account, by comment id",
        experimental=True,
        permissions=("an administrator's API token, or an OAuth token with the scope read",),
    )
    Config: ClassVar[type[ConnectorConfig]] = ZendeskConfig
    hidden_seconds: ClassVar[float] = 60.0

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, ZendeskConfig):
            raise TypeError("ZendeskConnector takes a ZendeskConfig")
        super().__init__(config)
        self._host = urlsplit(config.url).netloc.lower()
        self.client = RestClient(
            f"{config.url}/api/v2",
            name="zendesk",
            auth=_auth(config),
            budget=Budget(config.requests_per_minute, groups={EXPORTS: (config.exports_per_minute, 60.0)}),
        )
        self._people: dict[int, Person] = {}

    @property
    def account(self) -> str:
        """The account's host."""
        return self._host

    # -- which tickets

    async def changed(self, since: datetime | None, ctx: PassContext) -> AsyncIterator[Sequence[Ticket[TicketRow]]]:
        """Tickets by the hidden moment of their change. A deleted one is there without its words, and is passed over."""
        start = max(BEGINNING, min(since or BEGINNING, ctx.now() - NOT_YET))
        pages = by_url(
            self.client,
            ctx,
            "incremental/tickets/cursor",
            Export,
            {"start_time": int(start.timestamp())},
            next_url=lambda got: None if got.value.end_of_stream else got.value.after_url,
            group=EXPORTS,
            needs=ADMIN,
        )
        async for got in pages:
            yield [_ticket(row) for row in got.value.tickets if row.status != DELETED]

    async def ticket(self, ticket_id: str, ctx: PassContext) -> Ticket[TicketRow] | None:
        """One ticket."""
        got = await self.client.find(ctx, f"tickets/{ticket_id}", OneTicket)
        return None if got is None or got.value.ticket.status == DELETED else _ticket(got.value.ticket)

    # -- what was said

    async def entries(self, ticket: Ticket[TicketRow], ctx: PassContext) -> Sequence[Entry]:
        """The comments, but those that Zendesk wrote itself."""
        row = ticket.data
        people: dict[int, Person] = {}
        comments: list[Comment] = []
        pages = by_cursor(
            self.client,
            ctx,
            f"tickets/{row.id}/comments",
            Comments,
            {"page[size]": PAGE_ROWS, "include": "users"},
            name="page[after]",
            cursor=lambda page: page.meta.after_cursor if page.meta.has_more else None,
            about_message=True,
        )
        async for got in pages:
            people |= {user.id: _person(user) for user in got.value.users if user.id is not None}
            comments += [one for one in got.value.comments if not one.is_system]
        numbers = {one.author_id for one in comments} | {row.requester_id}
        people |= await self._people_of({one for one in numbers if one is not None and one not in people}, ctx)
        return [_entry(row, one, people, self.place(row.id, one.id)) for one in comments]

    async def _people_of(self, numbers: set[int], ctx: PassContext) -> dict[int, Person]:
        """Who these are, as far as Zendesk tells."""
        unknown = sorted(numbers - self._people.keys())
        if len(self._people) + len(unknown) > PEOPLE_MAX:
            self._people.clear()
            unknown = sorted(numbers)
        for start in range(0, len(unknown), USERS_AT_ONCE):
            some = unknown[start : start + USERS_AT_ONCE]
            asked = {"ids": ",".join(map(str, some))}
            found = (await self.client.get(ctx, "users/show_many", Users, asked)).value.users
            self._people |= {user.id: _person(user) for user in found if user.id is not None}
        return {number: self._people[number] for number in numbers if number in self._people}

    def open_file(self, external_id: str, attachment: Attachment, ctx: PassContext) -> AsyncIterator[bytes]:
        """A file. Its address is on the account's host and leads to another one, which is not shown the sign-in."""
        del external_id
        return self.client.download(ctx, attachment.ref)

    # -- check

    async def check_access(self, ctx: PassContext) -> Sequence[Finding]:
        """Who the token is, and whether the export and the comments can be read."""
        me = (await self.client.get(ctx, "users/me", Me)).value.user
        if me.id is None:
            raise AuthError(
                f"{self._host} takes the sign-in for nobody's.",
                code="zendesk.auth_refused",
                next_step="Put a current token into the secret that the source names; see that API tokens are switched on.",
            )
        findings = [Finding(Severity.OK, f"Signed in at {self._host} as {me.role}.", code="zendesk.signed_in")]
        start = {"start_time": int((ctx.now() - NOT_YET).timestamp())}
        await self.client.get(ctx, "incremental/tickets/cursor", Export, start, group=EXPORTS, needs=ADMIN)
        findings.append(Finding(Severity.OK, "Tickets can be exported.", code="zendesk.tickets"))
        return findings

    async def aclose(self) -> None:
        """Forgets names; there is no connection of its own."""
        self._people.clear()


def _auth(config: ZendeskConfig) -> Auth:
    if config.oauth_token is not None:
        return StaticAuth(config.oauth_token)
    if config.email is None or config.api_token is None:
        raise TypeError("the settings have been validated")
    return BasicAuth(f"{config.email}/token", config.api_token)


def _ticket(row: TicketRow) -> Ticket[TicketRow]:
    return Ticket(str(row.id), row.changed_at, row)


def _person(user: User) -> Person:
    return Person(str(user.id or ""), user.name or "", user.email or "", user.phone or "", user.role in AGENTS)


def _entry(row: TicketRow, one: Comment, people: dict[int, Person], place: str) -> Entry:
    text = one.plain_body or one.body or ""
    requester = people.get(row.requester_id or 0) or Person(str(row.requester_id or ""))
    said = Said(
        people.get(one.author_id or 0) or Person(str(one.author_id or "")),
        (requester,),
        html=one.html_body or "",
        text=text,
        is_internal=not one.public,
        subject=row.subject or row.raw_subject or "",
        files=tuple(_file(file) for file in one.attachments if not file.deleted),
    )
    return Entry(place, one.created_at, said, version_of(text, one.public))


def _file(file: File) -> Attachment:
    return Attachment(
        file.file_name or "",
        file.content_type or "application/octet-stream",
        file.size,
        ref=file.content_url or "",
        inline=file.inline,
    )
