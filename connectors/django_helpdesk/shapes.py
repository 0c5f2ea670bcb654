"""What answers of django-helpdesk's API look like, as far as this connector reads them."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

T = TypeVar("T")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Page(_Shape, Generic[T]):
    """A page of a list."""

    count: int
    next: str | None = None
    results: tuple[T, ...] = ()


class File(_Shape):
    """A file of a follow-up; `file` is its address."""

    id: int
    file: str | None = None
    filename: str | None = ""
    mime_type: str | None = ""
    size: int | None = None


class FollowUp(_Shape):
    """One entry of a ticket. `user` None: mail, the public page, or the helpdesk itself. `date` is when it came in."""

    id: int
    ticket: int
    user: int | None = None
    title: str | None = ""
    comment: str | None = ""
    public: bool = False
    date: AwareDatetime
    message_id: str | None = None
    files: tuple[File, ...] = Field((), alias="followupattachment_set")


class Ticket(_Shape):
    """A ticket."""

    id: int
    queue: int
    title: str | None = ""
    description: str | None = ""
    submitter_email: str | None = None
    merged_to: int | None = None
