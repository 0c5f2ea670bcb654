"""One call to the Inbox's API: budget, signature, exchange, and what to repeat.

What can be repeated (everything but a send) is repeated in place a bounded number of times: once after a connection
failed, once with a new token after a 401, and after a 429 when the budget lets it. What is left is an error of
`sync.errors`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import structlog

from sync.budget import Budget, Priority
from sync.clock import Clock
from sync.errors import Scope, TemporaryError
from sync.http import Answered, Evidence, Exchange, Failed, HttpClient, HttpLimits, Why, parse_json
from sync.inbox.auth import TOKEN_PATH, ApiKeyAuth, AppAuth, Auth, Signature
from sync.inbox.errors import NO_INBOX_CODES, Fault, fault_of, refusal, request_id_of, unreachable, unreadable
from sync.message import Json
from sync.meter import API_CALLS, meter
from sync.settings import InboxSettings

log = structlog.get_logger()
_logger = logging.getLogger(__name__)

MAX_THROTTLED: Final = 3
"""Refusals for the rate in a row, after which a call is given up for now."""
MAX_WAIT_IN_PLACE_SECONDS: Final = 60.0
"""A longer Retry-After is not waited for in place."""
CLOCKS_AGREE_SECONDS: Final = 5.0
_JSON: Final = {"content-type": "application/json"}
_PASSING: Final = frozenset({Why.CLOSED, Why.REFUSED, Why.GARBAGE})
"""Failures that a second try at once may get past: a connection closed while idle, a server that restarts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a call: 200 with a JSON object, or a tolerated refusal (`fault`)."""

    data: dict[str, Json]
    request_id: str
    fault: Fault | None = None


class Calls:
    """The calls to one inbox's site."""

    def __init__(self, name: str, settings: InboxSettings, http: HttpClient, budget: Budget, clock: Clock) -> None:
        self.name = name
        self.budget = budget
        self.clock = clock
        self.clock_offset_seconds = 0.0
        """The service's clock minus ours, by the Date header of the last answer; 0 when they agree within a few seconds
        (the header is cut to the second, and answers take time)."""
        self._base = settings.base_url.rstrip("/")
        self._http = http
        self._limits = HttpLimits.of(settings.connect_timeout_seconds, settings.answer_timeout_seconds)
        self._upload_seconds = settings.upload_timeout_seconds
        self._auth: Auth
        if settings.auth == "api_key" and settings.api_key is not None:
            self._auth = ApiKeyAuth(settings.api_key, settings.site_id, name)
        else:
            self._auth = AppAuth(settings, name, self._post_token, clock)

    async def call(
        self,
        what: str,
        method: str,
        path: str,
        *,
        json: Json = None,
        params: Mapping[str, str] | None = None,
        tolerate: frozenset[int] = frozenset(),
        repeat: bool = True,
        priority: Priority = Priority.LIVE,
    ) -> Answer:
        """A call that is no send. `what` completes "the Inbox refused to …". `tolerate`: statuses whose refusals, in the
        API's own shape, come back as `Answer.fault`. `repeat` False: not even after a broken connection.
        Raises AuthError, TemporaryError, MessageError."""
        throttled = broken = 0
        renewed = False
        while True:
            await self.budget.take(priority)
            signature = await self._auth.sign()
            exchange = await self._exchange(
                what, method, path, json=json, params=params, signature=signature, tolerate=tolerate
            )
            if isinstance(exchange, Failed):
                broken += 1
                if broken > 1 or exchange.why not in _PASSING or (exchange.written and not repeat):
                    raise unreachable(exchange)
                continue
            if exchange.status == 200:
                self._auth.accepted(signature)
                return _understood(exchange, what)
            fault = fault_of(exchange, self.clock.now())
            if fault.status == 429:
                self.budget.throttled(fault.retry_after_seconds)
                throttled += 1
                if throttled < MAX_THROTTLED and (fault.retry_after_seconds or 0.0) <= MAX_WAIT_IN_PLACE_SECONDS:
                    continue
            if _is_unauthorised(fault) and not renewed and await self._auth.renew(signature):
                renewed = True
                continue
            if fault.status in tolerate and fault.ours:
                return Answer({}, fault.request_id, fault)
            raise refusal(fault, what)

    async def sign_for_one(self) -> tuple[Signature, float]:
        """The signature of a single POST, and the seconds that are left for it of the time a call may take: so a new
        token, when one is due, makes no send longer. Raises AuthError, TemporaryError."""
        signature = self._auth.at_hand()
        if signature is not None:
            return signature, self._limits.total_seconds
        began = self.clock.elapsed_seconds()
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                signature = await self._auth.sign()
        except TimeoutError:
            raise TemporaryError("no token came in time", code="inbox.network_timeout", scope=Scope.INBOX) from None
        return signature, max(0.001, self._limits.total_seconds - (self.clock.elapsed_seconds() - began))

    async def post_once(
        self, what: str, path: str, body: bytes, signature: Signature, seconds: float, may_write: Callable[[], bool]
    ) -> Exchange:
        """One POST of a JSON body, whatever comes of it. The caller has taken the token of the budget, and signed."""
        limits = self._limits
        if seconds != limits.total_seconds:
            limits = replace(limits, total_seconds=seconds)
        evidence = Evidence(may_write)
        return await self._exchange(
            what, "POST", path, content=body, signature=signature, limits=limits, evidence=evidence
        )

    async def put(
        self, url: str, params: Mapping[str, str], headers: Mapping[str, str], body: bytes | AsyncIterable[bytes]
    ) -> Exchange:
        """Puts a file where the API said. Nothing of ours goes along: neither credentials nor a token of the budget, since
        that is not the API."""
        seconds = self._upload_seconds
        limits = replace(self._limits, total_seconds=seconds + self._limits.connect_seconds, answer_seconds=seconds)
        exchange = await self._http.exchange("PUT", url, params=params, headers=headers, content=body, limits=limits)
        if isinstance(exchange, Failed):
            log.warning(
                "inbox.no_answer", inbox=self.name, call="upload a file", why=exchange.why, phase=exchange.phase
            )
        elif not 200 <= exchange.status < 300:
            log.warning("inbox.answer", inbox=self.name, call="upload a file", status=exchange.status)
        return exchange

    async def renew(self, exchange: Exchange, signature: Signature) -> bool:
        """After a send: learns whether the signature works. True when it was refused and there is a new one."""
        if isinstance(exchange, Failed):
            return False
        if exchange.status == 200:
            self._auth.accepted(signature)
            return False
        fault = fault_of(exchange, self.clock.now())
        return _is_unauthorised(fault) and await self._auth.renew(signature)

    async def _exchange(
        self,
        what: str,
        method: str,
        path: str,
        *,
        json: Json = None,
        content: bytes | None = None,
        signature: Signature | None = None,
        params: Mapping[str, str] | None = None,
        tolerate: frozenset[int] = frozenset(),
        limits: HttpLimits | None = None,
        evidence: Evidence | None = None,
    ) -> Exchange:
        headers = signature.headers if signature else {}
        exchange = await self._http.exchange(
            method,
            self._base + path,
            params=params,
            headers=headers if content is None else headers | _JSON,
            json=json,
            content=content,
            limits=limits or self._limits,
            evidence=evidence,
        )
        outcome = "no_answer" if isinstance(exchange, Failed) else str(exchange.status)
        meter.count(API_CALLS, self.name, what, outcome)
        if isinstance(exchange, Failed):
            log.warning(
                "inbox.no_answer",
                inbox=self.name,
                call=what,
                why=exchange.why,
                phase=exchange.phase,
                written=exchange.written,
            )
        else:
            self._note_clock(exchange)
            if exchange.status != 429:
                self.budget.passed()
            self._tell(what, exchange, expected=exchange.status == 200 or exchange.status in tolerate)
        return exchange

    def _tell(self, what: str, exchange: Answered, *, expected: bool) -> None:
        if expected and not _logger.isEnabledFor(logging.DEBUG):
            return  # a line for each call costs more than the call, also when it is not written
        level = log.debug if expected else log.warning
        level("inbox.answer", inbox=self.name, call=what, status=exchange.status, request_id=request_id_of(exchange))

    async def _post_token(self, json: Json) -> Exchange:
        await self.budget.take(Priority.URGENT)
        exchange = await self._exchange("get a token", "POST", TOKEN_PATH, json=json)
        if isinstance(exchange, Answered) and exchange.status == 429:
            self.budget.throttled(fault_of(exchange, self.clock.now()).retry_after_seconds)
        return exchange

    def _note_clock(self, answered: Answered) -> None:
        moment = _moment(answered.headers.get("date", ""))
        if moment is None:
            return
        offset = (moment - self.clock.now()).total_seconds()
        self.clock_offset_seconds = offset if abs(offset) > CLOCKS_AGREE_SECONDS else 0.0

    async def aclose(self) -> None:
        """Gives up what is on its way on its own account."""
        if isinstance(self._auth, AppAuth):
            await self._auth.aclose()


@functools.lru_cache(maxsize=4)  # it changes once a second
def _moment(date: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _is_unauthorised(fault: Fault) -> bool:
    return fault.status == 401 and fault.code not in NO_INBOX_CODES


def _understood(answered: Answered, what: str) -> Answer:
    data, _ = parse_json(answered.body)
    if not isinstance(data, dict):
        raise unreadable(what)
    return Answer(data, request_id_of(answered))
