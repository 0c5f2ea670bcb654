"""Header fields as they arrive: split, unfolded, and decoded (RFC 5322 §2.2, RFC 2047, RFC 2231).

Everything works on the raw bytes and forgives: 8-bit headers, encoded words in quotes or cut in the middle of a
character, folded at the wrong place, without an end. Linear in the size of the input.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from sync.mail.charset import codec_of, decode

MAX_HEADERS = 5_000
"""Names that are kept of one header; beyond them only the well-known ones."""

MAX_SAME_HEADERS = 1_000
"""Fields of one name that are kept."""

MAX_VALUE_BYTES = 1_024 * 1_024
"""What is kept of one field's value (20,000 recipients fill 700 KB)."""

MAX_HEADER_BYTES = 2 * 1_024 * 1_024
"""What is read as header before the rest is taken for the body."""

MAX_ODD_LINES = 30
"""Lines among which a well-known field must follow, if one that is no field is to belong to the header."""

MAX_DECODED_CHARS = 16_384
"""What of an unstructured value is looked at for encoded words."""

MAX_PARAMETERS = 200
"""Parameters that are kept of one field."""

MAX_PARAMETERS_CHARS = 16_384
"""What is read of a Content-Type or Content-Disposition."""

_NAME = re.compile(rb"[!-9;-~]+")
_COLON = 0x3A
_MBOX_SEPARATOR = re.compile(rb">?From [ \t]{0,5}[^ \t:]")
"""A line that an mbox file puts in front of a mail, and that some tools leave there."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = re.compile(rb"\s*")

_ODD_RETURN = re.compile(rb"\r[^\n]")
_DOUBLED_RETURN = re.compile(rb"\r+\n")
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]*|\r")
_KNOWN = frozenset(
    {"from", "to", "cc", "bcc", "subject", "date", "message-id", "mime-version", "content-type", "received", "sender"}
    | {"reply-to", "return-path", "references", "in-reply-to", "content-transfer-encoding", "delivered-to"}
    | {"content-disposition", "content-id", "dkim-signature", "authentication-results", "list-id", "x-mailer"}
)


@dataclass(slots=True)
class HeaderFields:
    """The fields of one header: values are raw bytes, still folded. `offset` is where the body begins. `shortened`:
    values were left out; `cut`: the header was too long to be read to its end."""

    fields: dict[str, list[bytes]] = field(default_factory=dict)
    offset: int = 0
    cut: bool = False
    shortened: bool = False

    def raw(self, name: str) -> bytes:
        """The first value of a field (lower-cased name), unfolded and trimmed; empty when there is none."""
        values = self.fields.get(name)
        if values is None:
            return b""
        return _unfolded(values[0])

    def all_raw(self, name: str) -> list[bytes]:
        """All values of a field, unfolded and trimmed."""
        return [_unfolded(value) for value in self.fields.get(name, ())]

    def ascii(self, name: str) -> str:
        """The first value as text for structured fields: bytes beyond ASCII become what UTF-8 or Latin-1 makes of them."""
        value = self.raw(name)
        return value.decode("ascii") if value.isascii() else decode(value)[0]


def _unfolded(value: bytes) -> bytes:
    value = value.strip()  # its line's end with it, which is all that most have to unfold
    return _FOLD.sub(b" ", value) if b"\n" in value or b"\r" in value else value


def with_newlines(raw: bytes) -> bytes:
    """Mail that knows only carriage returns (old Macintosh) gets newlines; one that has some in odd places, too."""
    if b"\r" not in raw:
        return raw
    if b"\n" not in raw:
        return raw.replace(b"\r", b"\n")
    if _ODD_RETURN.search(raw) is None:  # ten times as fast as to look for what is mended below
        return raw
    if b"\r\r\n" in raw:
        raw = _DOUBLED_RETURN.sub(b"\r\n", raw)
    return raw.replace(b"\r--", b"\n--") if b"\r--" in raw else raw


def read_header(raw: bytes, start: int, end: int) -> HeaderFields:
    """The header that begins at `start`. It ends at an empty line, at a line that cannot belong to a header (the body
    begins there), at a line that begins with `--` (a delimiter), or at `end`."""
    found = HeaderFields()
    position = start or _mail_start(raw, end)
    if _MBOX_SEPARATOR.match(raw, position, end) is not None:
        position = _line_end(raw, position, end)
    last_byte = min(end, start + MAX_HEADER_BYTES)
    goes_on_until = position
    while position < end:
        if position >= last_byte:
            found.cut = True
            break
        line_stop = _line_end(raw, position, end)
        if raw[position] in b"\r\n" and not raw[position:line_stop].strip(b"\r\n"):
            position = line_stop
            break
        if raw.startswith(b"--", position):
            break
        name, value_start = _name_at(raw, position, line_stop)
        if not name and line_stop > goes_on_until:
            goes_on_until = _known_field_after(raw, line_stop, end)
            if goes_on_until == -1:
                break
        position = _value_end(raw, line_stop, last_byte)
        if name:
            _keep(found, name, raw, value_start, position)
    found.offset = _body_after(raw, position, end) if found.cut else position
    return found


def _mail_start(raw: bytes, end: int) -> int:
    """Where a mail's header begins: after a byte order mark, which editors put in front of a file, and after white
    space and empty lines if a well-known field follows."""
    start = len(_BYTE_ORDER_MARK) if raw.startswith(_BYTE_ORDER_MARK, 0, end) else 0
    space = _WHITE_SPACE.match(raw, start, end)
    return space.end() if space is not None and _known_field_after(raw, space.end(), end) == space.end() else start


def _name_at(raw: bytes, position: int, line_stop: int) -> tuple[str, int]:
    """The lower-cased name of the field that begins here and where its value begins; empty when it is no field."""
    match = _NAME.match(raw, position, line_stop)
    if match is None:
        return "", position
    place = match.end()
    while place < line_stop and raw[place] in b" \t":
        place += 1
    if place >= line_stop or raw[place] != _COLON:
        return "", position
    return match.group().decode("ascii").lower(), place + 1


def _value_end(raw: bytes, position: int, end: int) -> int:
    """Where the value ends whose first line ends at `position`: after its last continuation line."""
    while position < end and raw[position] in b" \t":
        position = _line_end(raw, position, end)
    return position


def _body_after(raw: bytes, position: int, end: int) -> int:
    """Where the body begins when the header was too long to be read: after the next empty line."""
    match = _EMPTY_LINE.search(raw, position, end)
    return end if match is None else match.end()


def _line_end(raw: bytes, position: int, end: int) -> int:
    newline = raw.find(b"\n", position, end)
    return end if newline == -1 else newline + 1


def _keep(found: HeaderFields, name: str, raw: bytes, start: int, stop: int) -> None:
    if len(found.fields) >= MAX_HEADERS and name not in _KNOWN:
        found.shortened = True
        return
    values = found.fields.setdefault(name, [])
    if len(values) >= MAX_SAME_HEADERS:
        found.shortened = True
        return
    if stop - start > MAX_VALUE_BYTES:
        found.shortened = True
        stop = start + MAX_VALUE_BYTES
    values.append(raw[start:stop])


def _known_field_after(raw: bytes, position: int, end: int) -> int:
    """After a line that is no header field: where a well-known one begins within the next lines, so that the odd line
    was a continuation that lost its indent, as all of them do in some gateways; -1 when none does."""
    for _ in range(MAX_ODD_LINES):
        if position >= end or raw[position] in b"\r\n" or raw.startswith(b"--", position):
            break
        match = _NAME.match(raw, position, min(end, position + 80))
        is_field = match is not None and raw[match.end() : match.end() + 1] == b":"
        if match is not None and is_field and match.group().decode("ascii").lower() in _KNOWN:
            return position
        position = _line_end(raw, position, end)
    return -1


# ------------------------------------------------------------------------------------------------- RFC 2047

_HEX_PAIR = re.compile(r"[0-9A-F]{2}")


def decode_value(value: bytes, fallback_charset: str = "") -> str:
    """An unstructured value (Subject, a display name) as text. `fallback_charset` is what raw 8-bit values are tried
    in when they are not UTF-8 (the body's charset). May still hold control characters: clean it."""
    value = value[: MAX_DECODED_CHARS * 4]
    if value.isascii():
        text = value.decode("ascii")
        if "\x1b" in text:
            text = decode(value)[0]
    else:
        text = _eight_bit(value, fallback_charset)
    return decode_words(text[:MAX_DECODED_CHARS])


def _eight_bit(value: bytes, fallback_charset: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return decode(value, fallback_charset)[0]


def decode_words(text: str) -> str:
    """`text` with its RFC 2047 encoded words decoded. White space between two encoded words is dropped; neighbours in
    one charset and encoding are joined as bytes first, because senders cut characters in two."""
    if "=?" not in text:
        return text
    out: list[str] = []
    pending: list[tuple[str, bytes]] = []
    position = 0
    gap_start = 0
    while True:
        begin = text.find("=?", position)
        if begin == -1:
            break
        word = _encoded_word(text, begin)
        if word is None:
            position = begin + 2
            continue
        charset, data, stop = word
        between = text[gap_start:begin]
        if between.strip() or not pending:
            _flush_words(pending, out)
            out.append(between)
        pending.append((charset, data))
        position = gap_start = stop
    _flush_words(pending, out)
    out.append(text[gap_start:])
    return "".join(out)


def _encoded_word(text: str, begin: int) -> tuple[str, bytes, int] | None:
    """(charset, bytes, where it ends) of the encoded word at `begin`; None when it is none."""
    charset_stop = text.find("?", begin + 2, begin + 80)
    if charset_stop == -1:
        return None
    encoding = text[charset_stop + 1 : charset_stop + 3].lower()
    if encoding not in {"q?", "b?"}:
        return None
    data_start = charset_stop + 3
    data_stop = text.find("?=", data_start)
    if data_stop == data_start and encoding == "q?" and _HEX_PAIR.match(text, data_start + 2) is not None:
        data_stop = text.find("?=", data_start + 2)  # a question mark that was not encoded, and an encoded letter
    stop = data_stop + 2
    if data_stop == -1:  # the end is missing: take what is there
        data_stop = stop = len(text)
    charset = text[begin + 2 : charset_stop].split("*", 1)[0].strip()
    encoded = text[data_start:data_stop]
    if encoding == "b?":
        return charset, _word_base64(encoded), stop
    return charset, _word_q(encoded), stop


def _word_base64(encoded: str) -> bytes:
    letters = "".join(char for char in encoded if char.isascii() and (char.isalnum() or char in "+/"))
    rest = len(letters) % 4
    if rest == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + "=" * (-len(letters) % 4))


def _word_q(encoded: str) -> bytes:
    return binascii.a2b_qp(encoded.encode("utf-8", "replace"), header=True)


def _flush_words(pending: list[tuple[str, bytes]], out: list[str]) -> None:
    index = 0
    while index < len(pending):
        charset, data = pending[index]
        chunks = [data]
        index += 1
        while index < len(pending) and pending[index][0].lower() == charset.lower():
            chunks.append(pending[index][1])
            index += 1
        out.append(_decode_chunks(chunks, charset))
    pending.clear()


def _decode_chunks(chunks: list[bytes], charset: str) -> str:
    """Every chunk on its own where that works (each word may shift charsets for itself), else joined."""
    if len(chunks) > 1 and (codec_of(charset) or "").startswith("iso2022"):
        return "".join(decode(chunk, charset)[0] for chunk in chunks)
    return decode(b"".join(chunks), charset)[0]


# ------------------------------------------------------------------------------------------------- RFC 2231

_PARAMETER = re.compile(r"\s*([^\s=;\"]+)\s*=\s*")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_SECTION = re.compile(r"(.+?)(?:\*(\d{1,4}))?(\*)?")


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """The main value (lower-cased, `text/plain`) and the parameters (lower-cased names, decoded values) of a
    Content-Type or Content-Disposition."""
    main, _, rest = value[:MAX_PARAMETERS_CHARS].partition(";")
    plain: dict[str, str] = {}
    extended: dict[str, list[tuple[int, bool, str]]] = {}
    for name, raw_value in _raw_parameters(rest):
        match = _SECTION.fullmatch(name)
        if match is None:
            continue
        base, section, star = match.group(1).lower(), match.group(2), match.group(3)
        if section is None and star is None:
            plain.setdefault(base, decode_words(raw_value))
        else:
            extended.setdefault(base, []).append((int(section or 0), star is not None, raw_value))
    for base, sections in extended.items():
        plain[base] = _join_sections(sections)
    return main.strip().lower(), plain


def _raw_parameters(rest: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position, end = 0, len(rest)
    while position < end and len(found) < MAX_PARAMETERS:
        match = _PARAMETER.match(rest, position)
        if match is None:
            semicolon = rest.find(";", position)
            if semicolon == -1:
                break
            position = semicolon + 1
            continue
        value, position = _parameter_value(rest, match.end())
        found.append((match.group(1), value))
        semicolon = rest.find(";", position)
        position = end if semicolon == -1 else semicolon + 1
    return found


def _parameter_value(rest: str, start: int) -> tuple[str, int]:
    if not rest.startswith('"', start):
        stop = rest.find(";", start)
        stop = len(rest) if stop == -1 else stop
        return rest[start:stop].strip().strip("'\""), stop
    place = start + 1
    while True:
        quote = rest.find('"', place)
        if quote == -1:  # no closing quote: up to the next parameter
            stop = rest.find(";", start)
            stop = len(rest) if stop == -1 else stop
            return rest[start + 1 : stop].strip(), stop
        backslashes = 0
        while rest[quote - 1 - backslashes] == "\\":
            backslashes += 1
        if backslashes % 2 == 0:
            return _unescaped(rest[start + 1 : quote]), quote + 1
        place = quote + 1


def _unescaped(quoted: str) -> str:
    """Quoted pairs resolved; backslashes of a Windows path (`C:\\new.txt`) are no quoted pairs."""
    if "\\" not in quoted:
        return quoted
    return _QUOTED_PAIR.sub(lambda match: match.group(1) if match.group(1) in '"\\()' else match.group(), quoted)


def _join_sections(sections: list[tuple[int, bool, str]]) -> str:
    sections.sort(key=lambda section: section[0])
    charset = ""
    data: list[bytes] = []
    for index, (_number, is_extended, value) in enumerate(sections):
        text = value
        if is_extended and index == 0 and text.count("'") >= 2:
            charset, _language, text = text.split("'", 2)
        raw = text.encode("utf-8", "replace")
        data.append(unquote_to_bytes(raw) if is_extended else raw)
    return decode_words(decode(b"".join(data), charset)[0])
