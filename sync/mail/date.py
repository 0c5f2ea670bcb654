"""When a mail says it was written: the Date field (RFC 5322 §3.3 and §4.3, and what is found instead)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

EARLIEST_YEAR = 1990
"""A date before this year is absurd: clocks that start at 1970 or 1980."""

LATEST_YEAR = 2100
"""A date from this year on is absurd."""

MAX_DATE_CHARS = 200

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_HOURS_ZONES: dict[float, tuple[str, ...]] = {
    -8: ("pst",),
    -7: ("pdt", "mst"),
    -6: ("mdt", "cst"),
    -5: ("cdt", "est"),
    -4: ("edt",),
    1: ("bst", "cet", "met", "west"),
    2: ("cest", "mest", "eet"),
    3: ("eest", "msk"),
    5.5: ("ist",),
    9: ("jst", "kst"),
    10: ("aest",),
    11: ("aedt",),
    12: ("nzst",),
    13: ("nzdt",),
}
_ZONE_HOURS = {name: hours for hours, names in _HOURS_ZONES.items() for name in names}
_CLOCK = r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2})(?:[.,]\d{1,9})?)?\s*(?P<half>[ap]\.?m\b)?"
_ZONE = r"\s*(?:(?:gmt|utc|ut)?\s*(?P<offset>[+-]\d{1,2}:?\d{2}|[+-]\d{3})|\(?(?P<zone>[a-z]{1,5})\b)?"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"\b(?P<day>\d{{1,2}})[\s.-]{{1,5}}(?P<month>[a-z]{{3}})[a-z]{{0,6}}[\s.,-]{{1,5}}(?P<year>\d{{2,4}})[,\sT]{{1,5}}{_CLOCK}{_ZONE}",
        rf"\b(?P<month>[a-z]{{3}})[a-z]{{0,6}}\s{{1,5}}(?P<day>\d{{1,2}}),?\s{{1,5}}(?P<year>\d{{4}})[,\s]{{1,5}}{_CLOCK}{_ZONE}",
        rf"\b(?P<month>[a-z]{{3}})\s{{1,5}}(?P<day>\d{{1,2}})\s{{1,5}}{_CLOCK}{_ZONE}\s{{1,5}}(?P<year>\d{{4}})",
        rf"(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}})[T\s]{{1,5}}{_CLOCK}{_ZONE}",
        r"\b(?P<day>\d{1,2})[\s.-]{1,5}(?P<month>[a-z]{3})[a-z]{0,6}[\s.,-]{1,5}(?P<year>\d{4})\b(?!.{0,20}\d:\d)",
    )
)


def written_at(value: str) -> datetime | None:
    """The moment a Date value names, in UTC; None when it is missing, unreadable, or before `EARLIEST_YEAR` or from
    `LATEST_YEAR` on. A zone that nobody knows counts as UTC (RFC 5322 §4.3)."""
    text = " ".join(value[:MAX_DATE_CHARS].split())
    for form in _FORMS:
        match = form.search(text)
        if match is not None:
            moment = _moment(match.groupdict())
            if moment is not None:
                return moment
    return None


def _moment(parts: dict[str, str | None]) -> datetime | None:
    month_text = (parts.get("month") or "").lower()
    month = int(month_text) if month_text.isdigit() else _MONTHS.get(month_text, 0)
    hour = int(parts.get("hour") or 0)
    half = (parts.get("half") or "").lower()
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    try:
        local = datetime(
            _full_year(parts.get("year") or "0"),
            month,
            int(parts.get("day") or 0),
            hour,
            int(parts.get("minute") or 0),
            min(int(parts.get("second") or 0), 59),  # a leap second is second 60
            tzinfo=_zone(parts.get("offset"), parts.get("zone")),
        )
        moment = local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if EARLIEST_YEAR <= moment.year < LATEST_YEAR else None


def _full_year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _zone(offset: str | None, name: str | None) -> timezone:
    if offset is not None:
        digits = offset[1:].replace(":", "").rjust(4, "0")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        if int(digits[2:]) < 60 and minutes < 15 * 60:
            return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
        return UTC
    return timezone(timedelta(hours=_ZONE_HOURS.get((name or "").lower(), 0)))
