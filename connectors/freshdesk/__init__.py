"""The `freshdesk` connector: tickets of a Freshdesk account, over its API v2."""

from .config import FreshdeskConfig
from .connector import FreshdeskConnector

__all__ = ["FreshdeskConfig", "FreshdeskConnector"]
