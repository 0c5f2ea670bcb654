"""The bytes of one part of a mail, decoded piece by piece."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from sync.mail.files import declared_filename
from sync.mail.header import read_header
from sync.mail.structure import part_of
from sync.mail.transfer import decode_transfer

_NOT_BASE64 = bytes(code for code in range(256) if not (chr(code).isalnum() and code < 128) and code not in b"+/=")
_MAX_LINE_BYTES = 64 * 1024


class PartDecoder:
    """Undoes a Content-Transfer-Encoding (RFC 2045, section 6) of which pieces come one after the other. Base64 and
    quoted-printable hold no more than a piece; uuencoded parts, which are rare, are collected."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().strip("\"'").lower()
        self._left = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The next encoded bytes; returns what can be decoded by now."""
        match self._encoding:
            case "base64" | "b":
                return self._base64(data)
            case "quoted-printable" | "quoted" | "q":
                return self._quoted(data)
            case "x-uuencode" | "uuencode" | "x-uue" | "uue":
                self._left += data
                return b""
        return data

    def finish(self) -> bytes:
        """What is left at the end."""
        rest, self._left = bytes(self._left), bytearray()
        return decode_transfer(rest, self._encoding)[0] if rest else b""

    def _base64(self, data: bytes) -> bytes:
        self._left += data.translate(None, _NOT_BASE64)
        if b"=" in self._left:  # the end, or several encoded pieces in a row
            whole = self._left.rfind(b"=") + 1
            decoded, _ = decode_transfer(bytes(self._left[:whole]), "base64")
            del self._left[:whole]
            return decoded
        whole = len(self._left) // 4 * 4
        decoded = binascii.a2b_base64(self._left[:whole])
        del self._left[:whole]
        return decoded

    def _quoted(self, data: bytes) -> bytes:
        self._left += data
        cut = self._left.rfind(b"\n") + 1
        if not cut and len(self._left) > _MAX_LINE_BYTES:
            cut = len(self._left) - 3
            while cut > 0 and b"=" in self._left[max(0, cut - 3) : cut]:
                cut -= 1
        decoded = binascii.a2b_qp(bytes(self._left[:cut]))
        del self._left[:cut]
        return decoded


@dataclass(frozen=True, slots=True)
class PartHead:
    """What a part's own header tells of its bytes. `filename` is the declared one, made safe; "" when there is none."""

    mime_type: str
    charset: str = ""
    encoding: str = ""
    boundary: str = ""
    filename: str = ""
    is_attachment: bool = False


def head_of(raw_header: bytes, default_type: str = "text/plain") -> PartHead:
    """What the header of one part says (as `BODY[2.MIME]` gives it). Never raises; nonsense gives empty words."""
    header = read_header(raw_header, 0, len(raw_header))
    part = part_of(header, len(raw_header), "", default_type)
    return PartHead(
        part.mime_type,
        charset=part.parameters.get("charset", ""),
        encoding=part.transfer_encoding,
        boundary=part.parameters.get("boundary", ""),
        filename=declared_filename(part),
        is_attachment=part.disposition == "attachment",
    )
