"""The hosted helpdesks as tests of all three use them: a service with one customer, and a connector on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from connectors.freshdesk import FreshdeskConfig, FreshdeskConnector
from connectors.zammad import ZammadConfig, ZammadConnector
from connectors.zendesk import ZendeskConfig, ZendeskConnector
from sync.connector import Connector
from sync.testing.service import ScriptedService
from sync.testing.world import BaseWorld
from tests.servers.freshdesk_script import API_KEY, ScriptedFreshdesk
from tests.servers.ports import free_port
from tests.servers.zammad_script import TOKEN as ZAMMAD_TOKEN
from tests.servers.zammad_script import ScriptedZammad
from tests.servers.zendesk_script import EMAIL, ScriptedZendesk
from tests.servers.zendesk_script import TOKEN as ZENDESK_TOKEN

WRONG = "not-the-token"
MANY = 10_000


class HelpdeskWorld(BaseWorld):
    """A `sync.testing.contract.World`: a customer writes by turns a new ticket and into the one before. Tests of rows in
    docs/failures.md open, answer, touch and delete tickets, and have something happen just before a page is given."""

    page_rows = 100
    """Rows of one page of what the connector lists."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._base = datetime.now(UTC) - timedelta(seconds=60)

    # -- what each service has its own way for

    @property
    def scripted(self) -> ScriptedService:
        """The service."""
        raise NotImplementedError

    def connector(self, **settings: object) -> Connector:
        raise NotImplementedError

    def open(self, text: str, at: datetime) -> Any:
        """A ticket."""
        raise NotImplementedError

    def write(self, ticket: Any, text: str, at: datetime) -> None:
        """The customer, again."""
        raise NotImplementedError

    def remove(self, ticket: Any) -> None:
        """A ticket is deleted."""
        raise NotImplementedError

    def before_pages(self, happens: Callable[[int], object] | None) -> None:
        """Something happens before each page of what is listed."""
        raise NotImplementedError

    @property
    def tickets(self) -> list[Any]:
        """All there are."""
        raise NotImplementedError

    # -- the contract

    def put(self, text: str) -> None:
        number = next(self._numbers)
        at = self._base + timedelta(seconds=number)
        if number % 2:
            self.open(text, at)
        else:
            self.write(self.tickets[-1], text, at)

    def put_at(self, text: str, at: datetime) -> None:
        self.open(text, at)

    def stall(self) -> AbstractContextManager[object]:
        return self.scripted.silence()

    def state(self) -> object:
        return repr(self.tickets)

    def with_wrong_host(self) -> Connector | None:
        return self.connector(url=f"http://127.0.0.1:{free_port()}")


class ZendeskWorld(HelpdeskWorld):
    secrets: Sequence[str] = (ZENDESK_TOKEN, WRONG)

    def __init__(self, service: ScriptedZendesk) -> None:
        super().__init__()
        self.service = service
        service.clock = lambda: datetime.now(UTC) + timedelta(minutes=2)  # so that nothing is in its hidden last minute
        service.exports_per_minute = MANY
        service.page = 100
        self._customer = service.user("end-user", "customer@example.net", "Jo Customer")

    def connector(self, **settings: object) -> Connector:
        values = {"url": self.service.url, "email": EMAIL, "api_token": ZENDESK_TOKEN, "exports_per_minute": 100}
        return ZendeskConnector(ZendeskConfig.model_validate({**values, "requests_per_minute": MANY, **settings}))

    @property
    def scripted(self) -> ScriptedService:
        return self.service

    def open(self, text: str, at: datetime) -> Any:
        return self.service.ticket(self._customer, text, at=at)

    def write(self, ticket: Any, text: str, at: datetime) -> None:
        self.service.comment(ticket, self._customer, text, at=at)

    def remove(self, ticket: Any) -> None:
        self.service.delete(ticket, at=ticket.updated_at)

    def before_pages(self, happens: Callable[[int], object] | None) -> None:
        self.service.before_page = happens

    @property
    def tickets(self) -> list[Any]:
        return list(self.service.tickets.values())

    def with_wrong_secret(self) -> Connector | None:
        return self.connector(api_token=WRONG)


class FreshdeskWorld(HelpdeskWorld):
    secrets: Sequence[str] = (API_KEY, WRONG)

    def __init__(self, service: ScriptedFreshdesk) -> None:
        super().__init__()
        self.service = service
        service.per_minute = MANY
        self._customer = service.contact("customer@example.net", "Jo Customer")

    def connector(self, **settings: object) -> Connector:
        values = {"url": self.service.url, "api_key": API_KEY, "requests_per_minute": MANY, **settings}
        return FreshdeskConnector(FreshdeskConfig.model_validate(values))

    @property
    def scripted(self) -> ScriptedService:
        return self.service

    def open(self, text: str, at: datetime) -> Any:
        return self.service.ticket(self._customer, text, at=at)

    def write(self, ticket: Any, text: str, at: datetime) -> None:
        self.service.conversation(ticket, self._customer, text, at=at)

    def remove(self, ticket: Any) -> None:
        ticket.deleted = True

    def before_pages(self, happens: Callable[[int], object] | None) -> None:
        self.service.before_page = happens

    @property
    def tickets(self) -> list[Any]:
        return list(self.service.tickets.values())

    def with_wrong_secret(self) -> Connector | None:
        return self.connector(api_key=WRONG)


class ZammadWorld(HelpdeskWorld):
    secrets: Sequence[str] = (ZAMMAD_TOKEN, WRONG)
    page_rows = 200

    def __init__(self, service: ScriptedZammad, read_by: str) -> None:
        super().__init__()
        self.service = service
        service.permissions = ("ticket.agent", "admin")
        self._read_by = read_by
        self._customer = service.user("customer@example.net", "Jo", "Customer")

    def connector(self, **settings: object) -> Connector:
        values = {"url": self.service.url, "token": ZAMMAD_TOKEN, "read_by": self._read_by, **settings}
        return ZammadConnector(ZammadConfig.model_validate(values))

    @property
    def scripted(self) -> ScriptedService:
        return self.service

    def open(self, text: str, at: datetime) -> Any:
        return self.service.ticket(self._customer, text, at=at, content_type="text/plain")

    def write(self, ticket: Any, text: str, at: datetime) -> None:
        self.service.article(ticket, text, at=at, content_type="text/plain")

    def remove(self, ticket: Any) -> None:
        self.service.delete(ticket)

    def before_pages(self, happens: Callable[[int], object] | None) -> None:
        self.service.before_page = happens

    @property
    def tickets(self) -> list[Any]:
        return list(self.service.tickets.values())

    def with_wrong_secret(self) -> Connector | None:
        return self.connector(token=WRONG)
