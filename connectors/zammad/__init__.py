"""The `zammad` connector: tickets of a Zammad, over its REST API."""

from .config import ZammadConfig
from .connector import ZammadConnector

__all__ = ["ZammadConfig", "ZammadConnector"]
