"""A mail by its parts: the text of one that is too large to be loaded whole, and its files one by one. The server knows
where the parts are (`bodyStructure`); their numbers are those of IMAP, as in mails that were loaded whole."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from sync.connector import PassContext
from sync.errors import MessageError
from sync.mail import open_file, open_inside, understand
from sync.mail.files import safe_filename
from sync.message import Attachment, Content, Gone, Json, Message

from .client import Client
from .listing import emails
from .shapes import BodyPart, Email

TEXT_BYTES = 256 * 1024
"""How much text of a message over the size limit is loaded."""
MAX_WRAPPING_BYTES = 25 * 1024 * 1024
"""Of a part that holds files itself (a forwarded mail, winmail.dat), which has to be read whole."""
MAX_DEPTH = 120
"""Parts within parts."""

_PARTS: Json = list(BodyPart.FIELDS)
_NO_FILES = frozenset({"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"})


async def by_parts(client: Client, ctx: PassContext, email: Email, limit_bytes: int) -> Content:
    """A mail over the size limit: its header as it stands, its text as the server decodes it, and what files it has."""
    more: dict[str, Json] = {
        "fetchTextBodyValues": True,
        "maxBodyValueBytes": min(TEXT_BYTES, limit_bytes),
        "bodyProperties": _PARTS,
    }
    found = await emails(client, ctx, (email.id,), Email.PARTS, **more)
    if not found:
        return Gone("the server has it no more")
    whole = found[0]
    raw = _as_text(whole)
    is_cut = any(value.is_truncated for value in whole.body_values.values())
    content = understand(raw, full_size=max(email.size, len(raw) + 1) if is_cut else None)
    return replace(content, attachments=tuple(_files(whole))) if isinstance(content, Message) else content


def _as_text(email: Email) -> bytes:
    """A mail of the header and the text alone."""
    kept = (line for line in email.headers if not line.name.lower().startswith("content-"))
    header = "".join(f"{line.name}:{line.value.rstrip()}\r\n" for line in kept)
    boundary = f"parts-of-{email.id}"
    texts = [
        f"Content-Type: {part.type}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{value.value}"
        for part in email.text_body
        if part.type.startswith("text/") and (value := email.body_values.get(part.part_id or "")) is not None
    ]
    if len(texts) == 1:
        return f"{header}{texts[0]}".encode("utf-8", "replace")
    body = "".join(f"--{boundary}\r\n{text}\r\n" for text in texts)
    kind = f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'
    return f"{header}{kind}{body}--{boundary}--\r\n".encode("utf-8", "replace")


def _files(email: Email) -> Iterator[Attachment]:
    if email.body_structure is None:
        return
    bodies = (*email.text_body, *email.html_body)
    texts = {part.part_id for part in bodies if part.type.startswith("text/")}
    for path, part in _leaves(email.body_structure, "", 0):
        kind = part.type.lower()
        if part.part_id in texts or kind in _NO_FILES:
            continue
        shown = kind.startswith("image/") and part.disposition != "attachment"
        yield Attachment(
            filename=safe_filename(part.name or "") or f"file{_extension(kind)}",
            mime_type=kind[:100],
            size=part.size,
            ref=path,
            inline=shown and bool(part.cid or part.disposition == "inline"),
        )


def _extension(kind: str) -> str:
    return ".eml" if kind == "message/rfc822" else mimetypes.guess_extension(kind, strict=False) or ""


def _leaves(part: BodyPart, path: str, depth: int) -> Iterator[tuple[str, BodyPart]]:
    """The parts that hold something, with their section numbers (RFC 3501 §6.4.5)."""
    if not part.sub_parts:
        yield path or "1", part
    elif depth < MAX_DEPTH:
        for number, child in enumerate(part.sub_parts, 1):
            yield from _leaves(child, f"{path}.{number}" if path else str(number), depth + 1)


async def open_part(client: Client, ctx: PassContext, email_id: str, attachment: Attachment) -> AsyncIterator[bytes]:
    """A file of a mail by itself, as it comes. Raises MessageError when it is not there (any more)."""
    found = await emails(client, ctx, (email_id,), Email.STRUCTURE, bodyProperties=_PARTS)
    section, mark, rest = attachment.ref.partition("!")
    structure = found[0].body_structure if found else None
    part, below = _part_at(structure, section) if structure is not None else (None, "")
    if part is None or part.blob_id is None:
        raise part_missing(attachment)
    if not mark and not below:
        async for piece in client.blob_pieces(ctx, part.blob_id):
            yield piece
        return
    if part.size > MAX_WRAPPING_BYTES:
        raise MessageError("what holds it is too large to be opened", code="jmap.attachment_too_large")
    data = await client.blob(ctx, part.blob_id, MAX_WRAPPING_BYTES)
    if data is None:
        raise part_missing(attachment)
    inner = open_file(data, f"{below}{mark}{rest}") if below else open_inside(data, part.type, part.charset or "", rest)
    if inner is None:
        raise part_missing(attachment)
    yield inner


def _part_at(root: BodyPart, section: str) -> tuple[BodyPart | None, str]:
    """The part with this section number; or the mail within the mail that holds it, and its number in there."""
    for path, part in _leaves(root, "", 0):
        if path == section:
            return part, ""
        if section.startswith(f"{path}.") and part.type.startswith("message/"):
            return part, section[len(path) + 1 :]
    return None, ""


def part_missing(attachment: Attachment) -> MessageError:
    """There is no such file (any more)."""
    return MessageError(f"the mail has no part {attachment.ref or '(unnamed)'}", code="jmap.attachment_gone")
