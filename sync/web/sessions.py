"""Who has logged in. Sessions live in this process's memory: a restart logs everybody out."""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from dataclasses import dataclass

from pydantic import SecretStr

from sync.clock import Clock

SESSIONS_MAX = 64
"""More logins at the same time end the oldest."""
FAILURES_MAX = 10
"""Wrong passwords within `FAILURES_SECONDS`, from anywhere, after which none is looked at until they have passed."""
FAILURES_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Session:
    """One login. `csrf` is what its forms have to bring along."""

    token: str
    csrf: str
    until: float


class Sessions:
    """Logins by one password. Without a password nobody can log in."""

    def __init__(self, password: SecretStr | None, hours: float, clock: Clock) -> None:
        self._password = password
        self._seconds = hours * 3600
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._failures: deque[float] = deque()

    @property
    def can_log_in(self) -> bool:
        """Whether there is a password."""
        return self._password is not None

    @property
    def is_closed(self) -> bool:
        """Whether so many passwords were wrong that none is looked at now."""
        now = self._clock.elapsed_seconds()
        while self._failures and self._failures[0] <= now - FAILURES_SECONDS:
            self._failures.popleft()
        return len(self._failures) >= FAILURES_MAX

    def log_in(self, password: str) -> Session | None:
        """A new session, or None where the password is wrong."""
        if self._password is None or self.is_closed:
            return None
        now = self._clock.elapsed_seconds()
        if not hmac.compare_digest(password.encode(), self._password.get_secret_value().encode()):
            self._failures.append(now)
            return None
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + self._seconds)
        self._open[session.token] = session
        while len(self._open) > SESSIONS_MAX:
            del self._open[next(iter(self._open))]
        return session

    def of(self, token: str | None) -> Session | None:
        """The session behind a cookie, while it holds."""
        session = self._open.get(token or "")
        if session is None or session.until <= self._clock.elapsed_seconds():
            return None
        return session

    def log_out(self, token: str | None) -> None:
        """Ends a session."""
        self._open.pop(token or "", None)


def brings_csrf(session: Session, given: str) -> bool:
    """Whether a form was made for this session."""
    return hmac.compare_digest(given.encode(), session.csrf.encode())
