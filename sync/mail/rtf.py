"""Rich text (RTF) as plain text, and Outlook's compression of it (MS-OXRTFCP): for mails that have no other text."""

from __future__ import annotations

import itertools
import re
import struct

from sync.mail.charset import decode

MAX_RTF_BYTES = 1_024 * 1_024
"""What is unpacked and read."""

MAX_TOKENS = 200_000
"""Words, groups and texts that are read."""

MAX_DEPTH = 200

_HEADER_BYTES = 16
_DICTIONARY = (  # MS-OXRTFCP §2.1.2.1
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor "
    b"MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n"
    b"\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_RING = 4_096
_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\(.)|([{}])|[\r\n]+|([^\\{}\r\n]+)", re.DOTALL
)
_SILENT = frozenset(
    {
        b"fonttbl",
        b"colortbl",
        b"stylesheet",
        b"info",
        b"pict",
        b"object",
        b"header",
        b"footer",
        b"filetbl",
        b"listtable",
    }
    | {
        b"listoverridetable",
        b"revtbl",
        b"fldinst",
        b"themedata",
        b"generator",
        b"xmlnstbl",
        b"datastore",
        b"latentstyles",
    }
)
UTF_8_CODE_PAGE = 65001
_SYMBOLS = {b"~": "\u00a0", b"_": "-", b"\n": "\n", b"\r": "\n", b"\\": "\\", b"{": "{", b"}": "}"}
_SPECIAL = {
    **dict.fromkeys((b"par", b"line", b"sect", b"page", b"row"), "\n"),
    b"tab": "\t",
    b"cell": " | ",
    b"emdash": "—",
    b"endash": "–",
    b"lquote": "‘",
    b"rquote": "’",
    b"ldblquote": "“",
    b"rdblquote": "”",
    b"bullet": "•",
}


def unpack(data: bytes) -> bytes:
    """The RTF in a compressed-RTF property; what could be unpacked of it. Empty when it is none."""
    if len(data) < _HEADER_BYTES:
        return b""
    _size, raw_size, kind = struct.unpack_from("<III", data)
    if kind == 0x414C454D:  # MELA: not compressed
        return data[_HEADER_BYTES : _HEADER_BYTES + min(raw_size, MAX_RTF_BYTES)]
    if kind != 0x75465A4C:  # LZFu
        return b""
    ring = bytearray(_DICTIONARY.ljust(_RING, b"\0"))
    place = len(_DICTIONARY)
    out = bytearray()
    position = _HEADER_BYTES
    most = min(raw_size, MAX_RTF_BYTES)
    while position < len(data) and len(out) < most:
        flags = data[position]
        position += 1
        for bit in range(8):
            if position >= len(data):
                break
            if not flags >> bit & 1:
                out.append(data[position])
                position += 1
                ring[place] = out[-1]
                place = (place + 1) % _RING
                continue
            reference = int.from_bytes(data[position : position + 2], "big")
            position += 2
            offset = reference >> 4
            if offset == place or position > len(data):  # the end, said or cut off
                return bytes(out)
            for step in range((reference & 15) + 2):  # byte by byte: it may overlap with what it writes
                out.append(ring[(offset + step) % _RING])
                ring[place] = out[-1]
                place = (place + 1) % _RING
    return bytes(out)


def rtf_to_text(data: bytes) -> str:
    """The text of an RTF document; empty when it is none."""
    data = data[:MAX_RTF_BYTES]
    if not data.lstrip()[:5].startswith(b"{\\rtf"):
        return ""
    reader = _Reader()
    for match in itertools.islice(_TOKEN.finditer(data), MAX_TOKENS):
        reader.take(match)
        if reader.depth > MAX_DEPTH:
            break
    text = reader.result().encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


class _Reader:
    """Takes the tokens of a document in their order."""

    def __init__(self) -> None:
        self.depth = 0
        self._out: list[str] = []
        self._bytes = bytearray()  # in the document's code page: they may be halves of characters
        self._code_page = "cp1252"
        self._silent_from = 0  # the depth at which a group without text began
        self._is_destination = False  # \\* came: the next word names something that may be passed over
        self._stand_ins = 0  # characters that stand in for the \\u before them
        self._stand_ins_each = 1

    def result(self) -> str:
        """The text so far."""
        self._flush()
        return "".join(self._out)

    def take(self, match: re.Match[bytes]) -> None:
        """One token."""
        word, number, byte, symbol, brace, text = match.groups()
        if brace is not None:
            self.depth += 1 if brace == b"{" else -1
            if self.depth < self._silent_from:
                self._silent_from = 0
            self._is_destination = False
        elif symbol == b"*":
            self._is_destination = True
        elif word is not None and (word in _SILENT or self._is_destination):
            self._silent_from = self._silent_from or self.depth
            self._is_destination = False
        elif not self._silent_from:
            self._is_destination = False
            if word is not None:
                self._word(word, int(number or b"0"))
            elif byte is not None or text is not None:
                self._characters(bytes((int(byte, 16),)) if byte is not None else text)
            elif symbol is not None:
                self._flush()
                self._out.append(_SYMBOLS.get(symbol, ""))

    def _word(self, word: bytes, number: int) -> None:
        if word == b"ansicpg" and number > 0:
            self._code_page = "utf-8" if number == UTF_8_CODE_PAGE else f"cp{number}"
        elif word == b"uc":
            self._stand_ins_each = max(0, min(number, 8))
        else:
            self._flush()
            self._out.append(chr(number & 0xFFFF) if word == b"u" else _SPECIAL.get(word, ""))
            self._stand_ins = self._stand_ins_each if word == b"u" else 0

    def _characters(self, data: bytes) -> None:
        skipped = min(self._stand_ins, len(data))
        self._stand_ins -= skipped
        self._bytes += data[skipped:]

    def _flush(self) -> None:
        if self._bytes:
            self._out.append(decode(bytes(self._bytes), self._code_page)[0])
            self._bytes.clear()
