from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sync.answers import FindingAnswer, check_exit_code, worst_exit_code
from sync.words import ago, count, plain, reasons, since, span

NOW = "2026-11-23T07:00:00+00:00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.5, "0.5 s"), (12.4, "12 s"), (240, "4 min"), (7200, "2 h"), (3 * 86400, "3 d")],
)
def test_durations_are_told_in_their_largest_unit(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_moments_are_told_from_now() -> None:
    assert ago("2026-11-23T06:59:48+00:00", NOW) == "12 s ago"
    assert ago("2026-11-23T07:00:30+00:00", NOW) == "in 30 s"
    assert ago(None, NOW) == "–"


def test_counts_that_are_nothing_are_a_dot() -> None:
    assert (count(0), count(12034)) == ("·", "12034")


def test_reasons_come_most_first() -> None:
    assert reasons({"b": 1, "a": 3, "c": 0}) == "3 a, 1 b"


def test_foreign_text_is_one_line_that_moves_nothing() -> None:
    assert plain("a\nb\x1b[31m\u202ec") == "a b\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}c"


def test_since_takes_dates_and_how_long_ago() -> None:
    now = datetime(2026, 11, 23, 7, tzinfo=UTC)
    assert since("2h", now) == datetime(2026, 11, 23, 5, tzinfo=UTC)
    assert since("3d", now) == datetime(2026, 11, 20, 7, tzinfo=UTC)
    assert since("2026-11-01T12:00:00+01:00", now) == datetime(2026, 11, 1, 11, tzinfo=UTC)
    with pytest.raises(ValueError, match="isoformat"):
        since("soon", now)


def finding(code: str, severity: str = "error") -> FindingAnswer:
    return {"about": "ledger", "name": "", "severity": severity, "sentence": "", "next_step": "", "code": code}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("codes", "exit_code"),
    [
        ([], 0),
        (["imap.login_refused"], 1),
        (["imap.login_refused", "ledger.locked"], 69),
        (["ledger.locked", "connector.broken"], 78),
        (["temporary.hung"], 75),
    ],
)
def test_check_ends_with_what_is_worst(codes: list[str], exit_code: int) -> None:
    assert check_exit_code([finding(code) for code in codes] + [finding("config.invalid", "warning")]) == exit_code


def test_configuration_is_worse_than_the_database_than_failure_than_what_will_pass() -> None:
    assert worst_exit_code([0, 75, 1, 69, 78]) == 78
    assert worst_exit_code([75, 1]) == 1
    assert worst_exit_code([75, 0]) == 75
    assert worst_exit_code([]) == 0
