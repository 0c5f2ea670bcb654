"""What is done with an open session: list the maildrop, look at headers, load content. Blocking."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sync.mail import understand, understand_headers, written_at
from sync.mail.header import read_header
from sync.message import Content, Found, Gone

from .wire import AnswerTooLong, Entry, Refused, Wire

MAX_HEADER_BYTES = 1024 * 1024
"""Of one message's header; what is longer is cut."""
OVERSIZE_LINES = 400
"""How many lines of the text of a message over the size limit are asked for."""
OVERSIZE_READ_BYTES = 256 * 1024
"""How much of a message over the size limit is read: its header and the start of its text."""


@dataclass(frozen=True, slots=True)
class Maildrop:
    """The messages of one session by their ids, in the server's order."""

    entries: Mapping[str, Entry]

    @property
    def ids(self) -> list[str]:
        """Every id, in the server's order."""
        return list(self.entries)

    @property
    def digest(self) -> str:
        """The same as long as the same messages lie in the maildrop."""
        return hashlib.sha256("\n".join(sorted(self.entries)).encode()).hexdigest()[:32]


def list_maildrop(wire: Wire) -> Maildrop:
    """The maildrop by UIDL. Servers may give identical messages the same one (RFC 1939 §7): the n-th such message has
    its number added."""
    entries: dict[str, Entry] = {}
    seen: Counter[str] = Counter()
    for entry in wire.listing():
        seen[entry.uidl] += 1
        name = entry.uidl if seen[entry.uidl] == 1 else f"{entry.uidl} {seen[entry.uidl]}"  # a UIDL holds no blank
        entries[name] = entry
    return Maildrop(entries)


def look_at_headers(wire: Wire, maildrop: Maildrop, ids: Sequence[str], looked_at: datetime) -> list[Found]:
    """These messages as Found, in order of arrival. One whose header the server will not give comes without."""
    names = {maildrop.entries[name].number: name for name in ids}
    found = []
    for number, header in wire.tops(list(names), 0, MAX_HEADER_BYTES):
        name = names[number]
        size = maildrop.entries[name].size
        found.append(Found(name, looked_at, size=size) if header is None else _found(name, size, header, looked_at))
    return sorted(found, key=lambda one: (one.arrived_at, maildrop.entries[one.external_id].number))


def _found(name: str, size: int | None, header: bytes, looked_at: datetime) -> Found:
    headers = understand_headers(header)
    return Found(
        external_id=name,
        arrived_at=_arrived_at(header, headers.written_at, looked_at),
        written_at=headers.written_at,
        size=size,
        fingerprint=headers.fingerprint,
    )


def _arrived_at(header: bytes, written: datetime | None, looked_at: datetime) -> datetime:
    """POP3 tells no time of arrival: the newest Received field does (RFC 5321 §4.4: the topmost), else the Date; never
    later than now."""
    received = read_header(header, 0, len(header)).all_raw("received")
    stamp = written_at(received[0].decode("latin-1").rpartition(";")[2]) if received else None
    return min(stamp or written or looked_at, looked_at)


def load(wire: Wire, maildrop: Maildrop, name: str, limit_bytes: int) -> Content | None:
    """The content of one message; None when the server lists it and will not give it. After a message that turned out
    to be longer than it claimed the connection is closed."""
    entry = maildrop.entries.get(name)
    if entry is None:
        return Gone("it is not in the maildrop any more")
    if entry.size is not None and entry.size > limit_bytes:
        return _beginning(wire, entry, entry.size)
    try:
        return understand(wire.message(entry.number, limit_bytes), limit_bytes=limit_bytes)
    except AnswerTooLong as long:
        wire.close()
        begin = long.begin[:OVERSIZE_READ_BYTES]
        return understand(begin, full_size=max(entry.size or 0, len(long.begin) + 1))
    except Refused:
        return None


def _beginning(wire: Wire, entry: Entry, size: int) -> Content | None:
    try:
        ((_number, begin),) = wire.tops([entry.number], OVERSIZE_LINES, OVERSIZE_READ_BYTES)
    except AnswerTooLong as long:
        wire.close()
        begin = long.begin[:OVERSIZE_READ_BYTES]
    return None if begin is None else understand(begin, full_size=max(size, len(begin) + 1))
