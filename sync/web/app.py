"""The pages: routes, logins, forms. Rendered on the server, without scripts; everything asked for is an operation."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from sync.answers import MessageFilterArgs, MoveAnswer
from sync.errors import InboxSyncError
from sync.meter import meter
from sync.operations import Operations
from sync.states import DeliveryState, MessageState
from sync.web import views
from sync.web.metrics import CONTENT_TYPE, Gauges, metrics_text
from sync.web.sessions import Session, Sessions, brings_csrf
from sync.words import ago

log = structlog.get_logger()

COOKIE = "inbox_sync_session"
BY = "the page"
"""Who retried or dropped, in a message's story."""
FORM_MAX_BYTES = 16 * 1024
ROWS = 50
"""Messages on one page of a list."""
REFRESH_SECONDS = 30
_HERE = Path(__file__).parent
_STATES = sorted({*map(str, MessageState), *map(str, DeliveryState)})
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What of the running process is shown: its operations, the numbers only it knows, what of it stands still (names;
    empty while all is well), and whether it is past its start."""

    operations: Operations
    gauges: Callable[[], Awaitable[Gauges]]
    stuck: Callable[[], list[str]]
    is_ready: Callable[[], bool]


class Pages:
    """The routes over one running daemon."""

    def __init__(self, sight: Sight, sessions: Sessions, published: frozenset[str]) -> None:
        self._sight = sight
        self._does = sight.operations
        self._sessions = sessions
        self._published = published
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    # ------------------------------------------------------------------ for machines

    async def healthz(self, _request: Request) -> Response:
        """200 while the process moves; 503 names what stands still."""
        stuck = self._sight.stuck()
        return _json({"ok": not stuck, "stuck": stuck}, 503 if stuck else 200)

    async def readyz(self, _request: Request) -> Response:
        """200 once it polls and delivers and the ledger answers."""
        ready, reason = self._sight.is_ready(), "starting or stopping"
        if ready:
            try:
                await self._does.source_list()
            except InboxSyncError as error:
                ready, reason = False, error.code
        return _json({"ok": ready, "reason": "" if ready else reason}, 200 if ready else 503)

    async def metrics(self, _request: Request) -> Response:
        """For Prometheus."""
        text = metrics_text(await self._does.status(), await self._sight.gauges(), meter)
        return Response(text, headers={**_HEADERS, "content-type": CONTENT_TYPE})

    # ------------------------------------------------------------------ looking

    async def home(self, request: Request) -> Response:
        """How everything is."""
        status = await self._does.status()
        gauges = await self._sight.gauges()
        now = status["at"]
        daemon = status["daemon"]
        return self._page(
            request,
            "status.html",
            refresh=REFRESH_SECONDS,
            version=status["version"],
            running=ago(daemon["started_at"], now).removesuffix(" ago") if daemon else "–",
            state=daemon["state"] if daemon else "–",
            troubles=views.troubles(status),
            inboxes=[views.inbox_line(one, gauges.budgets.get(one["name"]), now) for one in status["inboxes"]],
            sources=[views.source_line(one, now) for one in status["sources"]],
            failed=views.failed(status),
            backfills=status["backfills"],
            spooled=f"{gauges.spooled_bytes / 2**20:.1f} MiB",
        )

    async def messages(self, request: Request) -> Response:
        """A list of messages, by what is asked for."""
        asked = request.query_params
        state, source = asked.get("state", ""), asked.get("source", "")
        after = asked.get("after", "")
        args: MessageFilterArgs = {
            "failed": state == "failed",
            "state": state if state in _STATES else None,
            "source": source or None,
            "limit": ROWS,
            "after_id": int(after) if after.isascii() and after.isdigit() and len(after) < 19 else None,
        }
        found = await self._does.message_list(args)
        now = (await self._does.status())["at"]
        sources = (await self._does.source_list())["sources"]
        return self._page(
            request,
            "messages.html",
            messages=[views.message_line(one, now) for one in found["messages"]],
            more=found["next_after_id"],
            state=state,
            source=source,
            states=["failed", *_STATES],
            sources=[one["name"] for one in sources],
        )

    async def message(self, request: Request) -> Response:
        """One message's story."""
        shown = await self._does.message_show(request.path_params["number"])
        return self._page(request, "message.html", one=views.story(shown), done=request.query_params.get("done", ""))

    # ------------------------------------------------------------------ doing

    async def retry(self, request: Request) -> Response:
        """Another try for one message."""
        number: int = request.path_params["number"]
        return _moved(number, await self._does.message_retry({"ids": [number], "by": BY}))

    async def drop(self, request: Request) -> Response:
        """Lets one message go."""
        number: int = request.path_params["number"]
        return _moved(number, await self._does.message_drop({"ids": [number], "by": BY}))

    async def pause(self, request: Request) -> Response:
        """Polls a source no more."""
        await self._does.source_pause(request.path_params["name"])
        return _see_other("/")

    async def resume(self, request: Request) -> Response:
        """Polls it again."""
        await self._does.source_resume(request.path_params["name"])
        return _see_other("/")

    async def login(self, request: Request) -> Response:
        """The form, and what comes of it."""
        if request.method == "GET":
            return self._page(request, "login.html", wrong="")
        if not _same_origin(request):
            return self._page(request, "login.html", status=403, wrong="This form came from another page.")
        if self._sessions.is_closed:
            wrong = "Too many wrong passwords. Try again in a minute."
            return self._page(request, "login.html", status=429, wrong=wrong)
        session = self._sessions.log_in((await _form(request)).get("password", ""))
        if session is None:
            log.warning("web.login_refused", client=request.client.host if request.client else "")
            return self._page(request, "login.html", status=403, wrong="That is not the password.")
        log.info("web.login")
        answer = _see_other("/")
        secure = request.url.hostname in self._published  # a proxy that speaks TLS stands before us
        answer.set_cookie(COOKIE, session.token, httponly=True, samesite="strict", secure=secure)
        return answer

    async def logout(self, request: Request) -> Response:
        """Ends the session."""
        self._sessions.log_out(request.cookies.get(COOKIE))
        answer = _see_other("/")
        answer.delete_cookie(COOKIE)
        return answer

    # ------------------------------------------------------------------ helpers

    def for_people(self, handler: Handler) -> Handler:
        """Errors of operations as a page with their next step."""

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except InboxSyncError as error:
                status = 404 if error.code == "message.unknown" else 503 if error.exit_code in (69, 75) else 400
                return self._page(request, "error.html", status=status, error=error)

        return guarded

    def for_members(self, handler: Handler) -> Handler:
        """Whoever has not logged in is asked to; forms have to come from our own pages."""

        async def guarded(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                return _see_other("/login")
            if request.method == "POST":
                given = (await _form(request)).get("csrf", "")
                if not (_same_origin(request) and brings_csrf(session, given)):
                    return PlainTextResponse("this form is out of date: load its page again", 403, headers=_HEADERS)
            return await handler(request)

        return self.for_people(guarded)

    def _session(self, request: Request) -> Session | None:
        return self._sessions.of(request.cookies.get(COOKIE))

    def _page(self, request: Request, template: str, *, status: int = 200, **shown: object) -> Response:
        session = self._session(request)
        text = self._templates.get_template(template).render(
            refresh=shown.pop("refresh", 0),
            csrf=session.csrf if session else "",
            member=session is not None,
            can_log_in=self._sessions.can_log_in,
            **shown,
        )
        return HTMLResponse(text, status, headers=_HEADERS)


def application(sight: Sight, sessions: Sessions, hosts: list[str], published: frozenset[str]) -> Starlette:
    """The ASGI application. `hosts`: names a request may be addressed to; others are refused, so that no foreign name can
    be pointed at this machine. `published`: those of them that are reached by a proxy over TLS only."""
    pages = Pages(sight, sessions, published)
    routes = [
        Route("/healthz", pages.healthz),
        Route("/readyz", pages.readyz),
        Route("/metrics", pages.for_people(pages.metrics)),
        Route("/", pages.for_people(pages.home)),
        Route("/login", pages.login, methods=["GET", "POST"]),
        Route("/logout", pages.for_members(pages.logout), methods=["POST"]),
        Route("/messages", pages.for_members(pages.messages)),
        Route("/messages/{number:int}", pages.for_members(pages.message)),
        Route("/messages/{number:int}/retry", pages.for_members(pages.retry), methods=["POST"]),
        Route("/messages/{number:int}/drop", pages.for_members(pages.drop), methods=["POST"]),
        Route("/sources/{name}/pause", pages.for_members(pages.pause), methods=["POST"]),
        Route("/sources/{name}/resume", pages.for_members(pages.resume), methods=["POST"]),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)]
    )


def _json(content: object, status: int) -> Response:
    return Response(json.dumps(content), status, headers=_HEADERS, media_type="application/json")


def _moved(number: int, moved: MoveAnswer) -> Response:
    sentence = " ".join(outcome["sentence"] for outcome in moved["outcomes"])
    return _see_other(f"/messages/{number}?done={quote(sentence)}")


def _see_other(where: str) -> Response:
    return RedirectResponse(where, 303, headers=_HEADERS)


async def _form(request: Request) -> dict[str, str]:
    """A small form; what is larger than `FORM_MAX_BYTES` is none. Read once, kept with the request."""
    kept: dict[str, str] | None = getattr(request.state, "form", None)
    if kept is not None:
        return kept
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_MAX_BYTES:
            body = b""
            break
    fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    request.state.form = fields
    return fields


def _same_origin(request: Request) -> bool:
    """Browsers say where a form comes from; a foreign place is refused."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
