"""What the page shows, worked out from the data: rows of conversations, days, messages, bubbles. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sync.sandbox.conversations import Conversation, Message
from sync.sandbox.values import MICROSECONDS, JsonObject, as_list, as_object, as_text, at_path, iso_time
from sync.sandbox.world import Site

ROWS_SHOWN = 500
MESSAGES_SHOWN = 200
SNIPPET_LETTERS = 90
HUES = 12
_DAY = 86_400 * MICROSECONDS
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list on the left."""

    id: str
    name: str
    initials: str
    hue: int
    snippet: str
    outgoing: bool
    time: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Bubble:
    """One piece of a message. `kind` is text, image, file, line (an activity), form or card."""

    kind: str
    text: str = ""
    title: str = ""
    url: str = ""
    icon_url: str = ""
    note: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    buttons: tuple[tuple[str, str], ...] = ()
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message: its bubbles and what stands below them."""

    id: str
    outgoing: bool
    title: str
    bubbles: tuple[Bubble, ...]
    badge: str
    time: str
    silent: bool
    private: bool
    sender: str
    targets: bool
    hidden: bool
    """Lists do not show it yet."""


@dataclass(frozen=True, slots=True)
class Day:
    """The messages of one day (in UTC)."""

    date: str
    messages: tuple[MessageView, ...]


@dataclass(frozen=True, slots=True)
class Thread:
    """The conversation on the right."""

    id: str
    name: str
    initials: str
    hue: int
    addresses: str
    participant: str
    days: tuple[Day, ...]
    earlier: int
    """How many older messages are left out."""
    total: int


def rows(site: Site, chosen_id: str) -> list[Row]:
    """The conversations of a site, the latest first."""
    latest = sorted(site.conversations.values(), key=lambda each: each.latest, reverse=True)
    return [_row(site, conversation, chosen_id) for conversation in latest[:ROWS_SHOWN]]


def _row(site: Site, conversation: Conversation, chosen_id: str) -> Row:
    name = site.name_of(conversation.who)
    last = conversation.messages[-1] if conversation.messages else None
    snippet = _snippet(as_object(last.body.get("content"))) if last else "No messages yet"
    return Row(
        id=conversation.id,
        name=name,
        initials=initials(name),
        hue=_hue(conversation.who.id),
        snippet=snippet,
        outgoing=last is not None and last.body.get("direction") == "BUSINESS_TO_PARTICIPANT",
        time=iso_time(conversation.latest),
        count=len(conversation.messages),
        chosen=conversation.id == chosen_id,
    )


def thread(site: Site, conversation: Conversation, now: int, *, everything: bool = False) -> Thread:
    """A conversation with its latest messages, or all of them."""
    name = site.name_of(conversation.who)
    shown = conversation.messages if everything else conversation.messages[-MESSAGES_SHOWN:]
    contact = site.contacts.by_id.get(conversation.who.id)
    return Thread(
        id=conversation.id,
        name=name,
        initials=initials(name),
        hue=_hue(conversation.who.id),
        addresses=", ".join((*contact.emails, *contact.phones)) if contact else "",
        participant=conversation.who.kind.removesuffix("Id"),
        days=tuple(_days(name, shown, now)),
        earlier=len(conversation.messages) - len(shown),
        total=len(conversation.messages),
    )


def initials(name: str) -> str:
    """One or two letters that stand for a name."""
    words = [word for word in name.split("@", maxsplit=1)[0].replace(".", " ").split() if word[0].isalnum()]
    letters = [words[0][0], words[-1][0]] if len(words) > 1 else [word[0] for word in words[:1]]
    return "".join(letters).upper() or "?"


def _hue(key: str) -> int:
    return zlib.crc32(key.encode()) % HUES


def _snippet(content: JsonObject) -> str:
    text = as_text(content.get("previewText")) or as_text(at_path(content, "minimal.text"))
    for item in as_list(at_path(content, "basic.items")):
        entry = as_object(item)
        text = text or as_text(entry.get("text"))
        for kind in ("image", "file"):
            text = text or as_text(at_path(entry, f"{kind}.filename"))
    text = " ".join((text or as_text(content.get("contentType")).title()).split())
    return text if len(text) <= SNIPPET_LETTERS else text[: SNIPPET_LETTERS - 1] + "…"


def _days(name: str, messages: list[Message], now: int) -> Iterator[Day]:
    day: list[MessageView] = []
    before: Message | None = None
    for message in messages:
        if before is not None and message.sequence // _DAY != before.sequence // _DAY:
            yield Day(iso_time(before.sequence), tuple(day))
            day = []
        day.append(_message(name, message, now))
        before = message
    if before is not None:
        yield Day(iso_time(before.sequence), tuple(day))


def _message(name: str, message: Message, now: int) -> MessageView:
    body = message.body
    content = as_object(body.get("content"))
    outgoing = body.get("direction") == "BUSINESS_TO_PARTICIPANT"
    badge = as_object(next(iter(as_list(body.get("badges"))), {}))
    sender = as_object(body.get("sender"))
    return MessageView(
        id=message.id,
        outgoing=outgoing,
        title=as_text(content.get("title")),
        bubbles=tuple(_bubbles(content)),
        badge=as_text(badge.get("text")),
        time=iso_time(message.sequence),
        silent=bool(body.get("silent")),
        private=body.get("visibility") == "BUSINESS",
        sender="app" if "appId" in sender else "staff" if "wixUserId" in sender else name,
        targets=bool(message.request.get("targetChannels") or message.request.get("targetChannelIds")),
        hidden=message.visible > now,
    )


def _bubbles(content: JsonObject) -> Iterator[Bubble]:
    for item in as_list(at_path(content, "basic.items")):
        entry = as_object(item)
        if "text" in entry:
            yield Bubble("text", text=as_text(entry["text"]))
        else:
            yield _media(entry)
    if minimal := as_object(content.get("minimal")):
        yield Bubble(
            "line",
            text=as_text(minimal.get("text")),
            url=_web(minimal.get("url")),
            icon_url=_own(minimal.get("iconUrl")),
        )
    if form := as_object(content.get("form")):
        yield Bubble(
            "form",
            title=as_text(form.get("title")),
            text=as_text(form.get("description")),
            fields=tuple(
                (as_text(as_object(each).get("name")), as_text(as_object(each).get("value")))
                for each in as_list(form.get("fields"))
            ),
        )
        for item in as_list(form.get("media")):
            yield _media(as_object(item))
    if template := as_object(content.get("template")):
        yield Bubble(
            "card",
            title=as_text(template.get("title")),
            text="\n".join(as_text(line) for line in as_list(template.get("textLines"))),
            icon_url=_own(template.get("imageUrl")),
            buttons=tuple(
                (as_text(as_object(each).get("label")), _web(as_object(each).get("launchUrl")))
                for each in as_list(template.get("buttons"))
            ),
        )


def _media(entry: JsonObject) -> Bubble:
    if image := as_object(entry.get("image")):
        url, name = _web(image.get("url")), as_text(image.get("filename")) or "image"
        kind = "image" if _own(url) else "file"
        return Bubble(
            kind,
            title=name,
            url=url,
            note="image" if kind == "file" else "",
            width=_pixels(image.get("width")),
            height=_pixels(image.get("height")),
        )
    file = as_object(entry.get("file"))
    return Bubble(
        "file",
        title=as_text(file.get("filename")) or "file",
        url=_web(file.get("url")),
        note=as_text(file.get("mimeType")),
    )


def _pixels(value: object) -> int:
    return value if isinstance(value, int) else 0


def _web(value: object) -> str:
    url = as_text(value)
    return url if url.startswith(("http://", "https://")) else ""


def _own(value: object) -> str:
    """The address as a path, if it is a file of this sandbox: nothing is loaded from elsewhere."""
    before, mark, rest = as_text(value).partition("/_media/file/")
    return mark + rest if mark and before.count("/") == 2 else ""


def is_picture(mime_type: str) -> bool:
    """Whether a browser may show the file in place (SVG can hold scripts, so it may not)."""
    return mime_type in _PICTURES
