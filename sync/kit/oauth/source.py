"""OAuth 2.0 for connectors: tokens that are kept, refreshed and rotated, and the ways to sign in.

`TokenSource.access_token` is all that a connection needs. What a refresh brings is stored before it is used, so that a
token which the provider has rotated survives a crash (RFC 6749 §6); two daemons that refresh at once end with one token.
Raises AuthError where somebody has to sign in again, TemporaryError where waiting helps.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from sync.connector import Http, HttpAnswer, SignIn, TokenStore
from sync.errors import AuthError, InboxSyncError, TemporaryError
from sync.message import Json

from .config import OAuthConfig
from .google import service_account_assertion

EXPIRY_MARGIN = timedelta(seconds=120)
"""A token that ends within this time is renewed first: clocks differ, and signing in takes a while."""
DEFAULT_LIFETIME_SECONDS = 3600.0
"""RFC 6749 §5.1 lets a server leave `expires_in` out."""
MAX_LIFETIME_SECONDS = 86_400.0
DEVICE_INTERVAL_SECONDS = 5.0
"""RFC 8628 §3.2, where the server names none; `slow_down` adds as much again (§3.5)."""
REDIRECT_URI = "http://127.0.0.1:8085/"
"""Nothing listens there: the browser fails to open it, and its address line holds the code (RFC 8252 §7.3)."""
MAX_SAID_CHARACTERS = 200
RENEWALS_AT_MOST = 3
"""Tries for one token: what was not stored yet, what another process stored meanwhile, and a new one."""
_WAIT = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


class _Pending(BaseModel):
    """A sign-in that has begun."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    device_code: str = ""
    verifier: str = ""
    state: str = ""
    url: str = ""
    code: str = ""
    interval_seconds: float = DEVICE_INTERVAL_SECONDS
    expires_at: datetime


class _Kept(BaseModel):
    """What the store holds of a source. `owner` tells which application and user it is for: another one in the
    configuration starts anew."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    v: Literal[1] = 1
    owner: str = ""
    refresh_token: str = ""
    access_token: str = ""
    expires_at: datetime | None = None
    pending: _Pending | None = None


class _Granted(BaseModel):
    """A token endpoint's answer (RFC 6749 §5.1)."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    access_token: str = Field(min_length=1)
    refresh_token: str = ""
    expires_in: float = DEFAULT_LIFETIME_SECONDS


class _Device(BaseModel):
    """RFC 8628 §3.2."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    device_code: str = Field(min_length=1)
    user_code: str = Field(min_length=1)
    verification_uri: str = ""
    verification_url: str = ""
    expires_in: float = 900.0
    interval: float = DEVICE_INTERVAL_SECONDS


class _Refused(Exception):
    """A token endpoint's error (RFC 6749 §5.2)."""

    def __init__(self, error: str, answer: HttpAnswer, said: str) -> None:
        super().__init__(error)
        self.error = error
        self.answer = answer
        self.said = said


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """What the provider granted for a refresh token, as long as it is not in the store: the only copy."""

    fresh: _Kept
    granted_for: str


class TokenSource:
    """The tokens of one source: `user` is the mailbox they are for, `source` what an operator types after `auth`."""

    def __init__(
        self,
        config: OAuthConfig,
        *,
        user: str,
        scopes: tuple[str, ...],
        store: TokenStore,
        http: Http,
        now: Callable[[], datetime],
    ) -> None:
        self._config = config
        self._user = user
        self._scopes = config.scopes or scopes
        self._store = store
        self._http = http
        self._now = now
        self._turn = asyncio.Lock()
        self._unsaved: _Unsaved | None = None
        self._renewal: asyncio.Task[_Kept | None] | None = None
        made = "\n".join((config.provider, config.effective_flow, config.client_id, config.endpoint("token"), user))
        self._owner = hashlib.sha256(made.encode()).hexdigest()[:16]

    # -- what a connection needs

    async def access_token(self, *, rejected: str = "") -> str:
        """A token that is good for the next minutes. `rejected`: one that the service would not take. Raises
        AuthError (`oauth.sign_in_needed`, `oauth.revoked`, `oauth.client_refused`), TemporaryError."""
        async with self._turn:
            for _try in range(RENEWALS_AT_MOST):
                if self._renewal is not None:  # its caller gave up: its answer must not be lost
                    await asyncio.wait({self._renewal})
                kept, version = await self._load()
                if self._unsaved is not None and self._unsaved.granted_for != kept.refresh_token:
                    self._unsaved = None  # somebody has renewed it, or signed in anew
                if self._is_good(kept, rejected) and self._unsaved is None:
                    return kept.access_token
                self._renewal = asyncio.create_task(self._renew(kept, version))
                self._renewal.add_done_callback(lambda done: done.cancelled() or done.exception())
                fresh = await asyncio.shield(self._renewal)
                if fresh is not None and self._is_good(fresh, rejected):
                    return fresh.access_token
            kept, _version = await self._load()  # another process renews it, too: what it stored counts
            if self._is_good(kept, rejected):
                return kept.access_token
            raise _temporary("somebody else is changing the tokens of this source", "oauth.contended")

    async def _renew(self, kept: _Kept, version: int) -> _Kept | None:
        """Asks for a token and stores what comes, or stores what came before and could not be stored. None when another
        process has stored something meanwhile. Ends whatever becomes of its caller."""
        unsaved = self._unsaved
        if unsaved is None:
            unsaved = self._unsaved = _Unsaved(await self._renewed(kept), kept.refresh_token)
        going_on = kept.pending if kept.pending is not None and kept.pending.expires_at > self._now() else None
        if not await self._store.save(_dump(unsaved.fresh.model_copy(update={"pending": going_on})), version):
            return None
        self._unsaved = None
        return unsaved.fresh

    def _is_good(self, kept: _Kept, rejected: str) -> bool:
        if not kept.access_token or kept.access_token == rejected or kept.expires_at is None:
            return False
        return self._now() < kept.expires_at - EXPIRY_MARGIN

    async def _renewed(self, kept: _Kept) -> _Kept:
        if self._config.effective_flow == "app":
            return await self._granted(kept, self._app_form())
        if not kept.refresh_token:
            raise AuthError(
                f"Nobody has signed in for {self._user} yet.",
                code="oauth.sign_in_needed",
                next_step="Type `inbox-sync auth SOURCE`, and sign in as the mailbox's owner.",
            )
        form = {"grant_type": "refresh_token", "refresh_token": kept.refresh_token, "scope": " ".join(self._scopes)}
        if self._config.provider == "google":
            del form["scope"]  # it keeps what was granted
        return await self._granted(kept, form | self._client())

    async def _granted(self, kept: _Kept, form: Mapping[str, str]) -> _Kept:
        try:
            granted = _shaped(_Granted, await self._ask(self._config.endpoint("token"), form))
        except _Refused as refused:
            raise self._meaning(refused, kept) from None
        lifetime = timedelta(seconds=min(max(granted.expires_in, 0.0), MAX_LIFETIME_SECONDS))
        return _Kept(
            owner=self._owner,
            refresh_token=granted.refresh_token or kept.refresh_token,
            access_token=granted.access_token,
            expires_at=self._now() + max(lifetime, EXPIRY_MARGIN + timedelta(seconds=1)),
        )

    def _client(self) -> dict[str, str]:
        secret = self._config.client_secret
        known = {} if secret is None else {"client_secret": secret.get_secret_value()}
        return {"client_id": self._config.client_id, **known}

    def _app_form(self) -> dict[str, str]:
        if self._config.provider != "google":
            return {"grant_type": "client_credentials", "scope": " ".join(self._scopes), **self._client()}
        assertion = service_account_assertion(
            self._config.service_account or SecretStr(""),
            user=self._user,
            scope=" ".join(self._scopes),
            audience=self._config.endpoint("token"),
            now=self._now(),
        )
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}

    # -- signing in

    async def begin_sign_in(self) -> SignIn | None:
        """Starts a sign-in and says what the person has to do. None: there is nobody to sign in (flow `app`); a token
        was asked for, as a test."""
        flow = self._config.effective_flow
        if flow == "app":
            await self.access_token(rejected=(await self._load())[0].access_token)
            return None
        pending = await self._begin_device() if flow == "device" else self._begin_browser()
        async with self._turn:
            kept, version = await self._load()
            await self._must_save(kept.model_copy(update={"owner": self._owner, "pending": pending}), version)
        return self._prompt(pending)

    async def continue_sign_in(self, answer: str) -> SignIn | None:
        """One try to finish. None: signed in. Else it is not done yet: ask again after `interval_seconds`. `answer` is
        what the person pasted, for the flow `browser`."""
        async with self._turn:
            kept, version = await self._load()
            pending = kept.pending
            if pending is None or pending.expires_at <= self._now():
                raise _sign_in_failed("there is no sign-in going on, or it took too long")
            form = self._code_form(pending, answer) if pending.verifier else self._device_form(pending)
            try:
                fresh = _shaped(_Granted, await self._ask(self._config.endpoint("token"), form))
            except _Refused as refused:
                return await self._not_yet(refused, kept, pending, version)
            if not fresh.refresh_token:
                raise _sign_in_failed("the provider gave no refresh token; the application may lack offline access")
            lifetime = timedelta(seconds=min(max(fresh.expires_in, 0.0), MAX_LIFETIME_SECONDS))
            done = _Kept(
                owner=self._owner,
                refresh_token=fresh.refresh_token,
                access_token=fresh.access_token,
                expires_at=self._now() + lifetime,
            )
            await self._must_save(done, version)
            return None

    async def _begin_device(self) -> _Pending:
        form = {"scope": " ".join(self._scopes), "client_id": self._config.client_id}
        try:
            made = _shaped(_Device, await self._ask(self._config.endpoint("device"), form))
        except _Refused as refused:
            raise self._meaning(refused, _Kept()) from None
        return _Pending(
            device_code=made.device_code,
            url=made.verification_uri or made.verification_url,
            code=made.user_code,
            interval_seconds=max(made.interval, 0.0),
            expires_at=self._now() + timedelta(seconds=made.expires_in),
        )

    def _begin_browser(self) -> _Pending:
        """RFC 7636: the code is worth nothing to anybody who does not know the verifier."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": " ".join(self._scopes),
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": self._user,
        }
        if self._config.provider == "google":
            asked |= {"access_type": "offline", "prompt": "consent"}
        return _Pending(
            verifier=verifier,
            state=state,
            url=f"{self._config.endpoint('authorize')}?{urlencode(asked)}",
            expires_at=self._now() + timedelta(minutes=30),
        )

    def _prompt(self, pending: _Pending) -> SignIn:
        return SignIn(
            url=pending.url,
            code=pending.code,
            wants_answer=bool(pending.verifier),
            interval_seconds=pending.interval_seconds,
            expires_at=pending.expires_at,
        )

    def _device_form(self, pending: _Pending) -> dict[str, str]:
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        return {"grant_type": grant, "device_code": pending.device_code, **self._client()}

    def _code_form(self, pending: _Pending, answer: str) -> dict[str, str]:
        query = parse_qs(urlsplit(answer.strip()).query)
        error, state, code = (query.get(name, [""])[0] for name in ("error", "state", "code"))
        if error:
            raise _sign_in_failed(f"the provider said {_said(error)}")
        if not code or not secrets.compare_digest(state.encode(), pending.state.encode()):
            raise _sign_in_failed("that is not the address the browser ended at: it begins with " + REDIRECT_URI)
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": pending.verifier,
            **self._client(),
        }

    async def _not_yet(self, refused: _Refused, kept: _Kept, pending: _Pending, version: int) -> SignIn:
        if refused.error == "slow_down":
            slower = pending.interval_seconds + DEVICE_INTERVAL_SECONDS
            pending = pending.model_copy(update={"interval_seconds": slower})
            await self._must_save(kept.model_copy(update={"pending": pending}), version)
            return self._prompt(pending)
        if refused.error == "authorization_pending" or refused.answer.status_code >= 500:
            return self._prompt(pending)
        if refused.error in {"access_denied", "authorization_declined"}:
            raise _sign_in_failed("the sign-in was declined")
        if refused.error in {"expired_token", "invalid_grant"}:
            raise _sign_in_failed("the code has expired")
        raise self._meaning(refused, kept)

    # -- the store

    async def _load(self) -> tuple[_Kept, int]:
        value, version = await self._store.load()
        try:
            kept = _Kept.model_validate(value)
        except ValidationError:
            kept = _Kept()
        return (kept if kept.owner == self._owner else _Kept(owner=self._owner)), version

    async def _must_save(self, kept: _Kept, version: int) -> None:
        if not await self._store.save(_dump(kept), version):
            raise _temporary("somebody else is changing the tokens of this source", "oauth.contended")

    # -- the wire

    async def _ask(self, url: str, form: Mapping[str, str]) -> Json:
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        answer = await self._http.request("POST", url, headers=headers, content=urlencode(form).encode())
        try:
            content: Json = json.loads(answer.content)
        except ValueError:
            content = None
        if answer.status_code == 200:
            return content
        error, said = "", ""
        if isinstance(content, dict):
            error, said = str(content.get("error") or ""), str(content.get("error_description") or "")
        raise _Refused(error, answer, said)

    def _meaning(self, refused: _Refused, kept: _Kept) -> InboxSyncError:
        host = urlsplit(self._config.endpoint("token")).netloc
        status, error = refused.answer.status_code, refused.error
        said = f' It says: "{self._cleaned(refused.said, kept)}".' if refused.said else ""
        if status >= 500 or status == 429 or error in _WAIT:
            value = refused.answer.headers.get("retry-after", "")
            wait = float(value) if value.isascii() and value.isdigit() else None
            return _temporary(f"{host} cannot give tokens now ({error or status})", "oauth.unavailable", wait)
        if error in {"invalid_grant", "interaction_required", "consent_required", "login_required"}:
            return AuthError(
                f"The sign-in of {self._user} was revoked or has expired.{said}",
                code="oauth.revoked",
                next_step="Type `inbox-sync auth SOURCE`, and sign in again as the mailbox's owner.",
            )
        return AuthError(
            f"{host} does not accept this application ({error or status}).{said}",
            code="oauth.client_refused",
            next_step="Check client_id, client_secret, tenant and scopes against what the provider shows.",
        )

    def _cleaned(self, text: str, kept: _Kept) -> str:
        configured = (self._config.client_secret, self._config.service_account)
        secret = [one.get_secret_value() for one in configured if one is not None]
        for word in (*secret, kept.refresh_token, kept.access_token, self._user):
            text = text.replace(word, "…") if word else text
        return _said(text)


Shape = TypeVar("Shape", bound=BaseModel)


def _shaped(shape: type[Shape], content: Json) -> Shape:
    try:
        return shape.model_validate(content)
    except ValidationError:
        raise _temporary("the provider's answer holds no token", "oauth.odd_answer") from None


def _dump(kept: _Kept) -> Json:
    made: Json = kept.model_dump(mode="json", exclude_defaults=True)
    return made


def _said(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_SAID_CHARACTERS]


def _temporary(sentence: str, code: str, retry_after_seconds: float | None = None) -> TemporaryError:
    return TemporaryError(
        f"{sentence[:1].upper()}{sentence[1:]}.",
        code=code,
        next_step="It is tried again.",
        retry_after_seconds=retry_after_seconds,
    )


def _sign_in_failed(why: str) -> AuthError:
    return AuthError(
        f"The sign-in did not work: {why}.",
        code="oauth.sign_in_failed",
        next_step="Type `inbox-sync auth SOURCE` again.",
    )
