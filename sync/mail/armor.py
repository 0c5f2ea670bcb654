"""What stands between lines of dashes in a plain text: PGP blocks (RFC 4880 §6.2) and uuencoded files (POSIX).

They are taken out of the text and become files. yEnc blocks (Usenet) stay: they cannot be told from text safely.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_BLOCKS = 20
"""Blocks of one text that are taken out."""

MAX_MARKS = 200
"""Places that look like the beginning of a block and are looked at."""

_MARK = re.compile(r"^(?:-----BEGIN PGP |begin [0-7]{3,4} )", re.MULTILINE)
_PGP = re.compile(
    r"^-----BEGIN PGP (SIGNED MESSAGE|MESSAGE|PUBLIC KEY BLOCK|PRIVATE KEY BLOCK|SIGNATURE)-----[ \t]*$", re.MULTILINE
)
_PGP_END = re.compile(r"^-----END PGP [A-Z, 0-9/]{1,40}-----[ \t]*$\n?", re.MULTILINE)
_SIGNATURE = re.compile(r"^-----BEGIN PGP SIGNATURE-----[ \t]*$", re.MULTILINE)
_HASH = re.compile(r"\n(?:(?:Hash|Charset|NotDashEscaped):[^\n]*\n)*[ \t]*\n")
_DASHED = re.compile(r"^- ", re.MULTILINE)
_NAMES = {
    "MESSAGE": "encrypted.asc",
    "PUBLIC KEY BLOCK": "public-key.asc",
    "PRIVATE KEY BLOCK": "private-key.asc",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A file that was in a text: `content` as it stood there (with its lines of dashes), `size` decoded."""

    filename: str
    content: str
    size: int
    is_encoded: bool = False


@dataclass(slots=True)
class Unarmored:
    """A text without its blocks."""

    text: str
    blocks: list[Block] = field(default_factory=list)
    encrypted: bool = False
    is_unsigned: bool = False
    """There is no further signature: it was looked for once."""


def take_out(text: str) -> Unarmored:
    """`text` with the name of a file where a PGP block or a uuencoded file was; a signed text stays, without its
    signature."""
    if _MARK.search(text) is None:
        return Unarmored(text)
    found = Unarmored("")
    kept: list[str] = []
    position = 0
    for _ in range(MAX_MARKS):
        mark = _MARK.search(text, position)
        if mark is None or len(found.blocks) >= MAX_BLOCKS:
            break
        kept.append(text[position : mark.start()])
        piece, position = _at(text, mark.start(), found)
        kept.append(piece)
    kept.append(text[position:])
    found.text = "".join(kept)
    return found


def _at(text: str, start: int, found: Unarmored) -> tuple[str, int]:
    """What stays of the block at `start`, and where the text goes on."""
    uu = _uuencoded(text, start)
    if uu is not None:
        block, stop = uu
        found.blocks.append(block)
        return f"[{block.filename}]\n", stop
    match = _PGP.match(text, start)
    if match is None:
        return text[start : start + 1], start + 1
    kind = match.group(1)
    if kind == "SIGNED MESSAGE":
        signature = None if found.is_unsigned else _SIGNATURE.search(text, match.end())
        found.is_unsigned = signature is None
        body_start = _HASH.match(text, match.end())
        if signature is not None and body_start is not None:
            end = _PGP_END.search(text, signature.end())
            body = _DASHED.sub("", text[body_start.end() : signature.start()])
            return body, len(text) if end is None else end.end()
        return "", min(len(text), match.end() + 1) if body_start is None else body_start.end()
    end = _PGP_END.search(text, match.end())
    stop = len(text) if end is None else end.end()
    if kind in _NAMES:
        content = text[start:stop]
        found.blocks.append(Block(_NAMES[kind], content, len(content.encode("utf-8", "replace"))))
        found.encrypted = found.encrypted or kind == "MESSAGE"
        return f"[{_NAMES[kind]}]\n", stop
    return "", stop


def _uuencoded(text: str, start: int) -> tuple[Block, int] | None:
    """A uuencoded file: every line between begin and end holds as many letters as its first one says."""
    if not text.startswith("begin ", start):
        return None
    line_stop = text.find("\n", start)
    if line_stop == -1:
        return None
    filename = text[start:line_stop].split(" ", 2)[2].strip() or "file"
    size = 0
    position = line_stop + 1
    while position < len(text):
        stop = text.find("\n", position)
        stop = len(text) if stop == -1 else stop
        line = text[position:stop].rstrip()
        position = stop + 1
        if line == "end":
            block = Block(filename, text[start:stop], size, is_encoded=True)
            return (block, min(position, len(text))) if size else None
        if line in {"", "`"}:
            continue
        count = (ord(line[0]) - 32) & 63
        letters = (count + 2) // 3 * 4
        if not " " <= line[0] <= "`" or not letters - 3 <= len(line) - 1 <= letters + 2:
            return None
        size += count
    return None
