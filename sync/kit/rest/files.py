"""Files of a service: streamed, bounded, and without showing the credential to anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from sync.connector import HttpStream, PassContext
from sync.errors import AuthError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.kit.tls import is_loopback

from .auth import Auth, http_of

MAX_REDIRECTS = 5
MAX_FILE_BYTES = 1024 * 1024 * 1024
"""The core stops reading at what the source may bring; this is for a service that never ends."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Service(Protocol):
    """As much of `RestClient` as a download needs."""

    base_url: str
    name: str
    auth: Auth
    trusted_hosts: frozenset[str]

    def spend(self, ctx: PassContext, group: str = "") -> None: ...  # noqa: D102
    def throttled(self, seconds: float) -> TemporaryError: ...  # noqa: D102


async def download(
    service: Service, ctx: PassContext, url: str, *, max_bytes: int | None, follow_redirects: bool = True
) -> AsyncIterator[bytes]:
    """The bytes of a file. `RestClient.download` says the rest."""
    target = urljoin(f"{service.base_url}/", url)
    may_sign = True
    for _hop in range(MAX_REDIRECTS + 1):
        own = _origin(target) == _origin(service.base_url)
        may_sign = may_sign and own  # what a foreign host sends back here is not ours to sign
        headers = {"accept": "*/*", **(await service.auth.headers(ctx) if may_sign else {})}
        if own:
            service.spend(ctx)
        public_only = _check(service, target)
        try:
            async with http_of(ctx).stream(target, headers=headers, public_only=public_only) as answer:
                location = answer.headers.get("location", "") if answer.status_code in _REDIRECTS else ""
                if location and not follow_redirects:
                    raise _refused(service, target, "is not given to this account: the service leads elsewhere")
                if not location:
                    _accept(service, answer, own=own)
                    left = max_bytes or MAX_FILE_BYTES
                    async for piece in answer.pieces():
                        left -= len(piece)
                        if left < 0:
                            raise _refused(service, target, "is larger than it may be")
                        yield piece
                    return
        except TemporaryError as error:
            if error.code == "http.private_address":
                raise _refused(service, target, "leads into a private network") from None
            raise
        target = urljoin(target, location)
    raise _refused(service, target, "leads from one place to the next without an end")


def _check(service: Service, target: str) -> bool:
    """Whether the file may only be on the public network. Raises MessageError for what is asked for nowhere."""
    here, there = urlsplit(service.base_url), urlsplit(target)
    host = (there.hostname or "").lower()
    if there.scheme not in {"http", "https"} or not host or there.username or there.password:
        raise _refused(service, target, "has no address that can be asked")
    same_host = host == (here.hostname or "").lower()
    if there.scheme == "http" and not (same_host and here.scheme == "http") and not is_loopback(host):
        raise _refused(service, target, "is offered without TLS")
    return not same_host and host not in service.trusted_hosts and there.netloc.lower() not in service.trusted_hosts


def _accept(service: Service, answer: HttpStream, *, own: bool) -> None:
    status, host = answer.status_code, urlsplit(service.base_url).netloc
    if 200 <= status < 300:
        return
    if status == 401 and own:
        raise AuthError(
            f"{host} refused the sign-in for a file.",
            code=f"{service.name}.auth_refused",
            next_step="Put the current token or password into the secret that the source names.",
        )
    if status in {408, 425, 429} or status >= 500:
        raise TemporaryError(
            f"A file of {host} cannot be had now ({status}).",
            code=f"{service.name}.file_unavailable",
            next_step="Nothing: it is tried again.",
            scope=Scope.MESSAGE,
        )
    raise MessageError(f"A file of {host} is not there any more ({status}).", code=f"{service.name}.file_gone")


def _refused(service: Service, target: str, why: str) -> InboxSyncError:
    host = urlsplit(target).hostname or "an unknown place"
    return MessageError(f"A file at {host} {why}; it is not asked for.", code=f"{service.name}.file_refused")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
