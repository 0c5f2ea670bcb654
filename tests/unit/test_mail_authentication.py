"""DMARC results: believed from trusted servers only, whatever stands in the header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.mail import Result, dmarc, dmarc_of, understand
from sync.mail.authentication import MAX_VALUE_CHARS
from sync.message import Message

MICROSOFT = (
    "spf=pass (sender IP is 1.2.3.4) smtp.mailfrom=example.com; dkim=pass;"
    " dmarc=fail action=none header.from=example.com;compauth=fail reason=001"
)
TRUSTED = ("mx.shop.example", "*.google.com", "-")


@pytest.mark.parametrize(
    ("values", "result"),
    [
        ([], Result.NONE),
        (["mx.shop.example; dmarc=pass header.from=example.com"], Result.PASS),
        (["mx.shop.example; dmarc=fail header.from=example.com"], Result.FAIL),
        (["MX.shop.example 1; spf=fail; DMARC = Fail (p=none) header.from=example.com"], Result.FAIL),
        (
            ["mx.google.com; dkim=pass; dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=example.com"],
            Result.PASS,
        ),
        (["mx.shop.example; none"], Result.NONE),
        (["mx.shop.example"], Result.NONE),
        (["mx.shop.example; dmarc=none"], Result.NONE),
        (["mx.shop.example; dmarc=temperror header.from=example.com"], Result.NONE),
        (["mx.shop.example; dmarc=bestguesspass action=none header.from=example.com"], Result.NONE),
        (["evil.example; dmarc=pass header.from=example.com"], Result.NONE),
        (["evil.example; dmarc=pass", "mx.shop.example; dmarc=fail header.from=example.com"], Result.FAIL),
        (
            [
                "mx.shop.example; dmarc=fail header.from=example.com",
                "mx.shop.example; dmarc=pass header.from=example.com",
            ],
            Result.FAIL,
        ),
        (["mx.shop.example; dkim=pass", "mx.shop.example; dmarc=fail header.from=example.com"], Result.FAIL),
        (["mx.shop.example (a; dmarc=pass; comment (nested)); dmarc=fail header.from=example.com"], Result.FAIL),
        (["mx.shop.example (evil\\) ; dmarc=fail; x); dmarc=pass header.from=example.com"], Result.PASS),
        (['mx.shop.example; spf=pass reason="x; dmarc=pass; y"; dmarc=fail'], Result.FAIL),
        (['"mx.shop.example"; dmarc=pass header.from="example.com"'], Result.PASS),
        (["mx.shop.example; dmarc=pass header.from=other.example"], Result.NONE),
        (["mx.shop.example; dmarc=pass header.from=com.example.com.evil.example"], Result.NONE),
        (["mx.shop.example; dmarc=pass header.from=EXAMPLE.com; dmarc=fail header.from=example.com"], Result.FAIL),
        (["mx.shop.example.evil.example; dmarc=pass"], Result.NONE),
        (["xmx.shop.example; dmarc=pass"], Result.NONE),
        (["google.com; dmarc=pass"], Result.NONE),
        (["mx.shop.example; x-dmarc=pass; arc=pass (dmarc=pass)"], Result.NONE),
        ([MICROSOFT], Result.FAIL),
        (["mx.shop.example; (never closed dmarc=pass", "mx.shop.example; dmarc=fail"], Result.FAIL),
        (["mx.shop.example\x00; dmarc=pass"], Result.NONE),
        ([";;;=;dmarc=pass", "=", ";"], Result.NONE),
    ],
)
def test_dmarc_is_read_from_the_topmost_trusted_server(values: list[str], result: Result) -> None:
    found = dmarc(values, sender="Jo@Example.com", trusted=TRUSTED)
    assert found.result is result
    assert bool(found.server) == (result is not Result.NONE) or found.evidence


def test_the_organisations_domain_stands_for_those_below_it() -> None:
    value = "mx.shop.example; dmarc=fail header.from=example.com"
    assert dmarc([value], sender="jo@mail.example.com", trusted=TRUSTED).result is Result.FAIL
    below = "mx.shop.example; dmarc=pass header.from=mail.example.com"
    assert dmarc([below], sender="jo@example.com", trusted=TRUSTED).result is Result.NONE


def test_without_trusted_servers_nothing_is_believed() -> None:
    assert dmarc(["mx.shop.example; dmarc=fail"], sender="jo@example.com", trusted=()).result is Result.NONE
    assert dmarc(["dmarc=pass"], sender="jo@example.com", trusted=("mx.shop.example", "")).result is Result.NONE


def test_a_folded_header_above_a_forged_one_is_read_from_a_mail() -> None:
    raw = (
        b"Authentication-Results: mx.shop.example;\n\tspf=pass smtp.mailfrom=example.com;\n"
        b"\tdmarc=fail (p=reject\n\t dis=none) header.from=example.com\n"
        b"Received: from x\nAuthentication-Results: mx.shop.example; dmarc=pass header.from=example.com\n"
        b"From: Jo <jo@example.com>\n\nwords"
    )
    message = understand(raw)
    assert isinstance(message, Message)
    found = dmarc_of(message, TRUSTED)
    assert (found.result, found.server) == (Result.FAIL, "mx.shop.example")
    assert found.evidence.startswith("dmarc=fail")


def test_a_mail_without_a_sender_has_no_result() -> None:
    message = understand(b"Authentication-Results: mx.shop.example; dmarc=pass\nSubject: s\n\nwords")
    assert isinstance(message, Message)
    assert dmarc_of(message, TRUSTED).result is Result.NONE


def test_headers_are_looked_at_up_to_a_length_and_a_number() -> None:
    padded = "mx.shop.example; " + "(" * MAX_VALUE_CHARS + "; dmarc=pass"
    assert dmarc([padded], sender="jo@example.com", trusted=TRUSTED).result is Result.NONE
    many = ["evil.example; dmarc=pass"] * 100_000 + ["mx.shop.example; dmarc=pass"]
    assert dmarc(many, sender="jo@example.com", trusted=TRUSTED).result is Result.NONE


@given(st.lists(st.text(alphabet=st.sampled_from(' ();="\\.,a-dmarcpsfilheo\n\0é'), max_size=120), max_size=4))
def test_any_values_are_read(values: list[str]) -> None:
    dmarc(values, sender="jo@example.com", trusted=TRUSTED)
