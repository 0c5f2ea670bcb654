"""Which files of a message are brought over, and in which form. Pure.

What is not brought over is named in the text with the reason; only decoration (tracking pixels, the lines and icons of
a signature) is left out without a word.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from sync.message import Attachment

SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Shown as images; others (SVG, TIFF, HEIC) go as files, since not every browser shows them, and SVG may hold programs."""

PIXEL_MAX_BYTES = 512
"""An image in the text with no more bytes than these shows nothing: a tracking pixel, a spacer."""
LINE_MAX_PIXELS = 8
"""So narrow or so low, it is a pixel, a spacer or a ruler."""
ICON_MAX_PIXELS = 48
"""Up to this size in both directions, an image in the text is an icon of a signature."""

PROGRAM_EXTENSIONS = (
    *("ade", "adp", "apk", "app", "appx", "bat", "cab", "chm", "cmd", "com", "cpl", "dll", "dmg", "exe", "hta", "inf"),
    *("ins", "iso", "isp", "jar", "js", "jse", "lib", "lnk", "mde", "msc", "msi", "msix", "msp", "mst", "nsh", "pif"),
    *("ps1", "reg", "scr", "sct", "sh", "sys", "vb", "vbe", "vbs", "vhd", "vxd", "wsc", "wsf", "wsh", "xll"),
)
"""What mail services refuse as dangerous."""
PROGRAM_TYPES = (
    *("application/java-archive", "application/vnd.microsoft.portable-executable", "application/x-dosexec"),
    *("application/x-executable", "application/x-msdownload", "application/x-msi", "application/x-sh"),
)

TOO_LARGE = "it is larger than {limit}"
TOO_LARGE_TOGETHER = "the files of this message are larger than {limit} together"
TOO_MANY = "only {limit} files of a message are brought over"
DANGEROUS = "files of this kind may be harmful"
EMPTY = "it is empty"
NOT_WHOLE = "its message was too large to be loaded completely"
OFF = "files are not brought over"


@dataclass(frozen=True, slots=True)
class AttachmentRules:
    """A source's settings: bytes of one file and of all files of a message, their number, and what is only named
    (extensions without a dot, or MIME types, lower-case; `type/*` is all of a kind)."""

    bring: bool = True
    file_max_bytes: int = 25 * 1024 * 1024
    message_max_bytes: int = 50 * 1024 * 1024
    files_max: int = 30
    named_only: frozenset[str] = frozenset((*PROGRAM_EXTENSIONS, *PROGRAM_TYPES))


def choose(attachments: tuple[Attachment, ...], rules: AttachmentRules) -> tuple[Attachment, ...]:
    """The files without plain decoration; those that are not to be brought over say why (`why_not`). By what the
    message tells of them: nothing has been loaded yet."""
    if not rules.bring:
        return tuple(replace(one, why_not=OFF) for one in attachments if not is_pixel(one))
    chosen: list[Attachment] = []
    total = taken = 0
    for one in attachments:
        if is_pixel(one):
            continue
        why_not = one.why_not or _why_not(one, rules)
        if not why_not and taken >= rules.files_max:
            why_not = TOO_MANY.format(limit=rules.files_max)
        if not why_not and total + (one.size or 0) > rules.message_max_bytes:
            why_not = TOO_LARGE_TOGETHER.format(limit=size_text(rules.message_max_bytes))
        if not why_not:
            taken += 1
            total += one.size or 0
        chosen.append(one if why_not == one.why_not else replace(one, why_not=why_not))
    return tuple(chosen)


def _why_not(one: Attachment, rules: AttachmentRules) -> str:
    if one.size == 0:
        return EMPTY
    if is_named_only(one, rules.named_only):
        return DANGEROUS
    if one.size is None:
        return NOT_WHOLE
    return TOO_LARGE.format(limit=size_text(rules.file_max_bytes)) if one.size > rules.file_max_bytes else ""


def is_named_only(one: Attachment, named_only: Collection[str]) -> bool:
    """By its type, or by any extension of its name that is an ending to some program (`invoice.exe`, `invoice.exe.`)."""
    mime_type = one.mime_type.lower().partition(";")[0].strip()
    extension = one.filename.lower().rstrip(" .").rpartition(".")[2]
    return not {mime_type, f"{mime_type.partition('/')[0]}/*", extension}.isdisjoint(named_only)


def is_pixel(one: Attachment) -> bool:
    """An image in the text that is too small to show anything."""
    return (
        one.inline and one.mime_type.startswith("image/") and one.size is not None and 0 < one.size <= PIXEL_MAX_BYTES
    )


def is_decoration(one: Attachment) -> bool:
    """An image in the text which is a spacer, a ruler or an icon, now that its size in pixels is known."""
    if not (one.inline and one.width and one.height):
        return False
    return min(one.width, one.height) <= LINE_MAX_PIXELS or max(one.width, one.height) <= ICON_MAX_PIXELS


def without_marks(text: str, left_out: Collection[Attachment]) -> str:
    """The text without the marks (`[logo.png]`) that stand where pictures were which nobody needs to know of."""
    for one in left_out:
        mark = f"[{one.filename}]"
        if one.inline and mark in text:
            before, _, after = text.partition(mark)
            text = before.rstrip(" ") + after if after[:1] in {"", "\n", " "} else before + after
    return text


def shows_as_image(one: Attachment) -> bool:
    """Whether it becomes an image of the Inbox; else it is a file."""
    return one.mime_type.lower() in SHOWN_TYPES


def size_text(size: float) -> str:
    """Bytes as people read them, in steps of 1,000."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1_000
    return f"{amount:.1f} GB"


# ---------------------------------------------------------------------------------------------------- pixels

HEAD_BYTES = 64 * 1024
"""Of an image, what is looked at for its size in pixels."""


def pixels_of(head: bytes) -> tuple[int, int]:
    """Width and height from the beginning of a PNG (RFC 2083), GIF, JPEG (ITU T.81, B.2.2) or WebP (RFC 9649); (0, 0)
    for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[:6] in {b"GIF87a", b"GIF89a"} and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head.startswith(b"\xff\xd8"):
        return _jpeg_pixels(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp_pixels(head)
    return 0, 0


def _jpeg_pixels(head: bytes) -> tuple[int, int]:
    position = 2
    while position + 9 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # a frame header
            height = int.from_bytes(head[position + 5 : position + 7], "big")
            return int.from_bytes(head[position + 7 : position + 9], "big"), height
        position += 2 + max(2, int.from_bytes(head[position + 2 : position + 4], "big"))
    return 0, 0


def _webp_pixels(head: bytes) -> tuple[int, int]:
    match head[12:16]:
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
            return width & 0x3FFF, height & 0x3FFF
    return 0, 0
