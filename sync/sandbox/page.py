"""The page at `/`, the files of messages, and the admin API: everything beside the emulated service."""

from __future__ import annotations

from pathlib import Path
from typing import cast
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from sync.sandbox import admin, views
from sync.sandbox.control import Control
from sync.sandbox.emulator import Emulator
from sync.sandbox.server import AsgiApp

_HERE = Path(__file__).parent
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


class OnlyLocalNames:
    """Refuses requests under a foreign host name, so that no web page can reach in through its own DNS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
            if name not in _LOCAL_NAMES:
                problem = PlainTextResponse("The sandbox answers to 127.0.0.1 and localhost only.", 403)
                await problem(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Page:
    """The page's endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def home(self, request: Request) -> Response:
        """Conversations on the left, one of them on the right. 304 while nothing has changed."""
        asked = request.query_params
        emulator = self._emulator
        with emulator.lock:
            emulator.settle()
            world = emulator.world
            tag = f'"{world.version}-{emulator.journal.counts["requests"]}-{len(world.sites)}"'
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers={"etag": tag})
            site = world.sites.get(asked.get("site", "")) or next(iter(world.sites.values()))
            wanted = site.target(asked.get("conversation", ""))
            latest = max(site.conversations.values(), key=lambda each: each.latest, default=None)
            conversation = site.conversations.get(wanted, latest)
            shown = None
            if conversation is not None:
                shown = views.thread(site, conversation, world.now, everything="all" in asked)
            seen: dict[str, object] = {
                "site_id": site.id,
                "sites": list(world.sites),
                "rows": views.rows(site, conversation.id if conversation else ""),
                "conversations": len(site.conversations),
                "contacts": len(site.contacts.by_id),
                "messages": sum(len(each.messages) for each in site.conversations.values()),
                "requests": emulator.journal.counts["requests"],
                "targets": len(emulator.targets),
                "thread": shown,
                "opened": "conversation" in asked,
            }
        # Written outside the lock: the service does not wait for its page.
        content = self._templates.get_template("page.html").render(seen)
        return HTMLResponse(content, headers={**_HEADERS, "etag": tag})

    def file(self, request: Request) -> Response:
        """A file of a message."""
        with self._emulator.lock:
            for site in self._emulator.world.sites.values():
                if (file := site.media.get(request.path_params["file_id"])) and file.data is not None:
                    break
            else:
                return PlainTextResponse("no such file", 404, headers=_HEADERS)
        picture = views.is_picture(file.mime_type)
        place = "inline" if picture else "attachment"
        headers = {
            **_HEADERS,
            "content-security-policy": "default-src 'none'; sandbox",
            "content-disposition": f"{place}; filename*=UTF-8''{quote(file.filename, safe='')}",
        }
        media_type = file.mime_type if picture else "application/octet-stream"
        return Response(file.data, media_type=media_type, headers=headers)


def pages(emulator: Emulator, control: Control) -> AsgiApp:
    """The application beside the API."""
    page = Page(emulator)
    routes = [
        Route("/", page.home),
        Route("/_media/file/{file_id}/{name}", page.file),
        Route("/_sandbox/{verb}", admin.endpoint(control), methods=["GET", "POST"]),
        Mount("/_static", StaticFiles(directory=_HERE / "static")),
    ]
    return cast("AsgiApp", Starlette(routes=routes, middleware=[Middleware(OnlyLocalNames)]))
