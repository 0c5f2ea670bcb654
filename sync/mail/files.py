"""The parts of a mail that are files: their names, types and sizes."""

from __future__ import annotations

import re

from sync.mail.header import MAX_VALUE_BYTES, decode_value, decode_words, read_header
from sync.mail.structure import Part
from sync.mail.transfer import decode_transfer, decoded_size
from sync.message import Attachment
from sync.text.clean import clean_line
from sync.text.units import cut_units, utf16_length

MAX_FILENAME_UNITS = 200
"""UTF-16 units: the Media API's limit for a file's name (messages allow 255)."""

MAX_EXTENSION_CHARS = 12
MAX_NESTED_HEADER_BYTES = 64 * 1_024
"""What of a nested mail is read to find its subject."""

_UNNAMED = {
    "application/pdf": "document.pdf",
    "application/pgp-encrypted": "encrypted.asc",
    "application/pkcs7-mime": "smime.p7m",
    "application/x-pkcs7-mime": "smime.p7m",
    "application/ms-tnef": "winmail.dat",
    "application/vnd.ms-tnef": "winmail.dat",
    "application/zip": "archive.zip",
    "message/delivery-status": "delivery-status.txt",
    "text/rfc822-headers": "headers.txt",
    "text/calendar": "invitation.ics",
    "text/csv": "table.csv",
    "text/html": "page.html",
    "text/plain": "text.txt",
    "text/vcard": "contact.vcf",
    "text/x-vcard": "contact.vcf",
}
_UNTYPED = frozenset(
    {"application/octet-stream", "application/x-octet-stream", "application/octetstream", "application/binary"}
    | {"application/unknown", "application/x-unknown", "application/force-download", "application/x-download"}
    | {"application/download", "binary/octet-stream", "application/x-forcedownload", "application/x-msdownload-file"}
)
"""What mail programs call a file whose kind they do not know or do not say."""

_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "jpe": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "pdf": "application/pdf",
    "zip": "application/zip",
    "rtf": "application/rtf",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "csv": "text/csv",
    "txt": "text/plain",
    "ics": "text/calendar",
    "vcf": "text/vcard",
    "eml": "message/rfc822",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
}
"""Media types (IANA) by extension, for files that come without one."""

_SAME_TYPES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
}
_FAMILIES = {"image": "picture", "audio": "sound", "video": "video", "text": "text"}
_EXTENSIONS = {"jpeg": "jpg", "svg+xml": "svg", "x-icon": "ico", "mpeg": "mp3", "quicktime": "mov", "x-wav": "wav"}
_SIMPLE_SUBTYPE = re.compile(r"[a-z0-9]{1,5}")
_FORBIDDEN = re.compile(r"[<>:\"|?*\x00-\x1f]")


def attachment_of(raw: bytes, part: Part, *, inline: bool, cut_at: int | None = None) -> Attachment:
    """What the rest of the program knows of a file. `ref` is the part's section number; the size is worked out from
    the encoded length, and None when the mail was cut inside the part (`cut_at`)."""
    size: int | None = None
    if cut_at is None or part.stop < cut_at:
        newlines = raw.count(b"\n", part.start, part.stop) + raw.count(b"\r", part.start, part.stop)
        padding = raw[max(part.start, part.stop - 4) : part.stop].count(b"=")
        size = decoded_size(part.stop - part.start, newlines + padding, part.transfer_encoding)
    name = filename_of(raw, part)
    return Attachment(name, type_of(part.mime_type, name), size, part.path, inline)


def type_of(declared: str, filename: str) -> str:
    """A file's media type: as declared, by its usual name, or by the file's extension where none is declared, so that
    a photo shows as one although the sender's program did not know it."""
    if declared in _UNTYPED:
        return _TYPES.get(filename.lower().rpartition(".")[2], declared)
    return _SAME_TYPES.get(declared, declared)[:100]


def declared_filename(part: Part) -> str:
    """The file name that the part's header gives, made safe; empty when there is none."""
    for parameters, key in ((part.disposition_parameters, "filename"), (part.parameters, "name")):
        name = safe_filename(parameters.get(key, ""))
        if name:
            return name
    return ""


def filename_of(raw: bytes, part: Part) -> str:
    """The declared name; for a nested mail its subject; else a name after its type. Never empty."""
    declared = declared_filename(part)
    if declared:
        return declared
    if part.mime_type in {"message/rfc822", "message/global", "message/news"}:
        subject = re.sub(r"[/\\]", "-", nested_subject(raw, part))  # a title with a slash is no path
        return safe_filename(f"{subject.strip(' .') or 'message'}.eml")
    description = safe_filename(clean_line(decode_value(part.header.raw("content-description"))))
    if description and "." in description:
        return description
    return _name_for(part.mime_type)


def safe_filename(name: str) -> str:
    """`name` without folders and characters that file systems refuse, cut to the limit with its extension kept."""
    line = clean_line(decode_words(name), limit_chars=1_000)
    line = _FORBIDDEN.sub("_", line.replace("\\", "/").rstrip("/").rpartition("/")[2]).strip(" .") or ""
    if utf16_length(line) <= MAX_FILENAME_UNITS:
        return line
    stem, dot, extension = line.rpartition(".")
    if not dot or len(extension) > MAX_EXTENSION_CHARS:
        return cut_units(line, MAX_FILENAME_UNITS)
    return cut_units(stem, MAX_FILENAME_UNITS - utf16_length(dot + extension)) + dot + extension


def nested_subject(raw: bytes, part: Part) -> str:
    """The subject of the mail inside a message/rfc822 part."""
    data = raw[part.start : min(part.stop, part.start + MAX_NESTED_HEADER_BYTES)]
    if part.transfer_encoding in {"base64", "quoted-printable"}:
        data, _ = decode_transfer(data, part.transfer_encoding)
    header = read_header(data, 0, len(data))
    return decode_value(header.raw("subject")[:MAX_VALUE_BYTES])


def _name_for(mime_type: str) -> str:
    known = _UNNAMED.get(mime_type)
    if known is not None:
        return known
    family, _, subtype = mime_type.partition("/")
    extension = _EXTENSIONS.get(subtype, subtype)
    stem = _FAMILIES.get(family, "attachment")
    if family in _FAMILIES and _SIMPLE_SUBTYPE.fullmatch(extension):
        return f"{stem}.{extension}"
    return stem
