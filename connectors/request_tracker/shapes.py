"""What answers of RT's REST 2.0 look like, as far as this connector reads them. Ids are numbers here and texts there."""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from sync.kit.tickets import Person
from sync.mail.header import decode_words

T = TypeVar("T")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Page(_Shape, Generic[T]):
    """A page of a list. `total` None: the token's user may not see everything, and rows of this page may be hidden."""

    items: tuple[T, ...] = ()
    total: int | None = None


class User(_Shape):
    """A user where others refer to them: `id` is their name in RT."""

    id: str
    email: str | None = Field(None, alias="EmailAddress")
    real_name: str | None = Field(None, alias="RealName")

    def person(self, *, is_agent: bool) -> Person:
        """As the kit wants them. Who has no real name is named by RT after their address."""
        name = self.real_name or ("" if self.id == self.email else self.id)
        return Person(self.id, name, self.email or "", is_agent=is_agent)


class Account(_Shape):
    """A user asked for by name."""

    privileged: bool = Field(alias="Privileged")


class Version(_Shape):
    """The answer of /rt."""

    version: str = Field(alias="Version")


class Numbered(_Shape):
    """Anything with a number."""

    id: int


class Queue(Numbered):
    """A queue."""

    name: str = Field("", alias="Name")


class Transaction(Numbered):
    """One entry of a ticket's history. `ticket` is where it was written, whatever was merged since."""

    type: str = Field(alias="Type")
    ticket: int = Field(alias="ObjectId")
    created: AwareDatetime = Field(alias="Created")
    creator: User = Field(alias="Creator")
    field: str | None = Field("", alias="Field")
    new_value: str | None = Field("", alias="NewValue")


class Ticket(Numbered):
    """A ticket."""

    subject: str | None = Field("", alias="Subject")
    status: str = Field("", alias="Status")
    type: str = Field("ticket", alias="Type")
    requestors: tuple[User, ...] = Field((), alias="Requestor")
    updated: AwareDatetime | None = Field(None, alias="LastUpdated")


class Part(Numbered):
    """One part of a message, in RT's words an attachment. `headers` are as they came, decoded or not."""

    transaction: int = Field(alias="TransactionId")
    content_type: str | None = Field(None, alias="ContentType")
    filename: str | None = Field(None, alias="Filename")
    headers: str | None = Field(None, alias="Headers")

    @property
    def mime_type(self) -> str:
        """In lower case; unknown counts as bytes."""
        return (self.content_type or "").lower() or "application/octet-stream"

    @property
    def name(self) -> str:
        """The file's name, "" where there is none. RT decodes it where a mail came by its gate, and not elsewhere."""
        return decode_words(self.filename or "")

    @property
    def size(self) -> int | None:
        """Bytes."""
        value = self.header("Content-Length")
        return int(value) if value.isascii() and value.isdigit() else None

    @property
    def is_attached(self) -> bool:
        """Whether it is a file, and no text to read."""
        return bool(self.filename) or self.header("Content-Disposition").lower().startswith("attachment")

    def header(self, name: str) -> str:
        """The first header of this name, unfolded; "" where there is none."""
        found = re.search(rf"^{name}:[ \t]*(.*(?:\n[ \t].*)*)", self.headers or "", re.IGNORECASE | re.MULTILINE)
        return " ".join(found.group(1).split()) if found else ""


class PartContent(Numbered):
    """The text of a part, decoded by RT (in lists; alone it would be base64)."""

    content: str | None = Field("", alias="Content")
