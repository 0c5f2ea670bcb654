"""Modified UTF-7: how folder names that are not ASCII travel (RFC 3501 §5.1.3, RFC 2152)."""

from __future__ import annotations

from base64 import b64decode, b64encode

_SHIFT, _BACK = "&", "-"


def encode_folder_name(name: str) -> bytes:
    """`Entwürfe` → `Entw&APw-rfe`. Lone surrogates travel as they are, so that every name survives the way back."""
    out: list[str] = []
    foreign: list[str] = []

    def flush() -> None:
        if foreign:
            units = "".join(foreign).encode("utf-16-be", "surrogatepass")
            out.append(_SHIFT + b64encode(units).decode("ascii").rstrip("=").replace("/", ",") + _BACK)
            foreign.clear()

    for character in name:
        if " " <= character <= "~":
            flush()
            out.append(character if character != _SHIFT else _SHIFT + _BACK)
        else:
            foreign.append(character)
    flush()
    return "".join(out).encode("ascii")


def decode_folder_name(raw: bytes) -> str:
    """`Entw&APw-rfe` → `Entwürfe`. Names that break the rules come through as well as they can: bytes above ASCII
    as UTF-8 (servers that speak UTF8=ACCEPT unasked), a broken shift as it stands."""
    text = raw.decode("utf-8", "replace")
    out: list[str] = []
    position = 0
    while (start := text.find(_SHIFT, position)) >= 0:
        out.append(text[position:start])
        end = text.find(_BACK, start)
        if end < 0:
            position = start
            break
        shifted = text[start + 1 : end]
        decoded = _unshift(shifted) if shifted else _SHIFT
        out.append(text[start : end + 1] if decoded is None else decoded)
        position = end + 1
    out.append(text[position:])
    return "".join(out)


def _unshift(shifted: str) -> str | None:
    try:
        padded = shifted.replace(",", "/") + "=" * (-len(shifted) % 4)
        return b64decode(padded, validate=True).decode("utf-16-be", "surrogatepass")
    except (ValueError, UnicodeDecodeError):
        return None
