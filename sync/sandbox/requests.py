"""Reading a request of the API: which call it is, its parameters in both encodings, its body."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote

from sync.sandbox.errors import Refusal
from sync.sandbox.values import JsonObject

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_UPLOAD_BYTES = 100 * 1024 * 1024

_INBOX = ("inbox", "v2")
_CONTACTS = ("contacts", "v4", "contacts")
_MEDIA = ("communication-channels-media", "v1")

ROUTES: Mapping[tuple[str, tuple[str, ...]], str] = MappingProxyType(
    {
        ("POST", (*_INBOX, "messages")): "messages.send",
        ("GET", (*_INBOX, "messages")): "messages.list",
        ("POST", (*_INBOX, "conversations")): "conversations.get_or_create",
        ("GET", (*_INBOX, "conversations", "*")): "conversations.get",
        ("POST", (*_CONTACTS, "query")): "contacts.query",
        ("POST", _CONTACTS): "contacts.create",
        ("GET", (*_CONTACTS, "*")): "contacts.get",
        ("PATCH", (*_CONTACTS, "*")): "contacts.update",
        ("DELETE", (*_CONTACTS, "*")): "contacts.delete",
        ("POST", (*_CONTACTS, "*", "merge")): "contacts.merge",
        ("POST", (*_MEDIA, "upload-url")): "media.upload_url",
        ("POST", (*_MEDIA, "import-file")): "media.import_file",
        ("POST", (*_MEDIA, "download-url")): "media.download_url",
        ("GET", (*_MEDIA, "storage-quota")): "media.storage_quota",
        ("PUT", ("_media", "upload", "*")): "media.upload",
        ("POST", ("oauth2", "token")): "oauth.token",
    }
)
"""Every emulated call. `*` is an id in the path."""
PREFIXES = ("/inbox/", "/contacts/", "/communication-channels-media/", "/oauth2/", "/_media/upload/")


@dataclass(slots=True)
class Request:
    """One HTTP request, read completely."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base_url: str = ""
    connection: int = 0
    reused_connection: bool = False

    def json(self) -> JsonObject:
        """The body as a JSON object; raises `Refusal` 400."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as problem:
            raise Refusal(400, description=f"the body is not JSON: {problem}") from problem
        if not isinstance(value, dict):
            raise Refusal(400, description="the body must be a JSON object")
        return value


def route(method: str, path: str) -> tuple[str, str]:
    """The name of the call and the id in its path; raises `Refusal` 404 or 405."""
    segments = tuple(unquote(each) for each in path.strip("/").split("/"))
    if name := ROUTES.get((method, segments)):
        return name, ""
    allowed = False
    for (route_method, pattern), name in ROUTES.items():
        if len(pattern) != len(segments):
            continue
        if all(part in ("*", segment) for part, segment in zip(pattern, segments, strict=True)):
            if route_method == method:
                return name, next((segment for part, segment in zip(pattern, segments, strict=True) if part == "*"), "")
            allowed = True
    if allowed:
        raise Refusal(405, description=f"{method} is not allowed here")
    raise Refusal(404, description=f"no such call: {method} {path}")


def query_parameters(query: str) -> JsonObject:
    """Parameters as nested objects: dotted (`paging.limit=5`) or one `.r` of base64url JSON, or both."""
    result: JsonObject = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name == ".r":
            try:
                value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            except (ValueError, binascii.Error) as problem:
                raise Refusal(400, description="the parameter .r is not base64url JSON") from problem
            if isinstance(value, dict):
                result.update(value)
            continue
        place = result
        *parents, last = name.split(".")
        for parent in parents:
            below = place.setdefault(parent, {})
            if not isinstance(below, dict):
                raise Refusal(400, description=f"the parameter {name} contradicts another one")
            place = below
        place[last] = int(text) if last in {"limit", "offset"} and text.isdecimal() else text
    return result
