"""The contract suite on the `pop3` connector, against a real Dovecot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import formatdate
from itertools import count

import pytest

from connectors.pop3 import Pop3Config, Pop3Connector
from sync.connector import Connector
from sync.kit.tls import Tls
from sync.testing.contract import ConnectorContract, World
from tests.servers.dovecot import PASSWORD, Dovecot, needs_pop3
from tests.servers.ports import free_port

pytestmark = pytest.mark.dovecot


def mail(text: str, at: float) -> bytes:
    """As it lies in a maildrop: the last server has written down when it received it."""
    made = EmailMessage()
    made["Received"] = f"from mx.example.net by mail.example.com with ESMTP; {formatdate(at)}"
    made["From"] = "Customer <customer@example.net>"
    made["To"] = "support@example.com"
    made["Subject"] = "a question"
    made["Date"] = "Thu, 12 Mar 2026 14:03:00 +0000"
    made.set_content(text, cte="base64" if not text.isascii() else None)
    return made.as_bytes()


class Pop3World:
    def __init__(self, server: Dovecot, tls: Tls) -> None:
        self.server = server
        self.tls = tls
        self.secrets: Sequence[str] = (PASSWORD, "not-the-password")
        self._numbers = count(1)
        self._base = time.time() - 50

    def _config(self, **more: object) -> Pop3Config:
        port = self.server.pop3s_port if self.tls is Tls.IMPLICIT else self.server.pop3_port
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
        return Pop3Config.model_validate(values)

    def connector(self) -> Connector:
        return Pop3Connector(self._config())

    def put(self, text: str) -> None:
        self.put_at(text, datetime.fromtimestamp(self._base + next(self._numbers), UTC))

    def put_at(self, text: str, at: datetime) -> None:
        self.server.deliver("alice", "INBOX", mail(text, at.timestamp()), mtime=at)

    def stall(self) -> AbstractContextManager[object]:
        return self.server.silent()

    def state(self) -> object:
        # Dovecot itself moves files from new to cur: flags and messages are what must stay.
        return {name: where.partition(":")[2] for name, where in self.server.flags("alice").items()}

    def with_wrong_secret(self) -> Connector | None:
        return Pop3Connector(self._config(password="not-the-password"))

    def with_wrong_host(self) -> Connector | None:
        return Pop3Connector(self._config(port=free_port()))

    def with_missing_stream(self) -> Connector | None:
        return None


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    needs_pop3()
    with Dovecot(pop3=True) as running:
        yield running


class TestPop3(ConnectorContract):
    @pytest.fixture
    def world(self, server: Dovecot) -> World:
        server.empty("alice")
        return Pop3World(server, Tls.IMPLICIT)


class TestPop3WithStartTls(TestPop3):
    @pytest.fixture
    def world(self, server: Dovecot) -> World:
        server.empty("alice")
        return Pop3World(server, Tls.STARTTLS)
