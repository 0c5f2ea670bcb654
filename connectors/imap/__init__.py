"""The `imap` connector: folders of a mailbox, by UID and UIDVALIDITY, read only (docs/connectors/imap.md)."""

from .config import ImapConfig
from .connector import ImapConnector

__all__ = ["ImapConfig", "ImapConnector"]
