"""A sandbox in another process, with the same methods as one in this process."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit

from sync.sandbox.errors import SandboxError
from sync.sandbox.operations import Operations
from sync.sandbox.values import dump_json

TIMEOUT_SECONDS = 30.0


class SandboxClient(Operations):
    """Talks to the admin API of the sandbox at `url` (such as `http://127.0.0.1:8025`)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise SandboxError(f"a sandbox has an http address, not {url!r}")
        self.url = f"http://{parts.netloc}"
        self._host, self._port = parts.hostname, parts.port or 80

    def do(self, verb: str, **arguments: object) -> object:
        """Run one verb; raises `SandboxError` when it refuses, OSError when it cannot be reached."""
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(
                "POST", f"/_sandbox/{quote(verb)}", dump_json(arguments), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            content = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise SandboxError(str(content.get("error", content)))
        result: object = content["result"]
        return result
