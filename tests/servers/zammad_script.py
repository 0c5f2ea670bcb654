"""A Zammad that is not there: tickets, articles, users and files in memory, with the traps of the real one.

Source: Zammad's own code (`TicketsController`, `TicketArticlesController`, `CanSearch`, `Selector::Sql`, `Ticket#merge_to`).
What it does that surprises people: without Elasticsearch a query is text to look for, and with it the index lags; a search
by condition always asks the database; answers have two shapes; the list of all articles is for administrators; merging moves
articles and leaves one that says "merged"; an internal article may have been mailed all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

from sync.message import Json
from sync.testing.service import Answer, Asked, ScriptedService

Row = TypeVar("Row")

TOKEN = "zm-token-4403"
SEARCH_MAX, LIST_MAX, INDEX_MAX = 200, 100, 1000
INDEX_WINDOW = 10_000
"""Elasticsearch gives nothing beyond."""


@dataclass
class Article:
    """One entry of a ticket."""

    id: int
    ticket: int
    sender: str
    kind: str
    body: str
    internal: bool
    created_by: int
    created_at: datetime
    updated_at: datetime
    origin_by: int | None = None
    author: str = ""
    to: str = ""
    content_type: str = "text/html"
    subject: str = ""
    files: list[int] = field(default_factory=list)


@dataclass
class Ticket:
    """A ticket. `indexed_at`: the change that Elasticsearch knows of."""

    id: int
    customer: int
    title: str
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    indexed_at: datetime | None = None
    group: int = 1


class ScriptedZammad(ScriptedService):
    """The service; loopback, free port. `elasticsearch`: there is one. `permissions` of the token; `groups` that it sees.
    `names_tickets`: a search is answered with tickets where `expand` asks for them, else with ids and assets. `conditions`:
    searches by condition work. `before_page` happens just before a page of tickets or articles is given."""

    def __init__(self, *, permissions: tuple[str, ...] = ("ticket.agent",)) -> None:
        super().__init__()
        self.permissions = permissions
        self.groups = {1}
        self.elasticsearch = False
        self.names_tickets = True
        self.conditions = True
        self.before_page: Callable[[int], object] | None = None
        nobody: dict[str, Json] = {"id": 1, "login": "-", "firstname": "-", "lastname": "", "email": "", "roles": []}
        self.users: dict[int, dict[str, Json]] = {1: nobody}
        self.tickets: dict[int, Ticket] = {}
        self.articles: dict[int, Article] = {}
        self._stored: dict[int, tuple[str, bytes, str]] = {}
        self._ids = count(1)
        self.agent = self.user("anna@shop.example.com", "Anna", "Agent", agent=True)
        self.require("Authorization", f"Token token={TOKEN}", body={"error": "Invalid Authorization token!"})
        for path, route in {
            "users/{number}": self._user,
            "users/me": self._me,
            "tickets": self._agents_only(self._list),
            "tickets/{number}": lambda asked: self._of_ticket(asked, lambda one: self._ticket(one, names=True)),
            "tickets/search": self._agents_only(self._search),
            "ticket_articles": self._index,
            "ticket_articles/{number}": self._one_article,
            "ticket_articles/by_ticket/{number}": lambda asked: self._of_ticket(asked, self._articles_of),
            "ticket_attachment/{ticket}/{article}/{number}": self._file,
        }.items():
            self.get(f"/api/v1/{path}")(route)

    # -- what people do

    def user(self, email: str | None, first: str, last: str, *, phone: str = "", agent: bool = False) -> int:
        """Somebody with an account here."""
        number = 1000 + next(self._ids)
        self.users[number] = {
            "id": number,
            "login": email or f"auto-{number}",
            "firstname": first,
            "lastname": last,
            "email": email or "",
            "phone": phone,
            "mobile": "",
            "roles": ["Agent"] if agent else ["Customer"],
        }
        return number

    def ticket(self, customer: int, text: str, *, at: datetime, title: str = "a question", **more: Any) -> Ticket:
        """A new ticket with its first article, from the customer unless the test says otherwise."""
        made = Ticket(next(self._ids), customer, title, at, at, indexed_at=at)
        self.tickets[made.id] = made
        self.article(made, text, at=at, **more)
        return made

    def article(
        self,
        ticket: Ticket,
        text: str,
        *,
        at: datetime,
        sender: str = "Customer",
        kind: str = "email",
        internal: bool = False,
        by: int | None = None,
        **more: Any,
    ) -> Article:
        """Somebody writes. `origin_by`, `author`, `content_type`, `files` as keywords."""
        author = by or (ticket.customer if sender == "Customer" else self.agent)
        made = Article(next(self._ids), ticket.id, sender, kind, text, internal, author, at, at, **more)
        self.articles[made.id] = made
        ticket.updated_at = max(ticket.updated_at, at)
        return made

    def file(self, name: str, data: bytes, mime_type: str = "text/plain") -> int:
        """A file for an article."""
        number = next(self._ids)
        self._stored[number] = (name, data, mime_type)
        return number

    def touch(self, ticket: Ticket, at: datetime) -> None:
        """Escalation, a service level: a change that is no article."""
        ticket.updated_at = at

    def publish(self, article: Article, *, internal: bool, at: datetime) -> None:
        """An article is made visible to the customer, or hidden."""
        article.internal = internal
        article.updated_at = at
        self.touch(self.tickets[article.ticket], at)

    def delete(self, ticket: Ticket) -> None:
        """A ticket goes with its articles."""
        self.tickets.pop(ticket.id, None)
        self.articles = {number: one for number, one in self.articles.items() if one.ticket != ticket.id}

    def merge(self, loser: Ticket, winner: Ticket, *, at: datetime) -> None:
        """The articles move, and one that says so stays."""
        for article in self.articles.values():
            if article.ticket == loser.id:
                article.ticket = winner.id
                article.updated_at = at
        self.article(loser, "merged", at=at, sender="Agent", kind="note", content_type="text/plain")
        loser.state = "merged"
        self.touch(winner, at)

    # -- answers

    def _agents_only(self, route: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
        return lambda asked: route(asked) if "ticket.agent" in self.permissions else _forbidden()

    def _me(self, _asked: Asked) -> Answer:
        return Answer({**self.users[self.agent], "group_ids": {str(one): ["full"] for one in self.groups}})

    def _user(self, asked: Asked) -> Answer:
        if not {"admin", "admin.user", "ticket.agent"} & set(self.permissions):
            return _forbidden()
        user = self.users.get(int(asked.parts["number"]))
        return _missing("User", asked) if user is None else Answer(user)

    def _of_ticket(self, asked: Asked, told: Callable[[Ticket], Json]) -> Answer:
        ticket = self.tickets.get(int(asked.parts["number"]))
        if ticket is None:
            return _missing("Ticket", asked)
        return Answer(told(ticket)) if self._sees(ticket.id) else _forbidden()

    def _sees(self, ticket: int) -> bool:
        return "ticket.agent" in self.permissions and self.tickets[ticket].group in self.groups

    def _articles_of(self, ticket: Ticket) -> Json:
        rows = sorted((one for one in self.articles.values() if one.ticket == ticket.id), key=lambda one: one.id)
        return [self._article(one, names=True) for one in rows]

    def _one_article(self, asked: Asked) -> Answer:
        article = self.articles.get(int(asked.parts["number"]))
        if article is None:
            return _missing("Ticket::Article", asked)
        return Answer(self._article(article, names=True)) if self._sees(article.ticket) else _forbidden()

    def _visible(self) -> list[Ticket]:
        return [one for one in self.tickets.values() if one.group in self.groups]

    def _list(self, asked: Asked) -> Answer:
        self._happens(asked)
        rows = self._cut(sorted(self._visible(), key=lambda one: one.id), asked, LIST_MAX, 100)
        return Answer([self._ticket(one, names="expand" in asked.query) for one in rows])

    def _search(self, asked: Asked) -> Answer:
        self._happens(asked)
        query = asked.query.get("query", "")
        rows = self._visible()
        stamp = "updated_at"
        if query and self.elasticsearch:
            since = datetime.fromisoformat(query.partition(":>=")[2].strip('"'))
            rows = [one for one in rows if one.indexed_at is not None and one.indexed_at >= since]
            stamp = "indexed_at"
        elif query:
            rows = [one for one in rows if self._says(one, query)]
        since_text = asked.query.get("condition[ticket.updated_at][value]")
        if since_text is not None and not self.conditions:
            rows = []
        elif since_text is not None:
            operator = asked.query["condition[ticket.updated_at][operator]"]
            if operator != "after (absolute)":
                return Answer({"error": f"Invalid condition, operator '{operator}' is invalid"}, 422)
            rows = [one for one in rows if one.updated_at >= datetime.fromisoformat(since_text)]
        by = asked.query.get("sort_by", stamp).split(",")
        descending = asked.query.get("order_by", "desc").split(",")[0] == "desc"
        rows.sort(key=lambda one: tuple(getattr(one, name) for name in by), reverse=descending)
        if query and self.elasticsearch:
            rows = rows[:INDEX_WINDOW]
        rows = self._cut(rows, asked, SEARCH_MAX, 50)
        if "expand" in asked.query and self.names_tickets:
            return Answer([self._ticket(one, names=True) for one in rows])
        ids: list[Json] = [one.id for one in rows]
        assets: dict[str, Json] = {"Ticket": {str(one.id): self._ticket(one, names=False) for one in rows}}
        return Answer({"tickets": ids, "tickets_count": len(ids), "assets": assets})

    def _says(self, ticket: Ticket, text: str) -> bool:
        bodies = [one.body for one in self.articles.values() if one.ticket == ticket.id]
        return any(text.lower() in said.lower() for said in (ticket.title, *bodies))

    def _index(self, asked: Asked) -> Answer:
        if "admin" not in self.permissions:
            return _forbidden()
        self._happens(asked)
        descending = asked.query.get("order_by", "asc") == "desc"
        rows = sorted(self.articles.values(), key=lambda one: one.id, reverse=descending)
        some = self._cut(rows, asked, INDEX_MAX, 500)
        return Answer([self._article(one, names="expand" in asked.query) for one in some])

    def _happens(self, asked: Asked) -> None:
        if self.before_page is not None:
            self.before_page(asked.number("page", 1))

    def _cut(self, rows: list[Row], asked: Asked, most: int, default: int) -> list[Row]:
        size = min(int(asked.query.get("per_page") or asked.query.get("limit") or default), most)
        page = int(asked.query.get("page", "1"))
        return rows[(page - 1) * size : page * size]

    def _file(self, asked: Asked) -> Answer:
        ticket, article, number = (int(asked.parts[name]) for name in ("ticket", "article", "number"))
        held = self.articles.get(article)
        if held is None or held.ticket != ticket or number not in held.files or not self._sees(ticket):
            return _forbidden("The file does not belong to the specified article.")
        return Answer(self._stored[number][1])

    def _ticket(self, one: Ticket, *, names: bool) -> dict[str, Json]:
        made: dict[str, Json] = {
            "id": one.id,
            "number": f"2{one.id:05d}",
            "title": one.title,
            "customer_id": one.customer,
            "state_id": 5 if one.state == "merged" else 2,
            "created_at": _iso(one.created_at),
            "updated_at": _iso(one.updated_at),
        }
        return {**made, "state": one.state, "customer": self.users[one.customer]["login"]} if names else made

    def _article(self, one: Article, *, names: bool) -> dict[str, Json]:
        made: dict[str, Json] = {
            "id": one.id,
            "ticket_id": one.ticket,
            "sender_id": {"Agent": 1, "Customer": 2, "System": 3}[one.sender],
            "type_id": 1,
            "internal": one.internal,
            "from": one.author or self._display(one.created_by),
            "to": one.to,
            "subject": one.subject,
            "body": one.body,
            "content_type": one.content_type,
            "created_by_id": one.created_by,
            "origin_by_id": one.origin_by,
            "created_at": _iso(one.created_at),
            "updated_at": _iso(one.updated_at),
            "preferences": {},
            "attachments": [
                {
                    "id": number,
                    "filename": self._stored[number][0],
                    "size": str(len(self._stored[number][1])),
                    "preferences": {"Content-Type": self._stored[number][2]},
                }
                for number in one.files
            ],
        }
        return {**made, "sender": one.sender, "type": one.kind} if names else made

    def _display(self, number: int) -> str:
        user = self.users[number]
        name = f"{user['firstname']} {user['lastname']}".strip()
        return f"{name} <{user['email']}>" if user["email"] else name


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _forbidden(said: str = "Not authorized") -> Answer:
    return Answer({"error": said, "error_human": said}, 403, {"X-Failure": said})


def _missing(kind: str, asked: Asked) -> Answer:
    said = f"Couldn't find {kind} with 'id'={asked.parts['number']}"
    return Answer({"error": said, "error_human": said}, 404)
