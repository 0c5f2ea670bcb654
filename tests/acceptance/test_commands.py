"""Each command as it is typed, without a daemon: its exit code, its document, its table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.settings import SourceSettings
from tests.acceptance.small import Small, Typed, small_site

pytestmark = pytest.mark.timeout(240)

WIDTH = 80


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


def narrow(typed: Typed) -> Typed:
    """No line is wider than the terminal; what belongs to one row stands in one line."""
    wide = [line for line in typed.out.splitlines() if len(line.rstrip()) > WIDTH]
    assert not wide, typed.out
    return typed


def test_a_dry_run_on_a_fresh_machine_says_what_would_be_sent_and_writes_nothing(small: Small) -> None:
    small.put("T000001")
    small.put("T000002", "Me <support@shop.example>")
    small.put("", raw=b"\x00 nothing that can be read \xff")
    small.type("check").ok().shows("there is no ledger", "everything is in order")
    dry = small.type("sync", "--dry-run", "--json").ok()
    [line] = dry.rows("sources")
    assert (line["found"], line["new"], line["skipped"], line["dead_messages"], line["sent"]) == (
        3, 1, {"own_address": 1}, {"unreadable": 1}, 0,
    )  # fmt: skip
    assert sorted((str(row["verdict"]), str(row["reason"])) for row in dry.rows("previews")) == [
        ("dead", "unreadable"),
        ("new", ""),
        ("skip", "own_address"),
    ]
    narrow(small.type("sync", "--dry-run", COLUMNS=str(WIDTH)).ok()).shows("dry run: nothing was sent", "c1@example")
    assert small.sent() == []
    assert small.sandbox.contacts() == []
    assert [path.name for path in small.folder.glob("ledger*")] == []
    for reader in (("status",), ("message", "list"), ("source", "list")):
        small.type(*reader).refused(69, "ledger.missing", str(small.ledger))


def test_a_dry_run_knows_what_is_in_the_ledger(small: Small) -> None:
    small.put("T000001")
    small.type("sync").ok()
    small.put("T000002")
    dry = small.type("sync", "--dry-run", "--json").ok()
    assert [(line["new"]) for line in dry.rows("sources")] == [1]
    small.configure(small.maildir().replace('/mail"', '/moved"'))
    (small.folder / "mail").rename(small.folder / "moved")
    dry = small.type("sync", "--dry-run", "--json").ok()
    assert [row["verdict"] for row in dry.rows("previews")].count("new") == 1
    small.type("sync").ok()
    assert small.sent() == ["T000001", "T000002"]


def test_the_story_of_a_small_site(small: Small) -> None:
    small.configure(small.maildir(), small.maildir("a-source-with-a-very-long-name-indeed"))
    small.put("T000001", "Somebody With A Very Long Name <a.very.long.address.indeed@customers.example.com>")
    small.put("T000002", "Me <support@shop.example>")
    narrow(small.type("sync", COLUMNS=str(WIDTH)).ok()).shows("mail", "FOUND", "skipped 1 own_address")
    again = small.type("sync", "--json").ok()
    assert (again.json()["ok"], again.json()["exit_code"], again.json()["dry_run"]) == (True, 0, False)
    assert {line["name"]: line["sent"] for line in again.rows("sources")}["mail"] == 0

    narrow(small.type("status", COLUMNS=str(WIDTH)).ok()).shows("no daemon answers", "main", "mail")
    status = small.type("status", "--json").ok()
    assert status.json()["ok"] is True
    assert status.json()["daemon"] is None
    assert {row["name"]: row["deliveries"]["sent"] for row in status.rows("sources")}["mail"] == 1  # type: ignore[index]
    narrow(small.type("source", "list", COLUMNS=str(WIDTH)).ok())
    assert [row["connector"] for row in small.type("source", "list", "--json").ok().rows("sources")] == ["maildir"] * 2

    narrow(small.type("message", "list", COLUMNS=str(WIDTH)).ok()).shows("own_address")
    newest, _oldest = small.type("message", "list", "--json").ok().rows("messages")
    assert newest["state"] == "skipped"
    narrow(small.type("message", "show", str(newest["id"]), COLUMNS=str(WIDTH)).ok()).shows(
        "outside a sent folder", "own_address"
    )
    small.type("message", "show", "4711").refused(1, "message.unknown", "4711", "message list")

    narrow(small.type("connector", "list", COLUMNS=str(WIDTH)).ok()).shows("imap", "maildir")
    assert small.type("db", "current", "--json").ok().json()["state"] == "current"
    assert small.type("db", "upgrade", "--json").ok().json()["backup"] is None
    small.type("db", "current").ok().shows("is up to date")


def test_messages_are_retried_and_dropped(small: Small) -> None:
    """Dead by a refusal, skipped by a rule, held after a send without an answer."""
    small.configure(inbox='after_settle = "hold"', lane_hold="300ms")
    small.sandbox.fault("status", call="messages.send", status=400, code="INVALID_ARGUMENT", text="T000001", times=None)
    small.sandbox.fault("drop_before_store", call="messages.send", text="T000002", times=1)
    small.put("T000001", "a@example.com")
    small.put("T000002", "b@example.com")
    small.put("T000003", "Me <support@shop.example>")
    failing = small.type("sync", "--json")
    for _ in range(5):  # what waits for its next try is left to the next run
        if [line["pending"] for line in failing.rows("sources")] == [0]:
            break
        failing = small.type("sync", "--json")
    assert failing.code in (0, 1)
    assert small.sent() == []
    rows = {str(_state(row)): row for row in small.type("message", "list", "--json").ok().rows("messages")}
    assert rows.keys() == {"dead", "held", "skipped"}
    shown = small.type("message", "show", str(rows["dead"]["id"])).ok()
    shown.shows("dead", "inbox.invalid_argument", "the Inbox refused the message")
    small.type("message", "list", "--failed").ok().shows("held", "dead")

    small.sandbox.clear_faults()
    small.type("message", "retry", str(rows["dead"]["id"]), str(rows["held"]["id"])).ok()
    small.type("message", "drop", str(rows["held"]["id"])).ok()
    moved = small.type("message", "drop", str(rows["held"]["id"]), "--json")
    assert (moved.code, moved.json()["ok"]) == (1, False)
    skipped = small.type("message", "retry", "--reason", "own_address", "--json")
    assert skipped.json()["outcomes"], skipped.out
    small.type("sync").ok()
    assert "T000001" in small.sent()
    assert "T000002" not in small.sent()


def _state(row: dict[str, object]) -> object:
    deliveries = row["deliveries"]
    assert isinstance(deliveries, list)
    return deliveries[0]["state"] if deliveries else row["state"]


def test_a_renamed_source_keeps_its_history(small: Small) -> None:
    small.put("T000001")
    small.type("sync").ok()
    text = small.config.read_text()
    small.config.write_text(text.replace("[sources.mail]", "[sources.letters]"))
    small.type("source", "rename", "mail", "letters").ok().shows("letters")
    small.put("T000002")
    small.type("sync").ok()
    assert small.sent() == ["T000001", "T000002"]
    assert [row["name"] for row in small.type("source", "list", "--json").ok().rows("sources")] == ["letters"]
    small.type("source", "rename", "nobody", "x").refused(2, "source.unknown", "nobody")


def test_a_paused_source_is_left_alone_by_sync(small: Small) -> None:
    small.put("T000001")
    small.type("sync").ok()
    small.type("source", "pause", "mail").ok()
    small.put("T000002")
    small.type("sync").ok()
    assert small.sent() == ["T000001"]
    small.type("sync", "--source", "mail", "--json")
    small.type("source", "resume", "mail").ok()
    small.type("sync", "--source", "mail").ok()
    assert small.sent() == ["T000001", "T000002"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("sync", "--dryrun"),
        ("statsu",),
        ("message", "show", "x"),
        ("message", "list", "--state", "ded"),
        ("message", "retry"),
        ("message", "drop", "--failed"),
    ],
    ids=" ".join,
)
def test_what_is_typed_wrong_ends_with_2(small: Small, wrong: tuple[str, ...]) -> None:
    done = small.type(*wrong)
    assert done.code == 2, done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_an_unknown_source_is_named_with_those_there_are(small: Small) -> None:
    small.type("sync", "--source", "mial").refused(2, "source.unknown", '"mial"', "the file has: mail")
    document = small.type("sync", "--source", "mial", "--json")
    assert document.code == 2
    assert document.json()["error"]["code"] == "source.unknown"  # type: ignore[index]
    small.type("reload").refused(69, "daemon.unreachable", "start it")


def test_the_example_names_every_setting_of_a_source(small: Small) -> None:
    example = small.type("config", "example").ok().out
    for name in SourceSettings.model_fields:
        assert name in example
    assert small.type("config", "schema").ok().json()["properties"]


def test_a_person_is_erased_and_each_table_told_with_what_remains(small: Small) -> None:
    small.put("T000001", "Anna <anna@private.example>")
    small.put("T000002", "Bert <bert@private.example>")
    small.type("sync").ok()
    small.type("erase", "anna@private.example").refused(2, "command.arguments", "add --yes")
    small.type("erase", "nobody@private.example", "--yes").refused(1, "erase.unknown")
    erased = narrow(small.type("erase", "Anna@Private.example", "--yes", COLUMNS=str(WIDTH)).ok())
    erased.shows("participants", "keyed hash", "no call that deletes a message")
    listed = small.type("message", "list").ok()
    assert "anna" not in listed.out
    assert "bert@private.example" in listed.out
    small.type("sync").ok()
    assert small.sent() == ["T000001", "T000002"]
    daemon = small.start()
    assert small.type("erase", "bert@private.example", "--yes", "--json").ok().rows("lines")
    small.put("T000003", "Bert <bert@private.example>")
    small.wait_sent("T000001", "T000002", "T000003")
    assert daemon.stop() == 0
