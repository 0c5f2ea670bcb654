"""Erasing a person: nothing readable is left, nothing is sent twice, and others keep what is theirs."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from sync.delivery import Refused
from sync.ledger import schema
from sync.ledger.participants import ERASED
from sync.states import Reason
from tests.ledger.conftest import Place
from tests.ledger.desk import NOON, Desk, loaded

ANNA = "anna@example.com"


def written(place: Place) -> str:
    """Everything the ledger holds, as text."""
    with place.database() as database:
        return database.read(
            lambda tx: "\n".join(
                f"{each.name}: {value.decode('latin-1') if isinstance(value, bytes) else value}"
                for each in schema.metadata.sorted_tables
                for row in tx.execute(select(each))
                for value in row
            )
        )


def give_up(desk: Desk, name: str, body: str = "hello", *, arrived: float) -> None:
    """A message to this person that was refused for good: its content is kept for a retry."""
    desk.record(desk.seen(None, loaded(name, body=body), arrived=arrived))
    (row,) = desk.window()
    assert all(desk.commit(desk.intent(row)))
    refused = Refused(row.delivery_id, row.attempt + 1, NOON, "inbox.invalid_argument", "refused", None, Reason.REFUSED)
    assert all(desk.commit(refused))


def test_nothing_readable_is_left_of_the_person_and_all_of_the_others(place: Place, desk: Desk) -> None:
    for name in ("anna", "bert"):
        desk.send(desk.arrive(name, arrived=1))
    give_up(desk, "anna", arrived=2)
    assert ANNA in written(place)
    assert desk.ledger.erasure.under_way(ANNA) == 0
    done = desk.ledger.erasure.erase(ANNA, NOON)
    assert done is not None
    assert done.rows["deliveries"] == 2
    assert done.rows["participants"] == 1
    text = written(place).lower()
    assert "anna" not in text.replace("anna@imap.example.com", "")  # the account that is polled
    assert "bert@example.com" in text
    assert desk.ledger.erasure.under_way(ANNA) is None


def test_an_erased_persons_messages_are_still_known_and_not_recorded_again(place: Place, desk: Desk) -> None:
    seen = desk.seen("7", loaded("anna"), fingerprint="one")
    desk.record(seen)
    (row,) = desk.window()
    desk.send(row)
    assert desk.ledger.erasure.erase(ANNA, NOON) is not None
    assert desk.record(seen).new_message_ids == ()
    renumbered = desk.record(desk.seen("8", loaded("anna"), fingerprint="one"), view=desk.view(epoch="2"))
    assert renumbered.skipped == {"duplicate": 1}


def test_a_new_message_of_an_erased_person_is_a_new_persons(place: Place, desk: Desk) -> None:
    desk.send(desk.arrive("anna", arrived=1))
    desk.ledger.erasure.erase(ANNA, NOON)
    desk.send(desk.arrive("anna", arrived=2))
    values = [row[0] for row in place.values("SELECT value FROM participants ORDER BY id")]
    assert str(values[0]).startswith(ERASED)
    assert values[1] == ANNA
    assert desk.ledger.erasure.erase(ANNA, NOON) is not None
    hashes = [row[0] for row in place.values("SELECT value FROM participants ORDER BY id")]
    assert len(set(hashes)) == 2


def test_the_subject_of_the_conversation_that_the_person_is_mapped_to_by_now_goes_too(place: Place, desk: Desk) -> None:
    desk.send(desk.arrive("anna", arrived=1))
    place.run(
        "INSERT INTO conversations (inbox, conversation_id, last_subject_key) VALUES ('main', 'merged', 'a secret')"
    )
    place.run("UPDATE participants SET conversation_id = 'merged'")
    assert desk.ledger.erasure.erase(ANNA, NOON) is not None
    assert "a secret" not in written(place)


def test_another_try_of_what_was_erased_tells_so_and_sends_nothing(place: Place, desk: Desk) -> None:
    give_up(desk, "anna", arrived=1)
    desk.ledger.erasure.erase(ANNA, NOON)
    message_id = int(str(place.values("SELECT id FROM messages")[0][0]))
    (outcome,) = desk.ledger.messages.retry([message_id], NOON)
    assert not outcome.moved
    assert "erased" in outcome.sentence
    assert desk.window() == []


def test_another_try_for_others_brings_nothing_to_an_erased_person_again(place: Place, desk: Desk) -> None:
    desk.record(desk.seen(None, loaded("anna", "bert"), arrived=1))
    to_anna, to_bert = sorted(desk.window(), key=lambda row: row.delivery_id)
    desk.send(to_anna)
    assert all(desk.commit(desk.intent(to_bert)))
    refused = Refused(
        to_bert.delivery_id, to_bert.attempt + 1, NOON, "inbox.invalid_argument", "refused", None, Reason.REFUSED
    )
    assert all(desk.commit(refused))
    desk.ledger.erasure.erase(ANNA, NOON)
    place.run("UPDATE deliveries SET request = NULL, request_hash = NULL")
    (outcome,) = desk.ledger.messages.retry([to_bert.message_id], NOON)
    assert "fetched again" in outcome.sentence
    desk.ledger.messages.load_contents({to_bert.message_id: loaded("anna", "bert")}, NOON, NOON)
    assert [row.delivery_id for row in desk.window()] == [to_bert.delivery_id]
    assert place.values(f"SELECT count(*) FROM participants WHERE value = '{ANNA}'") == [(0,)]


@pytest.mark.parametrize("names", [("anna",), ("anna", "bert")], ids=["hers", "also somebody else's"])
def test_while_a_message_is_under_way_nothing_is_erased(place: Place, desk: Desk, names: tuple[str, ...]) -> None:
    first = desk.arrive(*names, arrived=1)
    if len(names) > 1:
        desk.send(first)
    assert desk.ledger.erasure.under_way(ANNA) == 1
    assert desk.ledger.erasure.erase(ANNA, NOON) is None
    assert ANNA in written(place)


def test_kept_copies_that_mention_the_person_go_and_others_stay(place: Place, desk: Desk) -> None:
    desk.send(desk.arrive("anna", arrived=1))
    give_up(desk, "bert", f"ask {ANNA} about it", arrived=2)
    give_up(desk, "carl", "nothing about her", arrived=3)
    desk.ledger.erasure.erase(ANNA, NOON)
    kept = place.values("SELECT content FROM payloads")
    assert len(kept) == 1
    assert "nothing about her" in str(kept[0][0])
