"""Files in the ledger: with their message, within its bounds, and gone with its content."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sync.decide import Loaded
from sync.delivery import Uploaded
from sync.ledger.attachments import OWNERLESS_AFTER, SMALL_BYTES, SMALL_OF_A_MESSAGE_BYTES, Attachments
from sync.message import Attachment
from tests.ledger.conftest import Place
from tests.ledger.desk import LEASE, Desk, loaded

PIECE = b"p" * 1000


def spool(desk: Desk, pieces: int = 3) -> int:
    number = desk.ledger.attachments.open(desk.now)
    for at in range(pieces):
        desk.ledger.attachments.append(number, at, PIECE)
    return number


def with_files(*numbers: int, names: tuple[str, ...] = ()) -> Loaded:
    made = loaded(*names)
    files = tuple(Attachment(f"{one}.pdf", "application/pdf", 3000, "2", spooled=one) for one in numbers)
    return replace(made, message=replace(made.message, attachments=files))


def left(place: Place) -> list[object]:
    return [place.values(f"SELECT count(*) FROM {name}")[0][0] for name in ("attachments", "attachment_pieces")]


def read(desk: Desk, number: int) -> bytes:
    found: list[bytes] = []
    while (piece := desk.ledger.attachments.piece(number, len(found))) is not None:
        found.append(piece)
    return b"".join(found)


def uploaded(desk: Desk, number: int, file_id: str) -> None:
    assert desk.ledger.deliveries.commit(LEASE, [Uploaded(((number, file_id),), desk.now)], desk.now) == [True]


def test_a_file_is_kept_in_pieces_and_belongs_to_the_message_that_names_it(desk: Desk) -> None:
    number = spool(desk)
    (message_id,) = desk.record(desk.seen(1, with_files(number))).new_message_ids
    (row,) = desk.ledger.attachments.of_message(message_id)
    assert (row.id, row.message_id, row.bytes, row.file_id, row.why_not) == (number, message_id, 3000, None, "")
    assert read(desk, number) == PIECE * 3


def carrying(*files: bytes, names: tuple[str, ...] = ()) -> Loaded:
    made = loaded(*names)
    named = tuple(
        Attachment(f"{at}.pdf", "application/pdf", len(data), "2", spooled=-at) for at, data in enumerate(files, 1)
    )
    return replace(made, message=replace(made.message, attachments=named), files=files)


def test_files_that_come_along_are_recorded_with_their_message_and_read_with_it(desk: Desk) -> None:
    (message_id,) = desk.record(desk.seen(1, carrying(b"first", b"second"))).new_message_ids
    to_send = desk.ledger.messages.to_send([message_id])[message_id]
    assert [row.id for row in to_send.files] == [one.spooled for one in to_send.message.attachments]
    assert [(row.bytes, row.data) for row in to_send.files] == [(5, b"first"), (6, b"second")]
    uploaded(desk, to_send.files[0].id, "file-1")
    assert [row.data for row in desk.ledger.messages.to_send([message_id])[message_id].files] == [None, b"second"]


def test_files_that_come_along_with_many_messages_stay_with_their_own(desk: Desk) -> None:
    large = spool(desk)
    both = carrying(b"small")
    named = (*both.message.attachments, Attachment("large.pdf", "application/pdf", 3000, "3", spooled=large))
    contents = [
        carrying(*(b"%d/%d" % (number, at) for at in range(number % 4)), names=(f"p{number}",))
        for number in range(1, 60)
    ]
    contents.append(replace(both, message=replace(both.message, attachments=named)))
    ids = desk.record(*(desk.seen(number, one) for number, one in enumerate(contents, 1))).new_message_ids
    to_send = desk.ledger.messages.to_send(ids)
    for message_id, content in zip(ids, contents, strict=True):
        files = {row.id: read(desk, row.id) for row in to_send[message_id].files}
        own = [files[one.spooled] for one in to_send[message_id].message.attachments]
        assert own == [*content.files, *([PIECE * 3] if content is contents[-1] else [])]


def test_of_one_message_no_more_than_a_bound_is_read_along(desk: Desk) -> None:
    many = [b"x" * SMALL_BYTES] * (SMALL_OF_A_MESSAGE_BYTES // SMALL_BYTES + 1)
    (message_id,) = desk.record(desk.seen(1, carrying(b"y" * (SMALL_BYTES + 1), *many))).new_message_ids
    files = desk.ledger.messages.to_send([message_id])[message_id].files
    assert [row.data is not None for row in files] == [False, *[True] * (len(many) - 1), False]
    assert read(desk, files[-1].id) == many[-1]


def test_files_that_come_along_go_with_their_message(desk: Desk, place: Place) -> None:
    desk.record(desk.seen(1, carrying(b"first")))
    assert left(place) == [1, 1]
    desk.send(*desk.window())
    assert left(place) == [0, 0]


def test_files_count_in_the_spool(desk: Desk) -> None:
    before = desk.ledger.messages.spooled_bytes()
    desk.record(desk.seen(1, with_files(spool(desk))))
    assert 3000 < desk.ledger.messages.spooled_bytes() - before < 4000


def test_files_count_before_their_message_is_recorded_but_not_those_a_dead_process_left(desk: Desk) -> None:
    attachments = desk.ledger.attachments
    assert attachments.unrecorded_bytes() == 0
    number = spool(desk)
    assert attachments.unrecorded_bytes() == 3000
    assert Attachments(attachments._db).unrecorded_bytes() == 0
    desk.record(desk.seen(1, with_files(number)))
    assert attachments.unrecorded_bytes() == 0


def test_files_are_gone_when_the_last_delivery_is_sent(desk: Desk, place: Place) -> None:
    desk.record(desk.seen(1, with_files(spool(desk), spool(desk), names=("anna", "ben"))))
    first, second = desk.window()
    desk.send(first)
    assert left(place) == [2, 6]
    desk.send(second)
    assert left(place) == [0, 0]
    assert desk.ledger.messages.spooled_bytes() == 0


def test_dropped_messages_keep_their_files_for_a_retry_within_the_bound(desk: Desk, place: Place) -> None:
    (message_id,) = desk.record(desk.seen(1, with_files(spool(desk)))).new_message_ids
    desk.ledger.messages.drop([message_id], desk.now)
    assert left(place) == [1, 3]
    assert desk.ledger.messages.spooled_bytes() == 0
    desk.ledger.messages.retry([message_id], desk.now)
    desk.send(*desk.window())
    assert left(place) == [0, 0]


def test_a_content_that_is_loaded_again_replaces_its_files(desk: Desk, place: Place) -> None:
    (message_id,) = desk.record(desk.seen(1)).new_message_ids
    desk.ledger.messages.load_contents({message_id: with_files(spool(desk))}, desk.now, desk.now)
    desk.ledger.messages.drop([message_id], desk.now)
    place.run("DELETE FROM payloads")
    desk.ledger.messages.retry([message_id], desk.now)
    again = spool(desk)
    desk.ledger.messages.load_contents({message_id: with_files(again)}, desk.now, desk.now)
    assert [row.id for row in desk.ledger.attachments.of_message(message_id)] == [again]
    assert left(place) == [1, 3]


def test_files_that_no_message_names_go_after_a_while(desk: Desk, place: Place) -> None:
    spool(desk)
    kept = spool(desk)
    desk.record(desk.seen(1, with_files(kept)))
    desk.ledger.attachments.open(desk.now + OWNERLESS_AFTER)
    assert left(place) == [3, 6]
    desk.ledger.attachments.open(desk.now + OWNERLESS_AFTER + timedelta(seconds=1))
    assert left(place)[1] == 3


def test_a_discarded_file_is_gone_unless_a_message_names_it(desk: Desk, place: Place) -> None:
    unwanted, wanted = spool(desk), spool(desk)
    desk.record(desk.seen(1, with_files(wanted)))
    desk.ledger.attachments.discard([unwanted, wanted])
    assert left(place) == [1, 3]


def test_an_upload_is_remembered_and_renewed_at_most_so_often(desk: Desk) -> None:
    number = spool(desk)
    (message_id,) = desk.record(desk.seen(1, with_files(number))).new_message_ids
    files = desk.ledger.attachments
    files.upload_failed(number, "")
    uploaded(desk, number, "file-1")
    (row,) = files.of_message(message_id)
    assert (row.file_id, row.uploaded_at, row.failures) == ("file-1", desk.now, 1)
    files.renew(message_id, 1, "forgotten")
    (row,) = files.of_message(message_id)
    assert (row.file_id, row.renewals, row.why_not) == (None, 1, "")
    uploaded(desk, number, "file-2")
    files.renew(message_id, 1, "forgotten")
    assert files.of_message(message_id)[0].why_not == "forgotten"


@pytest.mark.parametrize("table", ["attachments", "attachment_pieces"])
def test_erasing_a_message_takes_its_files_along(desk: Desk, place: Place, table: str) -> None:
    desk.record(desk.seen(1, with_files(spool(desk))))
    place.run("DELETE FROM deliveries")
    place.run("DELETE FROM payloads")
    place.run("DELETE FROM messages")
    assert place.values(f"SELECT count(*) FROM {table}") == [(0,)]
