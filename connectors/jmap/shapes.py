"""What JMAP answers look like, as far as this connector reads them. What else is in them is ignored."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

CORE = "urn:ietf:params:jmap:core"
MAIL = "urn:ietf:params:jmap:mail"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class CoreLimits(_Shape):
    """RFC 8620 §2; what a server leaves out counts as its suggested minimum."""

    max_objects_in_get: int = Field(500, alias="maxObjectsInGet", ge=1)


class Capabilities(_Shape):
    """The capabilities of a session; `mail` None: the server has no mail for this sign-in."""

    core: CoreLimits = Field(CoreLimits(), alias=CORE)
    mail: dict[str, object] | None = Field(None, alias=MAIL)


class Account(_Shape):
    """An account of a session."""

    name: str = ""


class Session(_Shape):
    """The session resource (RFC 8620 §2). The addresses may be relative (Cyrus)."""

    api_url: str = Field(alias="apiUrl")
    download_url: str = Field(alias="downloadUrl")
    event_source_url: str = Field("", alias="eventSourceUrl")
    state: str = ""
    username: str = ""
    capabilities: Capabilities = Capabilities()
    accounts: dict[str, Account] = Field(default_factory=dict)
    primary_accounts: dict[str, str] = Field(default_factory=dict, alias="primaryAccounts")


class Response(_Shape):
    """One answer to method calls (RFC 8620 §3.4)."""

    method_responses: list[tuple[str, dict[str, object], str]] = Field(alias="methodResponses")
    session_state: str = Field("", alias="sessionState")


class Problem(_Shape):
    """A refused request (RFC 7807, RFC 8620 §3.6.1), or a refused method (§3.6.2)."""

    type: str = ""
    limit: str = ""
    detail: str | None = Field("", validation_alias=AliasChoices("detail", "description"))


class Mailbox(_Shape):
    """RFC 8621 §2."""

    id: str
    name: str
    role: str | None = None
    parent_id: str | None = Field(None, alias="parentId")
    total_emails: int = Field(0, alias="totalEmails")


class Mailboxes(_Shape):
    """The answer of Mailbox/get."""

    list: tuple[Mailbox, ...]


class Query(_Shape):
    """The answer of Email/query."""

    ids: tuple[str, ...]
    query_state: str = Field("", alias="queryState")
    total: int | None = None


class Changes(_Shape):
    """The answer of Email/changes (RFC 8620 §5.2)."""

    old_state: str = Field(alias="oldState")
    new_state: str = Field(alias="newState")
    has_more: bool = Field(False, alias="hasMoreChanges")
    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    destroyed: tuple[str, ...] = ()


class StateChange(_Shape):
    """What an event of the push stream tells: by account and type, the new state (RFC 8620 §7.1)."""

    changed: dict[str, dict[str, str]] = Field(default_factory=dict)


class HeaderLine(_Shape):
    """A header field, its value as it stands in the mail."""

    name: str
    value: str


class BodyValue(_Shape):
    """The text of a part, decoded by the server, and whether it was cut."""

    value: str = ""
    is_truncated: bool = Field(False, alias="isTruncated")


class BodyPart(_Shape):
    """A part (RFC 8621 §4.1.4). `size` counts its bytes decoded, as the blob holds them; multiparts have no blob."""

    FIELDS: ClassVar[tuple[str, ...]] = (
        *("partId", "blobId", "size", "name", "type", "charset", "disposition", "cid", "subParts"),
    )

    part_id: str | None = Field(None, alias="partId")
    blob_id: str | None = Field(None, alias="blobId")
    size: int = 0
    name: str | None = None
    type: str = ""
    charset: str | None = None
    disposition: str | None = None
    cid: str | None = None
    sub_parts: tuple[BodyPart, ...] | None = Field(None, alias="subParts")


class Email(_Shape):
    """RFC 8621 §4, in the forms that `LISTED`, `PARTS` and `STRUCTURE` ask for."""

    LISTED: ClassVar[tuple[str, ...]] = (
        *("id", "blobId", "size", "receivedAt", "mailboxIds"),
        *("header:Message-ID:all", "header:Date:all", "header:From:all", "header:Subject:all"),
    )
    PARTS: ClassVar[tuple[str, ...]] = (
        *("id", "size", "headers", "bodyValues", "textBody", "htmlBody", "bodyStructure"),
    )
    STRUCTURE: ClassVar[tuple[str, ...]] = ("id", "blobId", "size", "bodyStructure")

    id: str
    blob_id: str = Field("", alias="blobId")
    size: int = 0
    received_at: datetime | None = Field(None, alias="receivedAt")
    mailbox_ids: dict[str, bool] = Field(default_factory=dict, alias="mailboxIds")
    message_id: tuple[str, ...] = Field((), alias="header:Message-ID:all")
    date: tuple[str, ...] = Field((), alias="header:Date:all")
    author: tuple[str, ...] = Field((), alias="header:From:all")
    subject: tuple[str, ...] = Field((), alias="header:Subject:all")
    headers: tuple[HeaderLine, ...] = ()
    body_values: dict[str, BodyValue] = Field(default_factory=dict, alias="bodyValues")
    text_body: tuple[BodyPart, ...] = Field((), alias="textBody")
    html_body: tuple[BodyPart, ...] = Field((), alias="htmlBody")
    body_structure: BodyPart | None = Field(None, alias="bodyStructure")


class Emails(_Shape):
    """The answer of Email/get."""

    state: str
    list: tuple[Email, ...]
    not_found: tuple[str, ...] = Field((), alias="notFound")
