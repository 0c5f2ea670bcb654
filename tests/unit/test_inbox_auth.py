"""Signing requests: one token for everybody, renewed in time, and never shown."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import SecretStr

from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.http import Answered, Exchange, Failed, Phase, Why
from sync.inbox.auth import ApiKeyAuth, AppAuth
from sync.message import Json
from sync.testing.clock import FakeClock
from tests.unit.inbox_stub import APP_SECRET, settings_for


class TokenService:
    """Gives `token-1`, `token-2`… after a moment, or what `answers` says first."""

    def __init__(self, clock: FakeClock, *answers: Exchange) -> None:
        self.clock = clock
        self.answers = list(answers)
        self.requests: list[Json] = []
        self.given = 0
        self.expires_in: Json = 14_400

    async def post(self, body: Json) -> Exchange:
        self.requests.append(body)
        await self.clock.sleep(0.5)
        if self.answers:
            return self.answers.pop(0)
        self.given += 1
        return answer(
            200, {"access_token": f"token-{self.given}", "token_type": "Bearer", "expires_in": self.expires_in}
        )


def answer(status: int, body: Json | bytes) -> Answered:
    return Answered(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


async def signed(clock: FakeClock, auth: AppAuth) -> str:
    task = asyncio.create_task(auth.sign())
    await clock.advance(1.0)
    return (await task).headers["authorization"]


def make(*answers: Exchange) -> tuple[FakeClock, TokenService, AppAuth]:
    clock = FakeClock()
    service = TokenService(clock, *answers)
    return clock, service, AppAuth(settings_for("app"), "main", service.post, clock)


async def test_fifty_callers_share_one_request_for_a_token() -> None:
    clock, service, auth = make()
    tasks = [asyncio.create_task(auth.sign()) for _ in range(50)]
    await clock.advance(1.0)
    assert {(await task).headers["authorization"] for task in tasks} == {"token-1"}
    assert service.requests == [
        {
            "grant_type": "client_credentials",
            "client_id": "app-1",
            "client_secret": APP_SECRET,
            "instance_id": "instance-1",
        }
    ]


@pytest.mark.parametrize(
    ("expires_in", "kept_seconds"),
    [(14_400, 14_278), (10, 7), (None, 3_478), (-5, 3_478), (10**12, 3_478), (True, 3_478)],
)
async def test_a_token_is_replaced_some_time_before_it_expires(expires_in: Json, kept_seconds: float) -> None:
    clock, service, auth = make()
    service.expires_in = expires_in
    assert await signed(clock, auth) == "token-1"
    await clock.advance(kept_seconds - 1.0)
    assert await signed(clock, auth) == "token-1"
    await clock.advance(3.0)
    assert await signed(clock, auth) == "token-2"


async def test_fifty_callers_with_the_same_refused_token_get_one_new_token() -> None:
    clock, service, auth = make()
    await signed(clock, auth)
    refused = await auth.sign()
    tasks = [asyncio.create_task(auth.renew(refused)) for _ in range(50)]
    await clock.advance(1.0)
    assert all([await task for task in tasks])
    assert await auth.renew(refused), "a token that is not the current one any more needs no request"
    assert service.given == 2


async def test_a_new_token_that_is_refused_without_ever_having_worked_is_not_replaced_at_once() -> None:
    clock, service, auth = make()
    await signed(clock, auth)
    auth.accepted(await auth.sign())
    renewed = asyncio.create_task(auth.renew(await auth.sign()))
    await clock.advance(1.0)
    assert await renewed
    assert not await auth.renew(await auth.sign())
    await clock.advance(61.0)
    later = asyncio.create_task(auth.renew(await auth.sign()))
    await clock.advance(1.0)
    assert await later
    assert service.given == 3


async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    clock, service, auth = make()
    first, second = asyncio.create_task(auth.sign()), asyncio.create_task(auth.sign())
    await clock.advance(0.1)
    first.cancel()
    await clock.advance(1.0)
    assert (await second).headers["authorization"] == "token-1"
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("exchange", "kind", "code"),
    [
        (answer(400, {"error": "invalid_client"}), AuthError, "inbox.credentials_refused"),
        (answer(401, {"message": "no"}), AuthError, "inbox.credentials_refused"),
        (answer(403, {}), AuthError, "inbox.credentials_refused"),
        (answer(400, b"<html>"), TemporaryError, "inbox.foreign_answer"),
        (answer(404, b"<html>"), TemporaryError, "inbox.foreign_answer"),
        (answer(302, b""), TemporaryError, "inbox.foreign_answer"),
        (answer(429, {}), TemporaryError, "inbox.throttled"),
        (answer(500, b""), TemporaryError, "inbox.server_error"),
        (answer(200, b"<html>welcome</html>"), TemporaryError, "inbox.unreadable_answer"),
        (answer(200, {"access_token": ""}), TemporaryError, "inbox.unreadable_answer"),
        (answer(200, {"access_token": "a\r\nb"}), TemporaryError, "inbox.unreadable_answer"),
        (Failed(True, Phase.ANSWER, Why.CLOSED, "closed"), TemporaryError, "inbox.network_closed"),
    ],
)
async def test_what_can_go_wrong_with_a_token(exchange: Exchange, kind: type[InboxSyncError], code: str) -> None:
    clock, service, auth = make(exchange)
    tasks = [asyncio.create_task(auth.sign()) for _ in range(3)]
    await clock.advance(1.0)
    for task in tasks:
        error = task.exception()
        assert isinstance(error, kind)
        assert error.code == code
        assert error.next_step
        assert APP_SECRET not in repr(error)
    assert len(service.requests) == 1
    assert await signed(clock, auth) == "token-1", "the next one asks again"


async def test_closing_gives_up_a_request_on_its_way() -> None:
    clock, _, auth = make()
    waiting = asyncio.create_task(auth.sign())
    await clock.advance(0.1)
    await auth.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_key_signs_with_its_site_and_is_never_renewed() -> None:
    auth = ApiKeyAuth(SecretStr("IST.geheim"), "site-1", "main")
    signature = await auth.sign()
    assert signature.headers == {"authorization": "IST.geheim", "wix-site-id": "site-1"}
    assert not await auth.renew(signature)
    assert "geheim" not in repr(signature)


@pytest.mark.parametrize("key", ["geheim\n", "geh eim", "", "geheimé", "geheim\x00"])
def test_a_key_that_no_header_can_carry_is_a_fault_of_the_configuration(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ApiKeyAuth(SecretStr(key), "site-1", "main")
    assert caught.value.next_step
    assert "geh" not in str(caught.value)
