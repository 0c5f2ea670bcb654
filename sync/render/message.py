"""One message becomes one bubble group: subject where it is new, text, and a last bubble with everything beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from sync.attachments import shows_as_image, size_text
from sync.message import Attachment, Direction, Json, Legibility, Message
from sync.render.shapes import (
    MAX_BADGE_UNITS,
    MAX_PREVIEW_UNITS,
    MAX_TEXT_UNITS,
    MAX_URL_UNITS,
    Badge,
    MediaItem,
    SendAs,
    SendRequest,
)
from sync.render.subject import subject_key
from sync.text.clean import clean, clean_line
from sync.text.units import cut_units, split_places, split_units, utf16_length

LATE_NOTE_AFTER_SECONDS = 600
"""Delivered more than 10 minutes after it was written: the time is told."""

SILENT_AFTER_SECONDS = 86_400
"""Older than a day: the unread count stays as it is."""

MAX_TEXT_ITEMS = 8
MAX_NAMED_FILES = 30
MAX_NAMED_CUSTOMERS = 20
MAX_FOOTER_ITEMS = 2
MAX_SUBJECT_CHARS = 1_000
MAX_ACTIVITY_UNITS = 500
"""Of a machine's mail that is shown as one line."""

NO_TEXT = "(no text)"
UNNAMED = "unnamed file"
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
"""In English whatever the machine's locale: the frozen request must not depend on it."""


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What a message's look depends on besides itself.

    `delivered_at` is now (aware); `arrived_at` the service's time of arrival, when it is known: a mail is silent only
    when it was written *and* arrived long ago, because a customer's clock may be wrong. `previous_subject` is the
    `subject_key` of the last message in this conversation, None before the first. `customers` are the names (or
    addresses) of the customers among the recipients: of an agent's mail they are shown when there is more than one, of a
    customer's mail they are others than its author. `mailbox` is how an operator knows the place the original is in.
    `uploads` are the Inbox's ids of the message's files, by `Attachment.spooled`; `refused_files` why others of them
    were not taken. `reference` is the visible reference line (off when empty).
    """

    direction: Direction
    badge_text: str
    delivered_at: datetime
    badge_icon_url: str = ""
    arrived_at: datetime | None = None
    previous_subject: str | None = None
    time_zone: str = "UTC"
    backfill: bool = False
    send_notifications: bool = False
    reference: str = ""
    late_note_after_seconds: float = LATE_NOTE_AFTER_SECONDS
    silent_after_seconds: float = SILENT_AFTER_SECONDS
    max_text_items: int = MAX_TEXT_ITEMS
    mailbox: str = "the mailbox"
    customers: tuple[str, ...] = ()
    uploads: Mapping[int, str] = field(default_factory=dict)
    refused_files: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """`body` is the Send Message request without `conversationId`; `subject_key` the next message's `previous_subject`."""

    body: Json
    subject_key: str


def render(message: Message, ctx: RenderContext) -> Rendered:
    """`message` as the request that shows it in one conversation. Every text item holds 1 to 16,384 UTF-16 units and is
    never blank. Never raises on content."""
    if message.activity:
        return _render_activity(message, ctx)
    subject, key = _subject(message, ctx)
    blocks, media = _in_place(_text_of(message, ctx), message, ctx)
    pieces, left_out = _pieces(blocks, ctx.max_text_items)
    footer = "\n".join(_footer(message, ctx, left_out))
    items: list[str | MediaItem] = [subject] if subject else []
    items += pieces
    items += media
    if footer.strip():
        items += islice(split_units(footer, MAX_TEXT_UNITS), MAX_FOOTER_ITEMS)
    if not (subject or pieces or message.attachments or message.notes):
        items.insert(0, NO_TEXT)
    by_customer = ctx.direction is Direction.PARTICIPANT_TO_BUSINESS
    request = SendRequest(
        direction=ctx.direction,
        items=tuple(items),
        preview_text=_preview(next((one for one in (*pieces, *items) if isinstance(one, str)), "")),
        silent=ctx.backfill or _is_old(message, ctx),
        badge=_badge(ctx),
        send_notifications=ctx.send_notifications and by_customer and not ctx.backfill,
        send_as=SendAs.PARTICIPANT if by_customer else None,
    )
    return Rendered(request.to_json(), key)


def _render_activity(message: Message, ctx: RenderContext) -> Rendered:
    """One silent line: what kind of mail, from whom, and how it begins. The conversation's subject stays what it was."""
    parts = [clean_line(message.subject, limit_chars=MAX_SUBJECT_CHARS)]
    parts.append(_in_one_line(clean(message.text[:MAX_ACTIVITY_UNITS])))
    said = " – ".join(part for part in parts if part) or NO_TEXT
    line = f"{clean_line(message.activity)} from {_who(message)}: {said}"
    shown = cut_units(line, MAX_ACTIVITY_UNITS)
    if len(shown) < len(line) or len(message.text) > MAX_ACTIVITY_UNITS:
        shown = f"{shown.rstrip()}… (the whole message is in {_mailbox(ctx)})"
    notes = " ".join(_activity_notes(message, ctx))
    shown = cut_units(f"{shown} {notes}".rstrip(), MAX_TEXT_UNITS)
    request = SendRequest(
        direction=ctx.direction,
        items=(shown,),
        preview_text=_preview(shown),
        silent=True,
        badge=_badge(ctx),
        minimal=True,
    )
    return Rendered(request.to_json(), ctx.previous_subject or "")


def _in_one_line(text: str) -> str:
    """Lines one behind another, with a full stop where one ends without any sign and the next begins a sentence."""
    said = ""
    for line in filter(None, (" ".join(line.split()) for line in text.split("\n"))):
        begins = line[0].isupper() and said[-1:].isalnum()
        said = f"{said}{'. ' if begins else ' '}{line}" if said else line
    return said


def _activity_notes(message: Message, ctx: RenderContext) -> Iterator[str]:
    for note in message.notes:
        yield clean_line(note)
    if _is_late(message, ctx) and message.sent_at is not None:
        yield f"({_sent_line(message.sent_at, ctx)})"
    if ctx.reference:
        yield clean_line(ctx.reference)


def _subject(message: Message, ctx: RenderContext) -> tuple[str, str]:
    """The subject line (empty when it is not shown), and the key that the conversation remembers."""
    subject = clean_line(message.subject, limit_chars=MAX_SUBJECT_CHARS)
    key = subject_key(subject)
    if not key:
        return "", ctx.previous_subject or ""
    return ("" if key == ctx.previous_subject else subject), key


def _text_of(message: Message, ctx: RenderContext) -> str:
    if message.legibility is Legibility.UNREADABLE:
        return f"A message from {_who(message)} could not be read; it is in {_mailbox(ctx)}."
    return clean(message.text).strip("\n").rstrip()


def _who(message: Message) -> str:
    author = message.author
    if author is None:
        return "an unknown sender"
    return clean_line(author.name) or clean_line(author.value)


def _mailbox(ctx: RenderContext) -> str:
    return clean_line(ctx.mailbox) or "the mailbox"


def _in_place(text: str, message: Message, ctx: RenderContext) -> tuple[list[str | MediaItem], list[MediaItem]]:
    """The text with its pictures between its paragraphs, where their marks (`[photo.png]`) stand on lines of their own,
    and the files that stand nowhere in it. In a text with more pictures than it may have bubbles they follow it."""
    blocks: list[str | MediaItem] = []
    others: list[MediaItem] = []
    rest = text
    for one in message.attachments:
        item = _media(one, ctx)
        if item is None:
            continue
        if not (one.inline and item.is_image and f"[{one.filename}]" in rest):
            others.append(item)
            continue
        before, found, behind = f"\n{rest}\n".partition(f"\n[{one.filename}]\n")
        if found:
            blocks += [before.strip("\n").rstrip(), item]
            rest = behind.strip("\n")
        else:
            others.append(item)
    if sum(isinstance(one, str) for one in blocks) >= max(1, ctx.max_text_items):
        return [text], [item for one in message.attachments if (item := _media(one, ctx)) is not None]
    return [one for one in (*blocks, rest) if not isinstance(one, str) or one.strip()], others


def _pieces(blocks: list[str | MediaItem], max_items: int) -> tuple[list[str | MediaItem], int]:
    """The text in items, between them the pictures in it, and how many characters are left out."""
    items: list[str | MediaItem] = []
    room, left_out = max(1, max_items), 0
    for block in blocks:
        if isinstance(block, MediaItem):
            items.append(block)
            continue
        pieces, more = _split(block, room)
        items += pieces
        room -= len(pieces)
        left_out += more
    return items, left_out


def _split(text: str, max_items: int) -> tuple[list[str], int]:
    """The text in at most so many items, and how many characters are left out."""
    if max_items <= 0:
        return [], len(text)
    if utf16_length(text) <= MAX_TEXT_UNITS:
        return ([text] if text.strip() else []), 0
    places = list(islice(split_places(text, MAX_TEXT_UNITS), max_items + 1))
    shown = places[:max_items]
    left_out = len(text) - shown[-1][1] if len(places) > len(shown) else 0
    return [text[start:stop] for start, stop in shown], left_out


def _preview(text: str) -> str:
    return cut_units(" ".join(text[: MAX_PREVIEW_UNITS * 8].split()), MAX_PREVIEW_UNITS)


def _badge(ctx: RenderContext) -> Badge | None:
    text = cut_units(clean_line(ctx.badge_text), MAX_BADGE_UNITS)
    if not text:
        return None
    icon_url = ctx.badge_icon_url if utf16_length(ctx.badge_icon_url) <= MAX_URL_UNITS else ""
    return Badge(text, icon_url)


# ------------------------------------------------------------------------------------------------- the last bubble


def _footer(message: Message, ctx: RenderContext, left_out: int) -> Iterator[str]:
    if left_out:
        yield f"The rest is not shown ({left_out:,} characters)."
    yield from _files_lines(message, ctx)
    for note in message.notes:
        yield clean_line(note)
    if message.legibility is Legibility.PARTIAL:
        yield f"The whole message is in {_mailbox(ctx)}."
    by_customer = ctx.direction is Direction.PARTICIPANT_TO_BUSINESS
    if len(ctx.customers) > (0 if by_customer else 1):
        names = [clean_line(name) for name in ctx.customers[:MAX_NAMED_CUSTOMERS]]
        yield ("Also to: " if by_customer else "To: ") + ", ".join(names) + _and_more(len(ctx.customers) - len(names))
    if _is_late(message, ctx) and message.sent_at is not None:
        yield _sent_line(message.sent_at, ctx)
    if ctx.reference:
        yield clean_line(ctx.reference)


def _media(one: Attachment, ctx: RenderContext) -> MediaItem | None:
    """A file that the Inbox has."""
    file_id = ctx.uploads.get(one.spooled) if one.spooled else None
    if file_id is None:
        return None
    name = clean_line(one.filename) or UNNAMED
    return MediaItem(file_id, name, one.mime_type, shows_as_image(one), one.width, one.height)


def _files_lines(message: Message, ctx: RenderContext) -> Iterator[str]:
    """The files that are only named: those that nobody could open, then those that were left out, with the reason."""
    named: list[str] = []
    left_out: list[str] = []
    for one in message.attachments:
        why_not = one.why_not or ctx.refused_files.get(one.spooled, "")
        if why_not:
            left_out.append(f"{_file(one)}: {why_not}")
        elif one.spooled not in ctx.uploads:
            named.append(_file(one))
    if named:
        yield f"{'Attachment' if len(named) == 1 else 'Attachments'}: {_list(named, ', ')}"
    if left_out:
        yield f"Not brought over: {_list(left_out, '; ')}"


def _list(names: list[str], between: str) -> str:
    return between.join(names[:MAX_NAMED_FILES]) + _and_more(len(names) - MAX_NAMED_FILES)


def _file(attachment: Attachment) -> str:
    name = clean_line(attachment.filename) or UNNAMED
    return name if attachment.size is None else f"{name} ({size_text(attachment.size)})"


def _and_more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


# ------------------------------------------------------------------------------------------------- time


def _age_seconds(moment: datetime, ctx: RenderContext) -> float:
    return (ctx.delivered_at - moment).total_seconds()


def _is_late(message: Message, ctx: RenderContext) -> bool:
    return message.sent_at is not None and _age_seconds(message.sent_at, ctx) > ctx.late_note_after_seconds


def _is_old(message: Message, ctx: RenderContext) -> bool:
    moments = [moment for moment in (message.sent_at, ctx.arrived_at) if moment is not None]
    return bool(moments) and all(_age_seconds(moment, ctx) > ctx.silent_after_seconds for moment in moments)


def _sent_line(sent_at: datetime, ctx: RenderContext) -> str:
    """`sent 12 March 14:03`, with the year when it is not this year's, in the inbox's time zone."""
    zone = zone_of(ctx.time_zone)
    local = sent_at.astimezone(zone)
    year = "" if local.year == ctx.delivered_at.astimezone(zone).year else f" {local.year}"
    return f"sent {local.day} {_MONTHS[local.month - 1]}{year} {local:%H:%M}"


@functools.lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """The zone of that IANA name; UTC when this machine does not know it (the configuration refuses such names)."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return UTC
