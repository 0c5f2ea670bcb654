"""From bytes to text, whatever the sender declared.

The ladder: the declared charset as its superset (what calls itself latin-1 is windows-1252 in practice, as the WHATWG
Encoding Standard has it) → UTF-8 → the declared multi-byte charset with few characters replaced (a text cut in the
middle of a character) → where nothing is declared, what the letters look like (`sync.mail.guess`) → windows-1252 with
replacement.
"""

from __future__ import annotations

import codecs
import functools
import re

from sync.mail.guess import guess_codec

MAX_REPLACED_SHARE = 0.05
"""A decoding that replaces more than this share of the characters is taken for the wrong charset."""

_ALIASES = {
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso_8859-1": "cp1252",
    "iso-8859-1-windows-3.1-latin-1": "cp1252",
    "ansi": "cp1252",
    "x-ansi": "cp1252",
    "windows1252": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "windows-874": "cp874",
    "x-windows-874": "cp874",
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-8-e": "iso8859-8",
    "iso-8859-6-i": "iso8859-6",
    "logical": "iso8859-8",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "cp936": "gb18030",
    "chinese": "gb18030",
    "big5": "big5hkscs",
    "big-5": "big5hkscs",
    "x-x-big5": "big5hkscs",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "ksc5601": "cp949",
    "euc-kr": "cp949",
    "korean": "cp949",
    "windows-949": "cp949",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-2022-jp-ms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "unicode-1-1-utf-7": "utf-7",
    "utf7": "utf-7",
    "utf8mb4": "utf-8",
    "utf-8mb4": "utf-8",
    "x-unknown-utf-8": "utf-8",
    "unicode": "utf-16",
    "ucs-2": "utf-16",
    "iso-10646-ucs-2": "utf-16-be",
}
_MULTI_BYTE = frozenset(
    {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "gb18030", "big5hkscs", "cp949", "cp932"}
    | {"euc_jp", "euc_jis_2004", "iso2022_jp_ext", "iso2022_kr", "hz", "johab", "shift_jisx0213", "utf-8-sig"}
)
_SIXTEEN_BIT = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32"})
_WESTERN = frozenset({"cp1252", "cp1254", "iso8859-15"})
_MARKS = (b"\xef", b"\xff", b"\xfe")
_SEVEN_BIT = frozenset({"iso2022_jp_ext", "iso2022_kr", "hz", "utf-7"})
_SINGLE_BYTE = re.compile(r"ascii|cp\d+|iso8859-\d+|koi8-[rtu]|mac-[a-z]+|ptcp154|kz1048|tis-620|hp-roman8")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.:+-]{0,39}")
_META = re.compile(rb"charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_META_WINDOW_BYTES = 2_048
_JIS_SEGMENT = re.compile(rb"(\x1b(?:\$[@B]|\([BJI]))([^\x1b]*)|[^\x1b]+|\x1b")
_REPLACED = re.compile("\ufffd+")
_PLAUSIBLE_CHARS = 100_000
_ISO_2022_JP = re.compile(rb"\x1b\$[@B]|\x1b\(J")


@functools.lru_cache(maxsize=512)
def codec_of(declared: str) -> str | None:
    """The Python codec for a declared charset, as its superset; None when unknown or no charset at all.

    Only text codecs are used: Python also knows `punycode`, `unicode_escape` and others, which mail may not name.
    """
    match = _NAME.match(declared.strip().strip("\"'").lower())
    if match is None:
        return None
    name = _ALIASES.get(match.group(), match.group())
    for candidate in (name, name.removeprefix("x-"), name.replace("windows", "cp").replace("cp-", "cp")):
        try:
            codec = codecs.lookup(_ALIASES.get(candidate, candidate)).name
        except (LookupError, ValueError):
            continue
        codec = _ALIASES.get(codec.replace("iso8859", "iso-8859"), codec)
        if codec in _MULTI_BYTE or _SINGLE_BYTE.fullmatch(codec) is not None:
            return codec
    return None


def decode(data: bytes, declared: str = "") -> tuple[str, bool]:
    """The text of `data`, and True when nothing had to be replaced. Never raises."""
    codec = _codec_for(data, declared)
    if codec is not None:
        text = _strict(data, codec)
        if text is None and codec == "iso2022_jp_ext" and (data.isascii() or guess_codec(data) is None):
            shifted = _as_shift_jis(data)
            text = None if shifted is None else _strict(shifted, "cp932")
        if text is not None:
            return text, True
        if codec in _SEVEN_BIT and data.isascii():  # it would pass as UTF-8 without being it
            return data.decode(codec, "replace"), False
    if codec != "utf-8":
        text = _strict(data, "utf-8")
        if text is not None:
            return text, True
    if b"\xed" in data:
        text = _with_surrogates(data)
        if text is not None:
            return text, True
    for guess in dict.fromkeys((codec or "utf-8", "utf-8")):
        if guess in _MULTI_BYTE:
            text = data.decode(guess, "replace")
            if _is_plausible(text):
                return text, False
    guessed = guess_codec(data) if codec is None or codec == "ascii" or codec in _SEVEN_BIT else None
    text = data.decode(guessed or "cp1252", "replace")
    return text, codec is None and "\ufffd" not in text


def _codec_for(data: bytes, declared: str) -> str | None:
    """The declared codec, unless the text itself says that it is another one; None when nothing tells."""
    codec = codec_of(declared) if declared else None
    if codec is None or codec == "ascii":
        codec = _by_signature(data)
    elif b"\x00" in data[:_META_WINDOW_BYTES] or data[:1] in _MARKS:
        codec = _by_signature(data) or codec  # it says itself what it is, whatever was declared
    elif codec in _WESTERN and not data.isascii() and _strict(data, "utf-8") is not None:
        codec = "utf-8"  # Western letters never follow one another like that
    elif codec in _SIXTEEN_BIT and _strict(data, "utf-8") is not None:
        codec = "utf-8"  # text of 16 bits a character has zeros in it, in its line ends at the least
    if codec == "utf-16" and data[:2] not in {b"\xff\xfe", b"\xfe\xff"}:
        codec = _byte_order(data[:_META_WINDOW_BYTES])
    return codec


def decode_html(data: bytes, declared: str = "") -> tuple[str, bool]:
    """Like `decode`; an HTML text without a declared charset, or with one that does not fit, is asked for its
    `<meta charset>`."""
    if data.isascii() and b"\x1b" not in data:
        return decode(data, declared)
    if declared:
        text, exact = decode(data, declared)
        if exact and codec_of(declared) not in {None, "ascii"}:
            return text, True
    match = _META.search(data, 0, _META_WINDOW_BYTES)
    named = "" if match is None else match.group(1).decode("ascii")
    if named and codec_of(named) not in _SIXTEEN_BIT:  # it could not have been found in those
        text, exact = decode(data, named)
        if exact or not declared:
            return text, exact
    return decode(data, declared)


def _by_signature(data: bytes) -> str | None:
    """The charset that a text without a useful declaration tells by its first bytes or its escapes."""
    head = data[:4]
    if head.startswith(b"\xef\xbb\xbf"):
        return "utf-8"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\x00" in data[:_META_WINDOW_BYTES]:
        return _by_zeros(data[:_META_WINDOW_BYTES])
    if b"\x1b" in data and _ISO_2022_JP.search(data) is not None:
        return "iso2022_jp_ext"
    return None


def _by_zeros(head: bytes) -> str | None:
    """UTF-16 without a byte order mark: every other byte of Western text is zero."""
    half = len(head) // 2
    if head[1::2].count(0) * 10 > half * 8:
        return "utf-16-le"
    return "utf-16-be" if head[0::2].count(0) * 10 > half * 8 else None


def _byte_order(head: bytes) -> str:
    """Which half of a character comes first: blanks and line ends, and Western letters, have their zeros there."""
    return "utf-16-be" if head[0::2].count(0) >= head[1::2].count(0) else "utf-16-le"


def _as_shift_jis(data: bytes) -> bytes | None:
    """ISO-2022-JP as Shift_JIS, because cp932 knows the vendors' characters (①, ㈱, 髙) that many mailers put there.
    None when half a character is missing."""
    out = bytearray()
    for match in _JIS_SEGMENT.finditer(data):
        escape, segment = match.group(1) or b"", match.group(2) or b""
        if escape.startswith(b"\x1b$"):
            if len(segment) % 2:
                return None
            for index in range(0, len(segment), 2):
                out += _shifted(segment[index], segment[index + 1])
        elif escape == b"\x1b(I":
            out += bytes(code | 0x80 for code in segment)
        else:
            out += segment or match.group()[len(escape) :]
    return bytes(out)


def _shifted(row: int, cell: int) -> bytes:
    """One JIS X 0208 character (two 7-bit bytes) as Shift_JIS; bytes that are none stay as they are."""
    if not (0x21 <= row <= 0x7E and 0x21 <= cell <= 0x7E):
        return bytes((row, cell))
    lead = (row + 1) // 2 + (0x70 if row < 0x5F else 0xB0)
    trail = cell + 0x1F + (cell >= 0x60) if row % 2 else cell + 0x7E
    return bytes((lead, trail))


def _strict(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except (UnicodeError, ValueError):
        return None


def _with_surrogates(data: bytes) -> str | None:
    """UTF-8 in which characters beyond 16 bits are written as two halves (CESU-8), or half ones were left."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


def _is_plausible(text: str) -> bool:
    """True when a text with replacements is in the right charset all the same: they are few, and more of the
    characters beyond ASCII came out well."""
    faults = len(_REPLACED.findall(text))
    if faults > 1 + len(text) * MAX_REPLACED_SHARE:
        return False
    well = sum(1 for char in text[:_PLAUSIBLE_CHARS] if char > "\x7f") - text.count("\ufffd", 0, _PLAUSIBLE_CHARS)
    return well >= 2 * faults
