"""Servers for tests of the whole program."""

from tests.servers.postgres import postgres_cluster

__all__ = ["postgres_cluster"]
