"""Addresses: lists, the normal form, the business's own."""

from __future__ import annotations

import pytest

from sync.mail import OwnAddresses, normalise_address, parse_addresses
from sync.message import ParticipantKind


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("Jo@Example.COM", "jo@example.com"),
        (" <jo@example.com> ", "jo@example.com"),
        ("mailto:jo@example.com", "jo@example.com"),
        ("jo@example.com.", "jo@example.com"),
        ('"jo"@example.com', "jo@example.com"),
        ('"jo@home"@example.com', '"jo@home"@example.com'),
        ("jo@bücher.example", "jo@xn--bcher-kva.example"),
        ("jo@XN--bcher-kva.example", "jo@xn--bcher-kva.example"),
        ("jo@bu\u0308cher.example", "jo@xn--bcher-kva.example"),
        ("jo@straße.example", "jo@xn--strae-oqa.example"),
        ("jörg@example.com", "jörg@example.com"),
        ("jo\u200b@example.com\x00", "jo@example.com"),
        ("jo", ""),
        ("@example.com", ""),
        ("jo@", ""),
        ("a@b@example.com", ""),
        ("", ""),
        ("x" * 330 + "@example.com", ""),
    ],
)
def test_an_address_has_one_normal_form(given: str, normal: str) -> None:
    assert normalise_address(given) == normal


def test_comments_inside_angle_brackets_are_no_part_of_an_address() -> None:
    value = b"Pete(A wonderful \\) chap) <pete(his account)@silly.test(his host)>, <jdoe@machine(comment).  example>"
    found, _ = parse_addresses(value)
    assert [participant.value for participant in found] == ["pete@silly.test", "jdoe@machine.example"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"jo@example.com", [("", "jo@example.com")]),
        (b"Jo Doe <jo@example.com>", [("Jo Doe", "jo@example.com")]),
        (b'"Doe, Jo" <jo@example.com>, Bo <bo@example.com>', [("Doe, Jo", "jo@example.com"), ("Bo", "bo@example.com")]),
        (b"jo@example.com (Jo (the first) Doe)", [("Jo (the first) Doe", "jo@example.com")]),
        (b"=?utf-8?Q?J=C3=B6rg?= <jo@example.com>", [("Jörg", "jo@example.com")]),
        (b'"=?utf-8?Q?J=C3=B6rg?=" <jo@example.com>', [("Jörg", "jo@example.com")]),
        ("Jörg <jo@example.com>".encode(), [("Jörg", "jo@example.com")]),
        ("Jörg <jo@example.com>".encode("cp1252"), [("Jörg", "jo@example.com")]),
        (b"Team: jo@example.com, Bo <bo@example.com>;", [("", "jo@example.com"), ("Bo", "bo@example.com")]),
        (b"undisclosed-recipients:;", []),
        (b"<>", []),
        (b"root", []),
        (b"jo@example.com; bo@example.com", [("", "jo@example.com"), ("", "bo@example.com")]),
        (b"Jo Doe jo@example.com", [("Jo Doe", "jo@example.com")]),
        (b"jo @ example.com", [("", "jo@example.com")]),
        (b"<@a.example,@b.example:jo@example.com>", [("", "jo@example.com")]),
        (b"'jo@example.com' <jo@example.com>", [("", "jo@example.com")]),
        (b'"jo@example.com" <>', [("", "jo@example.com")]),
        (b"Jo <jo@example.com", [("Jo", "jo@example.com")]),
        (b"Jo <jo@example.com, Bo <bo@example.com>", [("Jo", "jo@example.com"), ("Bo", "bo@example.com")]),
        (b'"Jo \\"Q\\" Doe" <jo@example.com>', [('Jo "Q" Doe', "jo@example.com")]),
        (b"jo@example.com, JO@example.com", [("", "jo@example.com")]),
        (b"jo . doe @ mail . example . com", [("", "jo.doe@mail.example.com")]),
        (b"jo .doe@example. com (Jo)", [("Jo", "jo.doe@example.com")]),
        (b"Dr. Jo Doe <jo . doe@example.com>", [("Dr. Jo Doe", "jo.doe@example.com")]),
        (b"Dr. jo@example.com", [("Dr.", "jo@example.com")]),
        (b",,, ,", []),
        (b"Jo\r\n\t<jo@example.com>", [("Jo", "jo@example.com")]),
    ],
)
def test_a_list_gives_its_addresses_in_order(value: bytes, expected: list[tuple[str, str]]) -> None:
    found, more = parse_addresses(value)
    assert [(participant.name, participant.value) for participant in found] == expected
    assert more == 0
    assert all(participant.kind is ParticipantKind.EMAIL for participant in found)


def test_own_addresses_cover_plus_tags_wildcards_and_domains() -> None:
    own = OwnAddresses(["Support@Example.com", "*@shop.example.com", "sales-*@example.com", "@own.example"])
    for address in (
        "support@example.com",
        "SUPPORT+orders@example.com",
        "<any@shop.example.com>",
        "sales-de@example.com",
        "x@own.example",
    ):
        assert own.matches(address), address
    for address in (
        "support@example.org",
        "supporter@example.com",
        "jo@sub.shop.example.com",
        "sales@example.com",
        "",
        "x",
    ):
        assert not own.matches(address), address


def test_a_tagged_own_address_covers_itself_only() -> None:
    own = OwnAddresses(["support+vip@example.com"])
    assert own.matches("support+vip@example.com")
    assert not own.matches("support@example.com")


def test_wildcards_are_matched_in_any_script() -> None:
    assert OwnAddresses(["*@bücher.example"]).matches("jo@xn--bcher-kva.example")


@pytest.mark.parametrize("pattern", ["support", "", "a@b@c", "support@"])
def test_a_pattern_that_is_no_address_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no address: write "):
        OwnAddresses([pattern])


def test_no_patterns_match_nothing() -> None:
    assert not OwnAddresses([])
    assert not OwnAddresses([]).matches("jo@example.com")
