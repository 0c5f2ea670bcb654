"""Tokens: kept, refreshed, rotated; and the ways to sign in (sync.kit.oauth), against a provider on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from sync.errors import AuthError, ConfigError, TemporaryError
from sync.kit.oauth import OAuthConfig, TokenSource
from sync.message import Json
from sync.testing.reader import OneCallHttp
from tests.servers.token_server import CLIENT_ID, CLIENT_SECRET, MARK, TokenServer

SCOPES = ("mail",)


class Store:
    """A token store in memory. `interrupt` runs between loading and saving, as another process may."""

    def __init__(self) -> None:
        self.text = "null"
        self.version = 0
        self.refuse = False

    async def load(self) -> tuple[Json, int]:
        value: Json = json.loads(self.text)
        return value, self.version

    async def save(self, value: Json, version: int) -> bool:
        await asyncio.sleep(0)
        if self.refuse:
            raise ConnectionError("the program ends here")
        if version != self.version:
            return False
        self.text, self.version = json.dumps(value), version + 1
        return True


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def provider() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def config(server: TokenServer, **more: object) -> OAuthConfig:
    values: dict[str, object] = {
        "provider": "custom",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "token_url": f"{server.url}/token",
        "device_url": f"{server.url}/device",
        "authorize_url": f"{server.url}/authorize",
    }
    return OAuthConfig.model_validate(values | more)


def tokens(server: TokenServer, store: Store, clock: Clock, **more: object) -> TokenSource:
    return TokenSource(
        config(server, **more), user="alice", scopes=SCOPES, store=store, http=OneCallHttp(), now=clock.now
    )


async def signed_in(provider: TokenServer, store: Store, clock: Clock) -> TokenSource:
    source = tokens(provider, store, clock)
    await source.begin_sign_in()
    provider.approve()
    assert await source.continue_sign_in("") is None
    return source


async def test_nobody_signed_in_says_what_to_type(provider: TokenServer, store: Store, clock: Clock) -> None:
    with pytest.raises(AuthError) as caught:
        await tokens(provider, store, clock).access_token()
    assert caught.value.code == "oauth.sign_in_needed"
    assert "inbox-sync auth" in caught.value.next_step


async def test_the_device_flow_waits_until_the_person_has_said_yes(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    source = tokens(provider, store, clock)
    prompt = await source.begin_sign_in()
    assert prompt is not None
    assert (prompt.code, prompt.wants_answer) == ("ABCD-EFGH", False)
    assert prompt.url == f"{provider.url}/activate"
    assert await source.continue_sign_in("") is not None
    provider.approve()
    assert await tokens(provider, store, clock).continue_sign_in("") is None, "also by another process"
    assert (await source.access_token()).startswith(MARK)


async def test_slow_down_is_obeyed(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = tokens(provider, store, clock)
    await source.begin_sign_in()
    provider.slow_down_times = 2
    first = await source.continue_sign_in("")
    second = await source.continue_sign_in("")
    assert first is not None
    assert second is not None
    assert second.interval_seconds == first.interval_seconds + 5 == 10


async def test_a_declined_sign_in_says_so(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = tokens(provider, store, clock)
    await source.begin_sign_in()
    provider.decline()
    with pytest.raises(AuthError, match="declined"):
        await source.continue_sign_in("")


async def test_a_code_that_nobody_typed_in_time_has_expired(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = tokens(provider, store, clock)
    await source.begin_sign_in()
    clock.at += timedelta(seconds=provider.device_lifetime_seconds + 1)
    with pytest.raises(AuthError, match="too long"):
        await source.continue_sign_in("")


async def test_the_browser_flow_takes_the_address_at_which_the_browser_ends(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    source = tokens(provider, store, clock, flow="browser")
    prompt = await source.begin_sign_in()
    assert prompt is not None
    assert prompt.wants_answer
    address = provider.browse(prompt.url)
    assert await tokens(provider, store, clock, flow="browser").continue_sign_in(f" {address}\n") is None
    assert (await source.access_token()).startswith(MARK)


@pytest.mark.parametrize(
    "answer", ["", "nonsense", "http://127.0.0.1:8085/?state=other&code=x", "http://x/?error=access_denied"]
)
async def test_another_address_is_refused(provider: TokenServer, store: Store, clock: Clock, answer: str) -> None:
    source = tokens(provider, store, clock, flow="browser")
    await source.begin_sign_in()
    with pytest.raises(AuthError) as caught:
        await source.continue_sign_in(answer)
    assert caught.value.code == "oauth.sign_in_failed"


async def test_a_sign_in_that_was_begun_leaves_the_tokens_in_use_alone(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    source = await signed_in(provider, store, clock)
    token = await source.access_token()
    await source.begin_sign_in()
    assert await source.access_token() == token


async def test_a_token_is_used_until_shortly_before_its_end(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = await signed_in(provider, store, clock)
    token = await source.access_token()
    clock.at += timedelta(seconds=3600 - 121)
    assert await source.access_token() == token
    clock.at += timedelta(seconds=2)
    assert await source.access_token() != token


async def test_a_rejected_token_is_renewed_once(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = await signed_in(provider, store, clock)
    token = await source.access_token()
    fresh = await source.access_token(rejected=token)
    assert fresh != token
    assert await source.access_token(rejected=token) == fresh, "renewed meanwhile"


async def test_s21_a_rotated_refresh_token_is_stored_before_the_access_token_is_used(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    source = await signed_in(provider, store, clock)
    for _hour in range(5):
        clock.at += timedelta(hours=1)
        await source.access_token()
        kept = json.loads(store.text)
        assert kept["refresh_token"] in provider.live_refresh_tokens
        source = tokens(provider, store, clock)
    store.refuse = True
    clock.at += timedelta(hours=1)
    with pytest.raises(ConnectionError):
        await source.access_token()


async def test_a_rotated_token_that_could_not_be_stored_is_stored_by_the_next_try(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    source = await signed_in(provider, store, clock)
    clock.at += timedelta(hours=1)
    store.refuse = True
    for _try in range(2):
        with pytest.raises(ConnectionError):
            await source.access_token()
    store.refuse = False
    token = await source.access_token()
    kept = json.loads(store.text)
    assert (kept["access_token"], kept["refresh_token"] in provider.live_refresh_tokens) == (token, True)
    clock.at += timedelta(hours=1)
    assert await source.access_token() != token


async def test_a_refresh_whose_pass_is_given_up_ends_all_the_same(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    source = await signed_in(provider, store, clock)
    clock.at += timedelta(hours=1)
    before = store.version
    given_up = asyncio.create_task(source.access_token())
    for _turn in range(5):
        await asyncio.sleep(0)
    assert source._renewal is not None
    assert not source._renewal.done()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    token = await source.access_token()
    kept = json.loads(store.text)
    assert (kept["access_token"], store.version) == (token, before + 1)
    assert kept["refresh_token"] in provider.live_refresh_tokens


async def test_a_refresh_leaves_a_sign_in_that_was_begun_going_on(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    source = await signed_in(provider, store, clock)
    clock.at += timedelta(minutes=59)
    await source.begin_sign_in()
    await source.access_token()
    provider.approve()
    assert await source.continue_sign_in("") is None


async def test_a_provider_that_does_not_rotate_is_asked_with_the_same_refresh_token(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    provider.rotates = False
    source = await signed_in(provider, store, clock)
    for _hour in range(3):
        clock.at += timedelta(hours=1)
        await source.access_token()
    assert len(provider.live_refresh_tokens) == 1


async def test_many_connections_at_once_refresh_once(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = await signed_in(provider, store, clock)
    clock.at += timedelta(hours=1)
    before = len(provider.forms)
    found = await asyncio.gather(*(source.access_token() for _connection in range(8)))
    assert len(set(found)) == 1
    assert len(provider.forms) == before + 1


async def test_two_daemons_that_refresh_at_once_end_with_tokens_that_work(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    await signed_in(provider, store, clock)
    provider.rotates = False
    clock.at += timedelta(hours=1)
    one, other = (tokens(provider, store, clock) for _daemon in range(2))
    await asyncio.gather(one.access_token(), other.access_token())
    assert await one.access_token() == await other.access_token() == json.loads(store.text)["access_token"]


async def test_revoked_is_one_clear_state(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = await signed_in(provider, store, clock)
    provider.revoke()
    clock.at += timedelta(hours=1)
    with pytest.raises(AuthError) as caught:
        await source.access_token()
    assert caught.value.code == "oauth.revoked"
    assert "inbox-sync auth" in caught.value.next_step


@pytest.mark.parametrize(
    "trouble", [(503, {}), (429, {}), (400, {"error": "temporarily_unavailable"}), (500, {"error": "server_error"})]
)
async def test_trouble_at_the_provider_is_waited_out(
    provider: TokenServer, store: Store, clock: Clock, trouble: tuple[int, dict[str, str]]
) -> None:
    source = await signed_in(provider, store, clock)
    clock.at += timedelta(hours=1)
    provider.trouble = trouble
    with pytest.raises(TemporaryError):
        await source.access_token()
    provider.trouble = None
    assert (await source.access_token()).startswith(MARK)


async def test_an_unknown_application_is_the_operators_to_mend(
    provider: TokenServer, store: Store, clock: Clock
) -> None:
    with pytest.raises(AuthError) as caught:
        await tokens(provider, store, clock, flow="app", client_secret="wrong").access_token()
    assert caught.value.code == "oauth.client_refused"


async def test_an_application_of_its_own_needs_nobody(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = tokens(provider, store, clock, flow="app")
    assert await source.begin_sign_in() is None
    token = await source.access_token()
    assert token.startswith(MARK)
    assert await source.access_token() == token


async def test_another_user_or_application_starts_anew(provider: TokenServer, store: Store, clock: Clock) -> None:
    await signed_in(provider, store, clock)
    other = TokenSource(config(provider), user="bob", scopes=SCOPES, store=store, http=OneCallHttp(), now=clock.now)
    with pytest.raises(AuthError, match="bob"):
        await other.access_token()


def service_account() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return json.dumps({"client_email": "robot@example.iam", "private_key": pem, "private_key_id": "k1"})


async def test_a_service_account_acts_for_the_mailbox(provider: TokenServer, store: Store, clock: Clock) -> None:
    more = {"provider": "google", "flow": "app", "service_account": service_account(), "client_id": ""}
    assert (await tokens(provider, store, clock, **more).access_token()).startswith(MARK)
    assert provider.forms[-1]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.mark.parametrize("key", ["{}", "nonsense", '{"client_email": "a", "private_key": "b", "private_key_id": "c"}'])
async def test_a_key_that_is_none_is_named(provider: TokenServer, store: Store, clock: Clock, key: str) -> None:
    more = {"provider": "google", "flow": "app", "service_account": key, "client_id": ""}
    with pytest.raises(ConfigError, match="no key of a service account"):
        await tokens(provider, store, clock, **more).access_token()


async def test_no_error_repeats_a_token(provider: TokenServer, store: Store, clock: Clock) -> None:
    source = await signed_in(provider, store, clock)
    kept = json.loads(store.text)
    provider.revoke()
    with pytest.raises(AuthError) as caught:
        await source.access_token(rejected=kept["access_token"])
    assert MARK not in str(caught.value)
    assert MARK not in repr(caught.value.ids)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"provider": "google", "client_id": "c", "flow": "device"}, "browser"),
        ({"provider": "google", "flow": "app", "client_id": "c"}, "service_account"),
        ({"provider": "microsoft", "flow": "app", "client_id": "c", "client_secret": "s"}, "tenant"),
        ({"provider": "microsoft", "flow": "app", "client_id": "c", "tenant": "t"}, "client_secret"),
        ({"provider": "microsoft"}, "client_id"),
        ({"provider": "custom", "client_id": "c"}, "token_url"),
        ({"provider": "custom", "client_id": "c", "token_url": "http://example.com/t", "device_url": "x"}, "https"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OAuthConfig.model_validate(values)


def test_the_usual_flow_and_addresses_follow_from_the_provider() -> None:
    microsoft = OAuthConfig.model_validate({"provider": "microsoft", "client_id": "c", "tenant": "contoso.example"})
    assert microsoft.effective_flow == "device"
    assert microsoft.endpoint("device") == "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/devicecode"
    assert OAuthConfig.model_validate({"provider": "google", "client_id": "c"}).effective_flow == "browser"
