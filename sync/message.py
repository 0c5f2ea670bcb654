"""The things the whole program speaks of: messages, participants, attachments, and what a connector finds.

Pure: frozen values, no I/O. A `Message` is one thing somebody wrote. It becomes one delivery per participant
(an agent's mail to three customers is one message and three deliveries). Texts in here are clean (see
`sync.text.clean`): no NUL, no lone surrogates, no control characters but newline and tab.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from pydantic import TypeAdapter

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""Any JSON value: the shape of cursors, frozen requests and event details."""


class Direction(StrEnum):
    """Who spoke. The values are those of the Inbox API (Send Message, `message.direction`)."""

    PARTICIPANT_TO_BUSINESS = "PARTICIPANT_TO_BUSINESS"
    BUSINESS_TO_PARTICIPANT = "BUSINESS_TO_PARTICIPANT"


class ParticipantKind(StrEnum):
    """How a participant is identified: an e-mail address, a phone number, or a service's own customer id."""

    EMAIL = "email"
    PHONE = "phone"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Participant:
    """The customer side of a message.

    `value` is the identity and is normalised (`email`: NFC, trimmed, lower-cased by
    `sync.mail.address.normalise_address`; `phone`: E.164 where possible; `external`: the service's id with the
    service as prefix, `zendesk:4711`). `name` is what the sender calls themselves, and is no part of the identity.
    """

    kind: ParticipantKind
    value: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message. `size` in bytes as far as known; `ref` is the connector's handle for opening
    it later (a MIME part number, a URL path); `inline` when the text refers to it instead of offering it.

    The core fills in the rest: `spooled` is the ledger's number of its bytes (0: they are not there), `why_not` the
    reason for which it is only named, `width` and `height` in pixels of an image that is shown as one (0: unknown).
    """

    filename: str
    mime_type: str
    size: int | None = None
    ref: str = ""
    inline: bool = False
    spooled: int = 0
    why_not: str = ""
    width: int = 0
    height: int = 0


class Legibility(StrEnum):
    """How much of a message could be understood: DESIGN.md §7's ladder."""

    FULL = "full"
    PARTIAL = "partial"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Reply:
    """A text told apart: what is new in it, and how much of earlier messages it quotes.

    `text` are the new words with their signature; equal to `original`, the whole text, when nothing is quoted.
    `removed_lines` counts the lines (blank ones not) of earlier messages that are in `original` only; `signature` is the
    end of `text` that is a signature, "" when there is none.
    """

    text: str
    original: str
    removed_lines: int = 0
    signature: str = ""


ORIGINAL_REF = "original-text"
"""The `Attachment.ref` of the file that holds `Message.original`."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing somebody wrote, understood.

    Mail connectors give `author` (From) and `recipients` (To and Cc, in order) and leave `direction` None:
    `sync.decide` works out direction and participants from the inbox's own addresses and the stream's role. Services
    that know who is an agent set `direction` and the customer in `participants`.
    `sent_at` is when the writer says it was written (UTC; None when missing or absurd).
    """

    text: str
    author: Participant | None = None
    recipients: tuple[Participant, ...] = ()
    direction: Direction | None = None
    participants: tuple[Participant, ...] = ()
    subject: str = ""
    sent_at: datetime | None = None
    attachments: tuple[Attachment, ...] = ()
    legibility: Legibility = Legibility.FULL
    notes: tuple[str, ...] = ()
    """Sentences about what could not be brought over, shown below the text."""
    reply: Reply | None = None
    """`text` told apart, when it quotes earlier messages or has a signature. `sync.text.quotes.applied` turns it into
    the text that is shown; it is not stored."""
    original: str = ""
    """The whole text, where a policy says that it goes along as a file (`ORIGINAL_REF`)."""
    activity: str = ""
    """What kind of machine wrote it, in words ("Automatic reply"), when it is shown as one silent line."""
    headers: tuple[tuple[str, str], ...] = ()
    """The few lower-cased headers that the rules about machine mail, participants and forged senders look at (name, raw
    value up to 2,000 characters; the topmost first where one name comes more than once)."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that no parser could make anything of: its raw bytes (kept, up to a limit) and why."""

    raw: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The service listed the message and has it no more (moved or deleted between list and fetch)."""

    why: str = ""


class LeaveOut(StrEnum):
    """Why a connector leaves a message out that it could give. The values are reasons of the ledger."""

    NO_IDENTITY = "no_identity"
    INTERNAL = "internal"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A message that the source's settings do not want (an internal note), or that nobody can be found for. `why` is
    told by `message show`; it holds no address."""

    reason: LeaveOut
    why: str


Content: TypeAlias = Message | Unreadable | LeftOut | Gone
"""What loading one message can give."""


@dataclass(frozen=True, slots=True)
class FingerprintParts:
    """The four headers by which a message is recognised after it was moved or renumbered, as found: no decoding, so
    that a better decoder in a later release changes no fingerprint. `sync.decide.fingerprint` hashes them."""

    message_id: str = ""
    date: str = ""
    author: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One message seen at its place in a stream.

    `external_id` is unique within (source, stream, epoch) and never changes there: the UID, the comment's id.
    `arrived_at` (UTC, aware) is the service's time of arrival, by which conversations are ordered.
    `written_at` is the Date header when it is known without loading the content: the horizon looks at both, and
    `[ledger] keep_days` forgets only what has one.
    `content` None means: load it through `Fetches.fetch`.
    `version` changes when the service edits the message; "" where it does not tell. A known id with another version
    than the ledger's is an edit: given with content, or without it where `Fetches` can load it again.
    """

    external_id: str
    arrived_at: datetime
    written_at: datetime | None = None
    size: int | None = None
    fingerprint: FingerprintParts | None = None
    content: Message | Unreadable | LeftOut | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one look brought, in ascending order of arrival at the service as far as the service tells.

    `epoch` is the name of the numbering (UIDVALIDITY; "" where ids never change their meaning). `cursor` is the
    bookmark after this batch. `complete_until` (UTC): everything that arrived up to then has been found; None while
    a pass is still in the middle. `before_horizon` counts messages left out because of `PassContext.since`.
    """

    found: tuple[Found, ...]
    cursor: Json
    epoch: str = ""
    complete_until: datetime | None = None
    before_horizon: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """One piece of what a stream holds, whatever its cursor says.

    `found` are messages the ledger has not: what their headers tell, never their content. `known` are ids that
    `PassContext.known` has named: nothing but their numbers was asked for. `epoch` as in `Batch`. `pause_seconds`: the
    service wants to be left alone for so long before the next piece is asked for.
    """

    found: tuple[Found, ...]
    known: tuple[str, ...] = ()
    epoch: str = ""
    pause_seconds: float = 0.0


MESSAGE_ADAPTER: TypeAdapter[Message] = TypeAdapter(Message)


def message_to_json(message: Message) -> str:
    """A message as the JSON text that the ledger keeps as its frozen content."""
    return MESSAGE_ADAPTER.dump_json(message, exclude_defaults=True).decode()


def message_from_json(text: str | bytes) -> Message:
    """The message that `message_to_json` wrote. Raises pydantic.ValidationError on anything else."""
    return MESSAGE_ADAPTER.validate_json(text)
