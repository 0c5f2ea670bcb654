"""Servers for tests of the whole program."""

from tests.servers.chromium import browser
from tests.servers.postgres import postgres_cluster

__all__ = ["browser", "postgres_cluster"]
