"""What somebody said in a ticket, and the message it becomes. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic import Field

from sync.connector import ConnectorConfig
from sync.mail.address import normalise_address
from sync.message import (
    Attachment,
    Direction,
    LeaveOut,
    LeftOut,
    Message,
    Participant,
    ParticipantKind,
    Reply,
)
from sync.text.clean import clean, clean_line
from sync.text.quotes import is_forward, read_html, read_plain

INTERNAL_NOTE = "Internal note"
"""The words of an activity that shows one."""
MAX_NAME_CHARS = 200
MAX_TEXT_BYTES = 25 * 1024 * 1024
_NOT_IN_NUMBERS = re.compile(r"[\s().\-/\u00a0\u2010-\u2015]+")
_NUMBER = re.compile(r"\+?[0-9]{5,15}")


class TicketSettings(ConnectorConfig):
    """What every ticket connector lets an operator choose."""

    internal_notes: Literal["skip", "activity"] = Field(
        "skip",
        description="Agents' internal notes: `skip` leaves them out, `activity` shows each as one silent line that only"
        " the team sees.",
    )
    without_address: Literal["external", "skip"] = Field(
        "external",
        description="Customers with neither address nor number: `external` gives each a conversation of their own, by"
        " the service's id; `skip` leaves them out with the reason.",
    )


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a ticket. `id` is the service's, "" if it has none; `is_agent`: they work for the business."""

    id: str = ""
    name: str = ""
    email: str = ""
    phone: str = ""
    is_agent: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """One thing said in a ticket, as the service tells it.

    `author` decides the direction. `customers` are whose conversations an agent's words (or a note) belong to: the
    requester, and further customers they were sent to. `html` where the service has it, else `text`. `files` name what
    `TicketConnector.open_file` opens by `Attachment.ref`. `sent_at`: when it was written, if that is not its time in the
    ticket.
    """

    author: Person | None
    customers: tuple[Person, ...] = ()
    html: str = ""
    text: str = ""
    is_internal: bool = False
    subject: str = ""
    files: tuple[Attachment, ...] = ()
    notes: tuple[str, ...] = ()
    sent_at: datetime | None = None
    legible: bool = True


def message_of(
    said: Said, at: datetime, settings: TicketSettings, service: str, *, limit_bytes: int = MAX_TEXT_BYTES
) -> Message | LeftOut:
    """The message, or why the operator does not want it. `service` begins the ids of customers without an address; of
    the text at most `limit_bytes` are kept, and the message says so."""
    if said.is_internal and settings.internal_notes == "skip":
        return LeftOut(LeaveOut.INTERNAL, "it is an internal note (internal_notes)")
    by_agent = said.is_internal or (said.author is not None and said.author.is_agent)
    wanted = said.customers if by_agent or said.author is None else (said.author,)
    customers = _participants((person for person in wanted if not person.is_agent), settings, service)
    if not customers:
        return LeftOut(LeaveOut.NO_IDENTITY, _why_nobody(wanted))
    said = _within(said, limit_bytes)
    reply = _reply(said)
    author = None if said.author is None else _participant(said.author, service, external=True)
    message = Message(
        text=reply.original,
        author=author if by_agent else customers[0],
        recipients=customers if by_agent else (),
        direction=Direction.BUSINESS_TO_PARTICIPANT if by_agent else Direction.PARTICIPANT_TO_BUSINESS,
        participants=customers,
        subject=clean_line(said.subject),
        sent_at=said.sent_at or at,
        attachments=said.files,
        notes=tuple(clean_line(note) for note in said.notes),
        reply=reply if reply.removed_lines or reply.signature else None,
    )
    if not said.is_internal:
        return message
    # Business-only (inbox-api.md §4, "activity / note"): one line, told from the customer's side of the conversation.
    return replace(message, direction=Direction.PARTICIPANT_TO_BUSINESS, recipients=(), activity=INTERNAL_NOTE)


def version_of(*parts: object) -> str:
    """A version for a service that tells no time of editing: it changes when one of these parts does."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _within(said: Said, limit_bytes: int) -> Said:
    """The text without what is too much of it. A cut of the source of HTML leaves no half tag: it is read leniently."""
    html, text = (_cut(one, limit_bytes) for one in (said.html, said.text))
    if (html, text) == (said.html, said.text):
        return said
    note = f"The message is longer than {limit_bytes} bytes; this is its beginning."
    return replace(said, html=html, text=text, notes=(*said.notes, note))


def _cut(text: str, limit_bytes: int) -> str:
    encoded = text.encode("utf-8", "surrogatepass")
    return text if len(encoded) <= limit_bytes else encoded[:limit_bytes].decode("utf-8", "ignore")


def _reply(said: Said) -> Reply:
    forwarded = is_forward(said.subject)
    reply = read_html(said.html, forwarded=forwarded) if said.html.strip() else None
    if reply is None or not reply.original.strip():
        reply = read_plain(clean(said.text), forwarded=forwarded)
    return reply


def _participants(people: Iterable[Person], settings: TicketSettings, service: str) -> tuple[Participant, ...]:
    external = settings.without_address == "external"
    found = (_participant(person, service, external=external) for person in people)
    by_identity = {(one.kind, one.value): one for one in found if one is not None}
    return tuple(by_identity.values())


def _participant(person: Person, service: str, *, external: bool) -> Participant | None:
    """By address, else by number, else by the service's id."""
    name = clean_line(person.name, limit_chars=MAX_NAME_CHARS)
    address = normalise_address(person.email)
    if address:
        return Participant(ParticipantKind.EMAIL, address, name)
    number = _NOT_IN_NUMBERS.sub("", person.phone)
    number = f"+{number[2:]}" if number.startswith("00") else number
    if _NUMBER.fullmatch(number):
        return Participant(ParticipantKind.PHONE, number, name)
    if external and person.id:
        return Participant(ParticipantKind.EXTERNAL, f"{service}:{clean_line(person.id)}", name)
    return None


def _why_nobody(wanted: tuple[Person, ...]) -> str:
    if any(not person.is_agent for person in wanted):
        return "the customer has neither address nor number (without_address)"
    return "the service names no customer"
