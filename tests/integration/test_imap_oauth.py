"""Signing in to a real Dovecot with tokens of a provider on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from connectors.imap import ImapConfig, ImapConnector
from sync.connector import PassContext
from sync.errors import AuthError, ConfigError, TemporaryError
from sync.message import Json
from sync.testing.reader import OneCallHttp, Reader
from tests.servers.dovecot import Dovecot, needs_dovecot
from tests.servers.imap_script import ScriptedImap
from tests.servers.token_server import CLIENT_ID, CLIENT_SECRET, MARK, TokenServer

pytestmark = pytest.mark.dovecot


class Store:
    """A token store in memory."""

    def __init__(self) -> None:
        self.text, self.version = "null", 0

    async def load(self) -> tuple[Json, int]:
        value: Json = json.loads(self.text)
        return value, self.version

    async def save(self, value: Json, version: int) -> bool:
        if version != self.version:
            return False
        self.text, self.version = json.dumps(value), version + 1
        return True


@pytest.fixture
def provider() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


@pytest.fixture
def server(provider: TokenServer) -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot(introspection_url=f"{provider.url}/introspect") as running:
        yield running


def config(port: int, provider: TokenServer, **more: object) -> ImapConfig:
    oauth: dict[str, object] = {
        "provider": "custom",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "token_url": f"{provider.url}/token",
        "device_url": f"{provider.url}/device",
        **more,
    }
    values = {"host": "127.0.0.1", "port": port, "tls": "none", "username": "alice", "oauth": oauth}
    return ImapConfig.model_validate(values)


class Mailbox:
    """A connector with its reader, as the daemon would have it."""

    def __init__(self, port: int, provider: TokenServer, store: Store, **more: object) -> None:
        self.provider = provider
        self.connector = ImapConnector(config(port, provider, **more))
        self.reader = Reader(self.connector)
        self.reader.tokens = store

    def context(self) -> PassContext:
        return self.reader.context()

    async def sign_in(self) -> None:
        await self.connector.begin_sign_in(self.context())
        self.provider.approve()
        assert await self.connector.continue_sign_in("", self.context()) is None

    async def texts(self) -> list[str]:
        return [one.text for one in await self.reader.run_pass()]


def put(server: Dovecot, text: str) -> None:
    server.deliver("alice", "INBOX", f"From: a@example.net\r\nSubject: s\r\n\r\n{text}\r\n".encode())


async def test_a_mailbox_is_read_with_a_token(server: Dovecot, provider: TokenServer) -> None:
    put(server, "hello")
    mailbox = Mailbox(server.imap_port, provider, Store())
    with pytest.raises(AuthError) as caught:
        await mailbox.texts()
    assert caught.value.code == "oauth.sign_in_needed"
    await mailbox.sign_in()
    assert await mailbox.texts() == ["hello"]
    findings = await mailbox.connector.check(mailbox.context())
    assert findings[0].code == "imap.signed_in"
    await mailbox.connector.aclose()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_both_mechanisms_work(provider: TokenServer, mechanism: str) -> None:
    needs_dovecot()
    with Dovecot(
        introspection_url=f"{provider.url}/introspect", extra=f"auth_mechanisms = plain {mechanism.lower()}"
    ) as server:
        put(server, mechanism)
        mailbox = Mailbox(server.imap_port, provider, Store())
        await mailbox.sign_in()
        assert await mailbox.texts() == [mechanism]
        await mailbox.connector.aclose()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_token_taken_back_before_its_time_is_renewed_once(provider: TokenServer, mechanism: str) -> None:
    needs_dovecot()
    with Dovecot(
        introspection_url=f"{provider.url}/introspect", extra=f"auth_mechanisms = plain {mechanism.lower()}"
    ) as server:
        mailbox = Mailbox(server.imap_port, provider, Store())
        await mailbox.sign_in()
        assert await mailbox.texts() == []
        await mailbox.connector.aclose()
        provider.expire()
        put(server, "after it was taken back")
        assert await mailbox.texts() == ["after it was taken back"]
        await mailbox.connector.aclose()


async def test_the_waiting_connection_signs_in_with_the_token_too(server: Dovecot, provider: TokenServer) -> None:
    mailbox = Mailbox(server.imap_port, provider, Store())
    await mailbox.sign_in()
    await mailbox.texts()
    provider.expire()
    put(server, "news")
    assert await mailbox.connector.wait(mailbox.context()) == frozenset({"INBOX"})
    await mailbox.connector.aclose()


async def test_revoked_is_for_the_operator_and_trouble_is_waited_out(server: Dovecot, provider: TokenServer) -> None:
    store = Store()
    mailbox = Mailbox(server.imap_port, provider, store)
    await mailbox.sign_in()
    provider.trouble = (503, {"error": "temporarily_unavailable"})
    with pytest.raises(TemporaryError):
        await mailbox.texts()
    provider.trouble = None
    provider.revoke()
    with pytest.raises(AuthError) as caught:
        await mailbox.texts()
    assert caught.value.code == "oauth.revoked"
    kept = json.loads(store.text)
    assert kept["refresh_token"] not in repr((caught.value, caught.value.ids, mailbox.reader.log.events))
    assert MARK not in str(caught.value)
    await mailbox.connector.aclose()


async def test_an_application_of_its_own_reads_without_anybody(server: Dovecot, provider: TokenServer) -> None:
    put(server, "hello")
    mailbox = Mailbox(server.imap_port, provider, Store(), flow="app")
    assert await mailbox.texts() == ["hello"]
    await mailbox.connector.aclose()


async def test_a_token_for_somebody_elses_mailbox_says_so(server: Dovecot, provider: TokenServer) -> None:
    provider.user = "bob"
    mailbox = Mailbox(server.imap_port, provider, Store(), flow="app")
    with pytest.raises(AuthError) as caught:
        await mailbox.texts()
    assert caught.value.code == "imap.auth_refused"
    assert "username is the mailbox of who signed in" in caught.value.next_step
    await mailbox.connector.aclose()


async def test_a_server_without_tokens_is_named(provider: TokenServer) -> None:
    with ScriptedImap() as server:
        mailbox = Mailbox(server.port, provider, Store(), flow="app")
        with pytest.raises(AuthError) as caught:
            await mailbox.texts()
        assert caught.value.code == "imap.no_oauth"


async def test_a_mailbox_with_a_password_has_nobody_to_sign_in(provider: TokenServer) -> None:
    values = {"host": "127.0.0.1", "tls": "none", "username": "alice", "password": "x"}
    connector = ImapConnector(ImapConfig.model_validate(values))
    reader = Reader(connector)
    reader.tokens = Store()
    reader.http = OneCallHttp()
    with pytest.raises(ConfigError) as caught:
        await connector.begin_sign_in(reader.context())
    assert caught.value.code == "auth.not_needed"


@pytest.mark.parametrize("more", [{}, {"password": "x", "oauth": {"provider": "google", "client_id": "c"}}])
def test_a_mailbox_has_one_way_to_sign_in(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="either password"):
        ImapConfig.model_validate({"host": "imap.example.com", "username": "alice", **more})
