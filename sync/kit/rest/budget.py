"""How many requests an account may still make: told by the service's headers, kept for all sources on that account.

Budgets belong to accounts and are shared with programs that nobody here knows of. So what the service says counts, a
refusal may come at the first request, and waiting is the core's business: what is used up raises TemporaryError.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from weakref import WeakValueDictionary

MAX_WAIT_SECONDS = 3600.0
"""What a service may ask for at most; longer ones are asked again then."""
UNTOLD_WAIT_SECONDS = 30.0
"""After a refusal that says no time: doubled with each one that follows, up to `UNTOLD_MAX_SECONDS`."""
UNTOLD_MAX_SECONDS = 900.0
EPOCH_FROM = 1_000_000_000
"""A reset of this many "seconds" is a moment, not a duration."""

_REMAINING = (
    *("x-rate-limit-remaining", "ratelimit-remaining", "x-ratelimit-remaining", "x-ratelimit-remaining-minute"),
    "x-hubspot-ratelimit-remaining",
)
_RESET = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
_RETRY_AFTER = ("retry-after", "x-ratelimit-retry-after", "ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
_ENDPOINT = re.compile(r"remaining=(\d{1,9}).{0,20}?resets=(\d{1,9})")
"""Zendesk's per-endpoint headers: `zendesk-ratelimit-tickets-index: total=100; remaining=99; resets=41`."""


@dataclass(slots=True)
class _Group:
    """What is known of one group of endpoints."""

    blocked_until: datetime | None = None
    refusals: int = 0
    made: deque[datetime] = field(default_factory=deque)


class Budget:
    """One account's. `requests` in `per_seconds`, where they are given, is a pace of our own; `groups` give endpoints that
    have a budget besides (`{"export": (10, 60.0)}`)."""

    def __init__(
        self, requests: int = 0, per_seconds: float = 60.0, groups: Mapping[str, tuple[int, float]] | None = None
    ) -> None:
        self._paces = {"": (requests, per_seconds), **(groups or {})}
        self._groups: dict[str, _Group] = {}

    def wait_seconds(self, now: datetime, group: str = "", *, share: float = 1.0) -> float:
        """How long until a request of this group may be made; 0: now. `share`: how much of the pace is for this kind of
        work."""
        return max(self._wait(now, name, share) for name in {"", group})

    def _wait(self, now: datetime, name: str, share: float) -> float:
        state = self._groups.get(name)
        if state is None:
            return 0.0
        wait = 0.0
        if state.blocked_until is not None:
            left = (state.blocked_until - now).total_seconds()
            wait = left if left <= MAX_WAIT_SECONDS else 0.0  # the clock was set back
        requests, seconds = self._paces.get(name, (0, 0.0))
        if requests:
            while state.made and not 0 <= (now - state.made[0]).total_seconds() < seconds:
                state.made.popleft()
            most = max(1, int(requests * share))
            if len(state.made) >= most:
                wait = max(wait, seconds - (now - state.made[-most]).total_seconds())
        return max(0.0, wait)

    def made(self, now: datetime, group: str = "") -> None:
        """A request goes out."""
        for name in {"", group}:
            if self._paces.get(name, (0, 0.0))[0]:
                self._of(name).made.append(now)

    def told(self, status: int, headers: Mapping[str, str], now: datetime, group: str = "") -> float | None:
        """What an answer says. Returns how long it asks to wait, None where it asks nothing."""
        if status in {429, 503} and (status == 429 or first(headers, _RETRY_AFTER[:2])):
            return self._refused(headers, now, group)
        self._of(group).refusals = 0
        if _remaining(headers) == 0 and (seconds := _seconds(headers, _RESET, now)) is not None:
            self._of("").blocked_until = now + timedelta(seconds=seconds)
        for name, value in headers.items():
            match = _ENDPOINT.search(value) if "ratelimit" in name.lower() else None
            if match is not None and match[1] == "0":
                self._of(group).blocked_until = now + timedelta(seconds=min(float(match[2]), MAX_WAIT_SECONDS))
        return None

    def _refused(self, headers: Mapping[str, str], now: datetime, group: str) -> float:
        state = self._of(group)
        state.refusals += 1
        seconds = _seconds(headers, _RETRY_AFTER, now)
        if seconds is None:
            seconds = min(UNTOLD_WAIT_SECONDS * 2.0 ** min(state.refusals - 1, 10), UNTOLD_MAX_SECONDS)
        state.blocked_until = now + timedelta(seconds=seconds)
        return seconds

    def _of(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())


_shared: WeakValueDictionary[str, Budget] = WeakValueDictionary()


def shared_budget(account: str, made: Budget) -> Budget:
    """The budget that every source on this account uses, as long as one of them lives; `made` if there is none yet."""
    return _shared.setdefault(account, made)


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """What a `Retry-After` asks for: seconds, or a date (reckoned from the answer's own `Date`)."""
    return _seconds(headers, _RETRY_AFTER[:2], now)


def first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of these headers that is there."""
    return next((value.strip() for name in names if (value := headers.get(name, ""))), "")


def _remaining(headers: Mapping[str, str]) -> int | None:
    value = first(headers, _REMAINING)
    used, slash, most = headers.get("x-gorgias-account-api-call-limit", "").partition("/")
    if slash and used.strip().isdigit() and most.strip().isdigit():
        return max(0, int(most) - int(used))
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def _seconds(headers: Mapping[str, str], names: tuple[str, ...], now: datetime) -> float | None:
    value = first(headers, names)
    try:
        number = float(value)
    except ValueError:
        return _until_date(value, headers, now)
    if number >= EPOCH_FROM:
        here = _moment(headers.get("date", "")) or now
        number -= here.timestamp()
    return min(max(0.0, number), MAX_WAIT_SECONDS) if number == number else None  # noqa: PLR0124  NaN is a float, too


def _until_date(value: str, headers: Mapping[str, str], now: datetime) -> float | None:
    until = _moment(value)
    if until is None:
        return None
    here = _moment(headers.get("date", "")) or now
    return min(max(0.0, (until - here).total_seconds()), MAX_WAIT_SECONDS)


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo is not None else None
