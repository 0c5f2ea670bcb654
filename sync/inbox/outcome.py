"""What became of a send. Pure: exchange in, outcome out.

Everything is `Unclear` unless it is positively known to be something else: a send that is repeated on a guess may be a
doubled message, and there is no way to take it back (DESIGN.md §2, "Sending, exactly").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from sync.errors import AuthError
from sync.http import Answered, Exchange, Failed, Why, parse_json
from sync.inbox.errors import CONVERSATION_GONE_CODES, INBOX_NOT_FOUND, Fault, fault_of, refusal, request_id_of
from sync.inbox.ids import message_id_in
from sync.message import Json
from sync.render import same_content

REFUSED_BY_NATURE: Final = frozenset({413, 414, 415, 431})
"""Too large, or of a kind nobody takes: about this request alone, whoever says so."""
UNCLEAR_BY_NATURE: Final = frozenset({408, 444, 460, 499})
"""Somebody on the way gave up waiting: says nothing about what the Inbox did."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """200 with the message. `app_id` is the sender's ("" when not told); `text_changed`: the Inbox shows something else
    than was sent, so reading back is blind."""

    message_id: str
    sequence: int
    created_at: datetime | None
    request_id: str = ""
    app_id: str = ""
    text_changed: bool = False


@dataclass(frozen=True, slots=True)
class NotWritten:
    """Proof that no byte of the request was written."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Unauthorised:
    """Refused before it was looked at: 401, or the site does not permit it. `renewed`: there is a new token since, so
    it may be sent again at once; otherwise an operator must act (`next_step`)."""

    code: str
    sentence: str
    next_step: str = ""
    request_id: str = ""
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class Throttled:
    """429."""

    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A 4xx about this message. `conversation_gone`: it named a conversation that is not there any more."""

    status: int
    code: str
    sentence: str
    request_id: str = ""
    conversation_gone: bool = False


@dataclass(frozen=True, slots=True)
class Unclear:
    """Everything else: only reading back can tell."""

    status: int | None
    code: str
    sentence: str
    retry_after_seconds: float | None = None


SendOutcome: TypeAlias = Accepted | NotWritten | Unauthorised | Throttled | Refused | Unclear
"""What `InboxClient.send` returns."""


def read_send(exchange: Exchange, sent: Json, now: datetime) -> SendOutcome:
    """The outcome of a Send Message call. `sent` is the request's body."""
    if isinstance(exchange, Failed):
        return _no_answer(exchange)
    if exchange.status == 200:
        return _accepted(exchange, sent)
    return _refused(fault_of(exchange, now))


def _no_answer(failed: Failed) -> SendOutcome:
    code = f"inbox.network_{failed.why}"
    if not failed.written:
        if failed.why is Why.FORBIDDEN:
            return NotWritten("inbox.not_allowed_to_write", "the right to send ended before the first byte")
        return NotWritten(code, f"nothing was sent: {failed.sentence}")
    return Unclear(failed.status, code, f"sent, but without a whole answer: {failed.sentence}")


def _accepted(answered: Answered, sent: Json) -> SendOutcome:
    body, _ = parse_json(answered.body)
    message = body.get("message") if isinstance(body, dict) else None
    message_id = message_id_in(message.get("id")) if isinstance(message, dict) else None
    if not isinstance(message, dict) or message_id is None:
        return Unclear(200, "inbox.unreadable_answer", "the answer to a send does not say which message it became")
    app_id = message.get("appId")
    return Accepted(
        message_id=message_id,
        sequence=sequence_of(message),
        created_at=moment_of(message.get("createdDate")),
        request_id=request_id_of(answered),
        app_id=app_id if isinstance(app_id, str) else "",
        text_changed=isinstance(message.get("content"), dict) and not same_content(sent, message),
    )


def _refused(fault: Fault) -> SendOutcome:
    status = fault.status
    if status == 429:
        return Throttled(fault.retry_after_seconds)
    if status == 401 or (fault.ours and (status == 403 or fault.code == INBOX_NOT_FOUND)):
        error = refusal(fault, "send a message")
        if isinstance(error, AuthError):
            return Unauthorised(error.code, error.sentence, error.next_step, fault.request_id)
    by_nature = status in REFUSED_BY_NATURE
    if 400 <= status < 500 and status not in UNCLEAR_BY_NATURE and (fault.ours or by_nature):
        return Refused(
            status,
            _code_of(fault),
            f"the Inbox refused the message: {fault.summary}",
            fault.request_id,
            conversation_gone=status == 404 or fault.code in CONVERSATION_GONE_CODES,
        )
    if 400 <= status < 500 and not fault.ours:
        return Unclear(status, "inbox.foreign_answer", f"an answer ({status}) came that is not the Inbox's")
    code = "inbox.server_error" if status >= 500 else "inbox.unexpected_status"
    return Unclear(status, code, f"the Inbox answered {fault.summary} to a send", fault.retry_after_seconds)


def _code_of(fault: Fault) -> str:
    return f"inbox.{fault.code.lower()}" if fault.code else f"inbox.status_{fault.status}"


def sequence_of(message: dict[str, Json]) -> int:
    """A message's `sequence` (a decimal string), or its id where that is one; 0 when neither is a number."""
    for key in ("sequence", "id"):
        value = message.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
            return int(value)
    return 0


def moment_of(value: Json) -> datetime | None:
    """An ISO 8601 time (UTC where it names no zone), None when it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
