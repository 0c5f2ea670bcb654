"""A Zendesk that is not there: tickets, comments, users and files in memory, with the traps of the real one.

Sources: Zendesk's "Using the Incremental Export API", "Ticket Comments", "Users" and "Rate limits" pages. What it does that
surprises people: exports leave out the last minute; what a row is chosen by is a hidden stamp, not `updated_at`; page
boundaries repeat rows; ten exports a minute, counted apart from everything else; administrators only; a deleted ticket is
a scrubbed row, and its comments are gone; merging writes comments; files lie on another host.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Self

from sync.message import Json
from sync.testing.service import Answer, Asked, ScriptedService
from tests.servers.helpdesk_script import Files, credential, iso

EMAIL = "agent@shop.example.com"
TOKEN = "zd-token-5521"
HIDDEN = timedelta(seconds=60)
EXPORTS_PER_MINUTE = 10
SYSTEM = -1
"""The author of what Zendesk itself writes."""


@dataclass
class Comment:
    """One comment of a ticket."""

    id: int
    author: int
    body: str
    public: bool
    created_at: datetime
    html: str = ""
    via: dict[str, Json] = field(default_factory=lambda: {"channel": "email", "source": {"rel": None}})
    files: list[dict[str, Json]] = field(default_factory=list)


@dataclass
class Ticket:
    """A ticket. `generated` is the hidden stamp by which exports choose."""

    id: int
    requester: int
    subject: str
    created_at: datetime
    updated_at: datetime
    generated: datetime
    comments: list[Comment] = field(default_factory=list)
    status: str = "open"
    channel: str = "email"


class ScriptedZendesk(ScriptedService):
    """The service; loopback, free port. `page`: rows of one export page. `clock`: the server's, UTC."""

    def __init__(self, *, page: int = 1000, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__()
        self.clock = clock or (lambda: datetime.now(UTC))
        self.page = page
        self.role = "admin"
        self.is_anonymous = False
        self.tells_exports = True
        self.before_page: Callable[[int], object] | None = None
        self.exports_per_minute = EXPORTS_PER_MINUTE
        self.users: dict[int, dict[str, Json]] = {}
        self.tickets: dict[int, Ticket] = {}
        self.files = Files()
        self._ids = count(1)
        self._exports: list[datetime] = []
        self._addresses: dict[str, str] = {}
        self.agent = self.user("agent", EMAIL, "Anna Agent")
        self.gate(self._signed_in)
        self.get("/attachments/token/{number}/")(
            lambda asked: Answer(b"", 302, {"Location": self._addresses[asked.path]})
        )
        self.get("/api/v2/incremental/tickets/cursor")(self._export)
        self.get("/api/v2/incremental/tickets/cursor.json")(self._export)
        self.get("/api/v2/tickets/{number}")(self._one)
        self.get("/api/v2/tickets/{number}/comments")(self._comments)
        self.get("/api/v2/users/me")(self._me)
        self.get("/api/v2/users/show_many")(self._users)

    def start(self) -> Self:
        """Both hosts begin to answer."""
        self.files.start()
        return super().start()

    def stop(self) -> None:
        """Both hosts end."""
        self.files.stop()
        super().stop()

    # -- what people do

    def user(self, role: str, email: str | None, name: str, *, phone: str | None = None) -> int:
        """Somebody with an account here."""
        number = 1000 + next(self._ids)
        self.users[number] = {"id": number, "name": name, "email": email, "phone": phone, "role": role}
        return number

    def ticket(
        self, requester: int, text: str, *, at: datetime, author: int | None = None, subject: str = "", **more: Any
    ) -> Ticket:
        """A new ticket; its description is its first comment."""
        at = at.replace(microsecond=0)
        made = Ticket(next(self._ids), requester, subject or "a question", at, at, at)
        self.tickets[made.id] = made
        self.comment(made, author or requester, text, at=at, **more)
        return made

    def comment(
        self, ticket: Ticket, author: int, text: str, *, at: datetime, public: bool = True, **more: Any
    ) -> Comment:
        """Somebody writes. `via`, `html`, `files` as keywords."""
        at = at.replace(microsecond=0)
        made = Comment(next(self._ids), author, text, public, at, **more)
        ticket.comments.append(made)
        ticket.updated_at = max(ticket.updated_at, at)
        ticket.generated = max(ticket.generated, at)
        return made

    def file(self, name: str, data: bytes, mime_type: str = "text/plain") -> dict[str, Json]:
        """A file for a comment. Its address is on this host, which sends to another one."""
        number = next(self._ids)
        self._addresses[f"/attachments/token/{number}/"] = self.files.put(data)
        return {
            "id": number,
            "file_name": name,
            "content_type": mime_type,
            "size": len(data),
            "content_url": f"{self.url}/attachments/token/{number}/?name={name}",
            "inline": False,
        }

    def touch(self, ticket: Ticket, at: datetime) -> None:
        """A change that only the hidden stamp shows."""
        ticket.generated = at

    def redact(self, ticket: Ticket, comment: Comment, hidden: str, *, at: datetime) -> None:
        """Words are blacked out in place."""
        comment.body = comment.body.replace(hidden, "▇" * len(hidden))
        comment.html = ""
        ticket.updated_at = ticket.generated = at

    def merge(self, loser: Ticket, winner: Ticket, *, at: datetime) -> None:
        """The loser is closed; both get a comment. Messages stay where they are."""
        via: dict[str, Json] = {"channel": "web", "source": {"from": {}, "to": {}, "rel": "merge"}}
        told = f'Request #{loser.id} "{loser.subject}" was closed and merged into this request. Last comment: …'
        self.comment(winner, self.agent, told, at=at, via=dict(via))
        self.comment(
            loser, self.agent, f"This request was closed and merged into request #{winner.id}.", at=at, via=via
        )
        loser.status = "closed"

    def delete(self, ticket: Ticket, *, at: datetime) -> None:
        """Deleted, and scrubbed at once: the row stays in exports, the words are gone."""
        ticket.status = "deleted"
        ticket.subject = "SCRUBBED"
        ticket.updated_at = ticket.generated = at

    # -- answers

    def _signed_in(self, asked: Asked) -> Answer | None:
        if credential(asked) in {f"{EMAIL}/token:{TOKEN}", f"Bearer {TOKEN}"} or asked.path in self._addresses:
            return None
        return Answer({"error": "Couldn't authenticate you"}, 401)

    def _live(self, number: str) -> Ticket | None:
        ticket = self.tickets.get(int(number)) if number.isdigit() else None
        return None if ticket is None or ticket.status == "deleted" else ticket

    def _one(self, asked: Asked) -> Answer:
        ticket = self._live(asked.parts["number"])
        return _missing() if ticket is None else Answer({"ticket": self._ticket(ticket)})

    def _me(self, _asked: Asked) -> Answer:
        nobody: Json = {"id": None, "name": "Anonymous user", "role": "end-user"}
        return Answer({"user": nobody if self.is_anonymous else {**self.users[self.agent], "role": self.role}})

    def _users(self, asked: Asked) -> Answer:
        ids = [int(one) for one in asked.query["ids"].split(",")]
        return Answer({"users": [self.users[one] for one in ids if one in self.users]})

    def _export(self, asked: Asked) -> Answer:
        if self.role != "admin":
            said = "You do not have access to this page. Please contact the account owner of this help desk."
            return Answer({"error": {"title": "Forbidden", "message": said}}, 403)
        now = self.clock()
        self._exports = [at for at in self._exports if now - at < timedelta(minutes=1)]
        if len(self._exports) >= self.exports_per_minute:
            wait = str(int(60 - (now - self._exports[0]).total_seconds()) + 1)
            said = "Number of allowed incremental export API requests per minute exceeded"
            return Answer({"error": "APIRateLimitExceeded", "description": said}, 429, {"Retry-After": wait})
        self._exports.append(now)
        if self.before_page is not None:
            self.before_page(len(self._exports))
        if "cursor" in asked.query:
            since, after = _read_cursor(asked.query["cursor"])
        else:
            since, after = float(asked.query["start_time"]), -1
            if since > (now - HIDDEN).timestamp():
                said = "Too recent start_time. Use a start_time older than 60 seconds."
                return Answer({"error": "StartTimeTooRecent", "description": said}, 422)
        shown = sorted(
            (row for row in self.tickets.values() if row.generated <= now - HIDDEN),
            key=lambda one: (one.generated, one.id),
        )
        wanted = [row for row in shown if (row.generated.timestamp(), row.id) > (since, after)]
        rows = wanted[: self.page]
        more = len(wanted) > len(rows)
        if "cursor" in asked.query and rows:  # what stood at the boundary comes again
            rows = [row for row in shown if (row.generated.timestamp(), row.id) == (since, after)] + rows
        cursor = _cursor(rows[-1]) if rows else None
        left = str(self.exports_per_minute - len(self._exports))
        return Answer(
            {
                "tickets": [self._ticket(row) for row in rows],
                "after_cursor": cursor,
                "after_url": None
                if cursor is None
                else f"{self.url}/api/v2/incremental/tickets/cursor.json?cursor={cursor}",
                "before_cursor": None,
                "end_of_stream": not more,
            },
            headers={"ratelimit-limit": "700", "ratelimit-remaining": "699", "x-rate-limit-remaining": "699"}
            | (
                {"zendesk-ratelimit-incremental-exports": f"total=10; remaining={left}; resets=41"}
                if self.tells_exports
                else {}
            ),
        )

    def _comments(self, asked: Asked) -> Answer:
        ticket = self._live(asked.parts["number"])
        if ticket is None:
            return _missing()
        comments = sorted(ticket.comments, key=lambda one: (one.created_at, one.id))
        if asked.query.get("sort") == "-created_at":
            comments.reverse()
        size = min(int(asked.query.get("page[size]", "100")), 100)
        after = asked.query.get("page[after]", "")
        start = next((place + 1 for place, one in enumerate(comments) if str(one.id) == after), 0)
        some = comments[start : start + size]
        authors = {one.author for one in some}
        return Answer(
            {
                "comments": [self._comment(one) for one in some],
                "users": [self.users[one] for one in sorted(authors) if one in self.users]
                if "users" in asked.query.get("include", "")
                else [],
                "meta": {"has_more": start + size < len(comments), "after_cursor": str(some[-1].id) if some else None},
                "links": {"next": None},
            },
        )

    def _ticket(self, row: Ticket) -> Json:
        return {
            "id": row.id,
            "subject": row.subject,
            "description": row.comments[0].body if row.status != "deleted" else "SCRUBBED",
            "status": row.status,
            "requester_id": row.requester,
            "submitter_id": row.comments[0].author,
            "created_at": iso(row.created_at),
            "updated_at": iso(row.updated_at),
            "generated_timestamp": int(row.generated.timestamp()),
            "via": {"channel": row.channel},
        }

    def _comment(self, one: Comment) -> Json:
        return {
            "id": one.id,
            "type": "Comment",
            "author_id": one.author,
            "body": one.body,
            "plain_body": one.body,
            "html_body": one.html or f'<div class="zd-comment"><p>{one.body}</p></div>',
            "public": one.public,
            "created_at": iso(one.created_at),
            "via": one.via,
            "attachments": list(one.files),
        }


def _missing() -> Answer:
    return Answer({"error": "RecordNotFound", "description": "Not found"}, 404)


def _cursor(row: Ticket) -> str:
    return base64.urlsafe_b64encode(f"{row.generated.timestamp()}||{row.id}|".encode()).decode()


def _read_cursor(text: str) -> tuple[float, int]:
    since, _, rest = base64.urlsafe_b64decode(text).decode().partition("||")
    return float(since), int(rest.strip("|"))
