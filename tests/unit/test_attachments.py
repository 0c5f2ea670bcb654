"""Which files are brought over, in which form, and what is said of the others."""

from __future__ import annotations

import base64
import quopri
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sync.attachments import (
    DANGEROUS,
    EMPTY,
    NOT_WHOLE,
    OFF,
    PIXEL_MAX_BYTES,
    AttachmentRules,
    choose,
    is_decoration,
    pixels_of,
    shows_as_image,
    without_marks,
)
from sync.kit.recent import Recent, pieces
from sync.mail import PartDecoder
from sync.message import Attachment, Direction, Message
from sync.render import RenderContext, canonical_hash, media_items, render, renew_files
from sync.testing.clock import START

PDF = Attachment("a.pdf", "application/pdf", 1000, "2")


def reasons(*files: Attachment, **rules: object) -> list[str]:
    made = AttachmentRules(**rules)  # type: ignore[arg-type]
    return [one.why_not for one in choose(files, made)]


def test_ordinary_files_are_brought_over() -> None:
    assert reasons(PDF, Attachment("b.png", "image/png", 5_000_000, "3")) == ["", ""]


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("setup.exe", "application/octet-stream"),
        ("SETUP.EXE", "application/octet-stream"),
        ("invoice.pdf.exe", "application/pdf"),
        ("invoice.exe. ", "application/octet-stream"),
        ("run.sh", "text/plain"),
        ("harmless.txt", "application/x-msdownload"),
        ("page.hta", "text/html"),
    ],
)
def test_programs_are_only_named_whichever_way_they_are_dressed(name: str, mime_type: str) -> None:
    assert reasons(Attachment(name, mime_type, 1000, "2")) == [DANGEROUS]


def test_a_setting_names_other_kinds() -> None:
    video = Attachment("a.mp4", "video/mp4", 10, "2")
    assert reasons(video, PDF, named_only=frozenset({"video/*"})) == [DANGEROUS, ""]
    assert reasons(Attachment("setup.exe", "application/octet-stream", 10, "2"), named_only=frozenset()) == [""]


def test_limits_of_one_file_of_all_files_and_of_their_number() -> None:
    large = Attachment("large.bin", "application/zip", 3001, "2")
    assert reasons(large, PDF, file_max_bytes=3000) == ["it is larger than 3.0 kB", ""]
    together = "the files of this message are larger than 2.5 kB together"
    assert reasons(PDF, PDF, PDF, PDF, message_max_bytes=2500) == ["", "", together, together]
    assert reasons(PDF, PDF, files_max=1) == ["", "only 1 files of a message are brought over"]


def test_a_file_that_cannot_be_had_leaves_room_for_the_others() -> None:
    large = Attachment("large.bin", "application/zip", 3001, "2")
    assert reasons(large, PDF, PDF, file_max_bytes=3000, message_max_bytes=2000, files_max=2)[1:] == ["", ""]


def test_what_is_empty_or_of_unknown_size_is_not_asked_for() -> None:
    unknown = Attachment("a.bin", "application/zip", None, "2")
    assert reasons(Attachment("a.bin", "application/zip", 0, "2"), unknown) == [EMPTY, NOT_WHOLE]


def test_switched_off_everything_is_named() -> None:
    assert reasons(PDF, bring=False) == [OFF]


def test_tracking_pixels_are_nobodys_business() -> None:
    pixel = Attachment("p.gif", "image/gif", 43, "2", inline=True)
    assert choose((pixel,), AttachmentRules()) == ()
    offered = Attachment("p.gif", "image/gif", 43, "2")
    assert choose((offered,), AttachmentRules()) == (offered,)
    assert choose((Attachment("p.gif", "image/gif", PIXEL_MAX_BYTES + 1, "2", inline=True),), AttachmentRules())


@pytest.mark.parametrize(
    ("width", "height", "decoration"),
    [(1, 1, True), (600, 2, True), (48, 48, True), (49, 20, False), (300, 200, False), (0, 0, False)],
)
def test_small_pictures_in_the_text_are_decoration(width: int, height: int, *, decoration: bool) -> None:
    shown = Attachment("logo.png", "image/png", 4000, "2", inline=True, width=width, height=height)
    assert is_decoration(shown) is decoration
    assert not is_decoration(Attachment("logo.png", "image/png", 4000, "2", width=width, height=height))


def test_marks_of_decoration_leave_the_text() -> None:
    logo = Attachment("logo.png", "image/png", 400, "2", inline=True)
    assert without_marks("Hello [logo.png]\nBye", [logo]) == "Hello\nBye"
    assert without_marks("Hello [photo.png]", [logo]) == "Hello [photo.png]"


def test_only_what_every_browser_shows_is_an_image() -> None:
    types = ("image/png", "IMAGE/JPEG", "image/svg+xml", "image/tiff", "application/pdf")
    assert [shows_as_image(Attachment("a", one)) for one in types] == [True, True, False, False, False]


JPEG = bytes.fromhex("ffd8 ffe0 0010 4a46494600 01010000 0100 0100 00 ffc0 0011 08 0064 00c8 03".replace(" ", ""))


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x40\0\0\0\xc8", (320, 200)),
        (b"GIF89a\x02\x00\x03\x00", (2, 3)),
        (JPEG, (200, 100)),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x3f\x01\0\xc7\0\0", (320, 200)),
        (b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x3f\xc1\x31\x00\0\0\0\0\0", (320, 200)),
        (b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x40\x01\xc8\x00", (320, 200)),
        (b"", (0, 0)),
        (b"\x89PNG\r\n\x1a\n", (0, 0)),
        (b"\xff\xd8" + b"\xff" * 100, (0, 0)),
        (b"\xff\xd8\xff\xe0\0\0" * 50, (0, 0)),
        (b"<svg/>", (0, 0)),
    ],
)
def test_the_size_of_a_picture_is_read_from_its_beginning(head: bytes, size: tuple[int, int]) -> None:
    assert pixels_of(head) == size


def test_no_beginning_of_a_picture_is_too_strange() -> None:
    chance = random.Random(3)
    for start in (b"\xff\xd8", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"):
        for _ in range(500):
            width, height = pixels_of(start + chance.randbytes(chance.randrange(60)))
            assert width >= 0
            assert height >= 0


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit", "x-uuencode", "", "unheard-of"])
@pytest.mark.parametrize("size", [0, 1, 1000, 40_000])
def test_a_part_comes_out_the_same_in_pieces_of_any_size(encoding: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    if encoding == "base64":
        encoded = base64.encodebytes(data)
    elif encoding == "quoted-printable":
        data = data.replace(b"\r", b"")  # which ends of lines are meant is not known in the middle of binary data
        encoded = quopri.encodestring(data)
    elif encoding == "x-uuencode":
        data = b"three lines\n"
        encoded = b"begin 644 a.txt\n,=&AR964@;&EN97,*\n`\nend\n"
    else:
        encoded = data
    for step in (1, 7, 76, 1024, 100_000):
        decoder = PartDecoder(encoding)
        done = b"".join(decoder.feed(encoded[at : at + step]) for at in range(0, len(encoded), step))
        assert done + decoder.finish() == data


def test_what_was_loaded_last_is_kept_within_its_bound() -> None:
    recent: Recent[str, bytes] = Recent(max_bytes=10)
    recent.keep("a", b"12345")
    recent.keep("b", b"12345")
    recent.keep("c", b"1")
    recent.keep("d", b"12345678901")
    assert [recent.get(one) for one in "abcd"] == [None, b"12345", b"1", None]
    recent.clear()
    assert recent.get("b") is None


def test_pieces_are_bounded() -> None:
    data = bytes(3_000_000)
    assert [len(one) for one in pieces(data)] == [1_048_576, 1_048_576, 902_848]


# ---------------------------------------------------------------------------------------------------- rendering


def rendered(*files: Attachment, uploads: dict[int, str], refused: dict[int, str] | None = None) -> dict[str, object]:
    context = RenderContext(
        Direction.PARTICIPANT_TO_BUSINESS, "mail", START, uploads=uploads, refused_files=refused or {}
    )
    body = render(Message("Hello", attachments=files), context).body
    assert isinstance(body, dict)
    return body  # type: ignore[return-value]


def items_of(body: dict[str, object]) -> list[dict[str, object]]:
    return body["message"]["content"]["basic"]["items"]  # type: ignore[index, no-any-return]


PHOTO = Attachment("photo.png", "image/png", 5000, "2", spooled=7, width=320, height=200)
OFFER = Attachment("offer.pdf", "application/pdf", 1000, "3", spooled=8)
TOOL = Attachment("tool.exe", "application/octet-stream", 900, "4", why_not=DANGEROUS)
LINK = Attachment("link.txt", "text/plain", 10)


def test_uploaded_files_follow_the_text_and_the_others_are_named() -> None:
    body = rendered(PHOTO, OFFER, TOOL, LINK, uploads={7: "id-7", 8: "id-8"})
    assert items_of(body) == [
        {"text": "Hello"},
        {"image": {"id": "id-7", "filename": "photo.png", "width": 320, "height": 200}},
        {"file": {"id": "id-8", "filename": "offer.pdf", "mimeType": "application/pdf"}},
        {"text": f"Attachment: link.txt (10 bytes)\nNot brought over: tool.exe (900 bytes): {DANGEROUS}"},
    ]


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CUP = Attachment("cup.png", "image/png", 5000, "4", inline=True, spooled=9)
BOWL = Attachment("bowl.png", "image/png", 5000, "5", inline=True, spooled=10)
IDS = {7: "id-7", 8: "id-8", 9: "id-9", 10: "id-10"}


def shown(text: str, *files: Attachment, max_text_items: int = 8) -> list[str]:
    """Texts, and the names of images and files in brackets, one behind another."""
    ctx = RenderContext(Direction.PARTICIPANT_TO_BUSINESS, "Mail", NOON, uploads=IDS, max_text_items=max_text_items)
    body = render(Message(text, attachments=files), ctx).body
    return [
        str(item.get("text") or next(f"<{one['filename']}>" for one in item.values() if isinstance(one, dict)))
        for item in items_of(body)  # type: ignore[arg-type]
    ]


def test_pictures_in_the_text_stand_where_it_has_them() -> None:
    text = "Here is the cup:\n\n[cup.png]\n\nand the bowl:\n[bowl.png]\nThanks [photo.png]"
    assert shown(text, OFFER, CUP, BOWL, PHOTO) == [
        *("Here is the cup:", "<cup.png>", "and the bowl:", "<bowl.png>", "Thanks [photo.png]"),
        *("<offer.pdf>", "<photo.png>"),
    ]
    assert shown("[cup.png]", CUP) == ["<cup.png>"]


def test_a_text_with_more_pictures_than_bubbles_has_them_behind_it() -> None:
    text = "a\n[cup.png]\nb\n[bowl.png]\nc"
    assert shown(text, CUP, BOWL, max_text_items=3) == ["a", "<cup.png>", "b", "<bowl.png>", "c"]
    assert shown(text, CUP, BOWL, max_text_items=2) == [text, "<cup.png>", "<bowl.png>"]


def test_a_picture_that_was_not_taken_leaves_its_mark() -> None:
    assert shown("see\n[gone.png]", replace(CUP, filename="gone.png", spooled=99))[0] == "see\n[gone.png]"


def test_files_in_another_order_than_the_message_s_get_their_new_ids() -> None:
    message = Message("a\n[cup.png]\nb", attachments=(OFFER, CUP))
    body = render(message, RenderContext(Direction.PARTICIPANT_TO_BUSINESS, "Mail", NOON, uploads=IDS)).body
    renew_files(body, message, {8: "new-8", 9: "new-9"})
    assert [(one["filename"], one["id"]) for one in media_items(body)] == [("cup.png", "new-9"), ("offer.pdf", "new-8")]


def test_a_file_that_was_refused_is_named_with_the_reason() -> None:
    body = rendered(PHOTO, OFFER, uploads={7: "id-7"}, refused={8: "it is too large for the Inbox"})
    assert items_of(body)[-1] == {"text": "Not brought over: offer.pdf (1.0 kB): it is too large for the Inbox"}


def test_the_hash_of_a_request_goes_by_names_so_that_new_ids_change_nothing() -> None:
    before = rendered(PHOTO, OFFER, uploads={7: "old-7", 8: "old-8"})
    after = rendered(PHOTO, OFFER, uploads={7: "new-7", 8: "new-8"})
    assert canonical_hash(before) == canonical_hash(after)  # type: ignore[arg-type]
    renew_files(before, Message("Hello", attachments=(PHOTO, OFFER)), {7: "new-7", 8: "new-8"})  # type: ignore[arg-type]
    assert before == after


def test_a_frozen_request_without_one_of_the_files_gets_the_right_ids() -> None:
    body = rendered(PHOTO, OFFER, uploads={8: "old-8"}, refused={7: "no"})
    renew_files(body, Message("Hello", attachments=(PHOTO, OFFER)), {7: "new-7", 8: "new-8"})  # type: ignore[arg-type]
    assert [one["id"] for one in media_items(body)] == ["new-8"]  # type: ignore[arg-type]
