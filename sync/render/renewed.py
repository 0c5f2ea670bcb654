"""A frozen request with the ids that its files have now: what was uploaded is forgotten by the Inbox after some hours."""

from __future__ import annotations

from collections.abc import Mapping

from sync.message import Json, Message
from sync.text.clean import clean_line


def media_items(body: Json) -> list[dict[str, Json]]:
    """The images and files of a send request, in order: the objects themselves."""
    found: Json = body
    for key in ("message", "content", "basic", "items"):
        found = found.get(key) if isinstance(found, dict) else None
    media: list[dict[str, Json]] = []
    for item in found if isinstance(found, list) else ():
        for kind in ("image", "file"):
            inner = item.get(kind) if isinstance(item, dict) else None
            if isinstance(inner, dict):
                media.append(inner)
    return media


def renew_files(body: Json, message: Message, uploads: Mapping[int, str]) -> None:
    """Puts the present ids (by `Attachment.spooled`) into the request. Files of one name are in their order in the
    message, and some may have been left out then; content and hash, which go by names, stay."""
    waiting = [one for one in message.attachments if one.spooled]
    for item in media_items(body):
        for one in waiting:
            if item.get("filename") == clean_line(one.filename):
                item["id"] = uploads.get(one.spooled, item.get("id"))
                waiting.remove(one)
                break
