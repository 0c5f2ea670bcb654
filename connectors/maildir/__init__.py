"""The `maildir` connector: mail in files (a Maildir, an mbox, a folder of .eml), read only (docs/connectors/maildir.md)."""

from .config import MaildirConfig, MailFormat
from .connector import MaildirConnector

__all__ = ["MailFormat", "MaildirConfig", "MaildirConnector"]
