"""Signing in to POP3 with tokens of a provider on loopback: a real Dovecot, and a server that answers as told."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from connectors.pop3 import Pop3Config, Pop3Connector
from connectors.pop3.faults import Stage, translate
from connectors.pop3.identity import identity_of
from connectors.pop3.wire import Refused
from sync.connector import PassContext, SignsIn
from sync.errors import AuthError, ConfigError, TemporaryError
from sync.kit.oauth import OAuthConfig, mail_scopes
from sync.testing.reader import Reader
from tests.integration.test_imap_oauth import Store
from tests.servers.dovecot import Dovecot, needs_pop3
from tests.servers.pop3_script import ScriptedPop3
from tests.servers.token_server import CLIENT_ID, CLIENT_SECRET, MARK, TokenServer

MECHANISMS = ("XOAUTH2", "OAUTHBEARER")


@pytest.fixture
def provider() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


class Maildrop:
    """A connector with its reader, as the daemon would have it."""

    def __init__(self, port: int, provider: TokenServer, **more: object) -> None:
        oauth: dict[str, object] = {
            "provider": "custom",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token_url": f"{provider.url}/token",
            "device_url": f"{provider.url}/device",
            **more,
        }
        values = {"host": "127.0.0.1", "port": port, "tls": "none", "username": "alice", "oauth": oauth}
        self.provider = provider
        self.store = Store()
        self.config = Pop3Config.model_validate(values)
        self.connector = Pop3Connector(self.config)
        self.reader = Reader(self.connector)
        self.reader.tokens = self.store

    def context(self) -> PassContext:
        return self.reader.context()

    async def sign_in(self) -> None:
        assert isinstance(self.connector, SignsIn)
        await self.connector.begin_sign_in(self.context())
        self.provider.approve()
        assert await self.connector.continue_sign_in("", self.context()) is None

    async def texts(self) -> list[str]:
        return [one.text for one in await self.reader.run_pass()]


def put(server: Dovecot, text: str) -> None:
    server.deliver("alice", "INBOX", f"From: a@example.net\r\nSubject: s\r\n\r\n{text}\r\n".encode())


@pytest.mark.dovecot
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_dovecot_is_read_with_tokens_that_are_renewed_when_taken_back(
    provider: TokenServer, mechanism: str
) -> None:
    needs_pop3()
    url, extra = f"{provider.url}/introspect", f"auth_mechanisms = plain {mechanism.lower()}"
    with Dovecot(pop3=True, introspection_url=url, extra=extra) as server:
        put(server, mechanism)
        maildrop = Maildrop(server.pop3_port, provider)
        with pytest.raises(AuthError) as caught:
            await maildrop.texts()
        assert caught.value.code == "oauth.sign_in_needed"
        await maildrop.sign_in()
        assert await maildrop.texts() == [mechanism]
        provider.expire()
        put(server, "after it was taken back")
        assert await maildrop.texts() == ["after it was taken back"]
        findings = await maildrop.connector.check(maildrop.context())
        assert findings[0].code == "pop3.signed_in"


@pytest.mark.dovecot
async def test_revoked_is_for_the_operator_and_trouble_is_waited_out(provider: TokenServer) -> None:
    needs_pop3()
    with Dovecot(pop3=True, introspection_url=f"{provider.url}/introspect") as server:
        maildrop = Maildrop(server.pop3_port, provider)
        await maildrop.sign_in()
        assert await maildrop.texts() == []
        provider.trouble = (503, {"error": "temporarily_unavailable"})
        with pytest.raises(TemporaryError):
            await maildrop.texts()
        provider.trouble = None
        provider.revoke()
        with pytest.raises(AuthError) as caught:
            await maildrop.texts()
        assert caught.value.code == "oauth.revoked"
        kept = json.loads(maildrop.store.text)
        assert kept["refresh_token"] not in repr((caught.value, caught.value.ids, maildrop.reader.log.events))


@pytest.mark.dovecot
async def test_a_token_for_somebody_elses_maildrop_says_so(provider: TokenServer) -> None:
    needs_pop3()
    provider.user = "bob"
    with Dovecot(pop3=True, introspection_url=f"{provider.url}/introspect") as server:
        maildrop = Maildrop(server.pop3_port, provider, flow="app")
        with pytest.raises(AuthError) as caught:
            await maildrop.texts()
        assert caught.value.code == "pop3.auth_refused"
        assert "username is the mailbox of who signed in" in caught.value.next_step


async def test_a_token_is_never_a_part_of_the_command_and_shows_up_nowhere(provider: TokenServer) -> None:
    with ScriptedPop3(capabilities=("TOP", "UIDL", "SASL PLAIN XOAUTH2 OAUTHBEARER")) as server:
        server.on("AUTH", "+ ")
        server.add(b"Subject: hi\r\n\r\nhello")
        maildrop = Maildrop(server.port, provider, flow="app")
        assert await maildrop.texts() == ["hello"]
        assert "AUTH XOAUTH2" in server.commands
        (token,) = [str(one["access_token"]) for one in provider.answered]
        assert base64.b64encode(f"user=alice\x01auth=Bearer {token}\x01\x01".encode()).decode() in server.commands
        said = translate(Refused("AUTH", f"{token} is not alice's"), maildrop.config, Stage.LOGIN, secret=token)
        assert MARK not in str(said)
        assert "alice" not in str(said).partition("It says")[2]


async def test_a_refusal_by_challenge_is_answered_and_comes_to_an_end(provider: TokenServer) -> None:
    with ScriptedPop3(capabilities=("UIDL", "SASL XOAUTH2")) as server:
        server.on("AUTH", "+ ")
        server.on("DXNLCJ", "+ eyJzdGF0dXMiOiI0MDEifQ==")
        server.on("CAPA", "+OK\r\nUIDL\r\nSASL XOAUTH2\r\n.")
        server.on("", "-ERR [AUTH] no")  # what the empty line is answered with, and anything else
        maildrop = Maildrop(server.port, provider, flow="app")
        with pytest.raises(AuthError) as caught:
            await maildrop.texts()
        assert caught.value.code == "pop3.auth_refused"
        assert len(provider.answered) == 2, "the token was renewed once"


async def test_a_server_without_tokens_is_named(provider: TokenServer) -> None:
    with ScriptedPop3() as server:
        maildrop = Maildrop(server.port, provider, flow="app")
        with pytest.raises(AuthError) as caught:
            await maildrop.texts()
        assert caught.value.code == "pop3.no_oauth"
        assert not any(command.startswith("AUTH") for command in server.commands)


async def test_a_maildrop_with_a_password_has_nobody_to_sign_in() -> None:
    values = {"host": "127.0.0.1", "tls": "none", "username": "alice", "password": "x"}
    connector = Pop3Connector(Pop3Config.model_validate(values))
    with pytest.raises(ConfigError) as caught:
        await connector.begin_sign_in(Reader(connector).context())
    assert caught.value.code == "auth.not_needed"


@pytest.mark.parametrize("more", [{}, {"password": "x", "oauth": {"provider": "google", "client_id": "c"}}])
def test_a_maildrop_has_one_way_to_sign_in(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="either password"):
        Pop3Config.model_validate({"host": "pop.example.com", "username": "alice", **more})


def test_each_provider_is_asked_for_pop_and_nothing_else() -> None:
    google = {"provider": "google", "client_id": "c"}
    microsoft = {"provider": "microsoft", "client_id": "c"}
    app = {**microsoft, "flow": "app", "tenant": "contoso.example", "client_secret": "s"}
    wanted = [
        (google, ("https://mail.google.com/",)),
        (microsoft, ("https://outlook.office.com/POP.AccessAsUser.All", "offline_access")),
        (app, ("https://outlook.office365.com/.default",)),
    ]
    for values, scopes in wanted:
        oauth = OAuthConfig.model_validate(values)
        assert mail_scopes(oauth, microsoft="POP.AccessAsUser.All") == scopes
        assert identity_of(Pop3Config(host="h", username="alice", oauth=oauth))._scopes == scopes
