"""What a refusal means for the operator: every one as one of the program's own errors (sync.errors)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError

from .config import JmapConfig
from .shapes import Problem

MAX_SAID_CHARACTERS = 200
"""As much of a server's own words as an error repeats."""
MAX_RETRY_AFTER_SECONDS = 3600.0
_WAIT = frozenset({"serverUnavailable", "serverFail", "serverPartialFail", "rateLimit", "tooManyChanges"})
_RIGHTS = frozenset({"accountNotFound", "accountNotSupportedByMethod", "forbidden"})


class MethodRefused(Exception):
    """A method answered with an error that the caller may know what to do about; `kind` is its type (RFC 8620 §3.6.2)."""

    def __init__(self, method: str, kind: str) -> None:
        super().__init__(f"{method}: {kind}")
        self.method = method
        self.kind = kind


class Faults:
    """Of one source; `hidden` takes its secret out of a server's words."""

    def __init__(self, config: JmapConfig, hidden: Callable[[str], str]) -> None:
        self._config = config
        self._hidden = hidden

    def of(self, status: int, headers: Mapping[str, str], content: bytes) -> InboxSyncError:
        """A request that was answered by this status."""
        host = self._config.host
        if status == 401:
            return self._sign_in_refused()
        if status == 403:
            return AuthError(
                f"{host} does not allow this sign-in to read the mailbox.",
                code="jmap.forbidden",
                next_step="Give the token the right to read mail.",
            )
        problem = _problem(content)
        if status == 404 and not problem.type:
            return ConfigError(
                f"There is no JMAP at {self._config.url}.",
                code="jmap.not_found",
                next_step="Set url to the server's name, or to the session resource that its documentation names.",
            )
        is_limit = problem.type.endswith(":limit")
        if status == 429 or status >= 500 or is_limit:
            return TemporaryError(
                f"{host} cannot serve this mailbox now ({problem.limit or status}).",
                code="jmap.throttled" if status == 429 or is_limit else "jmap.unavailable",
                next_step="It is tried again; if it stays, use a longer interval (every).",
                retry_after_seconds=_retry_after_seconds(headers),
            )
        said = f' It says: "{_said(self._hidden(problem.detail or problem.type))}".' if problem.type else ""
        return TemporaryError(
            f"{host} answered {status}.{said}",
            code="jmap.refused",
            next_step="It is tried again; if it stays, the server's log says more.",
        )

    def of_method(self, method: str, problem: Problem) -> Exception:
        """A method that was refused; MethodRefused where the caller may know more."""
        host = self._config.host
        if problem.type in _WAIT:
            return TemporaryError(
                f"{host} did not do {method} ({problem.type}).",
                code="jmap.unavailable",
                next_step="It is tried again; if it stays, the server's log says more.",
            )
        if problem.type in _RIGHTS:
            return ConfigError(
                f"{host} does not let this sign-in read the account's mail ({problem.type}).",
                code="jmap.account_refused",
                next_step="Correct account_id, or give the token the right to read mail.",
            )
        return MethodRefused(method, problem.type)

    def not_jmap(self) -> TemporaryError:
        """An answer that makes no sense."""
        return TemporaryError(
            f"{self._config.host} answers, but not as a JMAP server does.",
            code="jmap.not_jmap",
            next_step="Check url; the session resource is usually found by the server's name alone.",
        )

    def _sign_in_refused(self) -> AuthError:
        if self._config.oauth is not None:
            return AuthError(
                f"{self._config.host} refused the token for {self._config.username}.",
                code="jmap.auth_refused",
                next_step="See that username is the mailbox of who signed in, and that the application may read mail; "
                "then type `inbox-sync auth SOURCE`.",
            )
        return AuthError(
            f"{self._config.host} refused the sign-in.",
            code="jmap.auth_refused",
            next_step="Put the current token or (app) password into the secret that the source names.",
        )


def refused_oddly(refused: MethodRefused) -> TemporaryError:
    """A refusal that nobody knows what to do about."""
    return TemporaryError(
        f"The server did not do {refused.method} ({refused.kind or 'no reason given'}).",
        code="jmap.refused",
        next_step="It is tried again; if it stays, the server's log says more.",
    )


def _problem(content: bytes) -> Problem:
    try:
        return Problem.model_validate(json.loads(content))
    except (ValueError, ValidationError):
        return Problem()


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "").strip()
    return min(float(value), MAX_RETRY_AFTER_SECONDS) if value.isascii() and value.isdigit() else None


def _said(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_SAID_CHARACTERS]
