"""What Freshdesk's answers look like, as far as this connector reads them (API v2 reference)."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict

OUTBOUND_EMAIL = 10
"""Source of a ticket that an agent began by writing to a customer."""
FORWARDED = 8
"""Source of a conversation that is a forward: it was written to somebody else than the customer."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Contact(_Shape):
    """A customer, or the part of an agent that is told like one."""

    id: int = 0
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    mobile: str | None = None


class File(_Shape):
    """A file. Its address is signed and good for minutes."""

    id: int
    name: str = ""
    content_type: str | None = None
    size: int | None = None
    attachment_url: str = ""


class TicketRow(_Shape):
    """A ticket. `attachments` None: it comes from a list, which does not tell them."""

    id: int
    subject: str | None = None
    description: str | None = None
    description_text: str | None = None
    requester_id: int
    requester: Contact | None = None
    responder_id: int | None = None
    source: int | None = None
    spam: bool = False
    created_at: AwareDatetime
    updated_at: AwareDatetime
    attachments: tuple[File, ...] | None = None


class Conversation(_Shape):
    """What was said after the description."""

    id: int
    user_id: int | None = None
    body: str | None = None
    body_text: str | None = None
    incoming: bool = False
    private: bool = False
    source: int | None = None
    from_email: str | None = None
    created_at: AwareDatetime
    attachments: tuple[File, ...] = ()


class Agent(_Shape):
    """An agent. `ticket_scope`: 1 all tickets, 2 those of their groups, 3 their own."""

    id: int = 0
    ticket_scope: int | None = None
    contact: Contact = Contact()
