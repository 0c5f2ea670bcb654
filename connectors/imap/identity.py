"""As whom a connection signs in."""

from __future__ import annotations

from sync.kit.oauth import Identity, mail_scopes

from .config import ImapConfig


def identity_of(config: ImapConfig) -> Identity:
    """The identity of a source."""
    scopes = mail_scopes(config.oauth, microsoft="IMAP.AccessAsUser.All")
    return Identity(username=config.username, secret=config.password, oauth=config.oauth, scopes=scopes)
