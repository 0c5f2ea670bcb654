"""The switches of the sandbox: each stands for something that the documentation leaves open, or for load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from sync.sandbox.errors import SandboxError, explained
from sync.sandbox.schema import LengthUnit
from sync.sandbox.texts import FORMS
from sync.sandbox.values import JsonObject

DEFAULT_SITE_ID = "5a9d0b00-0000-4000-8000-000000000001"
DEFAULT_API_KEY = "sandbox-api-key"
DEFAULT_APP_ID = "5a9d0b00-0000-4000-8000-0000000000a1"
DEFAULT_APP_SECRET = "sandbox-app-secret"  # noqa: S105  a published value of an emulator
DEFAULT_INSTANCE_ID = "5a9d0b00-0000-4000-8000-0000000000b1"


class Switches(BaseModel, frozen=True, extra="forbid"):
    """How the emulated service behaves where sources differ or say nothing. Change with `switch(...)`."""

    list_drops_badges: bool = True
    """List Messages leaves `badges` out."""
    last_page_metadata: bool = True
    """The last page of a list still carries `pagingMetadata` (without cursors)."""
    email_case_sensitive: bool = True
    """Contact filters compare e-mail addresses exactly."""
    duplicate_code_without_s: bool = False
    """The 409 of a duplicate contact reads DUPLICATE_CONTACT_EXIST, as in one article."""
    query_lag_seconds: float = Field(default=0.0, ge=0)
    """A created contact is missing from queries for so long."""
    list_lag_seconds: float = Field(default=0.0, ge=0)
    """A stored message is missing from lists for so long."""
    no_inbox_instance: bool = False
    """Listing and sending fail with 401 NO_INBOX_INSTANCE: the site never opened its Inbox."""
    inbox_instance_not_found: bool = False
    """Listing and sending fail with 404 INBOX_INSTANCE_NOT_FOUND."""
    merged_conversation: Literal["not_found", "target"] = "not_found"
    """What a merged-away conversation id does: 404, or it leads to the target."""
    unknown_contact: Literal["not_found", "accept"] = "not_found"
    """What get-or-create does with a contact id that does not exist (any more)."""
    length_unit: LengthUnit = "utf16"
    """In which unit text limits count."""
    keep_created_date: bool = False
    """A client's `createdDate` is kept instead of the server's time."""
    normalise: tuple[str, ...] = ()
    """What the service does to texts: any of trim, collapse, nfc, nfd, quotes, crlf, strip_controls."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests allowed in each window and site; None for no limit. The real service: 200."""
    window_seconds: float = Field(default=60.0, gt=0)
    """Length of the window of `requests_per_minute`; tests scale it down."""
    send_retry_after: bool = True
    """A 429 carries Retry-After."""
    token_seconds: int = Field(default=14_400, ge=0)
    """Life of an access token."""
    media_seconds: float = Field(default=36_000.0, gt=0)
    """How long an uploaded file that no message names is known. The real service: 10 hours."""
    file_max_bytes: int = Field(default=25 * 1024 * 1024, ge=1)
    """The largest file that can be uploaded."""
    record_bodies: bool = False
    """The request journal keeps bodies."""

    @field_validator("normalise", mode="before")
    @classmethod
    def _known_forms(cls, given: object) -> object:
        forms = (given,) if isinstance(given, str) else given
        if isinstance(forms, (list, tuple)) and (unknown := [each for each in forms if each not in FORMS]):
            raise ValueError(f"unknown {unknown}; known: {', '.join(FORMS)}")
        return forms

    def changed(self, changes: Mapping[str, object]) -> Switches:
        """A copy with some switches set; `SandboxError` names an unknown switch or a wrong value."""
        if unknown := sorted(set(changes) - set(Switches.model_fields)):
            known = ", ".join(Switches.model_fields)
            raise SandboxError(f"unknown switch {', '.join(unknown)}; known: {known}")
        try:
            return Switches.model_validate({**self.as_json(), **changes})
        except ValidationError as problem:
            raise SandboxError(f"switch {explained(problem)}") from problem

    def as_json(self) -> JsonObject:
        """All switches by name."""
        return self.model_dump()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key and the sites it may be used for."""

    key: str
    site_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class App:
    """App credentials: one instance of an app on one site."""

    app_id: str
    secret: str
    instance_id: str
    site_id: str
