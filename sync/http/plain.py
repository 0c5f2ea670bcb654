"""The usual answer read without a protocol machine: HTTP/1.1, its length said once, all there, the connection kept. Pure.

Such an answer can be understood in one way only, so nothing but time is lost or won here; whatever is not exactly so is
left to h11, which costs some ten times as much.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

HEAD_MAX_BYTES: Final = 64 * 1024

_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*)+"
)
"""RFC 9112, sections 4 and 5: a status line and field lines, without folding and control characters."""
_LENGTH = re.compile(rb"[0-9]{1,9}")
_BODILESS: Final = frozenset({b"204", b"304"})


@dataclass(frozen=True, slots=True)
class Plain:
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def read_plain(received: bytes) -> Plain | None:
    """What came since the request was written, if it is a plain answer and nothing else."""
    end = received.find(b"\r\n\r\n")
    if not 0 <= end <= HEAD_MAX_BYTES:
        return None
    head = received[:end]
    match = _HEAD.fullmatch(head)
    if match is None or match[1] in _BODILESS:
        return None
    headers = []
    length: int | None = None
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"content-length":
            if length is not None or _LENGTH.fullmatch(value) is None:
                return None
            length = int(value)
        elif name == b"transfer-encoding" or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        headers.append((name, value))
    if length is None or length != len(received) - end - 4:
        return None
    return Plain(int(match[1]), headers, received[end + 4 :])
