"""How a connector protects a connection of its own, and the settings for it."""

from __future__ import annotations

import ssl
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from sync.errors import ConfigError

MAX_TLS_CONTEXTS = 16
"""Files of authorities whose contexts are kept."""


class Tls(StrEnum):
    """How the connection is protected: from the first byte, after a STARTTLS command, or not at all."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context(ca_file: Path | None, *, code: str) -> ssl.SSLContext:
    """Full verification, against `ca_file` alone where one is configured. Connections share it: each of its own would
    hold all authorities of the system. Raises ConfigError, under `code`, for a file that cannot be used."""
    try:
        if ca_file is None:
            return _shared_context(None, 0)
        return _shared_context(str(ca_file), ca_file.stat().st_mtime_ns)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "it holds no certificate"
        raise ConfigError(
            f"The file of certificate authorities {ca_file} cannot be used: {reason}.",
            code=code,
            next_step="Set ca_file to a readable PEM file, or leave it out to trust the system's authorities.",
        ) from error


@lru_cache(maxsize=MAX_TLS_CONTEXTS)
def _shared_context(ca_file: str | None, _changed_at_ns: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
