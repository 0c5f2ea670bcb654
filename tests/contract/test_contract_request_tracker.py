"""The contract suite on the `request_tracker` connector, against a real Request Tracker 5."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import count

import pytest

from connectors.request_tracker import RequestTrackerConfig, RequestTrackerConnector
from sync.connector import Connector
from sync.testing.contract import ConnectorContract, World
from tests.servers.ports import free_port
from tests.servers.request_tracker import PASSWORD, RequestTracker

pytestmark = [pytest.mark.request_tracker, pytest.mark.xdist_group("request_tracker")]

WRONG_TOKEN = "1-14-00000000000000000000000000000000"
_queues = count(1)


class RequestTrackerWorld:
    """A queue of its own."""

    def __init__(self, server: RequestTracker) -> None:
        self.server = server
        self.token = server.token
        self.queue = f"queue {next(_queues)}"
        server.make_queue(self.queue)
        self.secrets: Sequence[str] = (self.token, WRONG_TOKEN, PASSWORD)

    def _config(self, **more: object) -> RequestTrackerConfig:
        values = {"url": self.server.url, "token": self.token, "queues": (self.queue,), **more}
        return RequestTrackerConfig.model_validate(values)

    def connector(self) -> Connector:
        return RequestTrackerConnector(self._config())

    def put(self, text: str) -> None:
        self.server.create("customer@customer.example", "a question", text, queue=self.queue)

    def put_at(self, text: str, at: datetime) -> None:
        self.server.create("customer@customer.example", "a question", text, queue=self.queue, at=at)

    def stall(self) -> AbstractContextManager[object]:
        return self.server.stall()

    def state(self) -> object:
        tickets = self.server.call("GET", "/tickets?query=id>0&per_page=100&fields=Status,LastUpdated,Owner")
        assert isinstance(tickets, dict)
        return tickets["items"]

    def with_wrong_secret(self) -> Connector | None:
        return RequestTrackerConnector(self._config(token=WRONG_TOKEN))

    def with_wrong_host(self) -> Connector | None:
        return RequestTrackerConnector(self._config(url=f"http://127.0.0.1:{free_port()}"))

    def with_missing_stream(self) -> Connector | None:
        return RequestTrackerConnector(self._config(queues=(self.queue, "Suport")))


class TestRequestTracker(ConnectorContract):
    @pytest.fixture
    def world(self, request_tracker: RequestTracker) -> World:
        return RequestTrackerWorld(request_tracker)
