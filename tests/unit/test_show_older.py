"""What `backfill` and `audit` show on a terminal, and what they refuse."""

from __future__ import annotations

from io import StringIO
from typing import cast

import pytest
from typer.testing import CliRunner

from sync.answers import AuditAnswer, BackfillAnswer
from sync.cli.app import app
from sync.cli.show_older import backfill_line, show_audit, show_backfill
from sync.cli.tables import console
from sync.errors import ConfigError

BACKFILL = {
    "ok": True, "exit_code": 0, "source": "support", "state": "bringing", "since": "2026-01-01T00:00:00+00:00",
    "until": None, "limit": None, "started_at": None, "ended_at": None, "listed": 900, "known": 7, "fresh": 1,
    "messages": 500, "skipped": {"duplicate": 3}, "dead": {}, "vanished": 2, "left_out": 0,
    "folders_left_out": 0, "left": 395,
    "deliveries": 510, "waiting": 60, "failed": 1, "seconds": 600.0, "fault": None,
}  # fmt: skip


def shown_backfill(**changes: object) -> str:
    out = StringIO()
    show_backfill(console(out), cast("BackfillAnswer", {**BACKFILL, **changes}))
    return " ".join(out.getvalue().split())


def test_a_running_backfill_says_how_far_it_is() -> None:
    text = shown_backfill()
    for words in ("500 brought in", "3 skipped: 3 duplicate", "395 still to come", "2 gone at the source",
                  "7 known to the ledger", "510 deliveries so far, 60 of them wait, 1 failed", "about 10 min",
                  "message list --failed"):  # fmt: skip
        assert words in text, text


def test_status_tells_of_a_running_backfill_in_a_line() -> None:
    def line(**changes: object) -> str:
        return backfill_line(cast("BackfillAnswer", {**BACKFILL, **changes}))

    assert line().startswith("support: backfill since ")
    assert line().endswith(", 395 to load, 60 to send, about 10 min to go")
    assert line(state="listing").endswith(" is listing, 900 so far")
    fault = {"code": "x.away", "sentence": "it is away", "next_step": "bring it back"}
    assert line(fault=fault).endswith("; it waits: it is away (x.away)")


def test_a_dry_run_says_that_nothing_happened_and_how_long_it_takes() -> None:
    text = shown_backfill(state="dry_run", left=0, failed=0)
    assert "nothing was sent or recorded" in text
    assert "500 would be sent" in text
    assert "about 10 min at the inbox's budget" in text


def test_what_keeps_a_backfill_from_going_on_is_told_with_its_next_step() -> None:
    text = shown_backfill(fault={"code": "x.away", "sentence": "it is away", "next_step": "bring it back"})
    assert "x.away it is away → bring it back" in text


def test_a_source_without_one_says_so() -> None:
    assert shown_backfill(state="none") == "support never had a backfill"


@pytest.mark.parametrize("missing", [0, 2])
def test_an_audit_adds_up_and_ends_with_its_verdict(missing: int) -> None:
    line = {"side": "source", "what": "delivered", "reason": "", "count": 40, "missing": False, "sentence": ""}
    lost = {"side": "source", "what": "missing", "reason": "", "count": 2, "missing": True, "sentence": "should be"}
    answer = {
        "ok": not missing, "exit_code": int(bool(missing)), "source": "support", "since": "2026-01-01T00:00:00+00:00",
        "streams": ["INBOX"], "left_out": ["Archive"], "lines": [line, *([lost] if missing else [])],
        "at_source": 40 + missing, "in_ledger": 0, "missing": missing,
        "examples": [{"what": "missing", "stream": "INBOX", "external_id": "17",
                      "arrived_at": "2026-02-01T00:00:00+00:00", "message_id": None}] * missing,
    }  # fmt: skip
    out = StringIO()
    show_audit(console(out), cast("AuditAnswer", answer))
    text = " ".join(out.getvalue().split())
    assert f"{40 + missing} in all" in text
    assert "Archive was never polled to its end" in text
    assert ("2 missing: the source has them" in text) == bool(missing)
    assert ("nothing is missing" in text) == (not missing)
    assert text.count("INBOX 17") == missing


@pytest.mark.parametrize(
    "args",
    [
        ["backfill", "support", "--status", "--stop"],
        ["backfill", "support", "--stop", "--since", "2026-01-01"],
        ["backfill", "support", "--since", "yesterday"],
        ["audit", "support", "--since", "soon"],
    ],
)
def test_what_makes_no_sense_is_refused(args: list[str]) -> None:
    done = CliRunner().invoke(app, args)
    assert isinstance(done.exception, ConfigError)
    assert done.exception.code == "command.arguments"
