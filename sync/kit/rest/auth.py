"""Who asks: the header that signs a request. None of these says its secret in `repr`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Protocol

from pydantic import SecretStr

from sync.connector import Http, PassContext
from sync.errors import ConfigError
from sync.kit.oauth import OAuthConfig, TokenSource

SECRET_MIN_CHARS = 4
"""Shorter ones are no secrets, and stand in many words."""


class Auth(Protocol):
    """A way to sign requests."""

    async def headers(self, ctx: PassContext) -> Mapping[str, str]:
        """The headers of the next request. Raises AuthError where somebody has to sign in first."""
        ...

    def refused(self) -> bool:
        """The service would not take them. True: other ones may do, ask once more."""
        ...

    def hidden(self, text: str) -> str:
        """`text` without the secret, should a service have repeated it."""
        ...


class StaticAuth:
    """A token in a header: `StaticAuth(token)`, `StaticAuth(token, form="Token token={}")`,
    `StaticAuth(key, header="x-api-key", form="{}")`."""

    def __init__(self, secret: SecretStr, *, header: str = "authorization", form: str = "Bearer {}") -> None:
        self._secret = secret
        self._header = header
        self._form = form

    async def headers(self, ctx: PassContext) -> Mapping[str, str]:
        """Always the same."""
        del ctx
        return {self._header: self._form.format(self._secret.get_secret_value())}

    def refused(self) -> bool:
        """There is no other."""
        return False

    def hidden(self, text: str) -> str:
        """Without the token."""
        return text.replace(self._secret.get_secret_value(), "…")


class BasicAuth:
    """HTTP Basic (RFC 7617), in UTF-8. Where the secret stands in the user's place (`BasicAuth(key, SecretStr("X"))`),
    give it as one."""

    def __init__(self, username: str | SecretStr, password: SecretStr) -> None:
        self._username = username
        self._password = password

    def _pair(self) -> str:
        username = self._username if isinstance(self._username, str) else self._username.get_secret_value()
        return base64.b64encode(f"{username}:{self._password.get_secret_value()}".encode()).decode()

    async def headers(self, ctx: PassContext) -> Mapping[str, str]:
        """Always the same."""
        del ctx
        return {"authorization": f"Basic {self._pair()}"}

    def refused(self) -> bool:
        """There is no other."""
        return False

    def hidden(self, text: str) -> str:
        """Without the password, if it is more than a filler."""
        secrets = [one.get_secret_value() for one in (self._username, self._password) if isinstance(one, SecretStr)]
        for secret in (self._pair(), *secrets):
            text = text.replace(secret, "…") if len(secret) >= SECRET_MIN_CHARS else text
        return text


class OAuthAuth:
    """A bearer token that is renewed by itself (`sync.kit.oauth`). `user` is whose it is, for sentences."""

    def __init__(self, config: OAuthConfig, *, user: str, scopes: tuple[str, ...] = ()) -> None:
        self._config = config
        self._user = user
        self._scopes = scopes
        self._source: TokenSource | None = None
        self._last = SecretStr("")
        self._rejected = SecretStr("")

    def tokens(self, ctx: PassContext) -> TokenSource:
        """The tokens, for `begin_sign_in` and `continue_sign_in` too."""
        if self._source is None:
            if ctx.tokens is None:
                raise ConfigError("This connector needs a store for its tokens in its context.", code="oauth.no_store")
            http = http_of(ctx)
            self._source = TokenSource(
                self._config, user=self._user, scopes=self._scopes, store=ctx.tokens, http=http, now=ctx.now
            )
        return self._source

    async def headers(self, ctx: PassContext) -> Mapping[str, str]:
        """A token that is good for the next minutes."""
        token = await self.tokens(ctx).access_token(rejected=self._rejected.get_secret_value())
        self._last = SecretStr(token)
        return {"authorization": f"Bearer {token}"}

    def refused(self) -> bool:
        """A token may be withdrawn before it ends: once another one is asked for."""
        again = self._last.get_secret_value() != self._rejected.get_secret_value()
        self._rejected = self._last
        return again

    def hidden(self, text: str) -> str:
        """Without the token."""
        last = self._last.get_secret_value()
        return text.replace(last, "…") if last else text


def http_of(ctx: PassContext) -> Http:
    """The pass's HTTP client. Raises ConfigError where there is none."""
    if ctx.http is None:
        raise ConfigError("This connector needs an HTTP client in its context.", code="connector.no_http")
    return ctx.http
