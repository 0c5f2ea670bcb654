"""The calls of JMAP over the HTTP client that a pass brings along: session, methods, blobs, and to whom they go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from pydantic import BaseModel, SecretStr, ValidationError

from sync.connector import Http, HttpAnswer, HttpStream, PassContext
from sync.errors import ConfigError, MessageError, TemporaryError
from sync.kit.rest import Auth, BasicAuth, OAuthAuth, StaticAuth
from sync.kit.tls import is_loopback
from sync.message import Json

from .config import JmapConfig
from .faults import Faults
from .shapes import CORE, MAIL, Problem, Response, Session

Shape = TypeVar("Shape", bound=BaseModel)

MAX_REDIRECTS = 3
MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one answer to method calls."""
MAX_PROBLEM_BYTES = 64 * 1024
"""What is read of a refused download to learn why."""
SCOPES = (CORE, MAIL, "offline_access")
"""What is asked for where the oauth table names no scopes."""
_WELL_KNOWN = "/.well-known/jmap"
_GONE = frozenset({404, 410})
_NO_EVENTS = frozenset({204, 404, 405, 501})
"""204: Cyrus."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Client:
    """One mailbox on one server. Holds the session until the server says that it changed."""

    def __init__(self, config: JmapConfig) -> None:
        self._config = config
        self._auth = _auth(config)
        self._faults = Faults(config, self._auth.hidden)
        self._session: Session | None = None
        self._session_url = ""

    def forget(self) -> None:
        """The session is asked for again at the next call."""
        self._session = None

    @property
    def oauth(self) -> OAuthAuth:
        """The sign-in by OAuth. Raises ConfigError where the source has a password or a token."""
        if isinstance(self._auth, OAuthAuth):
            return self._auth
        raise ConfigError(
            f"{self._config.host} is signed in to with a password or token; there is nobody to ask.",
            code="auth.not_needed",
            next_step="Change the secret that the source names if it is refused, or add an oauth table.",
        )

    async def session(self, ctx: PassContext) -> Session:
        """The session resource. Raises AuthError, ConfigError, TemporaryError."""
        if self._session is None:
            self._session = await self._load_session(ctx)
        return self._session

    async def must_reach(self, ctx: PassContext) -> None:
        """Raises ConfigError where mails could be listed, but not loaded."""
        self._absolute((await self.session(ctx)).download_url)

    async def account_id(self, ctx: PassContext) -> str:
        """The account whose mail is read."""
        session = await self.session(ctx)
        wanted = self._config.account_id
        if wanted is not None:
            if wanted in session.accounts:
                return wanted
            raise ConfigError(
                f'{self._config.host} has no account "{wanted}" for this sign-in.',
                code="jmap.no_account",
                next_step=f"Correct account_id; there are: {', '.join(sorted(session.accounts)) or 'none'}.",
            )
        primary = session.primary_accounts.get(MAIL)
        if primary is not None:
            return primary
        raise ConfigError(
            f"{self._config.host} has no mail for this sign-in.",
            code="jmap.no_mail",
            next_step="See that the token may read mail; set account_id if the mail is in somebody else's account.",
        )

    async def call(self, ctx: PassContext, method: str, arguments: Mapping[str, Json], shape: type[Shape]) -> Shape:
        """One method call on the account. Raises MethodRefused, besides what `session` raises."""
        session = await self.session(ctx)
        made: Json = {"accountId": await self.account_id(ctx), **arguments}
        body: Json = {"using": [CORE, MAIL], "methodCalls": [[method, made, "c"]]}
        url = self._absolute(session.api_url)
        answer = await self._ask(ctx, "POST", url, json=body, max_bytes=MAX_ANSWER_BYTES)
        response = self._read(self._checked(answer), Response)
        if response.session_state != session.state:
            self.forget()
        name, content, _call = response.method_responses[0] if response.method_responses else ("", {}, "")
        if name == method:
            return self._shaped(content, shape)
        raise self._refused(method, Problem.model_validate(content) if name == "error" else Problem())

    async def blob(self, ctx: PassContext, blob_id: str, limit_bytes: int) -> bytes | None:
        """The bytes of a blob; None when it is not there any more. Raises TemporaryError (`http.too_large`) beyond
        `limit_bytes`."""
        url = await self._download_url(ctx, blob_id)
        answer = await self._ask(ctx, "GET", url, accept="*/*", max_bytes=limit_bytes)
        return None if answer.status_code in _GONE else self._checked(answer).content

    async def blob_pieces(self, ctx: PassContext, blob_id: str) -> AsyncIterator[bytes]:
        """The same as it comes; no more than a piece is held. Raises MessageError when it is not there any more."""
        async with self._stream(ctx, await self._download_url(ctx, blob_id), accept="*/*") as answer:
            if answer.status_code in _GONE:
                raise MessageError("the server has the file no more", code="jmap.attachment_gone")
            await self._check_stream(answer)
            async for piece in answer.pieces():
                yield piece

    @asynccontextmanager
    async def event_stream(
        self, ctx: PassContext, types: str, *, ping_seconds: int, silence_seconds: float
    ) -> AsyncIterator[HttpStream | None]:
        """The server's stream of events (RFC 8620 §7.3); None where it has none."""
        url = (await self.session(ctx)).event_source_url
        for name, value in {"types": types, "closeafter": "no", "ping": str(ping_seconds)}.items():
            url = url.replace("{" + name + "}", value)
        if not url:
            yield None
            return
        async with self._stream(
            ctx, self._absolute(url), accept="text/event-stream", silence_seconds=silence_seconds
        ) as answer:
            if answer.status_code in _NO_EVENTS:
                yield None
                return
            await self._check_stream(answer)
            yield answer

    @asynccontextmanager
    async def _stream(
        self, ctx: PassContext, url: str, *, accept: str, silence_seconds: float | None = None
    ) -> AsyncIterator[HttpStream]:
        """An answer to read piece by piece; a refused token is renewed once, as in `_ask`."""
        for last_try in (False, True):
            headers = {**await self._auth.headers(ctx), "accept": accept}
            async with http_of(ctx).stream(url, headers=headers, silence_seconds=silence_seconds) as answer:
                if last_try or answer.status_code != 401 or not self._auth.refused():
                    yield answer
                    return

    async def _check_stream(self, answer: HttpStream) -> None:
        if not 200 <= answer.status_code < 300:
            said = await anext(answer.pieces(MAX_PROBLEM_BYTES), b"")
            raise self._faults.of(answer.status_code, answer.headers, said)

    async def _download_url(self, ctx: PassContext, blob_id: str) -> str:
        """Without the file's name: it is nobody's business on the way."""
        url = (await self.session(ctx)).download_url
        values = {
            "accountId": await self.account_id(ctx),
            "blobId": blob_id,
            "name": "blob",
            "type": "application/octet-stream",
        }
        for name, value in values.items():
            url = url.replace("{" + name + "}", quote(value, safe=""))
        return self._absolute(url)

    async def _ask(
        self,
        ctx: PassContext,
        method: str,
        url: str,
        *,
        accept: str = "application/json",
        json: Json = None,
        max_bytes: int | None = None,
    ) -> HttpAnswer:
        """A signed request. A token that is refused is renewed once: it may have been taken back before its time."""

        async def once() -> HttpAnswer:
            headers = {**await self._auth.headers(ctx), "accept": accept}
            return await http_of(ctx).request(method, url, headers=headers, json=json, max_bytes=max_bytes)

        answer = await once()
        return await once() if answer.status_code == 401 and self._auth.refused() else answer

    # -- the session

    async def _load_session(self, ctx: PassContext) -> Session:
        parts = urlsplit(self._config.url)
        url = self._config.url if parts.path.strip("/") else urljoin(self._config.url, _WELL_KNOWN)
        for _hop in range(MAX_REDIRECTS + 1):
            answer = await self._ask(ctx, "GET", url)
            target = answer.headers.get("location")
            if answer.status_code not in _REDIRECTS or not target:
                self._session_url = url
                return self._read(self._checked(answer), Session)
            url = self._redirected(url, urljoin(url, target))
        raise ConfigError(
            f"{self._config.host} redirects without an end.",
            code="jmap.redirected",
            next_step="Set url to the address of the session resource that the provider's documentation names.",
        )

    def _redirected(self, url: str, target: str) -> str:
        """Where a redirect leads, if it stays on the host: the password goes nowhere that nobody configured."""
        here, there = urlsplit(url), urlsplit(target)
        if there.netloc.lower() == here.netloc.lower() and there.scheme == here.scheme:
            return target
        raise ConfigError(
            f"{here.netloc} redirects to another place, {there.scheme}://{there.netloc}, which would get the password.",
            code="jmap.redirected",
            next_step=f'If that is right, set url = "{there.scheme}://{there.netloc}{there.path}".',
        )

    def _absolute(self, url: str) -> str:
        """An address from the session: it may be relative, and lie on another host (RFC 8620 §2), but only on one that the
        settings name, and not without TLS. The sign-in goes there, and a session resource may be forged or meddled with."""
        made = urljoin(self._session_url, url)
        parts = urlsplit(made)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ConfigError(
                f"{self._config.host} wants to be called without TLS, at {parts.scheme}://{parts.netloc}.",
                code="jmap.no_tls",
                next_step="Ask the provider: its session resource names an address that is not https.",
            )
        host = parts.netloc.lower()
        if host in {self._config.host, *self._config.other_hosts} or host == urlsplit(self._session_url).netloc.lower():
            return made
        raise ConfigError(
            f"{self._config.host} wants the sign-in sent to another host, {host}.",
            code="jmap.other_host",
            next_step=f'If the provider answers there, set other_hosts = ["{host}"].',
        )

    # -- answers

    def _checked(self, answer: HttpAnswer) -> HttpAnswer:
        if 200 <= answer.status_code < 300:
            return answer
        self.forget()
        raise self._faults.of(answer.status_code, answer.headers, answer.content)

    def _refused(self, method: str, problem: Problem) -> Exception:
        if problem.type in {"accountNotFound", "accountNotSupportedByMethod", "forbidden"}:
            self.forget()
        return self._faults.of_method(method, problem)

    def _read(self, answer: HttpAnswer, shape: type[Shape]) -> Shape:
        try:
            content = answer.json()
        except (ValueError, TemporaryError):
            raise self._not_jmap() from None
        return self._shaped(content, shape)

    def _shaped(self, content: object, shape: type[Shape]) -> Shape:
        try:
            return shape.model_validate(content)
        except ValidationError:
            raise self._not_jmap() from None  # the values in it may be anybody's mail

    def _not_jmap(self) -> TemporaryError:
        self.forget()
        return self._faults.not_jmap()


def _auth(config: JmapConfig) -> Auth:
    if config.token is not None:
        return StaticAuth(config.token)
    if config.oauth is not None:
        return OAuthAuth(config.oauth, user=config.username or "", scopes=SCOPES)
    return BasicAuth(config.username or "", config.password or SecretStr(""))


def http_of(ctx: PassContext) -> Http:
    """The pass's HTTP client. Raises ConfigError where there is none."""
    if ctx.http is None:
        raise ConfigError("This connector needs an HTTP client in its context.", code="jmap.no_http")
    return ctx.http
