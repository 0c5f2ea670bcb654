"""What an IMAP server says of the parts of a mail: BODYSTRUCTURE, and the octets of a section (RFC 3501 §6.4.5, §7.4.2)."""

from __future__ import annotations

from sync.mail.header import read_header
from sync.mail.structure import Part, read_structure


def section_of(raw: bytes, name: str) -> bytes:
    """The octets of a section (`2.1`, `2.MIME`, `3.HEADER`, `HEADER`, or "" for everything); empty when there is none."""
    if name == "HEADER" or name.startswith("HEADER.FIELDS"):
        return raw.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n"
    number, _dot, what = name.rpartition(".") if name.endswith((".MIME", ".HEADER")) else (name, "", "")
    if not number:
        return raw
    part = _find(raw, _root(raw, ""), number)
    if part is None:
        return b""
    place, octets = part
    if what == "HEADER":
        return section_of(octets[place.start : place.stop], "HEADER")
    if what == "MIME":
        return _head(octets, place)
    return octets[place.start : place.stop]


def structure_of(raw: bytes) -> bytes | None:
    """The BODYSTRUCTURE of a mail, without extension data; None of one that servers may read in different ways."""
    tree = read_structure(raw, read_header(raw, 0, len(raw)), len(raw))
    return None if tree.faults else _described(raw, tree.root)


def _root(raw: bytes, path: str) -> Part:
    return read_structure(raw, read_header(raw, 0, len(raw)), len(raw), path=path).root


def _head(raw: bytes, part: Part) -> bytes:
    """The lines between the part's delimiter and its body."""
    head = raw[: part.start]
    delimiter = head.rfind(b"\n--") + 1
    return head[head.find(b"\n", delimiter) + 1 :]


def _find(raw: bytes, root: Part, number: str) -> tuple[Part, bytes] | None:
    waiting = [(root, raw)]
    while waiting:
        part, octets = waiting.pop()
        if part.path == number:
            return part, octets
        waiting += [(child, octets) for child in part.children]
        if part.mime_type == "message/rfc822" and number.startswith(f"{part.path}."):
            inner = octets[part.start : part.stop]
            waiting.append((_root(inner, part.path), inner))
    return None


def _string(text: str) -> bytes:
    return b'"' + text.encode("utf-8", "replace").replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _described(raw: bytes, part: Part) -> bytes:
    kind, _slash, subtype = part.mime_type.partition("/")
    parameters = b" ".join(_string(word) for pair in part.parameters.items() for word in pair)
    named = b"(" + parameters + b")" if parameters else b"NIL"
    if part.is_multipart:
        inside = b"".join(_described(raw, child) for child in part.children)
        return b"(" + inside + b" " + _string(subtype) + b" " + named + b" NIL NIL NIL)"
    octets = raw[part.start : part.stop]
    fields = [_string(kind), _string(subtype), named, b"NIL", b"NIL", _string(part.transfer_encoding or "7bit")]
    fields.append(str(len(octets)).encode())
    lines = str(octets.count(b"\n")).encode()
    if part.mime_type == "message/rfc822":
        fields += [b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)", _described(octets, _root(octets, part.path)), lines]
    elif kind == "text":
        fields.append(lines)
    return b"(" + b" ".join(fields) + b")"
