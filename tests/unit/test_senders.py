"""Whose words a mail is, and what becomes of machines and forged senders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sync.addressing import address_message
from sync.connector import StreamRole
from sync.decide import HOLDS_NO_CLAIM, Loaded, Skip, SourceRules
from sync.fetch import see_found, verdict_on
from sync.mail import OwnAddresses, understand
from sync.message import Direction, FingerprintParts, Found, Message, Participant, ParticipantKind
from sync.senders import sender_rules
from sync.settings import SourceSettings
from sync.states import Reason

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OWN = OwnAddresses(["support@shop.example", "*@team.shop.example"])
TRUSTED = "Authentication-Results: mx.shop.example; dmarc={} header.from=bank.example"


def rules(role: StreamRole = StreamRole.RECEIVED, /, **settings: object) -> SourceRules:
    source = SourceSettings.model_validate({"connector": "imap", **settings})
    return SourceRules(
        inbox="main",
        source="support",
        role=role,
        horizon=None,
        horizon_slack=timedelta(0),
        known_until=None,
        max_age=timedelta(days=30),
        duplicates="once",
        is_own=OWN.matches,
        senders=sender_rules(source, OWN),
    )


def mail(*headers: str, text: str = "Hello", sender: str = "Jo <jo@example.com>") -> Message:
    to = () if any(line.startswith("To:") for line in headers) else ("To: support@shop.example",)
    lines = [f"From: {sender}", *to, *headers, "", text]
    message = understand("\r\n".join(lines).encode())
    assert isinstance(message, Message)
    return message


def loaded(message: Message, by: SourceRules) -> Loaded:
    verdict = verdict_on(message, by)
    assert isinstance(verdict, Loaded), verdict
    return verdict


def skipped(message: Message, by: SourceRules) -> Skip:
    verdict = verdict_on(message, by)
    assert isinstance(verdict, Skip), verdict
    return verdict


def who(verdict: Loaded) -> list[str]:
    return [one.value for one in verdict.participants]


# ------------------------------------------------------------------ whose words


def test_reply_to_names_nobody_without_a_rule() -> None:
    assert who(loaded(mail("Reply-To: victim@example.com"), rules())) == ["jo@example.com"]


FORM = {"sender": ["form@shop.example"], "use_header": "Reply-To"}


def test_a_form_s_mail_is_from_whom_its_rule_finds_in_a_header() -> None:
    verdict = loaded(
        mail("Reply-To: Ann <ann@example.com>", sender="Form <form@shop.example>"), rules(participant_rules=[FORM])
    )
    assert who(verdict) == ["ann@example.com"]
    assert verdict.message.author == Participant(ParticipantKind.EMAIL, "ann@example.com", "Ann")


def test_a_rule_concerns_its_senders_only() -> None:
    assert who(loaded(mail("Reply-To: ann@example.com"), rules(participant_rules=[FORM]))) == ["jo@example.com"]


@pytest.mark.parametrize(
    "text",
    [
        "Name: Ann\r\nE-mail: ann@example.com\r\nMessage: E-mail: other@example.com",
        "*E-Mail:* ann@example.com",
        "e-mail:\r\n\r\n<Ann@Example.com>\r\n",
        "Email address: x@example.com\r\nE-mail | ann@example.com",
        "Name: E-mail: other@example.com\r\nE-mail = ann@example.com.",
    ],
)
def test_a_form_s_mail_is_from_whom_a_line_of_its_text_names(text: str) -> None:
    rule = {"sender": ["form@shop.example"], "use_line": "E-mail"}
    verdict = loaded(mail(text=text, sender="form@shop.example"), rules(participant_rules=[rule]))
    assert who(verdict) == ["ann@example.com"]


@pytest.mark.parametrize(
    ("text", "rule", "name"),
    [
        ("Name: Ann Example\r\nE-mail: ann@example.com", {}, "Ann Example"),
        ("E-mail: ann@example.com\r\n*Name:*\r\n\r\nAnn Example\r\n", {}, "Ann Example"),
        ("Your name | Ann Example\r\nE-mail | ann@example.com", {"name_line": "Your name"}, "Ann Example"),
        ("Name: Ann Example | Phone: 12\r\nE-mail: ann@example.com", {}, "Ann Example"),
        ("Name: Ann Example\r\nE-mail: ann@example.com", {"name_line": ""}, ""),
        ("Name:\r\nE-mail: ann@example.com", {}, ""),
        ("Name: http://evil.example\r\nE-mail: ann@example.com", {}, ""),
        (f"Name: {'x' * 101}\r\nE-mail: ann@example.com", {}, ""),
        ("Names: of plants\r\nE-mail: ann@example.com", {}, ""),
    ],
)
def test_a_form_s_customer_has_the_name_that_stands_in_the_form(text: str, rule: dict[str, str], name: str) -> None:
    form = {"sender": ["form@shop.example"], "use_line": "E-mail", **rule}
    verdict = loaded(mail(text=text, sender="Our form <form@shop.example>"), rules(participant_rules=[form]))
    assert verdict.participants == (Participant(ParticipantKind.EMAIL, "ann@example.com", name),)


def test_a_name_beside_the_address_is_the_one_that_counts() -> None:
    header, text = "Reply-To: Ann <ann@example.com>", "Name: Somebody else"
    verdict = loaded(mail(header, text=text, sender="form@shop.example"), rules(participant_rules=[FORM]))
    assert verdict.participants[0].name == "Ann"


def test_a_form_that_names_nobody_is_from_the_form() -> None:
    assert who(loaded(mail(sender="form@shop.example"), rules(participant_rules=[FORM]))) == ["form@shop.example"]


def test_a_form_that_writes_from_an_own_address_is_let_through_where_a_rule_names_it() -> None:
    by = rules(participant_rules=[{"sender": ["support@shop.example"], "use_header": "reply-to"}])
    written = mail("Reply-To: ann@example.com", sender="support@shop.example")
    assert who(loaded(written, by)) == ["ann@example.com"]
    found = Found("1", NOW, fingerprint=FingerprintParts(author="support@shop.example"), content=written)
    assert see_found(found, by, NOW).skip is None
    assert see_found(found, rules(), NOW).skip == Skip(
        Reason.OWN_ADDRESS, "From is one of the inbox's own addresses, outside a sent folder"
    )
    assert skipped(mail(sender="support@shop.example"), by).reason is Reason.NO_IDENTITY
    team = mail("Reply-To: boss@team.shop.example", sender="support@shop.example")
    assert skipped(team, by).reason is Reason.NO_IDENTITY


def test_a_list_that_writes_in_its_own_name_is_told_by_list_id() -> None:
    by = rules(participant_rules=[{"list_id": "friends.shop.example", "use_header": "X-Original-From"}])
    headers = ("List-Id: Friends <friends.shop.example>", "X-Original-From: Ann <ann@example.com>")
    verdict = loaded(mail(*headers, sender="Ann via Friends <friends@lists.example>"), by)
    assert who(verdict) == ["ann@example.com"]
    assert not verdict.message.activity


def test_a_rule_may_ask_for_a_header() -> None:
    by = rules(participant_rules=[{"header": "X-Loop", "use_header": "Reply-To"}])
    assert who(loaded(mail("X-Loop: form", "Reply-To: ann@example.com"), by)) == ["ann@example.com"]
    assert who(loaded(mail("Reply-To: ann@example.com"), by)) == ["jo@example.com"]


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("Jo <jo@example.com>, Al <al@example.com>", "jo@example.com"),
        ("Team: Jo <jo@example.com>, al@example.com;", "jo@example.com"),
        ('"support@shop.example" <jo@example.com>', "jo@example.com"),
    ],
)
def test_from_with_several_addresses_is_from_the_first(sender: str, expected: str) -> None:
    verdict = loaded(mail(sender=sender), rules())
    assert who(verdict) == [expected]
    assert ("Also from:" in " ".join(verdict.message.notes)) is ("al@" in sender)


@pytest.mark.parametrize("sender", ["", "undisclosed-recipients:;", "root"])
def test_an_empty_from_gives_way_to_the_sender_or_the_reason_is_told(sender: str) -> None:
    assert who(loaded(mail("Sender: sec@example.com", sender=sender), rules())) == ["sec@example.com"]
    assert skipped(Message("Hi"), rules()).reason is Reason.NO_IDENTITY


# ------------------------------------------------------------------ own addresses, agents, others who read along


@pytest.mark.parametrize(
    "sender", ["support@shop.example", "Support+x@Shop.example", "anna@team.shop.example", "bo+y@team.shop.example"]
)
def test_an_own_address_in_a_received_folder_is_skipped_with_tags_and_patterns(sender: str) -> None:
    assert skipped(mail(sender=sender), rules()).reason is Reason.OWN_ADDRESS


def test_an_agent_s_reply_goes_to_every_customer_in_to_cc_and_bcc() -> None:
    sent = mail(
        "To: jo@example.com, support+copy@shop.example",
        "Cc: al@example.com",
        "Bcc: jo@example.com, bo@example.com",
        sender="anna@team.shop.example",
    )
    verdict = loaded(sent, rules(StreamRole.SENT))
    assert who(verdict) == ["jo@example.com", "al@example.com", "bo@example.com"]
    assert [one.value for one in verdict.message.recipients] == who(verdict)


def test_customers_in_copy_are_shown_and_not_delivered_to() -> None:
    verdict = loaded(mail("Cc: jo@example.com, Al <al@example.com>, anna@team.shop.example"), rules())
    assert who(verdict) == ["jo@example.com"]
    assert [one.value for one in verdict.message.recipients] == ["al@example.com"]


def test_an_alias_that_nobody_listed_is_no_customer() -> None:
    assert loaded(mail("To: sales@shop.example"), rules()).message.recipients == ()


def test_mail_between_own_mailboxes_has_a_reason_of_its_own() -> None:
    sent = mail("To: anna@team.shop.example", sender="support@shop.example")
    assert skipped(sent, rules(StreamRole.SENT)).reason is Reason.INTERNAL
    assert skipped(sent, rules()).reason is Reason.OWN_ADDRESS
    assert Reason.INTERNAL in HOLDS_NO_CLAIM


# ------------------------------------------------------------------ machines

MACHINES = {
    "auto_replies": (
        ("Auto-Submitted: auto-replied",),
        Reason.AUTO_REPLY,
        "auto_submitted: auto-submitted: auto-replied",
    ),
    "bounces": (
        ("X-Failed-Recipients: a@example.com",),
        Reason.BOUNCE,
        "failed_recipients: x-failed-recipients: a@example.com",
    ),
    "mailing_lists": (("List-Id: <l.example.com>",), Reason.MAILING_LIST, "list_header: list-id: <l.example.com>"),
    "notifications": (("X-Cron-Env: <HOME=/>",), Reason.NOTIFICATION, "program_header: x-cron-env: <HOME=/>"),
    "site_notifications": (("Sender: a@crm.wix.com",), Reason.SITE_NOTIFICATION, "own_site: sender: a@crm.wix.com"),
    "own_output": (("X-Loop: support@shop.example",), Reason.LOOP, "own_loop: x-loop: support@shop.example"),
}


@pytest.mark.parametrize("setting", MACHINES)
def test_each_class_of_machine_mail_goes_as_its_setting_says(setting: str) -> None:
    headers, reason, evidence = MACHINES[setting]
    message = mail(*headers)
    assert skipped(message, rules(**{setting: "skip"})) == Skip(reason, evidence)
    assert loaded(message, rules(**{setting: "activity"})).message.activity
    assert not loaded(message, rules(**{setting: "deliver"})).message.activity


def test_by_default_machines_are_shown_silently_and_what_the_inbox_has_is_skipped() -> None:
    made = {setting: verdict_on(mail(*headers), rules()) for setting, (headers, _, _) in MACHINES.items()}
    assert {setting for setting, verdict in made.items() if isinstance(verdict, Skip)} == {
        "site_notifications",
        "own_output",
    }


@pytest.mark.parametrize("header", ["Return-Path: <>", "X-Auto-Response-Suppress: All", "Precedence: bulk"])
def test_signs_that_people_s_mail_may_carry_are_never_enough_to_skip(header: str) -> None:
    by = rules(auto_replies="skip", notifications="skip", mailing_lists="skip")
    assert loaded(mail(header), by).message.activity


def test_people_by_setting_and_an_own_group_mailbox_are_people() -> None:
    assert not loaded(mail("Auto-Submitted: auto-generated"), rules(people=["jo@example.com"])).message.activity
    group = ("List-Id: <support.shop.example>", "List-Post: <mailto:support@shop.example>")
    assert not loaded(mail(*group), rules()).message.activity


def test_what_an_operator_asks_for_is_delivered_whole() -> None:
    for setting, (headers, _, _) in MACHINES.items():
        asked = replace(rules(**{setting: "skip"}), overruled=True)
        assert not loaded(mail(*headers), asked).message.activity
    assert skipped(mail(sender="support@shop.example"), replace(rules(), overruled=True)).reason is Reason.OWN_ADDRESS


def test_our_own_output_is_known_in_a_sent_folder_too() -> None:
    ours = mail("X-Inbox-Sync: 1", "To: jo@example.com", sender="support@shop.example")
    assert skipped(ours, rules(StreamRole.SENT)).reason is Reason.LOOP


def test_a_copy_that_came_without_the_list_is_no_duplicate_of_the_skipped_one() -> None:
    content = mail("List-Id: <l.example.com>")
    found = Found("1", NOW, fingerprint=FingerprintParts("<a@b.example>", author="jo@example.com"), content=content)
    assert see_found(found, rules(mailing_lists="skip"), NOW).claim_scope is None
    assert see_found(found, rules(), NOW).claim_scope is not None


def test_files_of_a_machine_s_mail_are_named() -> None:
    parts = 'Content-Type: multipart/mixed; boundary="x"'
    text = '--x\r\n\r\nBack on Monday.\r\n--x\r\nContent-Disposition: attachment; filename="a.pdf"\r\n\r\nx\r\n--x--'
    shown = loaded(mail("Auto-Submitted: auto-replied", parts, text=text), rules()).message
    assert shown.attachments == ()
    assert "Not brought over: a.pdf." in shown.notes


# ------------------------------------------------------------------ forged senders

NOTE = "Sender not verified: this may not come from bank.example."


def forged(result: str = "fail", server: str = "mx.shop.example") -> Message:
    return mail(TRUSTED.format(result).replace("mx.shop.example", server), sender="Bank <info@bank.example>")


def test_a_failure_that_a_trusted_server_found_is_noted_held_or_ignored() -> None:
    noted = loaded(forged(), rules(trusted_authserv_id="mx.shop.example"))
    assert (noted.message.notes, noted.hold) == ((NOTE,), None)
    held = loaded(forged(), rules(trusted_authserv_id=["mx.shop.example"], unverified_senders="hold"))
    assert held.message.notes == (NOTE,)
    assert held.hold is not None
    assert (held.hold.reason, held.hold.code) == (Reason.UNVERIFIED_SENDER, "sender.unverified")
    assert "dmarc=fail" in held.hold.sentence
    ignored = loaded(forged(), rules(trusted_authserv_id="mx.shop.example", unverified_senders="ignore"))
    assert (ignored.message.notes, ignored.hold) == ((), None)


@pytest.mark.parametrize("unverified", ["note", "hold"])
def test_a_pass_and_what_a_stranger_wrote_change_nothing(unverified: str) -> None:
    by = rules(trusted_authserv_id="mx.shop.example", unverified_senders=unverified)
    for message in (forged("pass"), forged("none"), forged(server="mx.evil.example"), mail()):
        verdict = loaded(message, by)
        assert (verdict.message.notes, verdict.hold) == ((), None)
    untrusting = loaded(forged(), rules(unverified_senders=unverified))
    assert (untrusting.message.notes, untrusting.hold) == ((), None)


def test_what_is_released_goes_with_its_note() -> None:
    by = rules(trusted_authserv_id="mx.shop.example", unverified_senders="hold")
    released = loaded(forged(), replace(by, overruled=True))
    assert (released.message.notes, released.hold) == ((NOTE,), None)


def test_where_the_service_says_who_spoke_no_rule_is_asked() -> None:
    jo = Participant(ParticipantKind.EXTERNAL, "desk:1")
    message = Message("Hi", direction=Direction.PARTICIPANT_TO_BUSINESS, participants=(jo,))
    assert address_message(message, rules()) == Loaded(message, (jo,))


def test_what_a_service_sent_to_more_customers_than_a_conversation_has_is_a_mailing() -> None:
    many = tuple(Participant(ParticipantKind.EMAIL, f"c{number}@example.com") for number in range(51))
    message = Message("Hi", direction=Direction.BUSINESS_TO_PARTICIPANT, participants=many)
    assert skipped_by_address(message) is Reason.POLICY
    assert skipped_by_address(replace(message, participants=many[:50])) is None


def skipped_by_address(message: Message) -> Reason | None:
    verdict = address_message(message, rules())
    return verdict.reason if isinstance(verdict, Skip) else None
