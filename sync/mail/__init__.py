"""Mail as it really is: RFC 5322 and MIME bytes become a `Message`. Pure, linear in time, never raises."""

from __future__ import annotations

from sync.mail.address import OwnAddresses, normalise_address, parse_addresses
from sync.mail.date import written_at
from sync.mail.machine import MARKER_HEADER, is_loop
from sync.mail.parse import Headers, understand, understand_headers

__all__ = [
    "MARKER_HEADER",
    "Headers",
    "OwnAddresses",
    "is_loop",
    "normalise_address",
    "parse_addresses",
    "understand",
    "understand_headers",
    "written_at",
]
