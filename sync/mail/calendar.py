"""Invitations and answers to them (RFC 5545, RFC 5546) as the few lines that a person wants to read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from sync.mail.contentlines import ContentLine, content_lines
from sync.text.clean import clean, clean_line

MAX_VALUE_CHARS = 300
MAX_DESCRIPTION_CHARS = 4_000

_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)?(Z)?)?")
_DURATION = re.compile(r"P(?:(\d{1,4})W)?(?:(\d{1,4})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,4})M)?(?:(\d{1,6})S)?)?")
_COMPONENTS = frozenset({"VEVENT", "VTODO", "VJOURNAL"})
_ANSWERS = {
    "ACCEPTED": "Accepted",
    "DECLINED": "Declined",
    "TENTATIVE": "Tentatively accepted",
    "DELEGATED": "Delegated",
    "COMPLETED": "Completed",
}
_METHODS = {
    "REQUEST": "Invitation",
    "ADD": "Invitation",
    "CANCEL": "Cancelled",
    "COUNTER": "Another time is proposed",
    "DECLINECOUNTER": "The other time is declined",
    "REFRESH": "Asks for the current version",
    "REPLY": "Answer",
}
_FREQUENCIES = {"DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year", "HOURLY": "hour"}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """One calendar object. `identity` is the same for copies of it that came in one mail. `description` is what the
    organiser wrote, for mails without a text of their own."""

    lines: tuple[str, ...]
    identity: tuple[str, ...]
    description: str = ""
    is_answer: bool = False


@dataclass(slots=True)
class _Event:
    first: dict[str, ContentLine] = field(default_factory=dict)
    attendees: list[ContentLine] = field(default_factory=list)

    def text(self, name: str) -> str:
        line = self.first.get(name)
        return "" if line is None else clean_line(line.text, limit_chars=MAX_VALUE_CHARS)


def read_invitation(text: str, method: str = "") -> Invitation | None:
    """What a calendar object says: its kind, what, when, where and by whom. `method` is the parameter of the part's
    Content-Type, for objects that do not name theirs. None when there is no event in it."""
    declared, event, more = _first_event(content_lines(text))
    if event is None:
        return None
    method = (declared or method).upper()
    lines = [_headline(method, event)]
    for label, value in (
        ("When", _when(event)),
        ("Repeats", _repeats(event)),
        ("Where", event.text("LOCATION")),
        ("Organiser", _person(event.first.get("ORGANIZER")) if method != "REPLY" else ""),
        ("Comment", event.text("COMMENT")),
    ):
        if value:
            lines.append(f"{label}: {value}")
    if more:
        lines.append(f"({more} more dates)")
    identity = (method, event.text("UID"), event.text("DTSTART"), event.text("SUMMARY"), event.text("SEQUENCE"))
    description = event.first.get("DESCRIPTION")
    words = "" if description is None else clean(description.text, limit_chars=MAX_DESCRIPTION_CHARS).strip()
    return Invitation(tuple(lines), identity, words, is_answer=method in {"REPLY", "CANCEL", "REFRESH"})


def _first_event(lines: Iterable[ContentLine]) -> tuple[str, _Event | None, int]:
    """(METHOD, the first event, how many more there are)."""
    method = ""
    event: _Event | None = None
    inside: list[str] = []
    count = 0
    for line in lines:
        if line.name == "BEGIN":
            inside.append(line.value.strip().upper())
            if inside[-1] in _COMPONENTS:
                count += 1
                event = event or _Event()
        elif line.name == "END":
            if inside:
                inside.pop()
        elif line.name == "METHOD" and not method:
            method = line.value.strip()
        elif event is not None and count == 1 and inside and inside[-1] in _COMPONENTS:
            event.first.setdefault(line.name, line)
            if line.name == "ATTENDEE" and len(event.attendees) < MAX_VALUE_CHARS:
                event.attendees.append(line)
    return method, event, max(0, count - 1)


def _headline(method: str, event: _Event) -> str:
    what = event.text("SUMMARY") or "(without a title)"
    kind = _METHODS.get(method, "Event")
    if event.text("STATUS").upper() == "CANCELLED":
        kind = "Cancelled"
    elif method == "REPLY" and event.attendees:
        attendee = event.attendees[0]
        kind = _ANSWERS.get(attendee.parameters.get("PARTSTAT", "").upper(), kind)
        who = _person(attendee)
        return f"{kind}: {what}" + (f" (by {who})" if who else "")
    return f"{kind}: {what}"


def _person(line: ContentLine | None) -> str:
    if line is None:
        return ""
    name = clean_line(line.parameters.get("CN", ""), limit_chars=MAX_VALUE_CHARS).strip("'\"")
    address = clean_line(line.value, limit_chars=MAX_VALUE_CHARS)
    address = address[7:] if address[:7].lower() == "mailto:" else ""
    if not name or name.lower() == address.lower():
        return address or name
    return f"{name} <{address}>" if address else name


# ------------------------------------------------------------------------------------------------- when


def _when(event: _Event) -> str:
    start_line = event.first.get("DTSTART") or event.first.get("DUE")
    start = _moment(start_line)
    if start_line is None or start is None:
        return ""
    end_line = event.first.get("DTEND")
    end = _moment(end_line)
    if end is None:
        end = _after(start, event.text("DURATION"))
    if not isinstance(start, datetime):
        return _days(start, end)
    zone = _zone(start_line)
    if not isinstance(end, datetime) or end <= start:
        return f"{_day(start)}, {start:%H:%M}{zone}"
    end_zone = zone if end_line is None else _zone(end_line)
    until = f"{end:%H:%M}" if end.date() == start.date() else f"{_day(end)}, {end:%H:%M}"
    if end_zone != zone:
        return f"{_day(start)}, {start:%H:%M}{zone} to {until}{end_zone}"
    return f"{_day(start)}, {start:%H:%M} to {until}{zone}"


def _moment(line: ContentLine | None) -> date | None:
    """A date, or a datetime (a date, too) as it stands, in the zone it names."""
    match = None if line is None else _MOMENT.match(line.value.strip())
    if match is None:
        return None
    year, month, day, hour, minute = (int(part) if part else 0 for part in match.groups()[:5])
    try:
        return date(year, month, day) if match.group(4) is None else datetime(year, month, day, hour, minute)  # noqa: DTZ001
    except ValueError:
        return None


def _after(start: date, duration: str) -> date | None:
    match = _DURATION.fullmatch(duration)
    if match is None:
        return None
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    try:
        return start + timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        return None


def _zone(line: ContentLine) -> str:
    if line.value.strip().upper().endswith("Z"):
        return " (UTC)"
    name = clean_line(line.parameters.get("TZID", ""), limit_chars=80)
    name = re.sub(r"^/[^/]+/[^/]+/", "", name)  # /freeassociation.sourceforge.net/Tzfile/Europe/Berlin
    return "" if not name or "://" in name else f" ({name.removeprefix('Tzfile/')})"


def _days(start: date, end: date | None) -> str:
    """Whole days: DTEND is the first day that does not belong to it; a time of day in it, which should not be there
    (RFC 5545, section 3.8.2.2), belongs to the last one."""
    try:
        if isinstance(end, datetime):
            last = (end - timedelta(minutes=1)).date()
        else:
            last = start if end is None else end - timedelta(days=1)
    except OverflowError:
        last = start
    return f"{_day(start)}, all day" if last <= start else f"{_day(start)} to {_day(last)}"


def _day(moment: date) -> str:
    return f"{_DAYS[moment.weekday()]} {moment.day} {_MONTHS[moment.month - 1]} {moment.year:04d}"


def _repeats(event: _Event) -> str:
    line = event.first.get("RRULE")
    if line is None:
        return ""
    rule = dict(part.split("=", 1) for part in line.value.upper().split(";")[:20] if "=" in part)
    unit = _FREQUENCIES.get(rule.get("FREQ", ""))
    if unit is None:
        return "yes"
    interval = rule.get("INTERVAL", "1")
    words = f"every {unit}" if not interval.isdecimal() or int(interval[:4]) < 2 else f"every {interval[:4]} {unit}s"
    until = _moment(ContentLine("UNTIL", {}, rule.get("UNTIL", "")))
    if until is not None:
        return f"{words} until {_day(until)}"
    count = rule.get("COUNT", "")
    return f"{words}, {count[:5]} times" if count.isdecimal() else words
