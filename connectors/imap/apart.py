"""Large mails by their parts: what has to be read to understand one is loaded, its files are left at the server.

The parts are put together to a mail again, in which the files are empty, and that is understood like any other: so it
reads the same whichever way it was loaded, and only the files' sizes have to be told. Blocking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sync.mail import TEXT_READ_BYTES, PartHead, decoded_size, head_of, is_mere_file, leaves, understand
from sync.message import Message

from .client import MAX_ANSWER_LITERAL_BYTES
from .faults import is_busy
from .structure import MAX_LEVELS, Section, read_structure
from .wire import Refused, Wire

HEADER_MAX_BYTES = 1024 * 1024
PART_HEADER_MAX_BYTES = 64 * 1024
"""A mail with a longer header, or a part with one, is loaded whole."""
SAMPLE_BYTES = 1024
"""Of a file: from it the length of its lines is known, and so how much the file is without them."""
SECTIONS_AT_ONCE = 20
"""Parts asked for in one command: some servers take lines of 1,000 bytes at most (RFC 2683 §3.2.1.5)."""
UNTOLD_MAX_BYTES = 1024
"""What a mail may have beside its parts: a line before the first one for programs that know no MIME, a footer below."""
BYTES_AT_ONCE = 8 * 1024 * 1024
MAX_GIVEN_UP = 10_000

_ENCODED = frozenset({"base64", "quoted-printable"})
_LINE_END = b"\r\n"
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_EMPTY_LINE = re.compile(rb"(?:\A|\n)\r?\n")


class PartsWrongError(Exception):
    """What the server says of the parts does not fit together."""


class Apart:
    """Which mails may be loaded by their parts. Those with which that went wrong are loaded whole from then on; by
    folder and UID."""

    def __init__(self, whole_max_bytes: int) -> None:
        self._whole_max_bytes = whole_max_bytes
        self._given_up: set[tuple[bytes | None, int]] = set()
        self._loaded: set[tuple[bytes | None, int]] = set()

    def wants(self, folder: bytes | None, uid: int, size: int | None) -> bool:
        """Whether to try it with this mail."""
        return (size or 0) > self._whole_max_bytes and (folder, uid) not in self._given_up

    def load(self, wire: Wire, uid: int, size: int | None, limit_bytes: int) -> Message | None:
        """The mail of this `size`; None when it is to be loaded whole. Raises what breaks the connection, and does not
        try that mail again: there are servers that fall over a mail's structure."""
        place = (wire.selected, uid)
        try:
            message = load_parts(wire, uid, size or 0, limit_bytes)
        except PartsWrongError:
            message = None
        except Refused as refused:
            if is_busy(refused.text):
                raise
            message = None
        except BaseException:
            _remember(self._given_up, place)
            raise
        if message is None:
            _remember(self._given_up, place)
        elif (size or 0) <= limit_bytes:
            _remember(self._loaded, place)
        return message

    def give_up(self, folder: bytes, uid: int) -> bool:
        """A file of this mail could not be read. Whether loading the mail whole may help."""
        if (folder, uid) not in self._loaded or (folder, uid) in self._given_up:
            return False
        _remember(self._given_up, (folder, uid))
        return True


def _remember(places: set[tuple[bytes | None, int]], place: tuple[bytes | None, int]) -> None:
    if len(places) >= MAX_GIVEN_UP:
        places.clear()
    places.add(place)


def load_parts(wire: Wire, uid: int, size: int, limit_bytes: int) -> Message | None:
    """The mail of `size` octets, of which no more than `limit_bytes` are loaded; None when it takes more, or when the
    server does not describe it. Raises PartsWrongError."""
    described = [one.structure for one in wire.fetch(str(uid), "UID BODYSTRUCTURE") if one.uid == uid]
    root = read_structure(described[0]) if described and described[0] is not None else None
    if root is None:
        return None
    mail = _Mail(root)
    mail.heads = _fetched(wire, uid, mail.wanted_heads())
    mail.check_sizes(size)
    wanted = mail.wanted_bodies()
    if sum(one.size for one in wanted) > limit_bytes:
        return None
    mail.bodies = _fetched(wire, uid, wanted)
    raw = mail.put_together()
    if leaves(raw, MAX_LEVELS) != [(one.number, one.mime_type) for one in root.every() if not one.parts]:
        raise PartsWrongError
    content = understand(raw, limit_bytes=len(raw))
    if not isinstance(content, Message):
        return None
    files = (replace(one, size=mail.size_of(one.ref, one.size)) for one in content.attachments)
    return replace(content, attachments=tuple(files))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A section to ask for, which has `size` octets, or at most so many where it is a header. `begins`: of more than
    that."""

    name: str
    size: int
    begins: bool = False
    is_header: bool = False

    def item(self) -> str:
        return f"BODY.PEEK[{self.name}]<0.{self.size}>" if self.begins else f"BODY.PEEK[{self.name}]"

    def is_answered_by(self, octets: bytes) -> bool:
        return len(octets) < self.size if self.is_header else len(octets) == self.size


def _header(name: str, most_bytes: int) -> _Wanted:
    return _Wanted(name, most_bytes, begins=True, is_header=True)


def _fetched(wire: Wire, uid: int, wanted: Sequence[_Wanted]) -> dict[str, bytes]:
    """The octets by section. Raises PartsWrongError when some are missing, or are not as many as they must be."""
    got: dict[str, bytes] = {}
    for some in _batches(wanted):
        items = " ".join(one.item() for one in some)
        most = max(one.size for one in some) + MAX_ANSWER_LITERAL_BYTES  # what is too long is seen, and no harm
        for fetched in wire.fetch(str(uid), f"UID {items}", literal_limit_bytes=most):
            if fetched.uid == uid:
                got |= fetched.sections
    found = {one.name: got.get(f"BODY[{one.name}]") for one in wanted}
    complete = {
        one.name: octets for one in wanted if (octets := found[one.name]) is not None and one.is_answered_by(octets)
    }
    if len(complete) < len(found):
        raise PartsWrongError
    return complete


def _batches(wanted: Sequence[_Wanted]) -> Iterator[list[_Wanted]]:
    batch: list[_Wanted] = []
    for one in wanted:
        if batch and (len(batch) == SECTIONS_AT_ONCE or sum(each.size for each in batch) + one.size > BYTES_AT_ONCE):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


@dataclass
class _Mail:
    """A mail while it is put together. `heads` and `bodies` are the octets of sections."""

    root: Section
    heads: Mapping[str, bytes] = field(default_factory=dict)
    bodies: Mapping[str, bytes] = field(default_factory=dict)

    def wanted_heads(self) -> list[_Wanted]:
        """Every header."""
        wanted = [_header("HEADER", HEADER_MAX_BYTES)]
        for section in self.root.every():
            wanted += [_header(f"{part.number}.MIME", PART_HEADER_MAX_BYTES) for part in section.parts]
            if section.mail is not None:
                wanted.append(_header(f"{section.number}.HEADER", PART_HEADER_MAX_BYTES))
        return wanted

    def check_sizes(self, size: int) -> None:
        """Raises PartsWrongError where the parts do not come to the size of the mail that holds them."""
        _check_size(size, self._told(self.root, self.heads["HEADER"]))

    def _told(self, section: Section, raw_head: bytes) -> int:
        """How many octets a part has with its header, as far as it is told. Raises PartsWrongError for mails in it that do
        not come to their size."""
        total = len(raw_head) + section.octets
        if section.parts:
            total += (len(head_of(raw_head).boundary) + len(b"\r\n--\r\n")) * len(section.parts) - len(_LINE_END)
        for part in section.parts:
            head = self.heads[f"{part.number}.MIME"]
            if not (part.parts or part.octets or head.strip()):  # so servers say that they found no part at all
                raise PartsWrongError
            total += self._told(part, head)
        if section.mail is not None:
            _check_size(section.octets, self._told(section.mail, self.heads[f"{section.number}.HEADER"]))
        return total

    def wanted_bodies(self) -> list[_Wanted]:
        """What has to be read of the parts' bodies."""
        found: list[_Wanted] = []
        self._look(self.root, self.heads["HEADER"], "text/plain", found)
        return found

    def _look(
        self, section: Section, raw_head: bytes, default_type: str, found: list[_Wanted], *, in_multipart: bool = False
    ) -> None:
        head = head_of(raw_head, default_type)
        is_text = head.mime_type.startswith("text/")
        if section.parts:
            for part in section.parts:
                self._look(part, self.heads[f"{part.number}.MIME"], _default_in(head), found, in_multipart=True)
        elif section.mail is not None and head.encoding not in _ENCODED:
            self._look(section.mail, self.heads[f"{section.number}.HEADER"], "text/plain", found)
        elif not section.octets:
            return
        elif is_mere_file(head) and (in_multipart or not is_text):
            found.append(_Wanted(section.number, min(SAMPLE_BYTES, section.octets), begins=True))
        elif is_text and section.octets > TEXT_READ_BYTES:
            found.append(_Wanted(section.number, TEXT_READ_BYTES, begins=True))
        else:
            found.append(_Wanted(section.number, section.octets))

    def put_together(self) -> bytes:
        """The mail with what was loaded of it. Raises PartsWrongError."""
        return b"".join(self._pieces(self.root, self.heads["HEADER"], "text/plain"))

    def _pieces(self, section: Section, raw_head: bytes, default_type: str) -> Iterator[bytes]:
        yield _with_blank_line(raw_head)
        head = head_of(raw_head, default_type)
        if section.parts:
            if not head.boundary:
                raise PartsWrongError
            delimiter = b"--" + head.boundary.encode("utf-8", "replace")
            for part in section.parts:
                yield delimiter + _LINE_END
                yield from self._pieces(part, self.heads[f"{part.number}.MIME"], _default_in(head))
                yield _LINE_END
            yield delimiter + b"--" + _LINE_END
        elif section.mail is not None and head.encoding not in _ENCODED:
            yield from self._pieces(section.mail, self.heads[f"{section.number}.HEADER"], "text/plain")
        else:
            body = self.bodies.get(section.number, b"")
            yield body if len(body) == section.octets else body.rstrip(_LINE_END)

    def size_of(self, ref: str, size: int | None) -> int | None:
        """How large a file is, about, by its section; `size` where that is none, or was loaded whole."""
        section = next((one for one in self.root.every() if one.number == ref), None)
        loaded = self.bodies.get(ref, b"")
        if section is None or section.octets == len(loaded) or section.parts:
            return size
        head = head_of(self.heads.get(f"{ref}.MIME", self.heads["HEADER"]))
        line = max(map(len, loaded.splitlines(keepends=True)), default=0)
        ends = len(_LINE_END) * (section.octets // line) if loaded.count(b"\n") else 0
        return decoded_size(section.octets, ends, head.encoding)


def _default_in(head: PartHead) -> str:
    return "message/rfc822" if head.mime_type == "multipart/digest" else "text/plain"


def _check_size(size: int, told: int) -> None:
    if not told <= size <= told + UNTOLD_MAX_BYTES:
        raise PartsWrongError


def _with_blank_line(head: bytes) -> bytes:
    """A header with the line that ends it. Raises PartsWrongError when something follows, or its lines
    end in another way than those of other mails."""
    stripped = head.rstrip(_LINE_END)
    if _EMPTY_LINE.search(stripped) is not None or _LONE_RETURN.search(stripped) is not None:
        raise PartsWrongError
    return stripped + _LINE_END + _LINE_END if stripped else _LINE_END
