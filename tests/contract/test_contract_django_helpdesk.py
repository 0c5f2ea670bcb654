"""The contract suite on the `django_helpdesk` connector, against a real django-helpdesk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import pytest

from connectors.django_helpdesk import DjangoHelpdeskConfig, DjangoHelpdeskConnector
from sync.connector import Connector
from sync.testing.contract import ConnectorContract, World
from tests.servers.django_helpdesk import PASSWORD, DjangoHelpdesk
from tests.servers.ports import free_port

pytestmark = [pytest.mark.django_helpdesk, pytest.mark.xdist_group("django_helpdesk")]

WRONG_TOKEN = "0" * 40


class DjangoHelpdeskWorld:
    """A site whose customers write on its public page."""

    def __init__(self, server: DjangoHelpdesk) -> None:
        self.server = server
        self.secrets: Sequence[str] = (server.token, WRONG_TOKEN, PASSWORD)

    def _config(self, **more: object) -> DjangoHelpdeskConfig:
        return DjangoHelpdeskConfig.model_validate({"url": self.server.url, "token": self.server.token, **more})

    def connector(self) -> Connector:
        return DjangoHelpdeskConnector(self._config())

    def put(self, text: str) -> None:
        self._write(text)

    def put_at(self, text: str, at: datetime) -> None:
        self._write(text, at)

    def _write(self, text: str, at: datetime | None = None) -> None:
        ticket = self.server.open_ticket("a question", text, "customer@customer.example")
        self.server.write(ticket, text, title="Ticket Opened", at=at)

    def stall(self) -> AbstractContextManager[object]:
        return self.server.stall()

    def state(self) -> object:
        return self.server.state()

    def with_wrong_secret(self) -> Connector | None:
        return DjangoHelpdeskConnector(self._config(token=WRONG_TOKEN))

    def with_wrong_host(self) -> Connector | None:
        return DjangoHelpdeskConnector(self._config(url=f"http://127.0.0.1:{free_port()}"))

    def with_missing_stream(self) -> Connector | None:
        return None


class TestDjangoHelpdesk(ConnectorContract):
    @pytest.fixture
    def world(self, helpdesk_site: DjangoHelpdesk) -> World:
        helpdesk_site.clear()
        return DjangoHelpdeskWorld(helpdesk_site)
