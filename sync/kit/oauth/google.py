"""Google's way to act for a mailbox without anybody who signs in: a service account with domain-wide delegation."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, SecretStr

from sync.errors import ConfigError

LIFETIME_SECONDS = 3600
"""The most that Google takes."""


class _ServiceAccount(BaseModel):
    """The key file that the provider makes."""

    client_email: str
    private_key: str
    private_key_id: str = ""


def service_account_assertion(key: SecretStr, *, user: str, scope: str, audience: str, now: datetime) -> str:
    """A JWT by which a service account acts for a mailbox (RFC 7523; Google's domain-wide delegation). Raises
    ConfigError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  an extra
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415  an extra
        from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415  an extra
    except ImportError:
        raise ConfigError(
            "Signing in with a service account needs the package cryptography.",
            code="oauth.no_cryptography",
            next_step='Install it: pip install "inbox-sync[google]".',
        ) from None
    try:
        account = _ServiceAccount.model_validate_json(key.get_secret_value())
        private = serialization.load_pem_private_key(account.private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key() from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise _no_key()
    issued = int(now.timestamp())
    header: dict[str, str | int] = {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
    claims: dict[str, str | int] = {
        "iss": account.client_email,
        "sub": user,
        "scope": scope,
        "aud": audience,
        "iat": issued,
        "exp": issued + LIFETIME_SECONDS,
    }
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{_base64(private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _no_key() -> ConfigError:
    return ConfigError(
        "service_account is no key of a service account.",
        code="oauth.service_account",
        next_step="Make a key of type JSON for it at the provider, and name its file.",
    )


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _part(content: Mapping[str, str | int]) -> str:
    return _base64(json.dumps(content, separators=(",", ":")).encode())
