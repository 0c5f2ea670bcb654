"""The few header lines above the text of a mail that came inside another one."""

from __future__ import annotations

from sync.mail.address import parse_addresses
from sync.mail.date import written_at
from sync.mail.header import decode_value, read_header
from sync.message import Participant
from sync.text.clean import clean_line

TITLE = "--- Forwarded message ---"
MAX_NAMED = 5
"""Recipients that are named; a number tells how many more there are."""

MAX_SUBJECT_CHARS = 1_000
MAX_NAMES_CHARS = 20_000
"""What of a list of recipients is read to name a few."""


def introduction(mail: bytes) -> str:
    """From, Date, To and Subject of `mail`, as lines; empty when it has no header."""
    header = read_header(mail, 0, len(mail))
    if not header.fields:
        return ""
    lines = [TITLE]
    author, _ = parse_addresses(header.raw("from")[:MAX_NAMES_CHARS])
    if author:
        lines.append(f"From: {_named(author[0])}")
    moment = written_at(header.ascii("date"))
    if moment is not None:
        lines.append(f"Date: {moment:%Y-%m-%d %H:%M} UTC")
    recipients, _ = parse_addresses(header.raw("to")[:MAX_NAMES_CHARS])
    if recipients:
        more = len(recipients) - MAX_NAMED
        names = ", ".join(_named(one) for one in recipients[:MAX_NAMED])
        lines.append(f"To: {names}" + (f" and {more} more" if more > 0 else ""))
    subject = clean_line(decode_value(header.raw("subject")), limit_chars=MAX_SUBJECT_CHARS)
    if subject:
        lines.append(f"Subject: {subject}")
    return "\n".join(lines)


def _named(person: Participant) -> str:
    return f"{person.name} <{person.value}>" if person.name else person.value
