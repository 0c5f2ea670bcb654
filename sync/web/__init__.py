"""The status page, and what monitoring asks: `/metrics`, `/healthz`, `/readyz`. Words and pages only: everything shown
or done here is one of `sync.operations`."""

from sync.web.app import Sight
from sync.web.metrics import Gauges
from sync.web.server import WebServer

__all__ = ["Gauges", "Sight", "WebServer"]
