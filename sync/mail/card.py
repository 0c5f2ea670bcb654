"""Contact cards (vCard 2.1 to 4.0: RFC 6350) as one line a person."""

from __future__ import annotations

from sync.mail.charset import decode
from sync.mail.contentlines import ContentLine, content_lines
from sync.mail.transfer import decode_transfer
from sync.text.clean import clean_line

MAX_CARDS = 20
MAX_VALUE_CHARS = 200
MAX_VALUES = 12
"""Phone numbers and addresses of one person that are named."""

_SHOWN = frozenset({"TEL", "EMAIL", "ORG", "TITLE", "URL"})


def read_cards(text: str) -> list[str]:
    """One line for each person in `text`: name, organisation, phone numbers, mail addresses."""
    lines: list[str] = []
    name = structured = ""
    details: list[str] = []
    for line in content_lines(text):
        if line.name == "BEGIN":
            name, structured, details = "", "", []
        elif line.name == "FN" and not name:
            name = _value(line)
        elif line.name == "N" and not structured:
            structured = _full_name(_value(line))
        elif line.name in _SHOWN and len(details) < MAX_VALUES:
            value = ", ".join(part.strip() for part in _value(line).split(";") if part.strip())
            value = value.removeprefix("tel:")
            if value and value not in details:
                details.append(value)
        elif line.name == "END" and (name or structured or details):
            lines.append(f"Contact: {', '.join([person for person in (name or structured,) if person] + details)}")
            name, structured, details = "", "", []
        if len(lines) >= MAX_CARDS:
            break
    return lines


def _value(line: ContentLine) -> str:
    """vCard 2.1 encodes values: `;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:`."""
    text = line.text
    if line.parameters.get("ENCODING", "").upper() == "QUOTED-PRINTABLE" and text.isascii():
        data, _ = decode_transfer(text.encode("ascii"), "quoted-printable")
        text = decode(data, line.parameters.get("CHARSET", ""))[0]
    return clean_line(text, limit_chars=MAX_VALUE_CHARS)


def _full_name(structured: str) -> str:
    """`Family;Given;Additional;Prefix;Suffix` in the order in which it is spoken."""
    parts = [part.strip() for part in structured.split(";")] + [""] * 5
    return " ".join(part for part in (parts[3], parts[1], parts[2], parts[0], parts[4]) if part)
