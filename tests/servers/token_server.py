"""A small OAuth 2.0 provider on loopback: device flow, authorization code with PKCE, refresh tokens that rotate at every
use, client credentials, service accounts; revocation and trouble on order; introspection for Dovecot.

    with TokenServer() as provider:
        provider.approve()                  # the person has typed the code
        provider.revoke("alice")
        provider.trouble = (503, {"error": "temporarily_unavailable"})
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from sync.message import Json

CLIENT_ID = "client-1"
CLIENT_SECRET = "client-secret-8833"
MARK = "tkn-"
"""Every token begins so: a test searches logs for it."""


class TokenServer:
    """The provider. `lifetime_seconds`: of access tokens. `rotates`: a refresh token works once."""

    def __init__(self, *, user: str = "alice", lifetime_seconds: float = 3600, rotates: bool = True) -> None:
        self.user = user
        self.lifetime_seconds = lifetime_seconds
        self.rotates = rotates
        self.trouble: tuple[int, dict[str, str]] | None = None
        self.slow_down_times = 0
        self.interval_seconds: float = 0
        self.device_lifetime_seconds = 600
        self.forms: list[dict[str, str]] = []
        self.answered: list[dict[str, Json]] = []
        self.introspections = 0
        self._access: dict[str, tuple[str, float]] = {}
        self._refresh: dict[str, str] = {}
        self._device = "waiting"
        self._codes: dict[str, str] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- what people and administrators do

    def approve(self) -> None:
        """The person types the code and says yes."""
        self._device = "approved"

    def decline(self) -> None:
        """The person says no."""
        self._device = "declined"

    def browse(self, url: str) -> str:
        """The person opens an authorization URL and says yes: the address at which the browser ends."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self._codes[code] = query["code_challenge"]
        return f"{query['redirect_uri']}?state={query['state']}&code={code}"

    def revoke(self, user: str | None = None) -> None:
        """Every token of a user is worth nothing from now on."""
        with self._lock:
            name = user or self.user
            self._access = {token: one for token, one in self._access.items() if one[0] != name}
            self._refresh = {token: one for token, one in self._refresh.items() if one != name}

    def expire(self) -> None:
        """Every access token has expired; refresh tokens still work."""
        with self._lock:
            self._access.clear()

    @property
    def live_refresh_tokens(self) -> set[str]:
        """Those that would be taken."""
        return set(self._refresh)

    # -- the endpoints

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Json]]:
        """What a form posted to a path gets."""
        self.forms.append({"path": path, **form})
        if self.trouble is not None:
            status, body = self.trouble
            return status, dict(body)
        with self._lock:
            if path == "/device":
                return 200, {
                    "device_code": "device-1",
                    "user_code": "ABCD-EFGH",
                    "verification_uri": f"{self.url}/activate",
                    "expires_in": self.device_lifetime_seconds,
                    "interval": self.interval_seconds,
                }
            if form.get("client_id", CLIENT_ID) != CLIENT_ID:
                return 401, {"error": "invalid_client", "error_description": "no such client"}
            return self._token(form)

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Json]]:
        grant = form.get("grant_type", "").rpartition(":")[2]
        if grant == "refresh_token":
            return self._refreshed(form.get("refresh_token", ""))
        if grant == "device_code":
            return self._from_device()
        if grant == "authorization_code":
            challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
            known = self._codes.pop(form["code"], "")
            return self._give() if known == challenge.rstrip(b"=").decode() else (400, {"error": "invalid_grant"})
        if grant == "client_credentials":
            right = form.get("client_secret") == CLIENT_SECRET
            return self._give(refresh=False) if right else (401, {"error": "invalid_client"})
        if grant == "jwt-bearer":
            claims = json.loads(base64.urlsafe_b64decode(form["assertion"].split(".")[1] + "=="))
            return self._give(refresh=False) if claims["sub"] == self.user else (400, {"error": "invalid_grant"})
        return 400, {"error": "unsupported_grant_type"}

    def _refreshed(self, token: str) -> tuple[int, dict[str, Json]]:
        if token not in self._refresh:
            return 400, {"error": "invalid_grant", "error_description": f"token {token} has been revoked"}
        if self.rotates:
            del self._refresh[token]
        return self._give(refresh=self.rotates)

    def _from_device(self) -> tuple[int, dict[str, Json]]:
        if self.slow_down_times:
            self.slow_down_times -= 1
            return 400, {"error": "slow_down"}
        refusal = {"waiting": "authorization_pending", "declined": "access_denied"}.get(self._device)
        return self._give() if refusal is None else (400, {"error": refusal})

    def _give(self, *, refresh: bool = True) -> tuple[int, dict[str, Json]]:
        access = MARK + secrets.token_urlsafe(12)
        self._access[access] = (self.user, time.time() + self.lifetime_seconds)
        given: dict[str, Json] = {"access_token": access, "token_type": "Bearer", "expires_in": self.lifetime_seconds}
        if refresh:
            given["refresh_token"] = MARK + secrets.token_urlsafe(12)
            self._refresh[str(given["refresh_token"])] = self.user
        self.answered.append(given)
        return 200, given

    def introspect(self, token: str) -> tuple[int, dict[str, Json]]:
        """What Dovecot wants to know of a token."""
        self.introspections += 1
        if self.trouble is not None:
            return 200, {"error": "temporary"}
        user, until = self._access.get(token, ("", 0.0))
        return 200, {"active": bool(user) and until > time.time(), "username": user}

    # -- the wire

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self._send(*server.answer(urlsplit(self.path).path, form))

            def do_GET(self) -> None:
                self._send(*server.introspect(self.headers.get("Authorization", "").removeprefix("Bearer ")))

            def _send(self, status: int, content: dict[str, Json]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's name
                del format, args

        return Handler
