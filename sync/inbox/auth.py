"""How requests are signed: with a site's API key, or with an app's token, which is asked for again before it expires.

Source: Inbox REST API, "Base URL and authentication". There is no refresh token: a new one is asked for with the app's
own credentials. Several requests that find their token refused share one request for a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from pydantic import SecretStr

from sync.clock import Clock
from sync.errors import AuthError, ConfigError, InboxSyncError
from sync.http import Answered, Exchange, Failed, parse_json
from sync.inbox.errors import AUTH_NEXT_STEP, fault_of, foreign, refusal, unreachable, unreadable
from sync.message import Json
from sync.settings import InboxSettings

MARGIN_SECONDS: Final = 120.0
"""A token is replaced this long before it expires…"""
MARGIN_SHARE: Final = 0.2
"""…but not before four fifths of its life."""
DEFAULT_TOKEN_SECONDS: Final = 3600.0
"""Life of a token whose answer does not say."""
MAX_TOKEN_SECONDS: Final = 86_400.0
FRESH_SECONDS: Final = 60.0
"""A new token that is refused within this time, without ever having worked, is not replaced at once."""
TOKEN_PATH: Final = "/oauth2/token"  # noqa: S105  a path

PostToken = Callable[[Json], Awaitable[Exchange]]
"""POSTs a body to the token address, within the inbox's budget."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The headers that sign one request. `number` tells one token from the next, without being it."""

    headers: dict[str, str]
    number: int

    def __repr__(self) -> str:
        return f"Signature(number={self.number})"


class Auth(Protocol):
    """What the client needs of either way."""

    def at_hand(self) -> Signature | None:
        """The headers to send, where nothing has to be asked for."""
        ...

    async def sign(self) -> Signature:
        """The headers to send. Raises AuthError, TemporaryError."""
        ...

    async def renew(self, refused: Signature) -> bool:
        """The service said 401 to `refused`. True when there is another signature now that may work."""
        ...

    def accepted(self, signature: Signature) -> None:
        """The service took `signature`."""
        ...


class ApiKeyAuth:
    """`Authorization: <key>` and `wix-site-id`. Raises ConfigError on a key that no header can carry."""

    def __init__(self, api_key: SecretStr, site_id: str, inbox: str) -> None:
        _check_header_value(api_key.get_secret_value(), "api_key", inbox)
        _check_header_value(site_id, "site_id", inbox)
        self._signature = Signature({"authorization": api_key.get_secret_value(), "wix-site-id": site_id}, 1)

    def at_hand(self) -> Signature:
        """The key and the site."""
        return self._signature

    async def sign(self) -> Signature:
        """The key and the site."""
        return self._signature

    async def renew(self, refused: Signature) -> bool:  # noqa: ARG002  the protocol's
        """There is only the one key."""
        return False

    def accepted(self, signature: Signature) -> None:
        """Nothing to learn."""


class AppAuth:
    """An app's token (`client_credentials`). `post` makes the call; the clock is injected."""

    def __init__(self, settings: InboxSettings, inbox: str, post: PostToken, clock: Clock) -> None:
        if settings.app_secret is None:
            raise ConfigError(f'inbox "{inbox}" has no app_secret', code="inbox.no_secret", inbox=inbox)
        self._request: dict[str, Json] = {
            "grant_type": "client_credentials",
            "client_id": settings.app_id,
            "client_secret": settings.app_secret.get_secret_value(),
            "instance_id": settings.instance_id,
        }
        self._post = post
        self._clock = clock
        self._current: Signature | None = None
        self._renew_at = 0.0
        self._issued = 0
        self._issued_at = 0.0
        self._proven = 0
        self._asking: asyncio.Task[None] | None = None

    def at_hand(self) -> Signature | None:
        """The token, with enough of its life left."""
        return self._current if self._clock.elapsed_seconds() < self._renew_at else None

    async def sign(self) -> Signature:
        """A token with enough of its life left."""
        if self.at_hand() is None:
            await self._ask()
        if self._current is None:
            raise unreadable("get a token")
        return self._current

    async def renew(self, refused: Signature) -> bool:
        """Asks for a new token unless that happened since `refused` was given out. False when a fresh token was refused
        that had never worked: another one would not work either."""
        if self._current is None or refused.number != self._current.number:
            return True
        fresh = self._clock.elapsed_seconds() - self._issued_at < FRESH_SECONDS
        if fresh and refused.number != self._proven and refused.number > 1:
            return False
        await self._ask()
        return True

    def accepted(self, signature: Signature) -> None:
        """This token works."""
        self._proven = max(self._proven, signature.number)

    async def _ask(self) -> None:
        """One request for a token at a time, whoever waits for it; a caller that is cancelled disturbs no other."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._fetch(), name="token")
            self._asking.add_done_callback(self._asked)
        await asyncio.shield(self._asking)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # every waiter may have been cancelled

    async def _fetch(self) -> None:
        exchange = await self._post(self._request)
        if isinstance(exchange, Failed):
            raise unreachable(exchange)
        if exchange.status != 200:
            raise _token_refused(exchange, self._clock)
        body, _ = parse_json(exchange.body)
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(token, str) or not _is_header_value(token):
            raise unreadable("get a token")
        seconds = body.get("expires_in")
        known = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= MAX_TOKEN_SECONDS
        life = float(seconds) if known and isinstance(seconds, int | float) else DEFAULT_TOKEN_SECONDS
        self._issued += 1
        self._current = Signature({"authorization": token}, self._issued)
        self._issued_at = self._clock.elapsed_seconds()
        self._renew_at = self._issued_at + life - min(MARGIN_SECONDS, life * MARGIN_SHARE)

    async def aclose(self) -> None:
        """Gives up a request for a token that is on its way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])


def _token_refused(answered: Answered, clock: Clock) -> InboxSyncError:
    body, readable = parse_json(answered.body)
    if answered.status in (400, 401, 403) and (readable and isinstance(body, dict)):
        return AuthError(
            f"the app's credentials were refused ({answered.status})",
            code="inbox.credentials_refused",
            next_step=AUTH_NEXT_STEP.replace("key or app secret", "app_id, app_secret and instance_id"),
        )
    if answered.status < 500 and answered.status != 429:
        return foreign(answered.status)
    return refusal(fault_of(answered, clock.now()), "give a token")


def _is_header_value(value: str) -> bool:
    return bool(value) and all("!" <= character <= "~" for character in value)


def _check_header_value(value: str, name: str, inbox: str) -> None:
    if not _is_header_value(value):
        raise ConfigError(
            f'{name} of inbox "{inbox}" is empty or holds characters that no HTTP header can carry',
            code="inbox.key_malformed",
            next_step=f"look for a space, a line break or a foreign character in {name}",
            inbox=inbox,
        )
