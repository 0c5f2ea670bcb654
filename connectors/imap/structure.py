"""Reading BODYSTRUCTURE (RFC 3501 §7.4.2): which parts a mail has, of which type and size. Pure.

Many servers write it wrong for some mails: a field left out, a quote that ends too early, a multipart without parts or
told as one part. What is not as it must be is not guessed at: `read_structure` gives None, and the mail is loaded whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

MAX_SECTIONS = 100
"""Parts of a mail that are loaded one by one at most; one with more is loaded whole."""
MAX_DEPTH = 30
"""Multiparts within multiparts (and mails) at most."""
MAX_LEVELS = 3
"""Mails within mails whose parts are looked at; deeper ones are one part."""
MAX_OCTETS = 2**40
_MAX_TOKENS = 20_000

_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|([()])|([^\s()"]+)|\s+', re.DOTALL)
_BEFORE = re.compile(rb"\bBODYSTRUCTURE +(?=\()", re.IGNORECASE)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_WORD = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}")

_Value: TypeAlias = "list[_Value] | str | int | None"

_BODY_IN_MAIL = 8
"""Where message/rfc822 has the structure of the mail in it: after its envelope."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part. `number` is its section (`2.1`), "" of the multipart that is the whole mail; `octets` its size as it is
    encoded, 0 of a multipart; `parts` those of a multipart; `mail` what is in a message/rfc822, a multipart there having
    no number of its own."""

    number: str
    mime_type: str
    octets: int = 0
    parts: tuple[Section, ...] = ()
    mail: Section | None = None

    def every(self) -> Iterator[Section]:
        """This one and all below it, in the order of the mail."""
        yield self
        for part in self.parts:
            yield from part.every()
        if self.mail is not None:
            yield from self.mail.every()


class _WrongError(Exception):
    """The structure is not as it must be."""


def read_structure(written: bytes) -> Section | None:
    """The parts in what stands behind BODYSTRUCTURE, from its parenthesis to the one that closes it. None when it is not
    what RFC 3501 says, or has more parts than are worth it."""
    try:
        value = _parsed(written)
        section = _section(value, "", "", 0, 0)
    except _WrongError:
        return None
    return section if sum(1 for _ in section.every()) <= MAX_SECTIONS else None


def structure_in(line: bytes) -> tuple[int, int] | None:
    """Where in a FETCH answer the structure begins and ends. None when there is none, or no end of it."""
    found = _BEFORE.search(line) if b"STRUCTURE" in line.upper() else None
    if found is None:
        return None
    depth = 0
    for token in _TOKEN.finditer(line, found.end()):
        depth += {b"(": 1, b")": -1}.get(token[2], 0)
        if not depth:
            return found.end(), token.end()
    return None


def _parsed(written: bytes) -> _Value:
    """Nested lists of strings (lower-cased: no name is needed in its letters), numbers and None."""
    stack: list[list[_Value]] = [[]]
    position = 0
    for count, token in enumerate(_TOKEN.finditer(written)):
        if token.start() != position or count > _MAX_TOKENS:
            raise _WrongError
        position = token.end()
        quoted, bracket, atom = token[1], token[2], token[3]
        if bracket == b"(":
            if len(stack) > MAX_DEPTH * 2:
                raise _WrongError
            stack.append([])
        elif bracket == b")":
            if len(stack) < 2:
                raise _WrongError
            closed = stack.pop()
            stack[-1].append(closed)
        elif quoted is not None:
            stack[-1].append(_ESCAPED.sub(rb"\1", quoted).decode("utf-8", "replace").lower())
        elif atom is not None:
            stack[-1].append(_atom(atom))
    if position != len(written) or len(stack) != 1 or len(stack[0]) != 1:
        raise _WrongError
    return stack[0][0]


def _atom(atom: bytes) -> _Value:
    if atom.upper() == b"NIL":
        return None
    if atom.isdigit() and len(atom) < 15:
        return int(atom)
    raise _WrongError  # negative sizes, strings without quotes


def _section(value: _Value, number: str, prefix: str, depth: int, level: int) -> Section:
    """`number` is what the part is called, if it is no multipart at the top of a mail; `prefix` what its parts' numbers
    begin with."""
    if not isinstance(value, list) or not value or depth > MAX_DEPTH:
        raise _WrongError
    if isinstance(value[0], list):
        return _multipart(value, number, prefix, depth, level)
    kind, subtype = _word(value, 0), _word(value, 1)
    octets = value[6] if len(value) > 6 else None
    if not isinstance(octets, int) or octets > MAX_OCTETS or kind == "multipart":
        raise _WrongError
    if not (isinstance(value[2], list) or value[2] is None) or not isinstance(value[5], str):
        raise _WrongError
    name = number or f"{prefix}1"
    mail: Section | None = None
    if (kind, subtype) == ("message", "rfc822") and level < MAX_LEVELS:
        if len(value) <= _BODY_IN_MAIL:
            raise _WrongError
        mail = _section(value[_BODY_IN_MAIL], "", f"{name}.", depth + 1, level + 1)
    return Section(name, f"{kind}/{subtype}", octets, mail=mail)


def _multipart(value: list[_Value], number: str, prefix: str, depth: int, level: int) -> Section:
    parts = [one for one in value if isinstance(one, list)]
    count = next((place for place, one in enumerate(value) if not isinstance(one, list)), len(value))
    subtype = _word(value, count)
    inside = f"{number}." if number else prefix
    return Section(
        number,
        f"multipart/{subtype}",
        parts=tuple(
            _section(one, f"{inside}{place}", "", depth + 1, level) for place, one in enumerate(parts[:count], 1)
        ),
    )


def _word(value: list[_Value], place: int) -> str:
    word = value[place] if place < len(value) else None
    if not isinstance(word, str) or _WORD.fullmatch(word) is None:
        raise _WrongError
    return word
