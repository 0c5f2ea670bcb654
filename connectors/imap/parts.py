"""One part of a mail by itself, piece by piece: `BODY.PEEK[2.1]<0.786432>` (RFC 3501 §6.4.5)."""

from __future__ import annotations

import re

from sync.errors import MessageError, TemporaryError
from sync.mail import PartDecoder, PartHead, head_of, open_inside
from sync.message import Attachment

from .folders import Folder
from .look import enter
from .wire import Wire

PART_PIECE_BYTES = 768 * 1024
"""Asked for at a time, as it is encoded."""
MAX_PART_BYTES = 64 * 1024 * 1024
"""More than this of one part is never read, whatever the mail said of its size."""
MAX_WRAPPING_BYTES = 25 * 1024 * 1024
"""Of a part that holds files itself (winmail.dat, S/MIME), which has to be read whole."""

_SECTION = re.compile(r"[1-9]\d{0,3}(?:\.[1-9]\d{0,3}){0,150}")
_FIELDS = "HEADER.FIELDS (CONTENT-TYPE CONTENT-TRANSFER-ENCODING)"


class PartReader:
    """Reads a part of one mail; each `read` is one piece, a job for the connection."""

    def __init__(self, folder: Folder, epoch: str, external_id: str, attachment: Attachment) -> None:
        section, self._mark, self._rest = attachment.ref.partition("!")
        if _SECTION.fullmatch(section) is None or not external_id.isdecimal():
            raise part_missing(attachment)
        self._folder = folder
        self._epoch = epoch
        self._uid = external_id
        self._section = section
        self._attachment = attachment
        self._head: PartHead | None = None
        self._decoder = PartDecoder("")
        self._offset = 0
        self._whole = bytearray()
        self.ended = False

    def read(self, wire: Wire) -> bytes:
        """The next bytes, decoded; perhaps none. Raises MessageError when the part is not there."""
        if not enter(wire, self._folder, self._epoch):
            raise TemporaryError(
                f'The folder "{self._folder.name}" was numbered anew while a file was read from it.',
                code="imap.uidvalidity_changed",
                next_step="The next pass recognises its messages by their fingerprints.",
            )
        if self._head is None:
            self._head = self._read_head(wire)
            self._decoder = PartDecoder(self._head.encoding)
        name = f"BODY[{self._section}]"
        item = f"UID BODY.PEEK[{self._section}]<{self._offset}.{PART_PIECE_BYTES}>"
        found = [one for one in wire.fetch(self._uid, item) if str(one.uid) == self._uid and name in one.sections]
        if not found:
            raise part_missing(self._attachment)
        octets = found[0].sections[name]
        if not octets and not self._offset:  # so say servers of parts that do not exist
            raise part_missing(self._attachment)
        self._offset += len(octets)
        self.ended = len(octets) < PART_PIECE_BYTES or self._offset > MAX_PART_BYTES
        decoded = self._decoder.feed(octets) + (self._decoder.finish() if self.ended else b"")
        return self._unwrapped(self._head, decoded) if self._mark else decoded

    def _read_head(self, wire: Wire) -> PartHead:
        """Of a mail that is one part, the part's header is the mail's own."""
        if self._section == "1":
            for one in wire.fetch(self._uid, f"UID BODY.PEEK[{_FIELDS}]"):
                head = head_of(one.header() or b"")
                if str(one.uid) == self._uid and not head.mime_type.startswith("multipart/"):
                    return head
        name = f"BODY[{self._section}.MIME]"
        for one in wire.fetch(self._uid, f"UID BODY.PEEK[{self._section}.MIME]"):
            if str(one.uid) == self._uid and name in one.sections:
                return head_of(one.sections[name])
        raise part_missing(self._attachment)

    def _unwrapped(self, head: PartHead, decoded: bytes) -> bytes:
        self._whole += decoded
        if len(self._whole) > MAX_WRAPPING_BYTES:
            raise MessageError("what holds it is too large to be opened", code="imap.attachment_too_large")
        if not self.ended:
            return b""
        data = open_inside(bytes(self._whole), head.mime_type, head.charset, self._rest)
        if data is None:
            raise part_missing(self._attachment)
        return data


def part_missing(attachment: Attachment) -> MessageError:
    """There is no such file (any more)."""
    return MessageError(f"the mail has no part {attachment.ref or '(unnamed)'}", code="imap.attachment_gone")
