"""The `jmap` connector: a mailbox over JMAP (RFC 8620, RFC 8621), read only (docs/connectors/jmap.md)."""

from .config import JmapConfig
from .connector import JmapConnector

__all__ = ["JmapConfig", "JmapConnector"]
