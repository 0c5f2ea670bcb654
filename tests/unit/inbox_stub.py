"""An Inbox in a function, for tests of the client without sockets."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
from pydantic import SecretStr

from sync.budget import Budget
from sync.http import EVIDENCE_EXTENSION, Evidence, HttpClient
from sync.inbox import InboxClient, outcome
from sync.message import Json
from sync.settings import InboxSettings
from sync.testing.clock import FakeClock

API_KEY = "IST.geheim-api-key"
APP_SECRET = "geheim-app-secret"
TOKEN = "geheim-token"
SITE = "11111111-1111-4111-8111-111111111111"

Handler = Callable[[str, str, "dict[str, Json]"], "tuple[int, Json] | httpx.Response | Exception"]
"""(method, path, body or query) → (status, JSON body), a whole response, or an exception to raise."""


class StubTransport(httpx.AsyncBaseTransport):
    """Asks the handler and keeps what was asked. `written` False: the request fails before its first byte."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[httpx.Request] = []
        self.calls: list[tuple[str, str]] = []
        self.fail_unwritten: Exception | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        evidence: Evidence = request.extensions[EVIDENCE_EXTENSION]
        if self.fail_unwritten is not None:
            raise self.fail_unwritten
        evidence.first_byte()
        self.requests.append(request)
        self.calls.append((request.method, request.url.path))
        data = json.loads(request.content) if request.content else dict(request.url.params)
        result = self.handler(request.method, request.url.path, data)
        if isinstance(result, Exception):
            raise result
        if isinstance(result, httpx.Response):
            return result
        status, body = result
        return httpx.Response(status, json=body, headers={"x-wix-request-id": f"req-{len(self.requests)}"})


def settings_for(auth: str = "api_key") -> InboxSettings:
    if auth == "app":
        return InboxSettings(
            site_id=SITE,
            auth="app",
            app_id="app-1",
            app_secret=SecretStr(APP_SECRET),
            instance_id="instance-1",
            base_url="https://inbox.test/",
        )
    return InboxSettings(site_id=SITE, api_key=SecretStr(API_KEY), base_url="https://inbox.test/")


class Stub:
    """A client over a handler, with a clock that stands still and a budget that never makes it wait."""

    def __init__(self, handler: Handler, *, auth: str = "api_key") -> None:
        self.clock = FakeClock()
        self.transport = StubTransport(handler)
        self.budget = Budget(1_000_000, 1000, clock=self.clock)
        self.budget.restore(None)
        self.budget._tokens = 1000.0
        self.client = InboxClient(
            "main", settings_for(auth), http=HttpClient(transport=self.transport), budget=self.budget, clock=self.clock
        )


def refused(code: str, data: dict[str, Json] | None = None) -> Json:
    error: dict[str, Json] = {"code": code, "description": "told about jo@example.com"}
    if data:
        error["data"] = data
    return {"message": "refused jo@example.com", "details": {"applicationError": error}}


async def send(client: InboxClient, body: Json, *, may_write: Callable[[], bool] = lambda: True) -> outcome.SendOutcome:
    """Sends a body as it is recorded."""
    return await client.send(body, recorded=json.dumps(body), may_write=may_write)


def message_body(text: str = "Hello", conversation_id: str = "conversation-1") -> dict[str, Json]:
    return {
        "conversationId": conversation_id,
        "message": {
            "direction": "PARTICIPANT_TO_BUSINESS",
            "visibility": "BUSINESS",
            "silent": False,
            "badges": [{"text": "Mail"}],
            "content": {"previewText": text, "basic": {"items": [{"text": text}]}},
        },
        "sendNotifications": False,
        "sendAs": "PARTICIPANT",
    }


def stored(body: dict[str, Json], number: int = 1700000000000001, **changes: Json) -> dict[str, Json]:
    """What the Inbox makes of a request."""
    message = body["message"]
    assert isinstance(message, dict)
    kept = {key: value for key, value in message.items() if key != "badges"}
    return {**kept, "id": str(number), "sequence": str(number), "createdDate": "2026-03-12T14:03:00.000Z", **changes}
