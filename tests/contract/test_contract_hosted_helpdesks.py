"""The contract suite on `zendesk`, `freshdesk` and `zammad`, against the scripted services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync.testing.contract import ConnectorContract, World
from tests.servers.freshdesk_script import ScriptedFreshdesk
from tests.servers.helpdesk_worlds import FreshdeskWorld, ZammadWorld, ZendeskWorld
from tests.servers.zammad_script import ScriptedZammad
from tests.servers.zendesk_script import ScriptedZendesk


class TestZendesk(ConnectorContract):
    @pytest.fixture
    def world(self) -> Iterator[World]:
        with ScriptedZendesk() as service:
            yield ZendeskWorld(service)


class TestFreshdesk(ConnectorContract):
    @pytest.fixture
    def world(self) -> Iterator[World]:
        with ScriptedFreshdesk() as service:
            yield FreshdeskWorld(service)


@pytest.mark.parametrize("read_by", ["tickets", "articles"])
class TestZammad(ConnectorContract):
    @pytest.fixture
    def world(self, read_by: str) -> Iterator[World]:
        with ScriptedZammad() as service:
            yield ZammadWorld(service, read_by)
