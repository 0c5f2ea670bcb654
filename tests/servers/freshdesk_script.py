"""A Freshdesk that is not there: tickets, conversations, contacts and files in memory, with the traps of the real one.

Sources: Freshdesk's API reference (v2), and what other people's clients found out. What it does that surprises people:
without `updated_since` only tickets of the last thirty days are listed; page 301 is refused; `updated_since` compares whole
seconds and includes them; the first message is the ticket's description; at most ten conversations are embedded; what is
embedded costs more; files are signed addresses on another host, for minutes; deleted and spam tickets are not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Self

from sync.message import Json
from sync.testing.service import Answer, Asked, ScriptedService
from sync.testing.service import page as page_of
from tests.servers.helpdesk_script import Files, credential, iso

API_KEY = "fd-key-7719"
LAST_PAGE = 300
EMBEDDED_MAX = 10
DEFAULT_DAYS = 30
EMAIL, PORTAL, PHONE, CHAT, OUTBOUND_EMAIL = 1, 2, 3, 7, 10
"""Sources of a ticket."""
REPLY, NOTE, FORWARDED = 0, 2, 8
"""Sources of a conversation."""


@dataclass
class Conversation:
    """One entry of a ticket after its description."""

    id: int
    user: int
    body: str
    created_at: datetime
    incoming: bool
    private: bool
    source: int
    from_email: str | None = None
    edited_at: datetime | None = None
    files: list[int] = field(default_factory=list)


@dataclass
class Ticket:
    """A ticket with its first message."""

    id: int
    requester: int
    subject: str
    description: str
    created_at: datetime
    updated_at: datetime
    source: int = EMAIL
    spam: bool = False
    deleted: bool = False
    files: list[int] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)


class ScriptedFreshdesk(ScriptedService):
    """The service; loopback, free port. `before_page` happens just before a page of tickets is given."""

    def __init__(self, *, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__()
        self.clock = clock or (lambda: datetime.now(UTC))
        self.contacts: dict[int, dict[str, Json]] = {}
        self.agents: dict[int, dict[str, Json]] = {}
        self.tickets: dict[int, Ticket] = {}
        self.files = Files()
        self.credits = 0
        self.per_minute = 700
        self.last_page = LAST_PAGE
        self.sees_agents = True
        self.scope = 1
        self.picture = "<img src='https://files.example.net/1?signature=one'>"
        self.before_page: Callable[[int], object] | None = None
        self._stored: dict[int, tuple[str, bytes, str]] = {}
        self._ids = count(1)
        self.agent = self._someone(self.agents, "anna@shop.example.com", "Anna Agent", None)
        self.gate(self._signed_in)
        for path, route in {
            "tickets": self._tickets,
            "tickets/{number}": self._one,
            "tickets/{number}/conversations": self._conversations,
            "contacts": lambda asked: page_of(list(self.contacts.values()), asked, size=asked.number("per_page", 30)),
            "contacts/{number}": lambda asked: _found(self.contacts.get(_number(asked))),
            "agents/{number}": self._agent,
            "agents/me": lambda _asked: {
                "id": self.agent,
                "contact": self.agents[self.agent],
                "ticket_scope": self.scope,
            },
        }.items():
            self.get(f"/api/v2/{path}")(self._counted(route))

    def start(self) -> Self:
        """Both hosts begin to answer."""
        self.files.start()
        return super().start()

    def stop(self) -> None:
        """Both hosts end."""
        self.files.stop()
        super().stop()

    # -- what people do

    def contact(self, email: str | None, name: str, *, phone: str | None = None) -> int:
        """A customer."""
        return self._someone(self.contacts, email, name, phone)

    def _someone(self, where: dict[int, dict[str, Json]], email: str | None, name: str, phone: str | None) -> int:
        number = 1000 + next(self._ids)
        where[number] = {"id": number, "name": name, "email": email, "phone": phone, "mobile": None}
        return number

    def ticket(self, requester: int, text: str, *, at: datetime, subject: str = "a question", **more: Any) -> Ticket:
        """A new ticket. `source`, `files`, `spam` as keywords."""
        at = at.replace(microsecond=0)
        made = Ticket(next(self._ids), requester, subject, text, at, at, **more)
        self.tickets[made.id] = made
        return made

    def conversation(
        self,
        ticket: Ticket,
        user: int,
        text: str,
        *,
        at: datetime,
        private: bool = False,
        source: int = REPLY,
        **more: Any,
    ) -> Conversation:
        """Somebody writes. Customers' words are `incoming`. `from_email`, `files` as keywords."""
        at = at.replace(microsecond=0)
        incoming = user not in self.agents
        made = Conversation(next(self._ids), user, text, at, incoming, private, source, **more)
        ticket.conversations.append(made)
        ticket.updated_at = max(ticket.updated_at, at)
        return made

    def file(self, name: str, data: bytes, mime_type: str = "text/plain") -> int:
        """A file for a message."""
        number = next(self._ids)
        self._stored[number] = (name, data, mime_type)
        return number

    def touch(self, ticket: Ticket, at: datetime) -> None:
        """A change that is no message."""
        ticket.updated_at = at.replace(microsecond=0)

    def edit(self, ticket: Ticket, entry: Conversation, text: str, *, at: datetime) -> None:
        """A note is edited in place."""
        entry.body = text
        entry.edited_at = at.replace(microsecond=0)
        self.touch(ticket, at)

    def merge(self, loser: Ticket, winner: Ticket, *, at: datetime) -> None:
        """The loser is closed; the winner gets a private note. Messages stay where they are."""
        self.conversation(winner, self.agent, f"Merged from ticket {loser.id}", at=at, private=True, source=NOTE)
        self.conversation(
            loser, self.agent, f"This ticket is closed and merged into {winner.id}", at=at, private=True, source=NOTE
        )

    # -- answers

    def _signed_in(self, asked: Asked) -> Answer | None:
        if credential(asked) == f"{API_KEY}:X":
            return None
        return Answer(
            {"code": "invalid_credentials", "message": "You have to be logged in to perform this action."}, 401
        )

    def _counted(self, route: Callable[[Asked], object]) -> Callable[[Asked], Answer]:
        """What is embedded costs more. The budget is the account's."""

        def answer(asked: Asked) -> Answer:
            used = 1 + sum(1 for name in asked.query.get("include", "").split(",") if name)
            if self.credits + used > self.per_minute:
                said = "You have exceeded the limit of requests per minute"
                return Answer({"message": said}, 429, {"Retry-After": "31"})
            self.credits += used
            made = route(asked)
            made = made if isinstance(made, Answer) else Answer(made)
            headers = {
                "X-RateLimit-Total": str(self.per_minute),
                "X-RateLimit-Remaining": str(self.per_minute - self.credits),
                "X-RateLimit-Used-CurrentRequest": str(used),
            }
            return Answer(made.body, made.status, {**headers, **made.headers})

        return answer

    def _live(self, asked: Asked) -> Ticket | None:
        ticket = self.tickets.get(number) if (number := _number(asked)) else None
        return None if ticket is None or ticket.deleted else ticket

    def _one(self, asked: Asked) -> Answer:
        ticket = self._live(asked)
        return _found(None if ticket is None else self._view(ticket, asked))

    def _agent(self, asked: Asked) -> Answer:
        if not self.sees_agents:
            return Answer({"code": "access_denied", "message": "You are not authorized to perform this action."}, 403)
        contact = self.agents.get(_number(asked))
        return _found(None if contact is None else {"id": contact["id"], "contact": contact})

    def _conversations(self, asked: Asked) -> Answer:
        ticket = self._live(asked)
        if ticket is None:
            return _found(None)
        rows = sorted(ticket.conversations, key=lambda one: one.id)
        return self._page([self._conversation(one) for one in rows], asked)

    def _tickets(self, asked: Asked) -> Answer:
        query = asked.query
        page = asked.number("page", 1)
        if self.before_page is not None:
            self.before_page(page)
        if page > self.last_page:
            said = {
                "field": "page",
                "message": f"You cannot access tickets beyond the {self.last_page}th page",
                "code": "invalid_value",
            }
            return Answer({"description": "Validation failed", "errors": [said]}, 400)
        rows = [one for one in self.tickets.values() if not one.deleted and not one.spam]
        since = query.get("updated_since")
        if since is None:
            rows = [one for one in rows if one.created_at >= self.clock() - timedelta(days=DEFAULT_DAYS)]
        else:
            rows = [one for one in rows if one.updated_at >= datetime.fromisoformat(since).replace(microsecond=0)]
        by = "updated_at" if query.get("order_by") == "updated_at" else "created_at"
        rows.sort(key=lambda one: (getattr(one, by), one.id), reverse=query.get("order_type", "desc") == "desc")
        return self._page([self._ticket(one, asked) for one in rows], asked)

    def _page(self, rows: Sequence[object], asked: Asked) -> Answer:
        return page_of(rows, asked, size=min(asked.number("per_page", 30), 100), url=self.url)

    def _ticket(self, one: Ticket, asked: Asked) -> dict[str, Json]:
        made: dict[str, Json] = {
            "id": one.id,
            "subject": one.subject,
            "requester_id": one.requester,
            "source": one.source,
            "spam": one.spam,
            "status": 2,
            "created_at": iso(one.created_at),
            "updated_at": iso(one.updated_at),
        }
        include = asked.query.get("include", "").split(",")
        if "requester" in include:
            made["requester"] = (self.contacts | self.agents)[one.requester]
        if "description" in include:
            made["description"] = f"<div>{one.description}</div>"
            made["description_text"] = one.description
        return made

    def _view(self, one: Ticket, asked: Asked) -> Json:
        made = self._ticket(one, asked)
        made["description"] = f"<div>{one.description}</div>"
        made["description_text"] = one.description
        made["attachments"] = [self._attachment(number) for number in one.files]
        if "conversations" in asked.query.get("include", ""):
            made["conversations"] = [self._conversation(row) for row in one.conversations[:EMBEDDED_MAX]]
        return made

    def _conversation(self, one: Conversation) -> Json:
        return {
            "id": one.id,
            "user_id": one.user,
            "body": f"<div>{one.body}</div>{self.picture}",
            "body_text": one.body,
            "incoming": one.incoming,
            "private": one.private,
            "source": one.source,
            "from_email": one.from_email,
            "created_at": iso(one.created_at),
            "updated_at": iso(one.edited_at or one.created_at),
            "last_edited_at": iso(one.edited_at) if one.edited_at else None,
            "attachments": [self._attachment(number) for number in one.files],
        }

    def _attachment(self, number: int) -> Json:
        name, data, mime_type = self._stored[number]
        return {
            "id": number,
            "name": name,
            "content_type": mime_type,
            "size": len(data),
            "attachment_url": self.files.put(data),
        }


def _found(made: object) -> Answer:
    return Answer(b"", 404) if made is None else Answer(made)


def _number(asked: Asked) -> int:
    text = asked.parts["number"]
    return int(text) if text.isdigit() else 0
