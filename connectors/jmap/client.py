"""The calls of JMAP over the HTTP client that a pass brings along: session, methods, blobs, and what refusals mean."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from pydantic import BaseModel, ValidationError

from sync.connector import Http, HttpAnswer
from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.kit.tls import is_loopback
from sync.message import Json

from .config import JmapConfig
from .shapes import CORE, MAIL, Problem, Response, Session

Shape = TypeVar("Shape", bound=BaseModel)

MAX_REDIRECTS = 3
MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one answer to method calls."""
MAX_SAID_CHARACTERS = 200
"""As much of a server's own words as an error repeats."""
MAX_RETRY_AFTER_SECONDS = 3600.0
_WAIT = frozenset({"serverUnavailable", "serverFail", "serverPartialFail", "rateLimit", "tooManyChanges"})
_WELL_KNOWN = "/.well-known/jmap"


class MethodRefused(Exception):
    """A method answered with an error that the caller may know what to do about; `kind` is its type (RFC 8620 §3.6.2)."""

    def __init__(self, method: str, kind: str) -> None:
        super().__init__(f"{method}: {kind}")
        self.method = method
        self.kind = kind


class Client:
    """One mailbox on one server. Holds the session until the server says that it changed."""

    def __init__(self, config: JmapConfig) -> None:
        self._config = config
        self._session: Session | None = None
        self._session_url = ""

    def forget(self) -> None:
        """The session is asked for again at the next call."""
        self._session = None

    async def session(self, http: Http) -> Session:
        """The session resource. Raises AuthError, ConfigError, TemporaryError."""
        if self._session is None:
            self._session = await self._load_session(http)
        return self._session

    async def account_id(self, http: Http) -> str:
        """The account whose mail is read."""
        session = await self.session(http)
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

    async def call(self, http: Http, method: str, arguments: Mapping[str, Json], shape: type[Shape]) -> Shape:
        """One method call on the account. Raises MethodRefused, besides what `session` raises."""
        session = await self.session(http)
        made: Json = {"accountId": await self.account_id(http), **arguments}
        body: Json = {"using": [CORE, MAIL], "methodCalls": [[method, made, "c"]]}
        url = self._absolute(session.api_url)
        answer = await http.request("POST", url, headers=self._headers(), json=body, max_bytes=MAX_ANSWER_BYTES)
        response = self._read(self._checked(answer), Response)
        if response.session_state != session.state:
            self.forget()
        name, content, _call = response.method_responses[0] if response.method_responses else ("", {}, "")
        if name == method:
            return self._shaped(content, shape)
        raise self._refused(method, Problem.model_validate(content) if name == "error" else Problem())

    async def blob(self, http: Http, blob_id: str, limit_bytes: int) -> bytes | None:
        """The bytes of a blob; None when it is not there any more. Raises TemporaryError beyond `limit_bytes`."""
        session = await self.session(http)
        url = session.download_url
        values = {"accountId": await self.account_id(http), "blobId": blob_id, "name": "mail", "type": "message/rfc822"}
        for name, value in values.items():
            url = url.replace("{" + name + "}", quote(value, safe=""))
        headers = {**self._headers(), "accept": "*/*"}
        answer = await http.request("GET", self._absolute(url), headers=headers, max_bytes=limit_bytes)
        return None if answer.status_code == 404 else self._checked(answer).content

    # -- the session

    async def _load_session(self, http: Http) -> Session:
        parts = urlsplit(self._config.url)
        url = self._config.url if parts.path.strip("/") else urljoin(self._config.url, _WELL_KNOWN)
        for _hop in range(MAX_REDIRECTS + 1):
            answer = await http.request("GET", url, headers=self._headers())
            target = answer.headers.get("location")
            if answer.status_code not in {301, 302, 303, 307, 308} or not target:
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
        """An address from the session: it may be relative, and lie on another host (RFC 8620 §2), but not without TLS."""
        made = urljoin(self._session_url, url)
        parts = urlsplit(made)
        if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            return made
        raise ConfigError(
            f"{self._config.host} wants to be called without TLS, at {parts.scheme}://{parts.netloc}.",
            code="jmap.no_tls",
            next_step="Ask the provider: its session resource names an address that is not https.",
        )

    def _headers(self) -> dict[str, str]:
        config = self._config
        if config.token is not None:
            return {"authorization": f"Bearer {config.token.get_secret_value()}"}
        password = config.password.get_secret_value() if config.password is not None else ""
        pair = base64.b64encode(f"{config.username}:{password}".encode()).decode()
        return {"authorization": f"Basic {pair}"}

    # -- answers

    def _checked(self, answer: HttpAnswer) -> HttpAnswer:
        if 200 <= answer.status_code < 300:
            return answer
        raise self._error(answer)

    def _error(self, answer: HttpAnswer) -> InboxSyncError:
        host, status = self._config.host, answer.status_code
        if status == 401:
            self.forget()
            return AuthError(
                f"{host} refused the sign-in.",
                code="jmap.auth_refused",
                next_step="Put the current token or (app) password into the secret that the source names.",
            )
        if status == 403:
            return AuthError(
                f"{host} does not allow this sign-in to read the mailbox.",
                code="jmap.forbidden",
                next_step="Give the token the right to read mail.",
            )
        problem = _problem(answer)
        if status == 404 and not problem.type:
            self.forget()
            return ConfigError(
                f"There is no JMAP at {self._config.url}.",
                code="jmap.not_found",
                next_step="Set url to the server's name, or to the session resource that its documentation names.",
            )
        if status == 429 or status >= 500 or problem.type.endswith(":limit"):
            self.forget()
            return TemporaryError(
                f"{host} cannot serve this mailbox now ({problem.limit or status}).",
                code="jmap.throttled" if status == 429 or problem.type.endswith(":limit") else "jmap.unavailable",
                next_step="It is tried again; if it stays, use a longer interval (every).",
                retry_after_seconds=_retry_after_seconds(answer),
            )
        self.forget()
        said = f' It says: "{_said(problem.detail or problem.type)}".' if problem.type else ""
        return TemporaryError(
            f"{host} answered {status}.{said}",
            code="jmap.refused",
            next_step="It is tried again; if it stays, the server's log says more.",
        )

    def _refused(self, method: str, problem: Problem) -> Exception:
        host = self._config.host
        if problem.type in _WAIT:
            return TemporaryError(
                f"{host} did not do {method} ({problem.type}).",
                code="jmap.unavailable",
                next_step="It is tried again; if it stays, the server's log says more.",
            )
        if problem.type in {"accountNotFound", "accountNotSupportedByMethod", "forbidden"}:
            self.forget()
            return ConfigError(
                f"{host} does not let this sign-in read the account's mail ({problem.type}).",
                code="jmap.account_refused",
                next_step="Correct account_id, or give the token the right to read mail.",
            )
        return MethodRefused(method, problem.type)

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
        return TemporaryError(
            f"{self._config.host} answers, but not as a JMAP server does.",
            code="jmap.not_jmap",
            next_step="Check url; the session resource is usually found by the server's name alone.",
        )


def _problem(answer: HttpAnswer) -> Problem:
    try:
        return Problem.model_validate(json.loads(answer.content))
    except (ValueError, ValidationError):
        return Problem()


def _retry_after_seconds(answer: HttpAnswer) -> float | None:
    value = answer.headers.get("retry-after", "").strip()
    return min(float(value), MAX_RETRY_AFTER_SECONDS) if value.isascii() and value.isdigit() else None


def _said(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_SAID_CHARACTERS]
