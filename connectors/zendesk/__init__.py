"""The `zendesk` connector: tickets of a Zendesk account, over its Support API v2."""

from .config import ZendeskConfig
from .connector import ZendeskConnector

__all__ = ["ZendeskConfig", "ZendeskConnector"]
