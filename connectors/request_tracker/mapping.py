"""What RT tells of a message, as something said. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import quote

from sync.kit.tickets import Person, Said
from sync.mail import written_at
from sync.message import Attachment

from .shapes import Part, Ticket, Transaction

INTERNAL = "Comment"
OPENING = "Create"
TEXT_TYPES = frozenset({"text/plain", "text/html"})


def readable(parts: Sequence[Part], limit_bytes: int) -> list[Part]:
    """The parts that are the message's text."""
    return [part for part in parts if _is_text(part) and (part.size or 0) <= limit_bytes]


def said_of(
    row: Transaction,
    ticket: Ticket,
    author: Person,
    customers: Sequence[Person],
    parts: Sequence[Part],
    texts: Mapping[int, str],
    opened_by_agents: Literal["customer", "agent", "skip"],
) -> Said:
    """What was said. `texts` are the contents of `readable` parts by number."""
    plain = [texts[part.id] for part in parts if part.id in texts and part.mime_type == "text/plain"]
    html = [texts[part.id] for part in parts if part.id in texts and part.mime_type == "text/html"]
    too_long = [part for part in parts if _is_text(part) and part.id not in texts]
    for_customer = row.type == OPENING and author.is_agent
    if for_customer and opened_by_agents == "customer" and customers:
        author, customers = customers[0], ()
    return Said(
        author=author,
        customers=tuple(customers),
        html=html[0] if html else "",
        text="\n\n".join(text.strip("\r\n") for text in plain),
        is_internal=row.type == INTERNAL,
        subject=ticket.subject or "",
        files=tuple(_file(row, part) for part in parts if _is_file(part) or part in too_long),
        notes=("Its text is longer than a message may be; it is in the file.",) if too_long else (),
        sent_at=written_at(parts[0].header("Date")) if parts else None,
    )


def _is_text(part: Part) -> bool:
    return part.mime_type in TEXT_TYPES and not part.is_attached


def _is_file(part: Part) -> bool:
    return not part.mime_type.startswith("multipart/") and not _is_text(part)


def _file(row: Transaction, part: Part) -> Attachment:
    name = part.name or f"part-{part.id}{'.eml' if part.mime_type == 'message/rfc822' else ''}"
    return Attachment(
        filename=name,
        mime_type=part.mime_type,
        size=part.size,
        ref=f"{row.id}/{part.id}/{quote(name, safe='')}",
        inline=bool(part.header("Content-ID")) and part.header("Content-Disposition").lower().startswith("inline"),
    )
