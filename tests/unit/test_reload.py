"""What a changed file changes, and what goes on undisturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sync.config import LoadedConfig, load
from sync.reload import Change, difference

FILE = """
[ledger]
url = "sqlite:///{folder}/ledger.db"

[daemon]
max_passes = 8

[inbox.shop]
site_id = "11111111-1111-4111-8111-111111111111"
api_key = {{ env = "WIX_KEY" }}
own_addresses = ["support@shop.example"]

[inbox.inn]
site_id = "22222222-2222-4222-8222-222222222222"
api_key = {{ env = "WIX_KEY" }}

[sources.shop]
connector = "maildir"
inbox = "shop"
path = "{folder}"

[sources.rooms]
connector = "maildir"
inbox = "inn"
path = "{folder}"
"""

Read = Callable[..., LoadedConfig]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    monkeypatch.setenv("WIX_KEY", "sandbox-api-key")
    path = tmp_path / "config.toml"

    def read(*changes: tuple[str, str], more: str = "") -> LoadedConfig:
        text = FILE.format(folder=tmp_path) + more
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path.write_text(text)
        return load(path)

    return read


def test_the_same_file_changes_nothing(read: Read) -> None:
    assert Change.between(read(), read()).is_nothing


def test_a_source_that_changed_leaves_and_enters_and_nothing_else_does(read: Read) -> None:
    change = Change.between(read(), read(('inbox = "inn"\n', 'inbox = "inn"\nevery = "5m"\n')))
    assert change == Change(frozenset({"rooms"}), frozenset({"rooms"}), frozenset(), frozenset())


def test_new_and_removed_sources_enter_and_leave(read: Read, tmp_path: Path) -> None:
    more = f'[sources.more]\nconnector = "maildir"\ninbox = "inn"\npath = "{tmp_path}"\n'
    assert Change.between(read(), read(more=more)).sources_entering == {"more"}
    assert Change.between(read(more=more), read()).sources_leaving == {"more"}


def test_an_inbox_that_changed_leaves_its_sources_alone_unless_they_go_by_what_changed(read: Read) -> None:
    burst = Change.between(read(), read(('own_addresses = ["support', 'burst_requests = 2\nown_addresses = ["support')))
    shop: frozenset[str] = frozenset({"shop"})
    nothing: frozenset[str] = frozenset()
    assert burst == Change(nothing, nothing, shop, shop)
    own = Change.between(read(), read(("support@", "help@")))
    assert own == Change(shop, shop, shop, shop)


def test_a_secret_that_was_changed_behind_its_reference_counts(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read()
    monkeypatch.setenv("WIX_KEY", "another-api-key")
    assert Change.between(before, read()).inboxes_entering == {"shop", "inn"}


def test_an_inbox_and_a_source_of_one_name_are_told_apart(read: Read) -> None:
    told = difference(read(), read(("support@", "help@")))
    assert told["changed"] == ["shop"]
    assert told["unchanged"] == ["inn", "rooms", "shop"]


def test_what_needs_a_restart_is_named(read: Read) -> None:
    assert difference(read(), read(("max_passes = 8", "max_passes = 9")))["restart_needed"] == ["daemon"]
