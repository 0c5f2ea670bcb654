"""Reading what servers answer: FETCH, LIST, STATUS, SEARCH. Pure, and forgiving: servers write these in many ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TypeAlias

from .folders import Folder
from .structure import structure_in
from .uids import MAX_UID, UidRanges
from .utf7 import decode_folder_name

Part: TypeAlias = "bytes | tuple[bytes, bytes] | None"
"""One piece of an answer as imaplib gives it: a line, or a line up to a literal together with the literal."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_INTERNALDATE = re.compile(r"\s*(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d{1,2}):(\d\d):(\d\d)(?: ([+-])(\d\d)(\d\d))?")
_NUMBER = re.compile(rb"\b(UID|RFC822\.SIZE) (\d{1,20})", re.IGNORECASE)
_DATE = re.compile(rb'\bINTERNALDATE "([^"]{1,40})"', re.IGNORECASE)
_SECTION = rb"(BODY\[[^\]]*\]|RFC822(?:\.HEADER|\.TEXT)?)(?:<\d+>)?"
_SECTION_BEFORE_LITERAL = re.compile(_SECTION + rb" \{\d+\+?\}$", re.IGNORECASE)
_SECTION_WITH_STRING = re.compile(_SECTION + rb' (NIL|"(?:[^"\\]|\\.)*")', re.IGNORECASE)
_LITERAL_MARK = re.compile(rb"\{\d+\+?\}$")
_STATUS_ITEMS = re.compile(rb"([A-Z0-9.-]+) (\d{1,20})", re.IGNORECASE)
_LIST_LINE = re.compile(
    rb'\((?P<attributes>[^()]*)\) +(?P<delimiter>NIL|"(?:[^"\\]|\\.)*")(?: +(?P<name>.*))?', re.DOTALL
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_RANGE = re.compile(rb"(\d{1,10})(?::(\d{1,10}))?")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a FETCH told about one message. `sections` go by their upper-cased name without offset, `BODY[]`."""

    uid: int
    size: int | None
    arrived_at: datetime | None
    sections: Mapping[str, bytes]
    structure: bytes | None = None
    """What stands behind BODYSTRUCTURE, as it was written."""

    def whole(self) -> bytes | None:
        """The message itself, under whichever name the server gives it."""
        for name in ("BODY[]", "RFC822"):
            if name in self.sections:
                return self.sections[name]
        return None

    def header(self) -> bytes | None:
        """Header lines, under whichever name the server gives them."""
        for name, octets in self.sections.items():
            if name.startswith("BODY[HEADER") or name == "RFC822.HEADER":
                return octets
        return None


def read_fetch(parts: Iterable[Part]) -> Iterator[Fetched]:
    """The messages in a FETCH answer; untagged FETCHes that nobody asked for (flags, no UID) are passed over."""
    lines: list[bytes] = []
    sections: dict[str, bytes] = {}
    for part in parts:
        if part is None:
            continue
        if isinstance(part, tuple):
            if named := _SECTION_BEFORE_LITERAL.search(part[0]):
                lines.append(part[0])
                sections[named[1].decode("ascii", "replace").upper()] = part[1]
            else:
                lines.append(_LITERAL_MARK.sub(b"", part[0]) + _quoted(part[1]))
            continue
        lines.append(part)
        if (fetched := _one_fetched(lines, sections)) is not None:
            yield fetched
        lines, sections = [], {}


def _one_fetched(lines: Sequence[bytes], sections: dict[str, bytes]) -> Fetched | None:
    plain = b" ".join(lines)
    strings = _SECTION_WITH_STRING.findall(plain)
    for name, string in strings:
        octets = b"" if string.upper() == b"NIL" else _ESCAPED.sub(rb"\1", string[1:-1])
        sections.setdefault(name.decode("ascii", "replace").upper(), octets)
    if strings:
        plain = _SECTION_WITH_STRING.sub(b"", plain)
    structure: bytes | None = None
    if place := structure_in(plain):
        structure, plain = plain[slice(*place)], plain[: place[0]] + plain[place[1] :]
    numbers = {name.upper(): int(value) for name, value in _NUMBER.findall(plain)}
    uid = numbers.get(b"UID", 0)
    if not 0 < uid <= MAX_UID:
        return None
    found = _DATE.search(plain)
    return Fetched(
        uid=uid,
        size=numbers.get(b"RFC822.SIZE"),
        arrived_at=read_internaldate(found[1].decode("ascii", "replace")) if found else None,
        sections=sections,
        structure=structure,
    )


def _quoted(literal: bytes) -> bytes:
    return b'"' + literal.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def read_internaldate(text: str) -> datetime | None:
    """`17-Jul-1996 02:44:25 -0700` (RFC 3501 §9, date-time) in UTC; None for anything that is no time."""
    match = _INTERNALDATE.match(text)
    if match is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    try:
        offset = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        number = _MONTHS.index(month.capitalize()) + 1
        return datetime(
            int(year), number, int(day), int(hour), int(minute), min(int(second), 59), tzinfo=zone
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def search_date(day: date) -> str:
    """A date as SEARCH wants it (`1-Feb-2026`), whatever the locale."""
    return f"{day.day}-{_MONTHS[day.month - 1]}-{day.year:04d}"


def read_search(lines: Iterable[bytes | None]) -> UidRanges:
    """The UIDs of SEARCH answers (`3 5 7`), however many lines they come in."""
    return UidRanges(int(number) for line in lines if line for number in _each_number(line))


def _each_number(line: bytes) -> Iterator[int]:
    for match in re.finditer(rb"\d{1,10}", line.split(b"(", 1)[0]):  # "(MODSEQ 917)" may follow: RFC 7162 §3.1.5
        yield int(match[0])


def read_esearch(lines: Iterable[bytes | None]) -> UidRanges | None:
    """The UIDs of an ESEARCH answer (`(TAG "A1") UID ALL 1:3,7`, RFC 4731); None if there is none."""
    answered = [line for line in lines if line is not None]
    return UidRanges.of_ranges(_each_range(answered)) if answered else None


def _each_range(lines: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    for line in lines:
        named = re.search(rb"\bALL ([0-9:,*]+)", re.sub(rb'\(TAG "[^"]*"\)', b"", line))
        for match in _RANGE.finditer(named[1] if named else b""):
            yield int(match[1]), int(match[2] or match[1])


def read_status(parts: Iterable[Part]) -> dict[str, int]:
    """The numbers of a STATUS answer, by upper-cased item."""
    for part in parts:
        if isinstance(part, bytes) and (start := part.rfind(b"(")) >= 0:
            return {name.decode("ascii").upper(): int(value) for name, value in _STATUS_ITEMS.findall(part[start:])}
    return {}


def read_list(parts: Iterable[Part]) -> Iterator[Folder]:
    """The folders of a LIST (or XLIST) answer; names may be atoms, quoted, or literals."""
    literal: tuple[bytes, bytes] | None = None
    for part in parts:
        if isinstance(part, tuple):
            literal = part
            continue
        line, name = (literal[0], literal[1]) if literal else (part, None)
        literal = None
        match = _LIST_LINE.match(line.strip()) if line else None
        if match is None:
            continue
        wire = name if name is not None else _string(match["name"] or b"")
        if wire:
            yield _folder(match, wire)
    if literal is not None and (match := _LIST_LINE.match(literal[0])):
        yield _folder(match, literal[1])


def _folder(match: re.Match[bytes], wire: bytes) -> Folder:
    delimiter = b"" if match["delimiter"].upper() == b"NIL" else _string(match["delimiter"])
    attributes = match["attributes"].decode("ascii", "replace").lower().split()
    name = unicodedata.normalize("NFC", decode_folder_name(wire))
    return Folder(
        name="INBOX" if name.casefold() == "inbox" else name,
        wire=wire,
        delimiter=delimiter.decode("ascii", "replace"),
        attributes=frozenset(attributes),
    )


def _string(written: bytes) -> bytes:
    stripped = written.strip()
    if len(stripped) >= 2 and stripped.startswith(b'"') and stripped.endswith(b'"'):
        return _ESCAPED.sub(rb"\1", stripped[1:-1])
    return stripped
