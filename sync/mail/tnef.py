"""winmail.dat: Outlook's own wrapping of a mail (MS-OXTNEF), read for its files and, if need be, its text.

Everything is bounded by the length of the data: a declared length that goes beyond it ends the reading, and what was
found up to there stays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from sync.mail.charset import decode

SIGNATURE = b"\x78\x9f\x3e\x22"

MAX_FILES = 100
MAX_ATTRIBUTES = 20_000
MAX_PROPERTIES = 5_000
"""Properties of one set (a message has some fifty)."""

MAX_TEXT_BYTES = 2 * 1_024 * 1_024

_TITLE, _DATA, _ATTACHMENT, _RENDERING = 0x8010, 0x800F, 0x9005, 0x9002
_PROPERTIES, _BODY, _CODE_PAGE = 0x9003, 0x800C, 0x9007
_PR_BODY, _PR_HTML, _PR_RTF = 0x1000, 0x1013, 0x1009
_PR_NAME, _PR_SHORT_NAME, _PR_DATA, _PR_METHOD, _PR_TYPE, _PR_CONTENT_ID, _PR_DISPLAY_NAME = (
    *(0x3707, 0x3704, 0x3701, 0x3705, 0x370E, 0x3712),
    0x3001,
)
_EMBEDDED_MESSAGE = 5
_FIXED_SIZES = {0x02: 4, 0x03: 4, 0x04: 4, 0x0A: 4, 0x0B: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x14: 8, 0x40: 8, 0x48: 16}
_STRING8, _UNICODE, _OBJECT, _BINARY = 0x1E, 0x1F, 0x0D, 0x102


@dataclass(slots=True)
class TnefFile:
    """A file in it: its bytes are `data[start:stop]` of the whole."""

    filename: str = ""
    mime_type: str = "application/octet-stream"
    content_id: str = ""
    start: int = 0
    stop: int = 0
    is_message: bool = False


@dataclass(slots=True)
class Tnef:
    """What a winmail.dat holds. `rtf` is compressed RTF (MS-OXRTFCP)."""

    files: list[TnefFile] = field(default_factory=list)
    text: str = ""
    html: str = ""
    rtf: bytes = b""


def read_tnef(data: bytes) -> Tnef | None:
    """The contents of a winmail.dat; None when it is none. Never raises."""
    if not data.startswith(SIGNATURE):
        return None
    found = Tnef()
    code_page = ""
    current: TnefFile | None = None
    for tag, start, stop in _attributes(data):
        if tag == _CODE_PAGE:
            code_page = _code_page(data[start:stop])
        elif tag == _RENDERING:
            current = TnefFile()
            if len(found.files) < MAX_FILES:
                found.files.append(current)
        elif tag == _BODY:
            found.text = found.text or _string(data[start : min(stop, start + MAX_TEXT_BYTES)], code_page)
        elif tag == _PROPERTIES:
            _message_properties(data, start, stop, found, code_page)
        elif current is not None:
            _file_attribute(data, (tag, start, stop), current, code_page)
    found.files = [file for file in found.files if file.stop > file.start or file.filename]
    return found


def _attributes(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(id, start, stop) of every attribute: level, id and type, length, data, checksum."""
    position = 6
    for _ in range(MAX_ATTRIBUTES):
        if position + 9 > len(data):
            return
        level, tag, _type, length = struct.unpack_from("<BHHI", data, position)
        if level not in {1, 2}:
            return
        start = position + 9
        yield tag, start, min(start + length, len(data))
        position = start + length + 2


def _file_attribute(data: bytes, attribute: tuple[int, int, int], file: TnefFile, code_page: str) -> None:
    tag, start, stop = attribute
    if tag == _TITLE:
        file.filename = file.filename or _string(data[start : min(stop, start + 1_024)], code_page)
    elif tag == _DATA:
        file.start, file.stop = start, stop
    elif tag == _ATTACHMENT:
        for number, kind, value_start, value_stop in _properties(data, start, stop):
            if number == _PR_METHOD:
                file.is_message = data[value_start : value_start + 1] == bytes((_EMBEDDED_MESSAGE,))
            elif number == _PR_DATA:
                skipped = 16 if kind == _OBJECT else 0  # the interface's id
                file.start, file.stop = min(value_start + skipped, value_stop), value_stop
            elif number in {_PR_NAME, _PR_TYPE, _PR_CONTENT_ID, _PR_SHORT_NAME, _PR_DISPLAY_NAME}:
                _name_file(
                    file, number, _value(data[value_start : min(value_stop, value_start + 2_048)], kind, code_page)
                )


def _name_file(file: TnefFile, number: int, value: str) -> None:
    if not value:
        return
    if number == _PR_NAME:
        file.filename = value
    elif number == _PR_TYPE:
        file.mime_type = value.lower() if "/" in value else file.mime_type
    elif number == _PR_CONTENT_ID:
        file.content_id = value
    elif not file.filename:
        file.filename = value


def _message_properties(data: bytes, start: int, stop: int, found: Tnef, code_page: str) -> None:
    for number, kind, value_start, value_stop in _properties(data, start, stop):
        if number not in {_PR_BODY, _PR_HTML, _PR_RTF}:
            continue
        value = data[value_start : min(value_stop, value_start + MAX_TEXT_BYTES)]
        if number == _PR_BODY:
            found.text = _value(value, kind, code_page) or found.text
        elif number == _PR_HTML:
            found.html = _value(value, kind, code_page)
        elif kind == _BINARY:
            found.rtf = value


def _properties(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, type, start, stop) of the properties in a set (MS-OXTNEF §2.1.3.4). Ends where it cannot go on."""
    try:
        (count,) = struct.unpack_from("<I", data, start)
        position = start + 4
        for _ in range(min(count, MAX_PROPERTIES)):
            kind, number = struct.unpack_from("<HH", data, position)
            position += 4
            if number >= 0x8000:
                position = _after_name(data, position)
            size = _FIXED_SIZES.get(kind & 0xEFFF)
            values = 1
            if size is None or kind & 0x1000:  # it has a number of values
                (values,) = struct.unpack_from("<I", data, position)
                position += 4
            kind &= 0xEFFF
            for _ in range(min(values, MAX_PROPERTIES)):
                value_start, value_stop = _value_place(data, position, stop, kind)
                yield number, kind, value_start, value_stop
                position = value_start + _padded(value_stop - value_start)
    except struct.error:
        return


def _after_name(data: bytes, position: int) -> int:
    """A named property has its name here: a set's id (16 bytes), and a number or a text."""
    (kind,) = struct.unpack_from("<I", data, position + 16)
    (length,) = struct.unpack_from("<I", data, position + 20)
    return position + 24 if kind == 0 else position + 24 + _padded(length)


def _value_place(data: bytes, position: int, stop: int, kind: int) -> tuple[int, int]:
    """(start, stop) of the value at `position`. Raises struct.error for a type that nobody knows, and at the end."""
    length = _FIXED_SIZES.get(kind)
    if length is None:
        if kind not in {_STRING8, _UNICODE, _OBJECT, _BINARY}:
            raise struct.error
        (length,) = struct.unpack_from("<I", data, position)
        position += 4
    if position + length > stop:
        raise struct.error
    return position, position + length


def _padded(length: int) -> int:
    return (length + 3) // 4 * 4


def _code_page(data: bytes) -> str:
    number = int.from_bytes(data[:4], "little")
    return "" if not number else "utf-8" if number == 65001 else f"cp{number}"


def _value(data: bytes, kind: int, code_page: str) -> str:
    if kind == _UNICODE:
        return data.decode("utf-16-le", "replace").split("\x00", 1)[0]
    return _string(data, code_page) if kind in {_STRING8, _BINARY} else ""


def _string(data: bytes, code_page: str) -> str:
    return decode(data.split(b"\x00", 1)[0], code_page)[0]
