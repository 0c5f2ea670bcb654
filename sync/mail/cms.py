"""S/MIME in one piece (RFC 8551 §3.5.2): the mail inside `application/pkcs7-mime` that is signed but not encrypted.

Only as much of BER (X.690) and CMS (RFC 5652) as it takes to find the content. Nothing is verified: who signed it is
not what this program tells.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

MAX_DEPTH = 12
MAX_PIECES = 100_000
"""Pieces of an octet string (writers that do not know the length make one of every kilobyte)."""

MAX_INFLATED_BYTES = 25_000_000

_SEQUENCE, _OCTETS, _OID = 0x30, 0x04, 0x06
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_ENVELOPED_DATA = bytes.fromhex("2a864886f70d010703")
_COMPRESSED_DATA = bytes.fromhex("2a864886f70d0109100109")


@dataclass(frozen=True, slots=True)
class _Element:
    """One element: where its content begins and ends; `end` is where the next one begins. An indefinite length is
    worked out by whoever reads the content."""

    tag: int
    start: int
    stop: int
    indefinite: bool = False


class _Malformed(ValueError):
    """It is no BER."""


def content_of(data: bytes) -> bytes | None:
    """The mail inside signed (or compressed) data; None when it is encrypted, detached, or cannot be read."""
    try:
        return _content_of(data)
    except (_Malformed, IndexError, zlib.error):
        return None


def _content_of(data: bytes) -> bytes | None:
    outer = _element(data, 0, len(data))
    if outer.tag != _SEQUENCE:
        return None
    kind = _element(data, outer.start, outer.stop)
    oid = data[kind.start : kind.stop]
    if kind.tag != _OID or oid not in {_SIGNED_DATA, _COMPRESSED_DATA}:
        return None
    wrapper = _element(data, kind.stop, outer.stop)  # [0] EXPLICIT
    body = _element(data, wrapper.start, wrapper.stop)
    version = _element(data, body.start, body.stop)
    algorithms = _element(data, version.stop, body.stop)
    inner = _element(data, _end(data, algorithms, 0), body.stop)  # EncapsulatedContentInfo
    inner_kind = _element(data, inner.start, inner.stop)
    if inner_kind.tag != _OID:
        return None
    explicit = _element(data, inner_kind.stop, inner.stop)
    if explicit.tag != 0xA0:
        return None
    found: list[bytes] = []
    _octets(data, _element(data, explicit.start, explicit.stop), found, 0)
    content = b"".join(found)
    if oid == _COMPRESSED_DATA:
        content = zlib.decompressobj().decompress(content, MAX_INFLATED_BYTES)
    return content or None


def _element(data: bytes, position: int, end: int) -> _Element:
    if position + 2 > min(end, len(data)):
        raise _Malformed
    tag, length = data[position], data[position + 1]
    if tag & 0x1F == 0x1F:  # none of the elements on our way has a long tag
        raise _Malformed
    position += 2
    if length == 0x80:
        return _Element(tag, position, end, indefinite=True)
    if length > 0x80:
        count = length & 0x7F
        if count > 5:
            raise _Malformed
        length = int.from_bytes(data[position : position + count], "big")
        position += count
    return _Element(tag, position, min(position + length, end))


def _end(data: bytes, element: _Element, depth: int) -> int:
    """Where the element after this one begins."""
    if not element.indefinite:
        return element.stop
    if depth > MAX_DEPTH:
        raise _Malformed
    position = element.start
    for _ in range(MAX_PIECES):
        if data[position : position + 2] == b"\0\0":
            return position + 2
        position = _end(data, _element(data, position, element.stop), depth + 1)
    raise _Malformed


def _octets(data: bytes, element: _Element, found: list[bytes], depth: int) -> None:
    """The bytes of an octet string, which may be in one piece or in pieces of pieces."""
    if element.tag == _OCTETS:
        found.append(data[element.start : element.stop])
        return
    if element.tag != _OCTETS | 0x20 or depth > MAX_DEPTH:
        raise _Malformed
    position = element.start
    while position + 2 <= element.stop and data[position : position + 2] != b"\0\0":
        if len(found) >= MAX_PIECES:
            raise _Malformed
        piece = _element(data, position, element.stop)
        _octets(data, piece, found, depth + 1)
        position = _end(data, piece, depth + 1)


def is_encrypted(data: bytes) -> bool:
    """True when the object says that it is enveloped (encrypted) data."""
    return _ENVELOPED_DATA in data[:64]
