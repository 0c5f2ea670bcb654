"""As whom a connection to a mailbox signs in: with a password, or with a token that is kept fresh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import SecretStr

from sync.connector import PassContext
from sync.errors import AuthError, ConfigError

from .config import OAuthConfig
from .source import TokenSource

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credential:
    """What to sign in with: `secret` is what the settings hold, or an access token that a provider gave."""

    username: str
    secret: str = field(repr=False)
    is_token: bool = False


class Identity:
    """The credential of one source, asked for whenever it signs in. Either `secret` or `oauth` is there; `scopes` are
    what is asked for where the `oauth` table names none."""

    def __init__(
        self, *, username: str, secret: SecretStr | None, oauth: OAuthConfig | None, scopes: tuple[str, ...]
    ) -> None:
        self._username = username
        self._secret = secret
        self._oauth = oauth
        self._scopes = scopes
        self._tokens: TokenSource | None = None

    def use(self, ctx: PassContext) -> None:
        """Takes from a pass's context what tokens need. The first one counts: all of a source are alike."""
        if self._tokens is None and self._oauth is not None and ctx.tokens is not None and ctx.http is not None:
            self._tokens = TokenSource(
                self._oauth,
                user=self._username,
                scopes=self._scopes,
                store=ctx.tokens,
                http=ctx.http,
                now=ctx.now,
            )

    @property
    def tokens(self) -> TokenSource:
        """The tokens of a source that signs in by OAuth. Raises ConfigError for another one."""
        if self._tokens is not None:
            return self._tokens
        raise ConfigError(
            f"The mailbox {self._username or 'of this source'} is signed in to with its password or token; there is "
            "nobody to ask.",
            code="auth.not_needed",
            next_step="Change the secret that the source names if it is refused, or add an oauth table.",
        )

    async def credential(self, *, rejected: Credential | None = None) -> Credential:
        """What to sign in with now; `rejected` is what the server would not take. Raises what `TokenSource` raises."""
        if self._secret is not None:
            return Credential(self._username, self._secret.get_secret_value())
        token = await self.tokens.access_token(rejected=rejected.secret if rejected is not None else "")
        return Credential(self._username, token, is_token=True)

    async def signed_in(self, work: Callable[[Credential], Awaitable[T]], *, refused: str) -> T:
        """Does what signs in; `refused` is the code of the AuthError it raises where the server says no. A token that
        is refused is renewed once: it may have been taken back before its time."""
        credential = await self.credential()
        try:
            return await work(credential)
        except AuthError as error:
            if not credential.is_token or error.code != refused:
                raise
        return await work(await self.credential(rejected=credential))
