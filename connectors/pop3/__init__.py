"""The `pop3` connector: a maildrop over POP3, by UIDL, read only (docs/connectors/pop3.md)."""

from .config import Pop3Config
from .connector import Pop3Connector

__all__ = ["Pop3Config", "Pop3Connector"]
