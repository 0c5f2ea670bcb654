"""OAuth 2.0 for connectors: the settings, the tokens (`TokenSource`), and signing in with one (`Identity`)."""

from .config import OAuthConfig
from .identity import Credential, Identity
from .sasl import TOKEN_MECHANISMS, mail_scopes, sasl_response
from .source import TokenSource

__all__ = [
    "TOKEN_MECHANISMS",
    "Credential",
    "Identity",
    "OAuthConfig",
    "TokenSource",
    "mail_scopes",
    "sasl_response",
]
