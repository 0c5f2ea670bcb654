"""The contract suite on the `jmap` connector, against a real Cyrus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import count

import pytest

from connectors.jmap import JmapConfig, JmapConnector
from sync.connector import Connector
from sync.testing.contract import ConnectorContract, World
from tests.servers.cyrus import PASSWORD, Cyrus, needs_cyrus
from tests.servers.ports import free_port

pytestmark = pytest.mark.cyrus

_ids = count(1)


def mail(text: str) -> bytes:
    """With an id of its own, as every mail program gives: Cyrus takes equal bytes for one Email."""
    made = EmailMessage()
    made["Received"] = f"from mx.example.net by mail.example.com with ESMTP id {next(_ids)}"
    made["From"] = "Customer <customer@example.net>"
    made["To"] = "support@example.com"
    made["Subject"] = "a question"
    made["Date"] = "Thu, 12 Mar 2026 14:03:00 +0000"
    made.set_content(text, cte="base64" if not text.isascii() else None)
    return made.as_bytes()


class JmapWorld:
    def __init__(self, server: Cyrus) -> None:
        self.server = server
        self.secrets: Sequence[str] = (PASSWORD, "not-the-password")
        self._numbers = count(1)
        self._base = datetime.now(UTC) - timedelta(seconds=50)

    def _config(self, **more: object) -> JmapConfig:
        values = {
            "url": self.server.url,
            "username": "alice",
            "password": PASSWORD,
            "batch_messages": 7,
            **more,
        }
        return JmapConfig.model_validate(values)

    def connector(self) -> Connector:
        return JmapConnector(self._config())

    def put(self, text: str) -> None:
        self.put_at(text, self._base + timedelta(seconds=next(self._numbers)))

    def put_at(self, text: str, at: datetime) -> None:
        self.server.import_mail("alice", "inbox", mail(text), at)

    def stall(self) -> AbstractContextManager[object]:
        return self.server.silent()

    def state(self) -> object:
        return sorted(
            (str(one["id"]), str(one["keywords"]), str(one["mailboxIds"])) for one in self.server.emails("alice")
        )

    def with_wrong_secret(self) -> Connector | None:
        return JmapConnector(self._config(password="not-the-password"))

    def with_wrong_host(self) -> Connector | None:
        return JmapConnector(self._config(url=f"http://127.0.0.1:{free_port()}"))

    def with_missing_stream(self) -> Connector | None:
        return JmapConnector(self._config(mailboxes=("Snet", "inbox")))


@pytest.fixture(scope="module")
def server() -> Iterator[Cyrus]:
    needs_cyrus()
    with Cyrus() as running:
        yield running


class TestJmap(ConnectorContract):
    @pytest.fixture
    def world(self, server: Cyrus) -> World:
        server.empty("alice")
        return JmapWorld(server)
