"""A few lines of HTTP for the sandbox's own tests: what goes over the wire and nothing more."""

from __future__ import annotations

import json
import weakref
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from sync.sandbox import Sandbox
from sync.sandbox.values import JsonObject, as_list, as_object, as_text, at_path

TIMEOUT_SECONDS = 5


class Answer(NamedTuple):
    status: int
    body: JsonObject
    headers: dict[str, str]

    def at(self, path: str) -> object:
        return at_path(self.body, path)

    @property
    def code(self) -> str:
        return as_text(self.at("details.applicationError.code"))

    @property
    def violations(self) -> list[tuple[str, str]]:
        found = [as_object(each) for each in as_list(self.at("details.validationError.fieldViolations"))]
        return [(as_text(each["field"]), as_text(each["violatedRule"])) for each in found]


class Wire:
    """Calls the emulated API of a sandbox over one connection, with its API key."""

    def __init__(self, sandbox: Sandbox, **headers: str) -> None:
        parts = urlsplit(sandbox.url)
        self.connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        weakref.finalize(self, self.connection.close)
        self.headers = {
            "Authorization": sandbox.api_key,
            "wix-site-id": sandbox.site_id,
            "Content-Type": "application/json",
            **headers,
        }

    def call(self, method: str, path: str, body: object = None) -> Answer:
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.connection.request(method, path, sent, self.headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except Exception:
            self.connection.close()  # the next call opens a new one
            raise
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, json.loads(content) if content else {}, headers)

    def contact(self, email: str = "jo@example.com", **info: object) -> str:
        answer = self.create(email, info)
        assert answer.status == 200, answer
        return as_text(answer.at("contact.id"))

    def create(self, email: str, info: JsonObject | None = None, *, duplicates: bool = False) -> Answer:
        items = [{"tag": "MAIN", "email": email, "primary": True}]
        body = {"info": {"emails": {"items": items}, **(info or {})}, "allowDuplicates": duplicates}
        return self.call("POST", "/contacts/v4/contacts", body)

    def query(self, conditions: object, **paging: int) -> Answer:
        query: dict[str, object] = {"filter": conditions, **({"paging": paging} if paging else {})}
        return self.call("POST", "/contacts/v4/contacts/query", {"query": query})

    def found(self, conditions: object) -> list[str]:
        contacts = as_list(self.query(conditions).body["contacts"])
        return [as_text(as_object(each)["id"]) for each in contacts]

    def open(self, contact_id: str) -> Answer:
        return self.call("POST", "/inbox/v2/conversations", {"participantId": {"contactId": contact_id}})

    def conversation(self, email: str = "jo@example.com") -> str:
        return as_text(self.open(self.contact(email)).at("conversation.id"))

    def send(self, conversation_id: str, text: str = "Hello", **message: object) -> Answer:
        return self.call("POST", "/inbox/v2/messages", send_body(conversation_id, text, **message))

    def page(self, conversation_id: str, parameters: str = "") -> Answer:
        query = f"conversationId={conversation_id}&visibility=BUSINESS{parameters}"
        return self.call("GET", f"/inbox/v2/messages?{query}")

    def listed(self, conversation_id: str, parameters: str = "") -> list[str]:
        return texts(self.page(conversation_id, parameters))


def texts(answer: Answer) -> list[str]:
    items = [as_list(at_path(each, "content.basic.items")) for each in as_list(answer.body["messages"])]
    return [as_text(as_object(item).get("text")) for each in items for item in each]


def send_body(conversation_id: str, text: str = "Hello", **message: object) -> JsonObject:
    return {
        "conversationId": conversation_id,
        "message": {
            "direction": "PARTICIPANT_TO_BUSINESS",
            "visibility": "BUSINESS",
            "content": {"previewText": text[:200], "basic": {"items": [{"text": text}]}},
            **message,
        },
        "sendNotifications": False,
        "sendAs": "PARTICIPANT",
    }
