"""As whom a connection signs in: with a password, or with a token that is kept fresh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sync.connector import PassContext
from sync.errors import ConfigError
from sync.kit.oauth import OAuthConfig, TokenSource

from .config import ImapConfig

_GOOGLE = ("https://mail.google.com/",)
_MICROSOFT = ("https://outlook.office.com/IMAP.AccessAsUser.All", "offline_access")
_MICROSOFT_APP = ("https://outlook.office365.com/.default",)


@dataclass(frozen=True, slots=True)
class Credential:
    """What to sign in with: `secret` is a password, or an access token."""

    username: str
    secret: str = field(repr=False)
    is_token: bool = False


class Identity:
    """The credential of one source, asked for whenever a connection is opened."""

    def __init__(self, config: ImapConfig) -> None:
        self._config = config
        self._tokens: TokenSource | None = None

    def use(self, ctx: PassContext) -> None:
        """Takes from a pass's context what tokens need. The first one counts: all of a source are alike."""
        config = self._config
        if self._tokens is None and config.oauth is not None and ctx.tokens is not None and ctx.http is not None:
            self._tokens = TokenSource(
                config.oauth,
                user=config.username,
                scopes=_scopes(config.oauth),
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
            f"The mailbox {self._config.username} is signed in to with its password; there is nobody to ask.",
            code="auth.not_needed",
            next_step="Change the secret that the source names if it is refused, or add an oauth table.",
        )

    async def credential(self, *, rejected: Credential | None = None) -> Credential:
        """What to sign in with now; `rejected` is what the server would not take. Raises what `TokenSource` raises."""
        config = self._config
        if config.password is not None:
            return Credential(config.username, config.password.get_secret_value())
        token = await self.tokens.access_token(rejected=rejected.secret if rejected is not None else "")
        return Credential(config.username, token, is_token=True)


def sasl_response(mechanism: str, credential: Credential, host: str, port: int) -> Callable[[bytes], bytes]:
    """What answers each challenge of XOAUTH2 (Google's and Microsoft's) or OAUTHBEARER (RFC 7628 §3.1): first the token;
    then, to a challenge that tells why it was refused, what ends the exchange."""
    user = credential.username
    if mechanism == "XOAUTH2":
        first, last = f"user={user}\x01auth=Bearer {credential.secret}\x01\x01", b""
    else:
        name = user.replace("=", "=3D").replace(",", "=2C")
        first = f"n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {credential.secret}\x01\x01"
        last = b"\x01"
    answers = iter([first.encode()])
    return lambda _challenge: next(answers, last)


def _scopes(oauth: OAuthConfig) -> tuple[str, ...]:
    if oauth.provider == "google":
        return _GOOGLE
    if oauth.provider == "microsoft":
        return _MICROSOFT_APP if oauth.effective_flow == "app" else _MICROSOFT
    return ()
