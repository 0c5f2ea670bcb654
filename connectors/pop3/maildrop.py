"""What is done with an open session: list the maildrop, look at headers, load content. Blocking."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sync.errors import MessageError
from sync.mail import recognise, understand, written_at
from sync.mail.header import read_header
from sync.message import Content, Found, Gone, Message

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

    def name_of(self, number: int) -> str:
        """The id of a message by its number in this session; "" for none."""
        return next((name for name, entry in self.entries.items() if entry.number == number), "")


def list_maildrop(wire: Wire) -> Maildrop:
    """The maildrop by UIDL. Servers may give identical messages the same one (RFC 1939 §7): the n-th such message has
    its number added. A message to which the server gives none is named after its header."""
    entries: dict[str, Entry] = {}
    seen: Counter[str] = Counter()
    listing = wire.listing()
    headers = dict(wire.tops([one.number for one in listing if not one.uidl], 0, MAX_HEADER_BYTES))
    for entry in listing:
        uidl = entry.uidl
        if not uidl:
            header = headers.get(entry.number)
            if header is None:
                continue  # it is shown to nobody
            uidl = f"header {hashlib.sha256(header).hexdigest()[:32]}"  # a UIDL holds no blank
        seen[uidl] += 1
        entries[uidl if seen[uidl] == 1 else f"{uidl} {seen[uidl]}"] = entry
    return Maildrop(entries)


def look_at_headers(
    wire: Wire, maildrop: Maildrop, ids: Sequence[str], looked_at: datetime, *, without: Container[str] = ()
) -> list[Found]:
    """These messages as Found, in order of arrival; those that are gone do not come. One whose header the server will
    not give, or whose name is in `without`, comes without."""
    there = [name for name in ids if name in maildrop.entries]
    names = {maildrop.entries[name].number: name for name in there if name not in without}
    found = [Found(name, looked_at, size=maildrop.entries[name].size) for name in there if name in without]
    for number, header in wire.tops(list(names), 0, MAX_HEADER_BYTES):
        name = names[number]
        size = maildrop.entries[name].size
        found.append(Found(name, looked_at, size=size) if header is None else _found(name, size, header, looked_at))
    return sorted(found, key=lambda one: (one.arrived_at, maildrop.entries[one.external_id].number))


def _found(name: str, size: int | None, header: bytes, looked_at: datetime) -> Found:
    headers = recognise(header)
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


@dataclass(frozen=True, slots=True)
class Loaded:
    """What loading one message gave: None when the server lists it and will not give it. `raw`: its bytes, where files
    may be taken out of them."""

    content: Content | None
    raw: bytes = b""


def load(wire: Wire, maildrop: Maildrop, name: str, limit_bytes: int) -> Loaded:
    """The content of one message. After a message that turned out to be longer than it claimed the connection is
    closed."""
    entry = maildrop.entries.get(name)
    if entry is None:
        return Loaded(Gone("it is not in the maildrop any more"))
    if entry.size is not None and entry.size > limit_bytes:
        ((_number, begin),) = wire.tops([entry.number], OVERSIZE_LINES, OVERSIZE_READ_BYTES)
        return Loaded(None if begin is None else _beginning(begin, entry.size))
    try:
        raw = wire.message(entry.number, limit_bytes)
    except AnswerTooLong as long:
        wire.close()
        return Loaded(_beginning(long.begin[:OVERSIZE_READ_BYTES], max(entry.size or 0, len(long.begin))))
    except Refused:
        return Loaded(None)
    content = understand(raw, limit_bytes=limit_bytes)
    return Loaded(content, raw if isinstance(content, Message) and content.attachments else b"")


def _beginning(begin: bytes, size: int) -> Content:
    """A message of which no more is loaded. Its files are named without a size, since none of them can be had without
    loading all of it: so the core does not ask for them, and says why."""
    content = understand(begin, full_size=max(size, len(begin) + 1))
    if not isinstance(content, Message):
        return content
    return replace(content, attachments=tuple(replace(one, size=None) for one in content.attachments))


def load_again(wire: Wire, maildrop: Maildrop, name: str, limit_bytes: int) -> bytes:
    """A message whose files are wanted: POP3 gives it as a whole or not at all. Raises MessageError when it is not there
    any more or too large."""
    entry = maildrop.entries.get(name)
    if entry is None:
        raise MessageError("its mail is not in the maildrop any more", code="pop3.attachment_gone")
    try:
        if entry.size is None or entry.size <= limit_bytes:
            return wire.message(entry.number, limit_bytes)
    except AnswerTooLong:
        wire.close()
    raise MessageError("its mail is larger than size_limit_bytes", code="pop3.too_large")
