"""Mail addresses: lists of them as headers hold them (RFC 5322 §3.4), one normal form, and the inbox's own ones.

The stdlib's address parser takes seconds for thousands of recipients and raises on some; this one is linear and
takes whatever comes: comments, groups, missing quotes, semicolons between addresses, encoded words around them.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from sync.mail.charset import decode
from sync.mail.header import decode_words
from sync.message import Participant, ParticipantKind
from sync.text.clean import clean_line, without_mark_runs

MAX_ADDRESSES = 1_000
"""Addresses that are taken from one list."""

MAX_ADDRESS_CHARS = 320
"""RFC 5321 §4.5.3.1 (64 + 1 + 255), and the limit of the Contacts API."""

ADDRESSES_REMEMBERED = 1_024
"""Of which the normal form is not worked out again."""

MAX_NAME_CHARS = 200
MAX_COMMENT_CHARS = 1_000
MAX_LABEL_CHARS = 63
MAX_LIST_CHARS = 1_024 * 1_024
"""What of one list is read."""

_PLAIN = re.compile(r"[^\"(<>,;:)\\]+")
_ADDRESS = re.compile(r"[^\s\"(),:;<>\[\]\\@]{1,200}@[^\s\"(),:;<>\\@]{1,255}")
_DOT_ATOM = re.compile(r"[^\s\"(),:;<>\[\]\\@]+")
_QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_PARENTHESIS = re.compile(r"\\.|[()]", re.DOTALL)
_ANGLE_END = re.compile(r"[<>;]")
_INNER_COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)", re.DOTALL)
_UNWANTED = re.compile("[\x00-\x20\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def normalise_address(address: str) -> str:
    """The one form in which an address is an identity: NFC, without white space and invisible characters, lower case,
    the domain in its ASCII (`xn--`) form. Empty when there is no local part or no domain."""
    return _remembered(address) if len(address) <= MAX_ADDRESS_CHARS else _normalised(address)


def _normalised(address: str) -> str:
    text = _UNWANTED.sub("", address[: MAX_ADDRESS_CHARS * 4]).strip("<>").strip("'")
    if text[:7].lower() == "mailto:":
        text = text[7:]
    if not text.isascii():
        text = unicodedata.normalize("NFC", without_mark_runs(text))
    local, at, domain = text.lower().rpartition("@")
    if len(local) > 2 and local[0] == local[-1] == '"' and _DOT_ATOM.fullmatch(local[1:-1]):
        local = local[1:-1]
    domain = _ascii_domain(domain.strip("."))
    normal = f"{local}{at}{domain}"
    if not local or not domain or len(normal) > MAX_ADDRESS_CHARS or ("@" in local and local[0] != '"'):
        return ""
    return normal


_remembered = functools.lru_cache(ADDRESSES_REMEMBERED)(_normalised)
"""The same few addresses come many times over: each mail's author half a dozen times on its way, the own ones always."""


def _ascii_domain(domain: str) -> str:
    """Every label in its ASCII form. Punycode without nameprep: `ß` stays a letter of its own, as in IDNA 2008."""
    if domain.isascii():
        return domain
    labels = domain.replace("\u3002", ".").replace("\uff0e", ".").replace("\uff61", ".").split(".")
    return ".".join(_ascii_label(label) for label in labels)


def _ascii_label(label: str) -> str:
    if label.isascii() or len(label) > MAX_LABEL_CHARS:
        return label
    return "xn--" + label.encode("punycode").decode("ascii")


def parse_addresses(value: bytes, *, fallback_charset: str = "") -> tuple[list[Participant], int]:
    """The addresses of a raw From, To or Cc value in their order, and how many more were left out. Names are decoded.
    What has no local part and domain (`undisclosed-recipients:;`, `root`) is not among them."""
    text = value[:MAX_LIST_CHARS].decode("ascii") if value.isascii() else _as_text(value, fallback_charset)
    text = text[:MAX_LIST_CHARS]
    found, more = _participants(text)
    if not found and "=?" in text:  # somebody encoded the whole value, address and all
        found, more = _participants(decode_words(text))
    return found, more


def _as_text(value: bytes, fallback_charset: str) -> str:
    try:
        return value[:MAX_LIST_CHARS].decode("utf-8")
    except UnicodeDecodeError:
        return decode(value[:MAX_LIST_CHARS], fallback_charset)[0]


def _participants(text: str) -> tuple[list[Participant], int]:
    found: dict[str, Participant] = {}
    more = 0
    for name, address in split_addresses(text):
        value = normalise_address(address)
        if not value or value in found:
            continue
        if len(found) >= MAX_ADDRESSES:
            more += 1
            continue
        found[value] = Participant(ParticipantKind.EMAIL, value, _display_name(name))
    return list(found.values()), more


def _display_name(name: str) -> str:
    text = clean_line(decode_words(name), limit_chars=MAX_NAME_CHARS).strip("'\"").strip()
    if "@" in text and _ADDRESS.fullmatch(text) is not None:
        return ""  # the address once more, or another one, which is there to deceive
    return text


def _without_blanks_at_dots(phrase: str) -> str:
    """`phrase` without the blanks that old programs put around the dots of an address (RFC 5322 §4.4). "Dr. jo@…" is a
    name and an address: before the `@` only a blank in front of the dot tells that it is no end of a word."""
    if " ." not in phrase and ". " not in phrase:
        return phrase
    before, at, domain = " ".join(phrase.split()).rpartition("@")
    before = before.replace(" . ", ".").replace(" .", ".")
    return before + at + domain.replace(" . ", ".").replace(" .", ".").replace(". ", ".")


@dataclass(slots=True)
class _Entry:
    """One address of a list while it is read."""

    words: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    angle: str | None = None

    def finish(self) -> tuple[str, str] | None:
        phrase = "".join(self.words)
        if "@" in phrase:
            phrase = _without_blanks_at_dots("@".join(part.strip() for part in phrase.split("@")))
        if self.angle is not None and "@" in self.angle:
            return phrase, self.angle.rpartition(":")[2] if self.angle.lstrip().startswith("@") else self.angle
        bare = "".join(phrase.split())
        if bare.count("@") == 1 and (len(phrase.split()) == 1 or bare.startswith('"')):
            return " ".join(self.comments), bare
        match = _ADDRESS.search(phrase) if "@" in phrase else None
        if match is None:
            return None
        return (phrase[: match.start()] + phrase[match.end() :]).strip() or " ".join(self.comments), match.group()


def split_addresses(text: str) -> Iterable[tuple[str, str]]:
    """(display name, address) for each entry of a list, neither decoded nor normalised."""
    entry = _Entry()
    position, end = 0, len(text)
    quotes = comments = True
    while position < end:
        char = text[position]
        if char == '"' and quotes:
            quoted, position = _quoted(text, position)
            if quoted is None:
                quotes = False  # one has no end: they are plain characters from here on
                continue
            entry.words.append(f'"{quoted}"' if text[position : position + 1] == "@" else quoted)
        elif char == "(" and comments:
            comment, position = _comment(text, position)
            if comment is None:
                comments = False  # as with quotes
                continue
            entry.comments.append(comment)
        elif char == "<":
            entry.angle, position = _angle(text, position)
        elif char in ",;":
            position += 1
            finished = entry.finish()
            if finished is not None:
                yield finished
            entry = _Entry()
        elif char == ":":  # the name of a group ends
            entry = _Entry()
            position += 1
        else:
            match = _PLAIN.match(text, position)
            stop = match.end() if match is not None else position + 1
            if match is not None:
                entry.words.append(match.group())
            position = stop
    finished = entry.finish()
    if finished is not None:
        yield finished


def _quoted(text: str, start: int) -> tuple[str | None, int]:
    """The quoted string that begins at `start` and where it ends; None and one further on when it has no end."""
    match = _QUOTED.match(text, start)
    if match is None:
        return None, start
    return _PAIR.sub(r"\1", match.group(1)), match.end()


def _comment(text: str, start: int) -> tuple[str | None, int]:
    """The comment (it may hold comments) that begins at `start` and where it ends; None when it has no end."""
    depth = 0
    for match in _PARENTHESIS.finditer(text, start, start + MAX_COMMENT_CHARS):
        if match.group() == "(":
            depth += 1
        elif match.group() == ")":
            depth -= 1
            if depth == 0:
                return text[start + 1 : match.start()], match.end()
    return None, start


def _angle(text: str, start: int) -> tuple[str, int]:
    """What stands between angle brackets and where it ends; without a closing one it ends at the next comma."""
    match = _ANGLE_END.search(text, start + 1)
    if match is not None and match.group() == ">":
        inner = text[start + 1 : match.start()]
        if "(" in inner and '"' not in inner:
            inner = _INNER_COMMENT.sub("", inner)
        return inner, match.end()
    stop = len(text) if match is None else match.start()
    comma = text.find(",", start + 1, stop)
    stop = stop if comma == -1 else comma
    return text[start + 1 : stop], stop


class OwnAddresses:
    """The addresses that belong to the business.

    A pattern is an address (`support@example.com`, which also covers its plus-tags, `support+shop@example.com`), an
    address with `*` in it (`*@shop.example.com`), or a domain (`@example.com`, all of its addresses).
    Raises ValueError for a pattern that is none of these.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._wild: list[re.Pattern[str]] = []
        for pattern in patterns:
            self._add(pattern)

    def _add(self, pattern: str) -> None:
        text = pattern.strip()
        if text.startswith("@"):
            text = "*" + text
        normal = normalise_address(text)
        if not normal or normal.count("@") != 1:
            raise ValueError(f"{pattern!r} is no address: write support@example.com, *@example.com or @example.com")
        if "*" in normal:
            parts = (re.escape(part) for part in re.split(r"\*+", normal))
            self._wild.append(re.compile("[^@]*".join(parts)))
        else:
            self._exact.add(normal)

    def matches(self, address: str) -> bool:
        """True when `address` (in any form) is one of the own ones."""
        normal = normalise_address(address)
        if not normal:
            return False
        local, _, domain = normal.rpartition("@")
        untagged = f"{local.partition('+')[0]}@{domain}"
        if normal in self._exact or untagged in self._exact:
            return True
        return any(pattern.fullmatch(candidate) for pattern in self._wild for candidate in {normal, untagged})

    def __bool__(self) -> bool:
        return bool(self._exact or self._wild)
