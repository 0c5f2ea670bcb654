"""Signing in to JMAP with tokens of a provider on loopback, which the server believes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from connectors.jmap import JmapConfig, JmapConnector
from sync.connector import PassContext, SignsIn, Stream
from sync.errors import AuthError, ConfigError, TemporaryError
from sync.message import Attachment
from sync.testing.reader import Reader
from tests.integration.test_imap_oauth import Store
from tests.servers.jmap_script import ScriptedJmap
from tests.servers.token_server import CLIENT_ID, CLIENT_SECRET, MARK, TokenServer

SIMPLE = b"From: jo@example.net\r\nSubject: s\r\n\r\n"
WITH_FILE = (
    b"From: jo@example.net\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
    b"Content-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment\r\n\r\nthe file\r\n--b--\r\n"
)


@pytest.fixture
def provider() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


@pytest.fixture
def server(provider: TokenServer) -> Iterator[ScriptedJmap]:
    with ScriptedJmap() as running:
        running.token = lambda token: bool(provider.introspect(token)[1]["active"])
        yield running


class Mailbox:
    """A connector with its reader, as the daemon would have it."""

    def __init__(self, server: ScriptedJmap, provider: TokenServer, **more: object) -> None:
        oauth: dict[str, object] = {
            "provider": "custom",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token_url": f"{provider.url}/token",
            "device_url": f"{provider.url}/device",
            "authorize_url": f"{provider.url}/authorize",
            **more,
        }
        values = {"url": server.url, "username": "alice", "oauth": oauth}
        self.provider = provider
        self.store = Store()
        self.connector = JmapConnector(JmapConfig.model_validate(values))
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


async def test_a_mailbox_is_read_with_tokens_that_are_renewed_when_taken_back(
    server: ScriptedJmap, provider: TokenServer
) -> None:
    server.add(SIMPLE + b"hello")
    mailbox = Mailbox(server, provider)
    with pytest.raises(AuthError) as caught:
        await mailbox.texts()
    assert caught.value.code == "oauth.sign_in_needed"
    await mailbox.sign_in()
    assert await mailbox.texts() == ["hello"]
    provider.expire()
    server.add(SIMPLE + b"after it was taken back")
    assert await mailbox.texts() == ["after it was taken back"]
    findings = await mailbox.connector.check(mailbox.context())
    assert findings[0].code == "jmap.signed_in"
    asked = {form["scope"] for form in provider.forms if "scope" in form}
    assert asked == {"urn:ietf:params:jmap:core urn:ietf:params:jmap:mail offline_access"}


async def test_a_browser_signs_in_too(server: ScriptedJmap, provider: TokenServer) -> None:
    server.add(SIMPLE + b"hello")
    mailbox = Mailbox(server, provider, flow="browser")
    prompt = await mailbox.connector.begin_sign_in(mailbox.context())
    assert prompt is not None
    assert prompt.wants_answer
    assert await mailbox.connector.continue_sign_in(provider.browse(prompt.url), mailbox.context()) is None
    assert await mailbox.texts() == ["hello"]


async def test_a_file_is_asked_for_with_a_renewed_token_too(server: ScriptedJmap, provider: TokenServer) -> None:
    server.add(WITH_FILE)
    mailbox = Mailbox(server, provider, flow="app")
    await mailbox.texts()
    await mailbox.connector.aclose()
    renewals = len(provider.answered)
    ctx = mailbox.context()
    await mailbox.connector.streams(ctx)
    file = Attachment("a.pdf", "application/pdf", 8, "2")
    server.before["Email/get"] = provider.expire  # the download is the first to be refused
    pieces = [one async for one in mailbox.connector.open_attachment(Stream("Inbox"), "acc", "m1", file, ctx)]
    assert b"".join(pieces) == b"the file"
    assert len(provider.answered) == renewals + 1


async def test_revoked_is_for_the_operator_and_trouble_is_waited_out(
    server: ScriptedJmap, provider: TokenServer
) -> None:
    mailbox = Mailbox(server, provider)
    await mailbox.sign_in()
    assert await mailbox.texts() == []
    provider.expire()
    provider.trouble = (503, {"error": "temporarily_unavailable"})
    with pytest.raises(TemporaryError):
        await mailbox.texts()
    provider.trouble = None
    provider.revoke()
    with pytest.raises(AuthError) as caught:
        await mailbox.texts()
    assert caught.value.code == "oauth.revoked"
    kept = json.loads(mailbox.store.text)
    assert kept["refresh_token"] not in repr((caught.value, caught.value.ids, mailbox.reader.log.events))
    assert MARK not in repr(vars(mailbox.connector)) + str(caught.value)


async def test_a_token_that_the_server_will_not_take_says_what_to_look_at(
    server: ScriptedJmap, provider: TokenServer
) -> None:
    server.token = lambda _token: False
    mailbox = Mailbox(server, provider, flow="app")
    with pytest.raises(AuthError) as caught:
        await mailbox.texts()
    assert caught.value.code == "jmap.auth_refused"
    assert "inbox-sync auth" in caught.value.next_step
    assert len(provider.answered) == 2, "the token was renewed once"


async def test_a_mailbox_with_a_password_has_nobody_to_sign_in(server: ScriptedJmap) -> None:
    values = {"url": server.url, "username": "alice", "password": "x"}
    connector = JmapConnector(JmapConfig.model_validate(values))
    with pytest.raises(ConfigError) as caught:
        await connector.begin_sign_in(Reader(connector).context())
    assert caught.value.code == "auth.not_needed"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"oauth": {"provider": "google", "client_id": "c"}, "username": "alice"}, "have no JMAP"),
        ({"oauth": {"provider": "microsoft", "client_id": "c"}, "username": "alice"}, "have no JMAP"),
        ({"oauth": {"provider": "google", "client_id": "c"}}, "either token"),
        ({"token": "t", "oauth": {"provider": "google", "client_id": "c"}, "username": "alice"}, "either token"),
        ({"token": "t", "other_hosts": ["https://a.example/x"]}, "names of hosts"),
    ],
)
def test_settings_that_cannot_work_are_refused(more: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        JmapConfig.model_validate({"url": "https://mail.example.com", **more})
