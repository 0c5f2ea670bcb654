"""What the receiving mail server found out about the sender: Authentication-Results (RFC 8601), for DMARC (RFC 7489).

Anyone can write this header. It counts only when it names a server that the operator trusts, and of those the topmost
one decides, because every server puts its own above what it received (RFC 8601 §4.1). A trusted server has to take
headers with its own name out of what comes in (§5); one that does not must not be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sync.mail.address import normalise_address
from sync.message import Message

HEADER = "authentication-results"

NO_ID = "-"
"""How a server is named in the settings that writes no name: Microsoft 365 leaves it out."""

MAX_VALUE_CHARS = 8_000
MAX_HEADERS = 20
"""Headers of this kind that are looked at."""

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|[^\s";]+', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_METHOD = re.compile(r"\s*([a-z0-9-]{1,40})\s*(?:/\s*\d+\s*)?=\s*([a-z]{1,40})\b", re.IGNORECASE)
_HEADER_FROM = re.compile(r"\bheader\s*\.\s*from\s*=\s*\"?([^\s\";]{1,320})", re.IGNORECASE)
_NAME = re.compile(r"\s*(\"[^\"]{1,255}\"|[^\s;=\"]{1,255})(?:\s+\d+)?\s*")


class Result(StrEnum):
    """What DMARC says of the address in From. `none`: nothing that could be trusted says anything."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Authentication:
    """The result, and by whom and in which words."""

    result: Result
    server: str = ""
    evidence: str = ""


NOTHING = Authentication(Result.NONE)


def dmarc(values: Iterable[str], *, sender: str, trusted: Iterable[str]) -> Authentication:
    """The DMARC result for `sender` (the address in From). `values` are those of the Authentication-Results headers,
    topmost first; `trusted` the authserv-ids that count (`*.example.com` covers names below; `-` no name at all).
    Pure, linear in the length of the values, never raises."""
    domain = normalise_address(sender).rpartition("@")[2]
    names = tuple(name.strip().lower() for name in trusted if name.strip())
    for _, value in zip(range(MAX_HEADERS), values, strict=False):
        server, statements = _statements(_without_comments(value[:MAX_VALUE_CHARS]))
        if not _is_trusted(server, names):
            continue
        found = _result(statements, domain)
        if found is not None:
            return Authentication(found[0], server or NO_ID, found[1])
    return NOTHING


def dmarc_of(message: Message, trusted: Iterable[str]) -> Authentication:
    """`dmarc` for a message as `understand` gives it. Without a sender there is nothing to say."""
    if message.author is None:
        return NOTHING
    values = [value for name, value in message.headers if name == HEADER]
    return dmarc(values, sender=message.author.value, trusted=trusted)


def _without_comments(value: str) -> str:
    """`value` without what stands in parentheses (RFC 5322 §3.2.2); a quoted string is no comment. A parenthesis that
    is never closed hides all that follows."""
    if "(" not in value:
        return value
    kept: list[str] = []
    depth = 0
    quoted = False
    escaped = False
    for char in value:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif quoted:
            quoted = char != '"'
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
            if not depth:
                kept.append(" ")
                continue
        elif char == '"' and not depth:
            quoted = True
        if not depth:
            kept.append(char)
    return "".join(kept)


def _statements(value: str) -> tuple[str, list[str]]:
    """The authserv-id (lower case; empty when there is none) and the statements after it."""
    parts = _split(value)
    head = parts[0] if parts else ""
    if "=" in head:  # it begins with a method at once
        return "", parts
    match = _NAME.fullmatch(head)
    return ("?" if match is None else match.group(1).strip('"').lower()), parts[1:]


def _split(value: str) -> list[str]:
    """At semicolons outside of quotes."""
    parts: list[str] = []
    current: list[str] = []
    position = 0
    while position < len(value):
        char = value[position]
        if char == ";":
            parts.append("".join(current))
            current = []
            position += 1
            continue
        match = _WORD.match(value, position) if char == '"' else None
        stop = position + 1 if match is None else match.end()
        current.append(char if match is None else f'"{_PAIR.sub(_plain, match.group(1))}"')
        position = stop
    parts.append("".join(current))
    return parts


def _plain(match: re.Match[str]) -> str:
    return match.group(1).replace('"', "").replace(";", "")


def _is_trusted(server: str, names: Sequence[str]) -> bool:
    if not server:
        return NO_ID in names
    return any(server == name or (name.startswith("*.") and server.endswith(name[1:])) for name in names)


def _result(statements: Sequence[str], domain: str) -> tuple[Result, str] | None:
    """The DMARC statement about this domain; a failure outweighs a pass beside it."""
    found: tuple[Result, str] | None = None
    for statement in statements:
        match = _METHOD.match(statement)
        if match is None or match.group(1).lower() != "dmarc":
            continue
        about = _HEADER_FROM.search(statement)
        if about is not None and not _same_domain(about.group(1), domain):
            continue
        words = " ".join(statement.split())[:200]
        value = match.group(2).lower()
        result = Result.PASS if value == "pass" else Result.FAIL if value == "fail" else Result.NONE
        if found is None or result is Result.FAIL:
            found = result, words
    return found


def _same_domain(named: str, domain: str) -> bool:
    """The server may name the organisation's domain instead of the address's."""
    name = named.rpartition("@")[2].strip(".").lower()
    return bool(name) and (name == domain or domain.endswith(f".{name}"))
