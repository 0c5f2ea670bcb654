"""Files that are not MIME parts of their own: those in a winmail.dat, and the blocks in a plain text.

Their `ref` is the section of the part they are in, `!`, and their number there (`2!1`). A part that holds a whole mail
in a wrapping (S/MIME in one piece, a forwarded mail in base64) has `!` and that mail's own sections: `2!1.2`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sync.mail import rtf
from sync.mail.armor import Block, take_out
from sync.mail.charset import decode
from sync.mail.cms import content_of
from sync.mail.files import safe_filename, type_of
from sync.mail.header import read_header, with_newlines
from sync.mail.structure import Part, part_at, read_structure
from sync.mail.tnef import Tnef, TnefFile, read_tnef
from sync.mail.transfer import decode_transfer
from sync.message import Attachment
from sync.text.clean import clean
from sync.text.html import html_to_text

TNEF_TYPES = frozenset({"application/ms-tnef", "application/vnd.ms-tnef", "application/x-tnef"})
SMIME_TYPES = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
NESTED_TYPES = frozenset({"message/rfc822", "message/global", "message/news", "message/partial"})
MARK = "!"


def tnef_files(tnef: Tnef, path: str, *, is_cut: bool = False) -> list[Attachment]:
    """The files of the winmail.dat at section `path`."""
    return [_tnef_file(file, f"{path}{MARK}{number}", is_cut=is_cut) for number, file in enumerate(tnef.files, 1)]


def _tnef_file(file: TnefFile, ref: str, *, is_cut: bool) -> Attachment:
    name = _tnef_name(file)
    mime_type = "application/octet-stream" if file.is_message else type_of(file.mime_type, name)
    size = None if is_cut else file.stop - file.start
    return Attachment(name, mime_type, size, ref, inline=bool(file.content_id) and mime_type.startswith("image/"))


def _tnef_name(file: TnefFile) -> str:
    name = safe_filename(file.filename) or ("message.tnef" if file.is_message else "attachment")
    return f"{name}.tnef" if file.is_message and "." not in name else name


def tnef_text(tnef: Tnef) -> str:
    """The text of the mail in a winmail.dat, whichever form it has there."""
    if tnef.html:
        text = html_to_text(tnef.html)
        if text:
            return text
    return clean(tnef.text or rtf.rtf_to_text(rtf.unpack(tnef.rtf))).strip()


def block_files(blocks: Iterable[Block], path: str) -> list[Attachment]:
    """The blocks that were taken out of the text at section `path`, as files."""
    return [_block_file(block, f"{path}{MARK}{number}") for number, block in enumerate(blocks, 1)]


def _block_file(block: Block, ref: str) -> Attachment:
    name = safe_filename(block.filename) or "file"
    mime_type = type_of("application/octet-stream", name) if block.is_encoded else "text/plain"
    return Attachment(name, mime_type, block.size, ref)


class MailFiles:
    """A whole mail at hand, whose files can be opened as by `open_file`. Where those lie that are parts of it has been
    found out already; a file within another part is looked for."""

    def __init__(self, raw: bytes, root: Part, attachments: Iterable[Attachment]) -> None:
        self._raw = raw
        parts = ((one.ref, part_at(root, one.ref)) for one in attachments)
        self._places = {ref: (part.start, part.stop, part.transfer_encoding) for ref, part in parts if part is not None}

    def __len__(self) -> int:
        """The bytes of the mail."""
        return len(self._raw)

    def open(self, ref: str) -> bytes | None:
        """The bytes of a file. None when there is none."""
        place = self._places.get(ref)
        if place is None:
            return open_file(self._raw, ref)
        start, stop, encoding = place
        return decode_transfer(self._raw[start:stop], encoding)[0]


def open_file(raw: bytes, ref: str) -> bytes | None:
    """The bytes of the file that an attachment's `ref` names, out of the whole mail `raw`. None when there is none."""
    raw = with_newlines(raw)
    header = read_header(raw, 0, len(raw))
    section, mark, rest = ref.partition(MARK)
    part = _part_at(raw, read_structure(raw, header, len(raw)).root, section)
    if part is None:
        return None
    data, _ = decode_transfer(raw[part.start : part.stop], part.transfer_encoding)
    return open_inside(data, part.mime_type, part.parameters.get("charset", ""), rest) if mark else data


def open_inside(data: bytes, mime_type: str, charset: str, rest: str) -> bytes | None:
    """The file that the end of a `ref` (behind its first `!`) names, out of the decoded bytes of the part that holds
    it. For sources that load one part of a mail. None when there is none."""
    if mime_type in NESTED_TYPES:
        return open_file(data, rest)
    if mime_type in SMIME_TYPES:
        mail = content_of(data)
        return None if mail is None else open_file(mail, rest)
    index = int(rest) - 1 if rest.isdecimal() and len(rest) < 5 else -1
    if index < 0:
        return None
    tnef = read_tnef(data)
    if tnef is not None:
        return data[tnef.files[index].start : tnef.files[index].stop] if index < len(tnef.files) else None
    blocks = take_out(clean(decode(data, charset)[0])).blocks
    if index >= len(blocks):
        return None
    content = blocks[index].content.encode("utf-8", "replace")
    return decode_transfer(content, "x-uuencode")[0] if blocks[index].is_encoded else content


def _part_at(raw: bytes, root: Part, section: str) -> Part | None:
    """The part with this section number; those of forwarded mails are looked for inside them."""
    level = [root]
    while level:
        following: list[Part] = []
        for part in level:
            if part.path == section:
                return part
            if part.mime_type in NESTED_TYPES and (section.startswith(f"{part.path}.") or not part.path):
                data = raw[part.start : part.stop]
                header = read_header(data, 0, len(data))
                inner = read_structure(data, header, len(data), path=part.path).root
                found = _part_at(data, inner, section)
                return None if found is None else _moved(found, part.start)
            following += part.children
        level = following
    return None


def _moved(part: Part, by: int) -> Part:
    """The part with its place counted in the outer mail."""
    part.start += by
    part.stop += by
    return part
