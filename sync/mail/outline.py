"""Which parts a mail has, as IMAP numbers them."""

from __future__ import annotations

from sync.mail.header import read_header, with_newlines
from sync.mail.structure import Part, read_structure

_WRAPPED = frozenset({"base64", "quoted-printable"})


def leaves(raw: bytes, levels: int) -> list[tuple[str, str]]:
    """The section number and the type of each part that holds no others, in the order of the mail; forwarded mails come
    before their own parts, which are looked at down to so many `levels`. Never raises."""
    raw = with_newlines(raw)
    return _leaves(raw, "", levels)


def _leaves(raw: bytes, path: str, levels: int) -> list[tuple[str, str]]:
    header = read_header(raw, 0, len(raw))
    found: list[tuple[str, str]] = []
    waiting: list[Part] = [read_structure(raw, header, len(raw), path=path).root]
    while waiting:
        part = waiting.pop()
        waiting += reversed(part.children)
        if part.is_multipart:
            continue
        found.append((part.path, part.mime_type))
        if part.mime_type == "message/rfc822" and levels and part.transfer_encoding not in _WRAPPED:
            found += _leaves(raw[part.start : part.stop].lstrip(b"\r\n"), part.path, levels - 1)
    return found
