"""The charset of 8-bit text that declares none and is no UTF-8: web forms and old programs send such.

Only for texts that Western ones never look like: their letters beyond ASCII stand alone, while those of a text in another
script follow one another. Facts used: the layouts of the charsets, and which letters are frequent. Linear in a sample.
"""

from __future__ import annotations

import re
from collections import Counter

SAMPLE_BYTES = 16_384
MIN_HIGH_BYTES = 12
"""With fewer nothing is told apart."""

MIN_MEAN_RUN = 3.0
"""Of bytes beyond ASCII in a row; in Western text it is little more than one."""

MIN_EVEN_SHARE = 0.95
"""Of runs whose length is even, where a character has two bytes; of single bytes every other one is."""

MIN_KANA_SHARE = 0.2
"""Of a Japanese text's characters beyond ASCII."""

_RUN = re.compile(rb"[\x80-\xff]+")
_KANA = re.compile("[\u3040-\u30ff]")
_HALF_WIDTH = re.compile("[\uff61-\uff9f]")
_HIGH = re.compile("[^\x00-\x7f]")
_HANGUL_LEADS = range(0xB0, 0xC9)
_HAN_LEADS = range(0xB0, 0xF8)


def guess_codec(data: bytes) -> str | None:
    """A codec for `data`, or None when it may be Western, or nothing tells."""
    sample = data[:SAMPLE_BYTES]
    runs = _RUN.findall(sample)
    high = sum(map(len, runs))
    if high < MIN_HIGH_BYTES:
        return None
    for codec in ("euc_jp", "cp932"):
        if _is_japanese(sample, codec):
            return codec
    if high < MIN_MEAN_RUN * len(runs):
        return None
    even = sum(len(run) % 2 == 0 for run in runs[:-1])
    if even >= MIN_EVEN_SHARE * (len(runs) - 1):
        found = _double_byte(runs)
        if found is not None:
            return found
    return _big5(sample) or _single_byte(Counter(b"".join(runs)), high)


def _is_japanese(sample: bytes, codec: str) -> bool:
    """Kana in the right places; the sample may end in the middle of a character."""
    text = sample.decode(codec, "replace").rstrip("\ufffd")
    high = len(_HIGH.findall(text))
    return (
        "\ufffd" not in text
        and high > 0
        and len(_KANA.findall(text)) >= MIN_KANA_SHARE * high
        and len(_HALF_WIDTH.findall(text)) <= high // 10
    )


def _double_byte(runs: list[bytes]) -> str | None:
    """EUC-KR or GB 2312: both bytes of a character lie beyond ASCII. Korean syllables fill the first rows only."""
    leads = [lead for run in runs for lead in run[::2]]
    words = [lead for lead in leads if lead >= 0xB0]
    if len(words) * 2 < len(leads) or any(lead < 0xA1 for lead in leads):
        return None
    if sum(lead in _HANGUL_LEADS for lead in words) >= MIN_EVEN_SHARE * len(words):
        return "cp949"
    return "gb18030" if sum(lead in _HAN_LEADS for lead in words) >= MIN_EVEN_SHARE * len(words) else None


def _big5(sample: bytes) -> str | None:
    """Big5: the second byte of many characters is an ASCII one."""
    try:
        text = sample.decode("big5")
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 2:
            return None
        text = sample[: error.start].decode("big5")
    han = sum("\u4e00" <= char <= "\u9fff" for char in text)
    return "big5hkscs" if han * 2 > len(_HIGH.findall(text)) else None


def _single_byte(counts: Counter[int], high: int) -> str | None:
    """Cyrillic, Greek or Hebrew, by where their small letters are and which of them are frequent."""
    upper, lower = (sum(counts[code] for code in block) for block in (range(0xC0, 0xE0), range(0xE0, 0x100)))
    if upper + lower < 0.8 * high:
        return None
    if upper > lower:
        return "koi8-r"  # small letters come first there
    if upper == 0 and not any(counts[code] for code in range(0xFB, 0x100)):
        return "cp1255"
    greek = counts[0xE1] + counts[0xEF]
    return "cp1253" if greek > 0.1 * lower and counts[0xE0] + counts[0xEE] < 0.05 * lower else "cp1251"
