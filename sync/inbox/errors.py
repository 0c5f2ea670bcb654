"""What the Inbox's refusals mean. Pure: status and body in, errors of `sync.errors` out.

Source of the shapes: Inbox and Contacts REST API, "Errors". Nothing of an answer goes into a sentence except codes and
field names, and these only when they look like such: descriptions quote what was sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from sync.errors import AuthError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.http import Answered, Failed, parse_json
from sync.message import Json

MAX_FIELDS_SHOWN: Final = 3
MAX_RETRY_AFTER_SECONDS: Final = 86_400.0

NO_INBOX_CODES: Final = frozenset({"NO_INBOX_INSTANCE", "NOT_JOINED_CHATROOM"})
"""A 401 with one of these is no authentication failure: the site has no Inbox for us."""
INBOX_NOT_FOUND: Final = "INBOX_INSTANCE_NOT_FOUND"
CONVERSATION_GONE_CODES: Final = frozenset(
    {"CONVERSATION_NOT_FOUND", "NOT_OWNED_BY_BUSINESS", "IDENTITY_DOES_NOT_MATCH"}
)

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]]{0,79}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:|/=+-]{1,100}")

AUTH_NEXT_STEP: Final = "check the key or app secret in the configuration, and that it belongs to this site"
PERMISSION_NEXT_STEP: Final = (
    "give the key or app the permissions Manage Inbox Messages, Read Inbox Messages and Manage Contacts, and that "
    "to upload media; "
    "check that site_id is a site it may use"
)
NO_INBOX_NEXT_STEP: Final = "check site_id; open the site's Inbox once in its dashboard, so that it exists"
BASE_URL_NEXT_STEP: Final = "check base_url, and whether a proxy or gateway stands between"


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is not 200. `code` is the application's own ("" when it says none), `ours` is False when the body
    has not the API's error shape: a gateway's page, say, which tells nothing about the request itself."""

    status: int
    code: str
    fields: tuple[str, ...]
    data: dict[str, Json]
    ours: bool
    request_id: str
    retry_after_seconds: float | None

    @property
    def summary(self) -> str:
        """What an operator reads: the code or status, and the fields that were wrong."""
        said = f"{self.status} {self.code}".strip()
        return f"{said} ({', '.join(self.fields[:MAX_FIELDS_SHOWN])})" if self.fields else said


def fault_of(answered: Answered, now: datetime) -> Fault:
    """`answered` as a fault. `now` is for a Retry-After that names a date (RFC 9110, section 10.2.3)."""
    body, _ = parse_json(answered.body)
    details = _object(_object(body).get("details"))
    application = _object(details.get("applicationError"))
    validation = _object(details.get("validationError"))
    violations = validation.get("fieldViolations")
    return Fault(
        status=answered.status,
        code=_matching(_CODE, application.get("code")),
        fields=tuple(
            name
            for violation in (violations if isinstance(violations, list) else [])
            if (name := _matching(_FIELD, _object(violation).get("field")))
        ),
        data=_object(application.get("data")),
        ours=isinstance(body, dict) and ("details" in body or isinstance(body.get("message"), str)),
        request_id=request_id_of(answered),
        retry_after_seconds=_retry_after(answered.headers.get("retry-after"), now),
    )


def request_id_of(answered: Answered) -> str:
    """The X-Wix-Request-Id of an answer, which support asks for; "" when it has none."""
    return _matching(_REQUEST_ID, answered.headers.get("x-wix-request-id"))


def refusal(fault: Fault, what: str) -> InboxSyncError:
    """The error for a call that can be repeated (everything but a send). `what` completes "the Inbox refused to …"."""
    if fault.status == 401 or fault.code == INBOX_NOT_FOUND:
        return _unauthorised(fault)
    if fault.status == 429:
        return TemporaryError(
            "the Inbox asked to slow down",
            code="inbox.throttled",
            next_step="nothing; it goes on more slowly (requests_per_minute)",
            retry_after_seconds=fault.retry_after_seconds,
            scope=Scope.INBOX,
        )
    if fault.status >= 500:
        return TemporaryError(
            f"the Inbox failed to {what}: {fault.summary}",
            code="inbox.server_error",
            next_step="nothing; it is tried again",
            retry_after_seconds=fault.retry_after_seconds,
            scope=Scope.INBOX,
        )
    if not fault.ours:
        return foreign(fault.status)
    if fault.status == 403:
        return AuthError(
            f"the Inbox does not permit to {what}: {fault.summary}",
            code="inbox.not_permitted",
            next_step=PERMISSION_NEXT_STEP,
        )
    return MessageError(
        f"the Inbox refused to {what}: {fault.summary}",
        code="inbox.refused",
        next_step="look at the message and its participant with message show",
    )


def _unauthorised(fault: Fault) -> AuthError:
    if fault.code in NO_INBOX_CODES or fault.code == INBOX_NOT_FOUND:
        return AuthError(
            f"this site has no Inbox for these credentials: {fault.summary}",
            code="inbox.no_instance",
            next_step=NO_INBOX_NEXT_STEP,
        )
    return AuthError(
        f"the Inbox did not accept the credentials: {fault.summary}",
        code="inbox.credentials_refused",
        next_step=AUTH_NEXT_STEP,
    )


def foreign(status: int) -> TemporaryError:
    """Something answered that is not the Inbox, or not in its language."""
    return TemporaryError(
        f"an answer ({status}) came that is not the Inbox's",
        code="inbox.foreign_answer",
        next_step=BASE_URL_NEXT_STEP,
        scope=Scope.INBOX,
    )


def unreadable(what: str) -> TemporaryError:
    """200, but without what the call was made for."""
    return TemporaryError(
        f"the Inbox's answer to a call to {what} could not be understood",
        code="inbox.unreadable_answer",
        next_step=BASE_URL_NEXT_STEP,
        scope=Scope.INBOX,
    )


def unreachable(failed: Failed) -> TemporaryError:
    """No answer to a call that can be repeated."""
    return TemporaryError(
        f"the Inbox did not answer: {failed.sentence}",
        code=f"inbox.network_{failed.why}",
        next_step="nothing if it passes; else check base_url, the network and the certificate",
        scope=Scope.INBOX,
    )


def _retry_after(value: str | None, now: datetime) -> float | None:
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), MAX_RETRY_AFTER_SECONDS)


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _matching(pattern: re.Pattern[str], value: Json) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
