"""Logins to the page: who is in, for how long, and what guessing leads to."""

from __future__ import annotations

from pydantic import SecretStr

from sync.testing.clock import FakeClock
from sync.web.sessions import FAILURES_MAX, FAILURES_SECONDS, SESSIONS_MAX, Sessions, brings_csrf

PASSWORD = SecretStr("grüße, page")


async def test_a_login_holds_for_its_hours_and_no_longer() -> None:
    clock = FakeClock()
    sessions = Sessions(PASSWORD, 2.0, clock)
    session = sessions.log_in("grüße, page")
    assert session is not None
    assert sessions.of(session.token) is session
    await clock.advance(2 * 3600 - 1)
    assert sessions.of(session.token) is session
    await clock.advance(1)
    assert sessions.of(session.token) is None


def test_logging_out_ends_one_session_and_a_form_belongs_to_one() -> None:
    sessions = Sessions(PASSWORD, 2.0, FakeClock())
    mine, other = sessions.log_in("grüße, page"), sessions.log_in("grüße, page")
    assert mine is not None
    assert other is not None
    assert brings_csrf(mine, mine.csrf)
    assert not brings_csrf(mine, other.csrf)
    sessions.log_out(mine.token)
    assert sessions.of(mine.token) is None
    assert sessions.of(other.token) is other
    assert sessions.of(None) is None


async def test_after_many_wrong_passwords_the_right_one_is_not_looked_at_either_for_a_minute() -> None:
    clock = FakeClock()
    sessions = Sessions(PASSWORD, 2.0, clock)
    for _guess in range(FAILURES_MAX):
        assert sessions.log_in("guess") is None
    assert sessions.is_closed
    assert sessions.log_in("grüße, page") is None
    await clock.advance(FAILURES_SECONDS)
    assert sessions.log_in("grüße, page") is not None


def test_sessions_are_bounded_and_the_oldest_goes() -> None:
    sessions = Sessions(PASSWORD, 2.0, FakeClock())
    tokens = [session.token for _login in range(SESSIONS_MAX + 1) if (session := sessions.log_in("grüße, page"))]
    assert sessions.of(tokens[0]) is None
    assert all(sessions.of(token) for token in tokens[1:])


def test_without_a_password_nothing_opens() -> None:
    sessions = Sessions(None, 2.0, FakeClock())
    assert not sessions.can_log_in
    assert sessions.log_in("") is None
