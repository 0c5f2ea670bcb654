"""The service that a connector is tested against, as its author describes it.

`World` is all that the contract suite needs. What a service cannot do is left as `BaseWorld` has it. Two more protocols
say what some services can be made to do: `TimedWorld` (messages with a time of one's choosing) and `StallingWorld`
(silence); the tests that need them are skipped elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from sync.connector import Connector


class World(Protocol):
    """A service with one account, empty at first. `secrets` are texts that must show up nowhere."""

    secrets: Sequence[str]

    def connector(self) -> Connector:
        """A new connector on the account."""
        ...

    def put(self, text: str) -> None:
        """Somebody writes `text` to the account (its main stream), now."""
        ...

    def state(self) -> object:
        """Whatever reading must leave as it is (flags, files), comparable by `==`."""
        ...

    def with_wrong_secret(self) -> Connector | None:
        """A connector with a password that is refused."""
        ...

    def with_wrong_host(self) -> Connector | None:
        """A connector whose host or path leads nowhere."""
        ...

    def with_missing_stream(self) -> Connector | None:
        """A connector that names a stream which does not exist, besides the main one."""
        ...


@runtime_checkable
class TimedWorld(Protocol):
    """A service whose clock can be told what it is."""

    def put_at(self, text: str, at: datetime) -> None:
        """Somebody writes `text`, and the service files it under this time (UTC)."""
        ...


@runtime_checkable
class StallingWorld(Protocol):
    """A service that can fall silent."""

    def stall(self) -> AbstractContextManager[object]:
        """Within the block the service takes connections and requests, and does not answer."""
        ...


class BaseWorld:
    """A world without secrets, streams or anything that reading could change. Derive from it, write `connector` and
    `put`, and override what the service has. It is entered before a test and left after it."""

    secrets: Sequence[str] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to stop."""

    def connector(self) -> Connector:
        """A new connector on the account."""
        raise NotImplementedError

    def put(self, text: str) -> None:
        """Somebody writes `text` to the account, now."""
        raise NotImplementedError

    def state(self) -> object:
        """Nothing that reading could change."""
        return None

    def with_wrong_secret(self) -> Connector | None:
        """There is no secret."""
        return None

    def with_wrong_host(self) -> Connector | None:
        """There is no host."""
        return None

    def with_missing_stream(self) -> Connector | None:
        """There are no named streams."""
        return None
