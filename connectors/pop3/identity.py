"""As whom a session signs in."""

from __future__ import annotations

from sync.kit.oauth import Identity, mail_scopes

from .config import Pop3Config


def identity_of(config: Pop3Config) -> Identity:
    """The identity of a source."""
    scopes = mail_scopes(config.oauth, microsoft="POP.AccessAsUser.All")
    return Identity(username=config.username, secret=config.password, oauth=config.oauth, scopes=scopes)
