"""Content-Transfer-Encoding (RFC 2045 §6), forgiving: what can be decoded is kept."""

from __future__ import annotations

import binascii
import re

_NOT_BASE64 = bytes(code for code in range(256) if not (chr(code).isalnum() and code < 128) and code not in b"+/=")
_SPOILT = bytes(ord("A") if code in _NOT_BASE64 else code for code in range(256))
_PLAIN_WORDS = re.compile(rb"[A-Za-z]{1,30} [A-Za-z]{1,30} [A-Za-z]{1,30}")
_BASE64_LINES = re.compile(rb"(?:[ \t]*[A-Za-z0-9+/]{2,}={0,2}[ \t]*\r?\n)+")
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\r\n]*\r?\n", re.MULTILINE)
_AFTER_PADDING = re.compile(rb"=[ \t]+[^\r\n=]+")
"""Words behind the padding on its line: they were never encoded."""

MAX_BASE64_SEGMENTS = 100_000
"""Padded pieces that are joined; some gateways encode every line on its own."""


def decode_transfer(data: bytes, encoding: str) -> tuple[bytes, bool]:
    """The decoded bytes, and True when nothing was lost. Unknown encodings leave `data` as it is."""
    match encoding.strip().strip("\"'").lower():
        case "base64" | "b":
            return _base64(data)
        case "quoted-printable" | "quoted" | "q":
            return binascii.a2b_qp(data), True
        case "x-uuencode" | "uuencode" | "x-uue" | "uue":
            return _uuencoded(data)
        case _:
            return data, True


def decoded_size(data_length: int, newlines: int, encoding: str) -> int:
    """About how many bytes `data_length` bytes with so many line ends decode to, without decoding them."""
    if encoding.strip().lower() == "base64":
        return max(0, (data_length - newlines) * 3 // 4)
    return data_length


def _base64(data: bytes) -> tuple[bytes, bool]:
    decoded = _faultless(data)
    return _forgiven(data) if decoded is None else (decoded, True)


def _faultless(data: bytes) -> bytes | None:
    """What base64 as the standard has it decodes to, which most is; None for any other. In half the time."""
    letters = data.translate(None, b"\r\n")
    if len(letters) % 4:
        return None
    try:
        return binascii.a2b_base64(letters, strict_mode=True)
    except binascii.Error:
        return None


def _forgiven(data: bytes) -> tuple[bytes, bool]:
    if b"= " in data:
        data = _AFTER_PADDING.sub(b"=", data)
    letters = data.translate(None, _NOT_BASE64)
    foreign = len(data) - len(letters) - data.count(b"\n") - data.count(b"\r")
    if foreign and _PLAIN_WORDS.search(data) is not None:
        return _base64_beside_words(data)
    body = letters.rstrip(b"=")
    if b"=" not in body:
        intact = foreign == 0 and len(body) % 4 != 1
        by_lines = b"" if foreign == 0 and len(letters) % 4 == 0 else _by_lines(data)
        return by_lines or _quads(body), intact
    pieces = body.split(b"=", MAX_BASE64_SEGMENTS)  # padding in the middle: several encoded pieces in a row
    return b"".join(_quads(piece.replace(b"=", b"")) for piece in pieces), False


def _by_lines(data: bytes) -> bytes:
    """Damaged base64 read line by line, so that a letter that was lost or spoilt costs its line and not all that follows.
    Empty where most lines, being no whole groups of four letters, say nothing without those above."""
    lines = [line.strip() for line in data.split(b"\n")]
    if sum(len(line) % 4 == 0 for line in lines) * 4 < len(lines) * 3:
        return b""
    return b"".join(_damaged_line(line) for line in lines)


def _damaged_line(line: bytes) -> bytes:
    """A letter that was spoilt keeps its place; where the length says that one was lost or added, it has none."""
    spoilt = line.translate(None, _NOT_BASE64) != line
    if spoilt and len(line) % 4 == 0:
        line = line.translate(_SPOILT)
    return _quads(line.translate(None, _NOT_BASE64).rstrip(b"="))


def _base64_beside_words(data: bytes) -> tuple[bytes, bool]:
    """Labelled base64, but there are words in it: a list server's plain footer below, or nothing was ever encoded."""
    match = _BASE64_LINES.match(data)
    if match is None:
        return data, False
    decoded, _ = _base64(match.group())
    return decoded + b"\n" + data[match.end() :], False


def _quads(letters: bytes) -> bytes:
    """Decodes letters without padding; a last group of one letter carries no byte."""
    rest = len(letters) % 4
    if rest == 1:
        letters = letters[:-1]
    elif rest:
        letters += b"=" * (4 - rest)
    return binascii.a2b_base64(letters)


def _uuencoded(data: bytes) -> tuple[bytes, bool]:
    begin = _UU_BEGIN.search(data)
    if begin is None:
        return data, False
    decoded: list[bytes] = []
    complete = False
    for line in data[begin.end() :].split(b"\n"):
        stripped = line.rstrip(b"\r")
        if stripped == b"end":
            complete = True
            break
        try:
            decoded.append(binascii.a2b_uu(stripped))
        except binascii.Error:
            length = (((stripped[0] - 32) & 63) * 4 + 5) // 3  # trailing garbage after the encoded bytes
            try:
                decoded.append(binascii.a2b_uu(stripped[:length]))
            except binascii.Error:
                break
    return b"".join(decoded), complete
