"""What of a request or of the Inbox's answer tells one message from another.

The Inbox adds fields (ids, contentType, sender), drops some (badges) and signs media URLs anew; none of these count.
Texts are compared in canonical form (`sync.text.canonical`), so that changed line ends and white space do not blind
the reading back, while changed words do show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from sync.message import Json
from sync.text.canonical import canonical

Fact = tuple[str, str]
"""One comparable piece of content: its kind (`text`, `file`, `preview`…) and canonical value."""


def content_of(body: Json) -> tuple[Fact, ...]:
    """The canonical content of a send request, of an answer (`{"message": …}`), or of an item of a list.

    Texts and file names in their order. Preview and title count only where there is neither: they repeat the text,
    and the Inbox may make them itself.
    """
    return tuple((kind, canonical(value)) for kind, value in _content_as_it_stands(body))


def _content_as_it_stands(body: Json) -> list[Fact]:
    content = _object(_message_of(body).get("content"))
    return list(_facts(content)) or list(_summary(content))


def canonical_hash(body: Json) -> str:
    """SHA-256 (hex) over direction, visibility and canonical content. The same for a request and for the message the
    Inbox made of it, when it changed nothing but form."""
    message = _message_of(body)
    facts: list[Json] = [[kind, value] for kind, value in content_of(body)]
    parts: list[Json] = [_text(message.get("direction")), _text(message.get("visibility")), facts]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def same_content(sent: Json, answered: Json) -> bool:
    """True when the Inbox shows what was sent: direction, visibility and canonical content are equal."""
    mine, theirs = _message_of(sent), _message_of(answered)
    if any(_text(mine.get(key)) != _text(theirs.get(key)) for key in ("direction", "visibility")):
        return False
    # What is the same as it stands, as almost always, need not be brought into canonical form.
    return _content_as_it_stands(sent) == _content_as_it_stands(answered) or content_of(sent) == content_of(answered)


def _facts(content: dict[str, Json]) -> Iterator[Fact]:
    for item in _list(_object(content.get("basic")).get("items")):
        yield from _item_facts(_object(item))
    minimal = _object(content.get("minimal"))
    if minimal:
        yield "text", _text(minimal.get("text"))
    for kind in ("form", "template"):
        shape = _object(content.get(kind))
        if shape:
            yield from _shape_facts(shape)


def _item_facts(item: dict[str, Json]) -> Iterator[Fact]:
    if "text" in item:
        text = item["text"]
        yield "text", _text(_object(text).get("text") if isinstance(text, dict) else text)
    for kind in ("image", "file"):
        media = _object(item.get(kind))
        if media:
            yield "file", _text(media.get("filename"))


def _shape_facts(shape: dict[str, Json]) -> Iterator[Fact]:
    for key in ("title", "description"):
        if shape.get(key):
            yield "text", _text(shape[key])
    for field in _list(shape.get("fields")):
        pair = _object(field)
        yield "text", f"{_text(pair.get('name'))}: {_text(pair.get('value'))}"
    for line in _list(shape.get("textLines")):
        yield "text", _text(line)
    for media in _list(shape.get("media")):
        yield from _item_facts(_object(media))


def _summary(content: dict[str, Json]) -> Iterator[Fact]:
    for kind, key in (("title", "title"), ("preview", "previewText")):
        text = _text(content.get(key))
        if canonical(text):
            yield kind, text


def _message_of(body: Json) -> dict[str, Json]:
    outer = _object(body)
    inner = outer.get("message")
    return inner if isinstance(inner, dict) else outer


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
