"""What RT tells of a message, as something said. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import quote

from sync.kit.tickets import Person, Said
from sync.mail import written_at
from sync.message import Attachment

from .shapes import Part, Ticket, Transaction, User

INTERNAL = "Comment"
OPENING = "Create"
MESSAGE_TYPES = frozenset({OPENING, "Correspond", INTERNAL})
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


def writers_then(row: Transaction, history: Sequence[Transaction]) -> list[User] | None:
    """Who wrote, before the next merge, in what was one ticket when this was said; None when it was merged with all that
    it is merged with now.

    A merged ticket has the requestors of both, and RT does not tell since when. `history` is that of the ticket now."""
    merges = {one.ticket: one for one in history if one.type == "AddLink" and one.field == "MergedInto"}
    targets = {ticket: (one.id, _ticket_in(one.new_value or "")) for ticket, one in merges.items()}

    def root(ticket: int) -> int:
        for _step in targets:
            at, target = targets.get(ticket, (0, ticket))
            if at > row.id or target == ticket:
                break
            ticket = target
        return ticket

    here = root(row.ticket)
    tickets = {one.ticket for one in history}
    together = {one for one in tickets if root(one) == here}
    if together == tickets:
        return None
    until = min((at for at, _target in targets.values() if at > row.id), default=None)
    before = (one for one in history if (until is None or one.id < until) and one.type in MESSAGE_TYPES)
    return [one.creator for one in before if one.ticket in together]


def _ticket_in(uri: str) -> int:
    number = uri.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


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
