"""The calls of a REST service, and what its refusals mean. One client per configured source; it holds no connection."""

from __future__ import annotations

import functools
import json as jsonlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import urljoin, urlsplit

from pydantic import TypeAdapter, ValidationError

from sync.connector import HttpAnswer, PassContext
from sync.errors import AuthError, ConfigError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.message import Json

from .auth import Auth, http_of
from .budget import Budget, retry_after_seconds, shared_budget
from .files import download

T = TypeVar("T")

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one answer."""
LISTING_SHARE = 0.5
"""Of the pace that an account may have: the rest is for passes, which bring what is new."""
MAX_SAID_CHARACTERS = 200
"""As much of a service's own words as an error repeats."""
SHAPES_KEPT = 256
"""Types whose validators are made once."""
_WORDS = ("message", "error_description", "description", "detail", "error", "title")
_TEMPORARY = frozenset({408, 421, 423, 425, 429})
_GONE = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Got(Generic[T]):
    """An answer, understood. `url` is the address that was asked."""

    value: T
    headers: Mapping[str, str] = field(repr=False)
    url: str = field(repr=False, default="")


class RestClient:
    """A service under `base_url`. `name` begins the codes of its errors (`zendesk.auth_refused`); `account` says whose
    budget it uses (default: the host). `trusted_hosts`: other hosts that may lie in a private network and hold files."""

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        auth: Auth,
        account: str = "",
        budget: Budget | None = None,
        headers: Mapping[str, str] | None = None,
        trusted_hosts: tuple[str, ...] = (),
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.name = name
        self.auth = auth
        self.trusted_hosts = frozenset(host.lower() for host in trusted_hosts)
        self._headers = dict(headers or {})
        self._budget = shared_budget(f"{name}:{account or self.host}", budget or Budget())

    @property
    def host(self) -> str:
        """The service's name, with its port where the address has one."""
        return urlsplit(self.base_url).netloc.lower()

    async def get(
        self,
        ctx: PassContext,
        path: str,
        shape: type[T],
        params: Mapping[str, str | int] | None = None,
        *,
        group: str = "",
        needs: str = "",
        about_message: bool = False,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Got[T]:
        """GET `path` (below `base_url`, or an address that the service gave) as `shape`, any type that pydantic knows.

        `group`: endpoints with a budget of their own. `needs`: the permission to name when the answer is 403.
        `about_message`: a refusal is this message's (or ticket's) fault and not the configuration's. Raises AuthError
        (401, 403), ConfigError (404 and other refusals), MessageError (403, 404 and others with `about_message`),
        TemporaryError.
        """
        answer, url = await self._ask(ctx, "GET", path, params, None, group, max_bytes)
        if not 200 <= answer.status_code < 300:
            raise self._error(answer, ctx, url, needs=needs, about_message=about_message)
        return Got(self._shaped(answer, shape), answer.headers, url)

    async def find(
        self,
        ctx: PassContext,
        path: str,
        shape: type[T],
        params: Mapping[str, str | int] | None = None,
        *,
        group: str = "",
        needs: str = "",
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Got[T] | None:
        """The same for one thing that may not be there (any more): None for 404 and 410. One that the account may not
        see (403) is MessageError: the others go on."""
        answer, url = await self._ask(ctx, "GET", path, params, None, group, max_bytes)
        if answer.status_code in _GONE:
            return None
        if not 200 <= answer.status_code < 300:
            raise self._error(answer, ctx, url, needs=needs, about_message=True)
        return Got(self._shaped(answer, shape), answer.headers, url)

    async def search(
        self,
        ctx: PassContext,
        path: str,
        shape: type[T],
        json: Json,
        params: Mapping[str, str | int] | None = None,
        *,
        group: str = "",
        needs: str = "",
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Got[T]:
        """POST to an endpoint that only reads (a search whose query is JSON)."""
        answer, url = await self._ask(ctx, "POST", path, params, json, group, max_bytes)
        if not 200 <= answer.status_code < 300:
            raise self._error(answer, ctx, url, needs=needs, about_message=False)
        return Got(self._shaped(answer, shape), answer.headers, url)

    def download(
        self, ctx: PassContext, url: str, *, max_bytes: int | None = None, follow_redirects: bool = True
    ) -> AsyncIterator[bytes]:
        """The bytes of a file, in pieces. The credential goes to this service's own host only; redirects are followed
        without it, and to no address of a private network. `follow_redirects` False: for a service that leads to a page
        for signing in where a file may not be read, which is no file. Raises MessageError, TemporaryError, AuthError."""
        return download(self, ctx, url, max_bytes=max_bytes, follow_redirects=follow_redirects)

    def inside(self, url: str) -> str:
        """An address that the service gave, absolute. One on another host (a proxy's, an alias) is asked for on the
        configured host if it lies below the same path; the credential goes nowhere that nobody configured."""
        made = urljoin(f"{self.base_url}/", url)
        here, there = urlsplit(self.base_url), urlsplit(made)
        if (there.scheme, there.netloc.lower()) == (here.scheme, here.netloc.lower()):
            return made
        if there.path.startswith(here.path or "/"):
            return there._replace(scheme=here.scheme, netloc=here.netloc).geturl()
        raise TemporaryError(
            f"{self.host} sends its callers to another place, {there.netloc or there.scheme}.",
            code=f"{self.name}.other_host",
            next_step=f"If that is the right one, set the address of the source to {there.scheme}://{there.netloc}.",
        )

    # -- one request

    async def _ask(
        self,
        ctx: PassContext,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        json: Json,
        group: str,
        max_bytes: int,
    ) -> tuple[HttpAnswer, str]:
        url = self.inside(path) if "://" in path else f"{self.base_url}/{path.lstrip('/')}"
        texts = {name: str(value) for name, value in (params or {}).items()}
        while True:
            self.spend(ctx, group)
            headers = {**self._headers, **await self.auth.headers(ctx)}
            answer = await http_of(ctx).request(
                method, url, params=texts, headers=headers, json=json, max_bytes=max_bytes
            )
            self.heed(ctx, answer.status_code, answer.headers, group)
            if answer.status_code != 401 or not self.auth.refused():
                return answer, url

    def spend(self, ctx: PassContext, group: str = "") -> None:
        """Before each request. Raises TemporaryError when the account's budget is used up, or a listing's part of it."""
        wait = self._budget.wait_seconds(ctx.now(), group, share=LISTING_SHARE if ctx.is_listing else 1.0)
        if wait > 0:
            raise self.throttled(wait)
        self._budget.made(ctx.now(), group)

    def heed(self, ctx: PassContext, status: int, headers: Mapping[str, str], group: str = "") -> None:
        """After each answer. Raises TemporaryError when the service says that it is too much."""
        wait = self._budget.told(status, headers, ctx.now(), group)
        if wait is not None:
            raise self.throttled(wait)

    def throttled(self, seconds: float) -> TemporaryError:
        """The error for "not now"."""
        return TemporaryError(
            f"{self.host} takes no more requests of this account for {seconds:.0f} s.",
            code=f"{self.name}.throttled",
            next_step="Nothing: it goes on by itself. If it stays, use a longer interval (every).",
            retry_after_seconds=seconds,
        )

    # -- what it means

    def _shaped(self, answer: HttpAnswer, shape: type[T]) -> T:
        try:
            return _understood(answer.content, shape)
        except ValidationError as error:
            where = "; ".join(".".join(map(str, one["loc"])) or one["type"] for one in error.errors()[:3])
        except RecursionError:
            where = "nesting"
        raise TemporaryError(  # without the cause: the values in it may be anybody's words
            f"{self.host} answers, but not as expected ({where}).",
            code=f"{self.name}.not_understood",
            next_step="Check the address of the source: it may be a web page's; else a newer connector may help.",
        )

    def _error(
        self, answer: HttpAnswer, ctx: PassContext, url: str, *, needs: str, about_message: bool
    ) -> InboxSyncError:
        status, name = answer.status_code, self.name
        said = self.auth.hidden(_said(answer))
        quoted = f' It says: "{said}"' if said else ""
        if status == 401:
            return AuthError(
                f"{self.host} refused the sign-in.{quoted}",
                code=f"{name}.auth_refused",
                next_step="Put the current token or password into the secret that the source names.",
            )
        if status == 403 and not about_message:
            return AuthError(
                f"{self.host} does not allow this account to read {_path(url)}.{quoted}",
                code=f"{name}.forbidden",
                next_step=f"Give the account {needs}." if needs else "Give the account the right to read tickets.",
            )
        if status in _TEMPORARY or status >= 500:
            return TemporaryError(
                f"{self.host} cannot answer now ({status}).",
                code=f"{name}.unavailable",
                next_step="Nothing: it is tried again. If it stays, the service's log says more.",
                retry_after_seconds=retry_after_seconds(answer.headers, ctx.now()),
                scope=Scope.MESSAGE if about_message else Scope.SOURCE,
            )
        if 300 <= status < 400:
            return ConfigError(
                f"{self.host} sends its callers to another place.",
                code=f"{name}.redirected",
                next_step="Set the address of the source to the one that the service itself uses.",
            )
        if about_message:
            return MessageError(f"{self.host} refused {_path(url)} ({status}).{quoted}", code=f"{name}.refused")
        if status in _GONE:
            return ConfigError(
                f"{self.host} has nothing at {_path(url)}.{quoted}",
                code=f"{name}.not_found",
                next_step="Check the address of the source, and what it names there.",
            )
        return ConfigError(
            f"{self.host} refused {_path(url)} ({status}).{quoted}",
            code=f"{name}.refused",
            next_step="Check the settings of the source; the service's words say which.",
        )


def _understood(content: bytes, shape: type[T]) -> T:
    adapter: TypeAdapter[T] = _adapter(shape)  # type: ignore[arg-type]  # a type can be hashed, whatever its instances can
    return adapter.validate_json(content)


@functools.lru_cache(maxsize=SHAPES_KEPT)
def _adapter(shape: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(shape)


def _path(url: str) -> str:
    return urlsplit(url).path


def _said(answer: HttpAnswer) -> str:
    """The service's own words, if it has any in JSON."""
    try:
        value: object = jsonlib.loads(answer.content)
    except (ValueError, RecursionError):
        return ""
    for _depth in range(3):
        if isinstance(value, dict):
            value = next((value[word] for word in _WORDS if value.get(word)), next(iter(value.values()), ""))
        elif isinstance(value, list):
            value = value[0] if value else ""
    text = value if isinstance(value, str) else ""
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_SAID_CHARACTERS].strip()
