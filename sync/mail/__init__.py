"""Mail as it really is: RFC 5322 and MIME bytes become a `Message`. Pure, linear in time, never raises."""

from __future__ import annotations

from sync.mail.address import OwnAddresses, normalise_address, parse_addresses
from sync.mail.authentication import Authentication, Result, dmarc, dmarc_of
from sync.mail.body import TEXT_READ_BYTES, is_mere_file
from sync.mail.container import MailFiles, open_file, open_inside
from sync.mail.date import written_at
from sync.mail.machine import (
    MARKER_HEADER,
    MachineRules,
    MailClass,
    Verdict,
    classify,
    classify_message,
    is_loop,
)
from sync.mail.outline import leaves
from sync.mail.parse import Headers, recognise, understand, understand_headers, understand_with_files
from sync.mail.parts import PartDecoder, PartHead, head_of
from sync.mail.transfer import decoded_size

__all__ = [
    "MARKER_HEADER",
    "TEXT_READ_BYTES",
    "Authentication",
    "Headers",
    "MachineRules",
    "MailClass",
    "MailFiles",
    "OwnAddresses",
    "PartDecoder",
    "PartHead",
    "Result",
    "Verdict",
    "classify",
    "classify_message",
    "decoded_size",
    "dmarc",
    "dmarc_of",
    "head_of",
    "is_loop",
    "is_mere_file",
    "leaves",
    "normalise_address",
    "open_file",
    "open_inside",
    "parse_addresses",
    "recognise",
    "understand",
    "understand_headers",
    "understand_with_files",
    "written_at",
]
