"""The runbook has an entry for each code that the program can say, and for no other."""

from __future__ import annotations

import re

from tests.codes import ANYTHING, ROOT, said

PAGE = ROOT / "docs/operate/codes.md"
_ROW = re.compile(r"^\| ((?:`[^`]+`,? ?)+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
WHO = {"you", "by itself", "maker", "nobody"}


def entries() -> dict[str, tuple[str, str, str]]:
    """Each code of the page with what it means, who acts, and the next step."""
    found = {}
    for codes, meaning, who, step in _ROW.findall(PAGE.read_text(encoding="utf-8")):
        for code in re.findall(r"`([^`]+)`", codes):
            assert code not in found, f"{code} stands there twice"
            found[code] = (meaning.strip(), who.strip(), step.strip())
    return found


def test_the_collector_finds_codes_however_they_are_given() -> None:
    """One of each way: keyword, position, constant, class attribute, default, f-string, comparison, table."""
    ways = {
        "ledger.newer": "keyword",
        "inbox.upload_address": "position",
        "ledger.spool_full": "constant of another type of assignment",
        "ledger.lease_lost": "class attribute",
        "request_tracker.queue_missing": "f-string with the folder's name",
        "zendesk.throttled": "f-string with the connector's name",
        "inbox.network_timeout": "f-string with an enum",
        "imap.push_silent": "table",
        "inbox.text_changed": "comparison",
        "inbox.not_read_back": "dictionary",
        f"inbox.{ANYTHING}": "what the Inbox says",
    }
    assert set(ways) <= set(said())


def test_every_code_has_an_entry_in_the_runbook() -> None:
    page = entries()
    missing = [f"{code} ({place})" for code, place in sorted(said().items()) if code not in page]
    assert not missing


def test_the_runbook_has_no_code_that_nobody_says() -> None:
    known = said()
    assert [code for code in entries() if code not in known] == []


def test_every_entry_says_what_it_means_who_acts_and_what_is_next() -> None:
    poor = [
        code
        for code, (meaning, who, step) in entries().items()
        if len(meaning) < 10 or not set(re.split(r", then | or ", who)) <= WHO or len(step) < 3
    ]
    assert not poor
