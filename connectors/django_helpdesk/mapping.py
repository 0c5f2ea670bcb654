"""What a follow-up is: somebody's words or the helpdesk's own, and whose. Pure."""

from __future__ import annotations

import re

from sync.kit.tickets import Person, Said, version_of
from sync.mail import OwnAddresses
from sync.message import Attachment

from .config import DjangoHelpdeskConfig
from .shapes import FollowUp, Ticket

MAIL_BODY = "email_html_body."
"""How the file begins in which the helpdesk keeps the HTML of a mail."""
_MERGED = re.compile(r"\[[^\[\]#]{0,60}#([0-9]{1,18})\]")
_ADDRESS = re.compile(r"[^\s<>\"'(),:;\[\]\\@]{1,64}@[^\s<>\"'(),:;\[\]\\@]{1,255}")


def is_said(row: FollowUp, config: DjangoHelpdeskConfig) -> bool:
    """Whether somebody said something: changes of state have no text, and what the helpdesk writes has no author."""
    if not (row.comment or "").strip() and not _files(row):
        return False
    by_nobody = row.user is None and not row.message_id
    return not (by_nobody and (row.title or "") in config.system_titles)


def merged_from(row: FollowUp) -> int | None:
    """The ticket in which it was written before that was merged: the helpdesk puts its number into the title."""
    found = _MERGED.match(row.title or "")
    return int(found.group(1)) if found else None


def version(row: FollowUp) -> str:
    """Changes when somebody edits it, and not when its ticket is merged."""
    return version_of(row.comment, row.public, *(one.id for one in row.files))


def said_of(row: FollowUp, ticket: Ticket, config: DjangoHelpdeskConfig) -> Said:
    """What was said, in the ticket in which it was written."""
    customer = Person(email=ticket.submitter_email or "", id=f"ticket-{ticket.id}")
    author = _author(row, customer, config)
    if author.is_agent and is_opening(row, ticket) and config.opened_by_agents == "customer":
        author = customer
    return Said(
        author=author,
        customers=(customer,),
        text=row.comment or "",
        is_internal=not row.public,
        subject=ticket.title or "",
        files=_files(row),
    )


def is_opening(row: FollowUp, ticket: Ticket) -> bool:
    """Whether it is the text with which the ticket was opened by a signed-in user."""
    text = (row.comment or "").strip()
    return row.user is not None and bool(text) and text == (ticket.description or "").strip()


def _author(row: FollowUp, customer: Person, config: DjangoHelpdeskConfig) -> Person:
    """Who wrote it. The title of a mail names its sender; that of a merged one no longer does."""
    if row.user is not None:
        return Person(id=f"user-{row.user}", is_agent=True)
    named = _ADDRESS.search(row.title or "") if row.message_id and merged_from(row) is None else None
    sender = Person(email=named.group(0)) if named else customer
    return Person(sender.id, email=sender.email, is_agent=OwnAddresses(config.agent_addresses).matches(sender.email))


def _files(row: FollowUp) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(
            filename=one.filename or f"file-{one.id}",
            mime_type=(one.mime_type or "").lower() or "application/octet-stream",
            size=one.size,
            ref=one.file or "",
        )
        for one in row.files
        if not (row.message_id and (one.filename or "").startswith(MAIL_BODY))
    )
