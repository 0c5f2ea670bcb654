"""What Zendesk's answers look like, as far as this connector reads them (Support API v2 reference)."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

SYSTEM_AUTHOR = -1
"""The author of what Zendesk itself writes."""
AGENTS = frozenset({"agent", "admin"})


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class TicketRow(_Shape):
    """A ticket. `generated_timestamp` is what exports choose by; it moves with every change, `updated_at` does not."""

    id: int
    subject: str | None = None
    raw_subject: str | None = None
    requester_id: int | None = None
    status: str = ""
    updated_at: AwareDatetime
    generated_timestamp: int | None = None

    @property
    def changed_at(self) -> datetime:
        """The moment by which an export puts it in its place."""
        if self.generated_timestamp is None:
            return self.updated_at
        return datetime.fromtimestamp(self.generated_timestamp, UTC)


class Export(_Shape):
    """A page of an incremental export. `after_url` None: there was nothing in it."""

    tickets: tuple[TicketRow, ...] = ()
    after_url: str | None = None
    end_of_stream: bool = True


class OneTicket(_Shape):
    """The answer of Show Ticket."""

    ticket: TicketRow


class User(_Shape):
    """Somebody with an account: `end-user`, `agent` or `admin`."""

    id: int | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    role: str | None = None


class Me(_Shape):
    """The answer of Show Self. Without a sign-in it is a user without an id, and no refusal."""

    user: User


class Users(_Shape):
    """The answer of Show Many Users."""

    users: tuple[User, ...] = ()


class File(_Shape):
    """A file. `deleted`: it was redacted."""

    file_name: str | None = None
    content_type: str | None = None
    size: int | None = None
    content_url: str | None = None
    inline: bool = False
    deleted: bool = False


class Source(_Shape):
    """Where something came from; `rel` says how, where it was no person."""

    rel: str | None = None


class Via(_Shape):
    """The channel by which something came."""

    channel: str | int | None = None
    source: Source | None = None


class Comment(_Shape):
    """One thing said in a ticket; the first is its description."""

    id: int
    author_id: int | None = None
    body: str | None = None
    plain_body: str | None = None
    html_body: str | None = None
    public: bool = True
    created_at: AwareDatetime
    via: Via | None = None
    attachments: tuple[File, ...] = ()

    @property
    def is_system(self) -> bool:
        """Written by Zendesk: by itself, or in somebody's name when tickets were merged."""
        merged = self.via is not None and self.via.source is not None and self.via.source.rel == "merge"
        return merged or self.author_id == SYSTEM_AUTHOR


class Meta(_Shape):
    """How a list by cursor goes on."""

    has_more: bool = False
    after_cursor: str | None = None


class Comments(_Shape):
    """A page of a ticket's comments, with their authors."""

    comments: tuple[Comment, ...] = ()
    users: tuple[User, ...] = ()
    meta: Meta = Meta()
