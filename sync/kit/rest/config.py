"""Settings that most REST connectors have: an address, and a secret that fits into a header."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from sync.kit.tls import is_loopback


def _an_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address such as https://help.example.com")
    if parts.username or parts.password:
        raise ValueError("must hold no password: it has a setting of its own")
    if parts.query or parts.fragment:
        raise ValueError("must end before the ? or #")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must begin with https: the secret would travel readable")
    return value.rstrip("/")


def _a_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        raise ValueError("must not be empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must not contain line breaks (does the secret's file hold more than the secret?)")
    return value


ServiceUrl = Annotated[str, AfterValidator(_an_address)]
"""Where a service is: https, or http on this machine; without a slash at its end."""

Secret = Annotated[SecretStr, AfterValidator(_a_secret)]
"""A token or password."""
