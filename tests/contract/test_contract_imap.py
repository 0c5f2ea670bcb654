"""The contract suite on the `imap` connector, against a real Dovecot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.message import EmailMessage
from itertools import count

import pytest

from connectors.imap import ImapConfig, ImapConnector
from sync.connector import Connector
from sync.kit.tls import Tls
from sync.testing.contract import ConnectorContract, World
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot
from tests.servers.ports import free_port

pytestmark = pytest.mark.dovecot


def mail(text: str) -> bytes:
    made = EmailMessage()
    made["From"] = "Customer <customer@example.net>"
    made["To"] = "support@example.com"
    made["Subject"] = "a question"
    made["Date"] = "Thu, 12 Mar 2026 14:03:00 +0000"
    made.set_content(text, cte="base64" if not text.isascii() else None)
    return made.as_bytes()


class ImapWorld:
    def __init__(self, server: Dovecot, tls: Tls) -> None:
        self.server = server
        self.tls = tls
        self.secrets: Sequence[str] = (PASSWORD, "not-the-password")
        self._numbers = count(1)
        self._base = time.time() - 50

    def _config(self, **more: object) -> ImapConfig:
        port = self.server.imaps_port if self.tls is Tls.IMPLICIT else self.server.imap_port
        values = {
            "host": "localhost",
            "port": port,
            "tls": self.tls,
            "ca_file": self.server.ca_file,
            "username": "alice",
            "password": PASSWORD,
            "batch_messages": 7,
            **more,
        }
        return ImapConfig.model_validate(values)

    def connector(self) -> Connector:
        return ImapConnector(self._config())

    def put(self, text: str) -> None:
        self.put_at(text, datetime.fromtimestamp(self._base + next(self._numbers), UTC))

    def put_at(self, text: str, at: datetime) -> None:
        self.server.deliver("alice", "INBOX", mail(text), mtime=at)

    def stall(self) -> AbstractContextManager[object]:
        return self.server.silent()

    def state(self) -> object:
        # Dovecot itself moves files from new to cur: flags and messages are what must stay.
        return {name: where.partition(":")[2] for name, where in self.server.flags("alice").items()}

    def with_wrong_secret(self) -> Connector | None:
        return ImapConnector(self._config(password="not-the-password"))

    def with_wrong_host(self) -> Connector | None:
        return ImapConnector(self._config(port=free_port()))

    def with_missing_stream(self) -> Connector | None:
        return ImapConnector(self._config(folders=("Snet", "INBOX")))


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot() as running:
        yield running


class TestImap(ConnectorContract):
    @pytest.fixture
    def world(self, server: Dovecot) -> World:
        server.empty("alice")
        return ImapWorld(server, Tls.IMPLICIT)


class TestImapWithStartTls(TestImap):
    @pytest.fixture
    def world(self, server: Dovecot) -> World:
        server.empty("alice")
        return ImapWorld(server, Tls.STARTTLS)
