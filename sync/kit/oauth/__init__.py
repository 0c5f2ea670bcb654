"""OAuth 2.0 for connectors: the settings, and the tokens (`TokenSource`)."""

from .config import OAuthConfig
from .source import TokenSource

__all__ = ["OAuthConfig", "TokenSource"]
