"""Files: an address to upload to, then the bytes. Source: Communication Channels Media API, `upload-url` and its PUT.

An upload that was not answered costs nothing to repeat: the Inbox shows a file only where a message names it.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sync.errors import MessageError, Scope, TemporaryError
from sync.http import Answered, Failed, parse_json
from sync.inbox.calls import Calls
from sync.inbox.errors import Fault, fault_of, refusal, unreadable
from sync.message import Json
from sync.text.units import cut_units

PATH: Final = "/communication-channels-media/v1/upload-url"
MEDIA_SECONDS: Final = 9 * 3600.0
"""An uploaded file is named in messages for so long; the Inbox forgets unused ones after 10 hours."""
MAX_NAME_UNITS: Final = 200
MAX_TYPE_CHARS: Final = 100
MAX_FILE_ID_CHARS: Final = 2_000
HOSTS_KEPT: Final = 16
PLAIN_TYPE: Final = "application/octet-stream"

_NOT_TAKEN: Final = {
    "MIME_TYPE_MISMATCH": "the Inbox found that it is not what its name says",
    "UNSUPPORTED_FILE_FORMAT": "the Inbox does not take files of this kind",
    "FILE_SIZE_OVER_LIMIT": "it is too large for the Inbox",
    "ZERO_FILE_SIZE": "it is empty",
}
_UPLOADING: Final = "upload a file"
_TOLERATED: Final = frozenset({400, 413, 415})


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The Inbox does not take this file, whoever sends it how often; `why` completes "not brought over: name: …"."""

    code: str
    why: str


async def upload(
    calls: Calls, filename: str, mime_type: str, size: int, content: bytes | AsyncIterator[bytes]
) -> str | NotTaken:
    """Uploads one file of `size` bytes, at hand or in pieces from its beginning. Returns its id.

    Raises AuthError, TemporaryError (scope inbox where the API itself fails, scope message where only the upload does),
    MessageError (a refusal that says nothing about the file), and what the pieces raise.
    """
    mime_type = _type_of(mime_type)
    name = cut_units(filename, MAX_NAME_UNITS)
    url = await address(calls, name, mime_type)
    if isinstance(url, NotTaken):
        return url
    headers = {"content-type": mime_type, "content-length": str(size)}
    exchange = await calls.put(url, {"filename": name}, headers, content)
    if isinstance(exchange, Failed):
        raise _failed(f"the file could not be uploaded: {exchange.sentence}", f"inbox.upload_{exchange.why}")
    if 200 <= exchange.status < 300:
        return _file_id(exchange)
    fault = fault_of(exchange, calls.clock.now())
    if fault.status in _TOLERATED:
        return _not_taken(fault)
    raise _failed(f"the file could not be uploaded: {fault.summary}", "inbox.upload_failed")


async def address(calls: Calls, name: str, mime_type: str) -> str | NotTaken:
    """Where a file can be put, once. Raises AuthError, TemporaryError, MessageError."""
    body: dict[str, Json] = {"mimeType": mime_type, "fileName": name}
    answer = await calls.call(_UPLOADING, "POST", PATH, json=body, tolerate=_TOLERATED)
    if answer.fault is not None:
        return _not_taken(answer.fault)
    url = answer.data.get("uploadUrl")
    if not isinstance(url, str):
        raise unreadable(_UPLOADING)
    _check_url(url)
    return url


def _type_of(mime_type: str) -> str:
    plain = mime_type.lower().partition(";")[0].strip()
    fits = (
        "/" in plain and len(plain) <= MAX_TYPE_CHARS and plain.isascii() and plain.isprintable() and " " not in plain
    )
    return plain if fits else PLAIN_TYPE


def _not_taken(fault: Fault) -> NotTaken:
    if fault.code in _NOT_TAKEN:
        return NotTaken(f"inbox.{fault.code.lower()}", _NOT_TAKEN[fault.code])
    if fault.status == 413:
        return NotTaken("inbox.status_413", _NOT_TAKEN["FILE_SIZE_OVER_LIMIT"])
    if fault.status == 415:
        return NotTaken("inbox.status_415", _NOT_TAKEN["UNSUPPORTED_FILE_FORMAT"])
    error = refusal(fault, _UPLOADING)
    if isinstance(error, MessageError):
        return NotTaken(f"inbox.{fault.code.lower()}" if fault.code else "inbox.status_400", "the Inbox refused it")
    raise error


def _check_url(url: str) -> None:
    """Bytes of customers go over TLS, except to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_this_machine(parts.hostname or ""):
        return
    raise _failed("the Inbox names an address for uploads that is not https", "inbox.upload_address")


@functools.lru_cache(maxsize=HOSTS_KEPT)
def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _file_id(answered: Answered) -> str:
    body, _ = parse_json(answered.body)
    outer = body if isinstance(body, dict) else {}
    file = outer.get("file")
    inner = file if isinstance(file, dict) else {}
    for value in (inner.get("id"), outer.get("fileId"), outer.get("id")):
        if isinstance(value, str) and 0 < len(value) <= MAX_FILE_ID_CHARS and value.isprintable():
            return value
    raise _failed("the answer to an upload does not say which file it became", "inbox.upload_unreadable")


def _failed(sentence: str, code: str) -> TemporaryError:
    return TemporaryError(
        sentence,
        code=code,
        next_step="nothing: it is tried again, then the message goes without this file",
        scope=Scope.MESSAGE,
    )
