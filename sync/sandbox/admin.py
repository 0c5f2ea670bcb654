"""The admin API under `/_sandbox/`: one path a verb, arguments and results in JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sync.sandbox.control import Control
from sync.sandbox.errors import SandboxError
from sync.sandbox.values import JsonObject, dump_json

READING = frozenset({"dump", "stats", "journal", "targets", "faults"})
"""Verbs that change nothing: GET does for them, with arguments as parameters."""
MAX_ARGUMENT_BYTES = 16 * 1024 * 1024


def endpoint(control: Control) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of `/_sandbox/{verb}`."""

    async def run(request: Request) -> Response:
        verb = request.path_params["verb"]
        if request.method == "GET":
            if verb not in READING:
                return _problem(405, f"{verb} changes something: use POST")
            arguments: JsonObject = dict(request.query_params)
        else:
            try:
                arguments = await _arguments(request)
            except SandboxError as problem:
                return _problem(400, str(problem))
        try:
            result = await run_in_threadpool(control.do, verb, arguments)
        except SandboxError as problem:
            return _problem(400, str(problem))
        return Response(dump_json({"result": result}), media_type="application/json")

    return run


async def _arguments(request: Request) -> JsonObject:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_ARGUMENT_BYTES:
            raise SandboxError(f"more than {MAX_ARGUMENT_BYTES} bytes of arguments")
    if not body:
        return {}
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise SandboxError("send the arguments as application/json")
    try:
        value = json.loads(body)
    except ValueError as problem:
        raise SandboxError(f"the arguments are not JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise SandboxError("the arguments must be a JSON object")
    return value


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
