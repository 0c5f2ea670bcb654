"""A mailbox with mail of people, programs, forms, agents and forgers: every message arrives, or says why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.sandbox.operations import MessageDump
from tests.acceptance.small import OWN, Small, mail, small_site

SETTINGS = """
trusted_authserv_id = "mx.shop.example"
mailing_lists = "skip"
people = ["robot@partner.example"]

[[sources.mail.participant_rules]]
sender = ["form@shop.example"]
use_line = "E-mail"
"""
FAILED = "mx.shop.example; dmarc=fail header.from=bank.example"

MAILS: dict[str, tuple[str, dict[str, str]]] = {
    "T000001": ("Jo <jo@example.com>", {}),
    "T000002": ("jo@example.com", {"Auto-Submitted": "auto-replied"}),
    "T000003": ("MAILER-DAEMON@mail.example", {"X-Failed-Recipients": "x@example.com"}),
    "T000004": ("news@list.example", {"List-Id": "<news.list.example>"}),
    "T000005": ("cron@host.example", {"Auto-Submitted": "auto-generated"}),
    "T000006": ("no-reply@crm.wix.com", {}),
    "T000007": ("jo@example.com", {"X-Inbox-Sync": "1"}),
    "T000008": ("robot@partner.example", {"Auto-Submitted": "auto-generated"}),
    "T000009": ("Bank <info@bank.example>", {"Authentication-Results": FAILED}),
    "T000010": (f"Me <{OWN}>", {}),
    "T000012": ("jo@example.com", {"Reply-To": "victim@example.com", "Cc": "Al <al@example.com>"}),
}
FORM = (
    f"From: form@shop.example\r\nTo: {OWN}\r\nSubject: Form\r\n\r\nName: Ann\r\nE-mail: ann@example.com\r\nT000011\r\n"
)


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


def shown(small: Small) -> dict[str, tuple[str, MessageDump]]:
    """By token: whose conversation it is in, and the message."""
    return {
        token: (conversation["emails"][0], one)
        for conversation in small.sandbox.conversations()
        for one in conversation["messages"]
        for token in [text for text in (*MAILS, "T000011") if text in str(one["text"])][:1]
    }


def skipped(small: Small) -> dict[str, int]:
    rows = small.type("message", "list", "--state", "skipped", "--json").ok().rows("messages")
    reasons = [str(row["reason"]) for row in rows]
    return {reason: reasons.count(reason) for reason in reasons}


def put_all(small: Small) -> None:
    for token, (sender, headers) in MAILS.items():
        small.put(token, raw=mail(token, sender, **headers))
    small.put("T000011", raw=FORM.encode())


def test_every_kind_of_mail_arrives_where_it_belongs_or_says_why_not(small: Small) -> None:
    small.configure(small.maildir(more=SETTINGS))
    put_all(small)
    done = small.type("sync", "--json").ok()
    (line,) = done.rows("sources")
    assert line["skipped"] == {"loop": 1, "mailing_list": 1, "own_address": 1, "site_notification": 1}
    there = shown(small)
    assert {token: address for token, (address, _) in there.items()} == {
        "T000001": "jo@example.com",
        "T000002": "jo@example.com",
        "T000003": "mailer-daemon@mail.example",
        "T000005": "cron@host.example",
        "T000008": "robot@partner.example",
        "T000009": "info@bank.example",
        "T000011": "ann@example.com",
        "T000012": "jo@example.com",
    }
    silent = {token for token, (_, one) in there.items() if one["silent"]}
    assert silent == {"T000002", "T000003", "T000005"}
    assert str(there["T000002"][1]["text"]).startswith("Automatic reply from jo@example.com: Order T000002")
    assert "Sender not verified: this may not come from bank.example." in str(there["T000009"][1]["text"])
    assert "Also to: Al" in str(there["T000012"][1]["text"])
    assert small.sandbox.targets() == []


def test_a_skipped_mail_tells_its_rule_and_is_delivered_whole_when_an_operator_asks(small: Small) -> None:
    small.configure(small.maildir(more=SETTINGS))
    put_all(small)
    small.type("sync").ok()
    (row,) = small.type("message", "list", "--reason", "mailing_list", "--json").ok().rows("messages")
    small.type("message", "show", str(row["id"])).ok().shows(
        "mailing_list", "list_header: list-id: <news.list.example>"
    )
    assert small.source("mail")["skipped"]["mailing_list"] == 1
    small.type("message", "retry", "--reason", "mailing_list").ok()
    small.type("sync").ok()
    address, message = shown(small)["T000004"]
    assert address == "news@list.example"
    assert not message["silent"]
    assert "mailing_list" not in skipped(small)


def test_an_unverified_sender_is_held_until_an_operator_says_so(small: Small) -> None:
    small.configure(small.maildir(more='unverified_senders = "hold"' + SETTINGS))
    put_all(small)
    small.type("sync").ok()
    assert "T000009" not in shown(small)
    status = small.inbox()
    assert status["deliveries"]["held"] == 1
    assert status["warning"] is not None
    assert status["warning"]["code"] == "sender.unverified"
    (row,) = small.type("message", "list", "--reason", "unverified_sender", "--json").ok().rows("messages")
    small.type("message", "show", str(row["id"])).ok().shows("dmarc=fail", "unverified_sender")
    small.type("message", "retry", "--reason", "unverified_sender").ok()
    small.type("sync").ok()
    assert "Sender not verified" in str(shown(small)["T000009"][1]["text"])


def test_rules_that_name_nothing_are_refused_with_their_line(small: Small) -> None:
    faulty: list[tuple[str, str]] = [
        ('[[sources.mail.participant_rules]]\nsender = ["form@shop.example"]', "use_header or use_line"),
        ('[[sources.mail.participant_rules]]\nuse_line = "E-mail"', "give sender, list_id or header"),
        (
            '[[sources.mail.participant_rules]]\nlist_id = "x"\nuse_header = "Reply-Two"',
            'did you mean "reply-to"?',
        ),
        ('[[sources.mail.participant_rules]]\nsender = ["form"]\nuse_line = "x"', "write the whole address"),
        ('people = ["*@*"]', "every sender"),
        ('bounces = "drop"', 'must be one of "deliver", "activity" or "skip"'),
    ]
    for text, words in faulty:
        small.configure(small.maildir(more=text))
        refused = small.type("check")
        assert refused.code == 78, refused.out
        assert words in " ".join((refused.err + refused.out).split()), (text, refused.err)
