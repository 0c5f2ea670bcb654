"""The request limit of a site and the tokens of its apps."""

from __future__ import annotations

import math
import secrets
from collections import deque
from dataclasses import dataclass, field

from sync.sandbox.errors import Refusal
from sync.sandbox.settings import ApiKey, App

UNAUTHENTICATED = "UNAUTHENTICATED"
PERMISSION_DENIED = "PERMISSION_DENIED"
TOKENS_KEPT = 10_000
"""How many tokens are known; older ones count as expired."""


@dataclass(slots=True)
class Window:
    """A sliding window over the requests that were let through."""

    passed: deque[float] = field(default_factory=deque)

    def wait_seconds(self, now: float, limit: int, window_seconds: float) -> float:
        """0 and counted when the request may pass, else how long until one may."""
        while self.passed and self.passed[0] <= now - window_seconds:
            self.passed.popleft()
        if len(self.passed) < limit:
            self.passed.append(now)
            return 0.0
        return max(self.passed[0] + window_seconds - now, 0.001)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, and for which site."""

    site_id: str
    app_id: str


@dataclass(slots=True)
class Access:
    """API keys, apps and the tokens given to them."""

    keys: dict[str, ApiKey] = field(default_factory=dict)
    apps: list[App] = field(default_factory=list)
    tokens: dict[str, tuple[App, float]] = field(default_factory=dict)
    """Token to its app and the moment (epoch seconds) when it expires."""

    def issue(self, request: dict[str, object], now: float, token_seconds: int) -> dict[str, object]:
        """An access token for app credentials; raises `Refusal`."""
        if request.get("grant_type") != "client_credentials":
            raise Refusal(400, "UNSUPPORTED_GRANT_TYPE", "grant_type must be client_credentials")
        for app in self.apps:
            if app.app_id == request.get("client_id") and app.instance_id == request.get("instance_id"):
                if app.secret != request.get("client_secret"):
                    break
                token = f"OauthNG.SANDBOX.{secrets.token_urlsafe(24)}"
                while len(self.tokens) >= TOKENS_KEPT:
                    del self.tokens[next(iter(self.tokens))]
                self.tokens[token] = (app, now + token_seconds)
                return {"access_token": token, "token_type": "Bearer", "expires_in": token_seconds}
        raise Refusal(401, "INVALID_CLIENT", "unknown app, instance or secret")

    def revoke_all(self) -> int:
        """Make every token invalid; how many there were."""
        count = len(self.tokens)
        self.tokens.clear()
        return count

    def caller(self, authorization: str, site_id: str, account_id: str, now: float) -> Caller:
        """Who sends these headers; raises `Refusal` 401 or 403."""
        credential = authorization.removeprefix("Bearer ").strip()
        if not credential:
            raise Refusal(401, UNAUTHENTICATED, "the Authorization header is missing")
        if credential in self.tokens:
            app, expires = self.tokens[credential]
            if expires <= now:
                raise Refusal(401, UNAUTHENTICATED, "the access token has expired")
            return Caller(app.site_id, app.app_id)
        key = self.keys.get(credential)
        if key is None:
            raise Refusal(401, UNAUTHENTICATED, "unknown API key or access token")
        if site_id and account_id:
            raise Refusal(400, "INVALID_REQUEST", "send wix-site-id or wix-account-id, not both")
        if not site_id:
            raise Refusal(400, "INVALID_REQUEST", "the wix-site-id header is missing")
        if site_id not in key.site_ids:
            raise Refusal(403, PERMISSION_DENIED, "the API key is not permitted for this site")
        return Caller(site_id, API_KEY_APP_ID)


API_KEY_APP_ID = "5a9d0b00-0000-4000-8000-0000000000c1"
"""The `appId` on messages which were sent with an API key."""


def retry_after(seconds: float) -> str:
    """The header's value: whole seconds, rounded up."""
    return str(math.ceil(seconds))
