"""HTTP: the only room that imports httpx. One request, at most once on the wire, and the evidence of it."""

from __future__ import annotations

from sync.http.client import HttpClient, quiet_loggers
from sync.http.exchange import (
    Answered,
    Evidence,
    Exchange,
    Failed,
    HttpLimits,
    Phase,
    Why,
    WritingForbidden,
    parse_json,
)
from sync.http.streamed import Streamed
from sync.http.wire import EVIDENCE_EXTENSION, WireTransport, default_ssl_context

__all__ = [
    "EVIDENCE_EXTENSION",
    "Answered",
    "Evidence",
    "Exchange",
    "Failed",
    "HttpClient",
    "HttpLimits",
    "Phase",
    "Streamed",
    "Why",
    "WireTransport",
    "WritingForbidden",
    "default_ssl_context",
    "parse_json",
    "quiet_loggers",
]
