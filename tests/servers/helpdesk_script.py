"""What the scripted helpdesks share: who asked, times as they write them, and another host for their files."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from itertools import count
from urllib.parse import urlsplit

from sync.testing.service import Answer, Asked, ScriptedService


def iso(moment: datetime) -> str:
    """A time as these services write it: whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def credential(asked: Asked) -> str:
    """User and password of HTTP Basic, or the header as it is; "" without one."""
    header = asked.headers.get("authorization", "")
    kind, _, value = header.partition(" ")
    return base64.b64decode(value).decode() if kind == "Basic" else header


class Files(ScriptedService):
    """Another host, which gives files to whoever has the address. A credential is refused, as S3 does with a signed one."""

    def __init__(self) -> None:
        super().__init__()
        self._stored: dict[str, bytes] = {}
        self._numbers = count(1)
        self.get("/file/{number}")(self._give)

    @property
    def host(self) -> str:
        """Its name and port."""
        return urlsplit(self.url).netloc

    def put(self, data: bytes) -> str:
        """An address for these bytes."""
        path = f"/file/{next(self._numbers)}"
        self._stored[path] = data
        return f"{self.url}{path}"

    def expire(self) -> None:
        """Every address given until now is worth nothing."""
        self._stored.clear()

    def _give(self, asked: Asked) -> Answer:
        if "authorization" in asked.headers:
            return Answer(b"<Error><Code>InvalidArgument</Code></Error>", 400)
        data = self._stored.get(asked.path)
        return Answer(b"<Error><Code>AccessDenied</Code></Error>", 403) if data is None else Answer(data)
