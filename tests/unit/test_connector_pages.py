"""The pages for connector authors: what the code offers is on them."""

from __future__ import annotations

import re
from pathlib import Path

from sync import connector
from sync.kit import rest
from sync.registry import CAPABILITIES

PAGES = Path(__file__).parents[2] / "docs/connectors"
REFERENCE = (PAGES / "reference.md").read_text(encoding="utf-8")


def test_the_reference_names_all_that_the_kit_offers() -> None:
    unnamed = [name for name in rest.__all__ if name not in {"Auth", "Got"} and f"`{name}" not in REFERENCE]
    assert unnamed == []


def test_the_reference_names_every_capability_and_every_field_of_the_context() -> None:
    fields = [name for name in connector.PassContext.__dataclass_fields__ if name != "epoch"]
    assert [name for name in (*CAPABILITIES, *fields) if name not in REFERENCE] == []


def test_every_rule_of_what_a_connector_must_never_do_has_its_failure() -> None:
    rows = re.findall(r"(?m)^\| … (.+?) \| (.+?) \|$", (PAGES / "never.md").read_text(encoding="utf-8"))
    assert len(rows) >= 20
    assert all(len(failure) > 30 for _rule, failure in rows)
