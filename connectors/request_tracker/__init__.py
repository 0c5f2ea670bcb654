"""The `request_tracker` connector: tickets of Request Tracker 5 (docs/connectors/request_tracker.md)."""

from .config import RequestTrackerConfig
from .connector import RequestTrackerConnector

__all__ = ["RequestTrackerConfig", "RequestTrackerConnector"]
