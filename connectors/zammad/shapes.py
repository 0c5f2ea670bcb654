"""What Zammad's answers look like, as far as this connector reads them (its code, 5.0 to 7.0)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel

MERGED = "merged"
"""A ticket's state after its articles were moved, and the text of the article that is left there."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class TicketRow(_Shape):
    """A ticket; `state` only where names were asked for (`expand`)."""

    id: int
    number: str = ""
    title: str | None = None
    customer_id: int | None = None
    state: str = ""
    updated_at: AwareDatetime


class Assets(_Shape):
    """The records that an answer's ids are about."""

    tickets: dict[str, TicketRow] = Field(default_factory=dict, alias="Ticket")


class Numbers(_Shape):
    """What versions before 6.5 answer to a search, and newer ones where names were not asked for: ids and records."""

    tickets: tuple[int, ...] = ()
    assets: Assets = Assets()


class Searched(RootModel[tuple[TicketRow, ...] | Numbers]):
    """What a search answers, in either shape."""

    @property
    def rows(self) -> Sequence[TicketRow]:
        """The tickets, in the order of the answer."""
        if not isinstance(self.root, Numbers):
            return self.root
        records = self.root.assets.tickets
        return [records[str(one)] for one in self.root.tickets if str(one) in records]


class Preferences(_Shape):
    """What is remembered of a file."""

    content_type: str | None = Field(None, alias="Content-Type")
    mime_type: str | None = Field(None, alias="Mime-Type")


class File(_Shape):
    """A file; its size is a text."""

    id: int
    filename: str = ""
    size: int | None = None
    preferences: Preferences = Preferences()


class Article(_Shape):
    """One entry of a ticket. `origin_by_id`: in whose name somebody else wrote it down."""

    id: int
    ticket_id: int
    sender: str = ""
    type: str = ""
    author: str | None = Field(None, alias="from")
    subject: str | None = None
    body: str | None = None
    content_type: str | None = None
    internal: bool = False
    created_by_id: int | None = None
    origin_by_id: int | None = None
    created_at: AwareDatetime
    attachments: tuple[File, ...] = ()


class User(_Shape):
    """Somebody with an account. `group_ids`: what they may do in which group."""

    id: int
    login: str = ""
    firstname: str | None = None
    lastname: str | None = None
    email: str | None = None
    phone: str | None = None
    mobile: str | None = None
    roles: tuple[str, ...] = ()
    group_ids: dict[str, list[str]] | None = None
