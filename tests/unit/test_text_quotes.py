"""Taking quoted messages out: what is decided line by line, and what the settings make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.mail import understand
from sync.message import ORIGINAL_REF, Message, Reply, message_from_json, message_to_json
from sync.text.html import html_to_text
from sync.text.quotes import QuotePolicy, ReplyPolicy, SignaturePolicy, applied, is_forward, read_html, read_plain
from sync.text.quotes.reply import MAX_QUOTES, MAX_TRIED
from sync.text.signature import signature_start
from tests.growth import assert_linear

ATTRIBUTION = "On Mon, May 6, 2024 at 10:30 AM Shop <support@shop.example> wrote:"
CONTAINER = '<div id="mail-editor-reference-message-container">'
GMAIL = (
    '<div dir="ltr">Thanks</div><br><div class="gmail_quote"><div class="gmail_attr">'
    "On some day somebody wrote<br></div>"
    '<blockquote class="gmail_quote"><div>It is on its way</div></blockquote></div>'
)


def test_lines_taken_out_are_counted_without_blank_ones() -> None:
    reply = read_plain(f"Thanks\n\n{ATTRIBUTION}\n\n> one\n>\n> two\n")
    assert (reply.text, reply.removed_lines) == ("Thanks", 4)
    assert reply.original == f"Thanks\n\n{ATTRIBUTION}\n\n> one\n>\n> two\n"


def test_nothing_but_a_quote_is_kept_whole() -> None:
    text = f"{ATTRIBUTION}\n\n> one\n"
    assert read_plain(text) == Reply(text=text, original=text)


def test_a_text_without_quotes_is_not_touched() -> None:
    text = "Hello  \n\n\n\n  indented\n---\nend"
    assert read_plain(text) == Reply(text=text, original=text)


def test_header_lines_below_a_forwarding_subject_are_what_is_meant() -> None:
    text = "See below\n\nFrom: A <a@b.example>\nSent: Monday, May 6, 2024 10:30\nTo: B\nSubject: x\n\nPay!"
    assert read_plain(text, forwarded=True).removed_lines == 0
    assert read_plain(text).text == "See below"


@pytest.mark.parametrize("subject", ["Fwd: x", "FW: x", "WG: x", "TR: x", "Wtr: x", "RV: x", "转发：x", "VS: Fwd"])
def test_forwards_are_known_by_their_subject(subject: str) -> None:
    assert is_forward(subject) is (not subject.startswith("VS"))


def test_markup_tells_what_no_word_tells() -> None:
    reply = read_html(GMAIL)
    assert (reply.text, reply.removed_lines) == ("Thanks", 2)


@pytest.mark.parametrize("quoted", ["&nbsp;", "<p>&nbsp;</p><p>From: Shop</p><p>Your order</p>", "<br>", "&gt;"])
def test_a_quote_may_begin_with_a_line_of_nothing_but_a_blank(quoted: str) -> None:
    """Outlook's container for the earlier message often does."""
    assert read_html(f"<p>Yes, please.</p>{CONTAINER}{quoted}</div>").text.rstrip() == "Yes, please."


def test_marks_leave_the_layout_alone() -> None:
    for html in (GMAIL, f"<ul><li>one{GMAIL}</li></ul>", f"<table><tr><td>{GMAIL}</td><td>x</td></tr></table>"):
        assert read_html(html).original == html_to_text(html)


def test_code_points_of_marks_in_a_mail_change_nothing() -> None:
    assert read_html("<p>a\U0010fff0b</p>").text == "ab"
    assert read_html(f"<p>\U0010fff3new</p>{GMAIL}").text == "new\n\nThanks"


def test_the_quoted_message_may_come_first() -> None:
    assert read_plain(f"{ATTRIBUTION}\n> one\n\nFine.\n").text == "Fine."


def test_more_quotes_than_a_person_makes_are_all_kept() -> None:
    text = "> question\nanswer\n" * (MAX_QUOTES + 1)
    assert read_plain(text).removed_lines == 0


# ------------------------------------------------------------------------------------------------- policies


def _message() -> Message:
    message = understand(
        b"From: anna@customer.example\r\nTo: support@shop.example\r\nSubject: Re: x\r\n\r\nThanks\r\n\r\n-- \r\nAnna\r\n\r\n"
        + ATTRIBUTION.encode()
        + b"\r\n> one\r\n"
    )
    assert isinstance(message, Message)
    return message


def test_understanding_a_mail_tells_its_text_apart_and_keeps_it_whole() -> None:
    message = _message()
    assert message.text == f"Thanks\n\n--\nAnna\n\n{ATTRIBUTION}\n> one"
    assert message.reply == Reply("Thanks\n\n--\nAnna", message.text, 2, "--\nAnna")


def test_by_default_quotes_go_with_a_note_and_signatures_stay() -> None:
    shown = applied(_message(), ReplyPolicy())
    assert (shown.text, shown.notes) == ("Thanks\n\n--\nAnna", ("Quoted text left out: 2 lines.",))
    assert (shown.reply, shown.attachments, shown.original) == (None, (), "")


def test_one_line_is_one_line() -> None:
    message = Message(text="a\n> b", reply=Reply("a", "a\n> b", 1))
    assert applied(message, ReplyPolicy()).notes == ("Quoted text left out: 1 line.",)


def test_signatures_are_taken_out_by_setting() -> None:
    shown = applied(_message(), ReplyPolicy(signatures=SignaturePolicy.REMOVE))
    assert shown.text == "Thanks"


def test_everything_is_kept_by_setting() -> None:
    shown = applied(_message(), ReplyPolicy(quotes=QuotePolicy.KEEP, signatures=SignaturePolicy.KEEP))
    assert (shown.text, shown.notes, shown.reply) == (_message().text, (), None)


def test_quotes_kept_and_signatures_removed_takes_the_signature_at_the_very_end_only() -> None:
    text = "Thanks\n\n-- \nAnna"
    message = Message(text=text, reply=read_plain(text))
    assert applied(message, ReplyPolicy(QuotePolicy.KEEP, SignaturePolicy.REMOVE)).text == "Thanks"
    assert applied(_message(), ReplyPolicy(QuotePolicy.KEEP, SignaturePolicy.REMOVE)).text == _message().text


def test_the_whole_text_goes_along_as_a_file_by_setting() -> None:
    shown = applied(_message(), ReplyPolicy(quotes=QuotePolicy.ATTACH))
    (attachment,) = shown.attachments
    assert (attachment.ref, attachment.mime_type, attachment.size) == (ORIGINAL_REF, "text/plain", len(shown.original))
    assert shown.original == _message().text
    assert message_from_json(message_to_json(shown)) == shown


def test_what_is_stored_holds_the_text_once() -> None:
    stored = json.loads(message_to_json(applied(_message(), ReplyPolicy())))
    assert "reply" not in stored
    assert "original" not in stored


# ------------------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("Hello\n-- \nAnna", 1),
        ("Hello\n\nSent from my iPhone", 1),
        ("Hello\n\nKind regards\nAnna", 4),
        ("Sent from my iPhone", 0),
        ("Hello\n\nSent from the office I could not look it up, sorry.", 3),
        ("Hello\nThis message is confidential.", 2),
    ],
)
def test_where_a_signature_begins(text: str, start: int) -> None:
    assert signature_start(text.split("\n")) == start


# ------------------------------------------------------------------------------------------------- hostile input

HOSTILE_CHARS = 400_000
HOSTILE = {
    "colons": ":\n",
    "nearly attributions": ATTRIBUTION[:-3] + ":\n",
    "attributions": ATTRIBUTION + "\n",
    "attributions with answers": ATTRIBUTION + "\n> q\nanswer\n",
    "quotes and answers": "> q\na\n",
    "labels": "From: a@b.example\n",
    "labels and wrapped lines": "To: x\nwrapped\n\n",
    "rules": "---\n",
    "banners": "---- x ----\n",
    "blank lines": "\n",
    "delimiters": "-- \n",
    "footers": "Sent from my x\n",
    "notices": "this e-mail is confidential\n",
    "digits": "1:1 " * 100 + ":\n",
    "verbs": "wrote " * 80 + ":\n",
    "addresses": "<a@b" * 100 + ":\n",
    "one long line": "On wrote ",
    "weekdays": "mon, " * 90 + ":\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_work_grows_with_the_text_and_no_faster(name: str) -> None:
    assert_linear(read_plain, HOSTILE[name] * (HOSTILE_CHARS // len(HOSTILE[name])))


@pytest.mark.parametrize(
    "piece",
    [
        "<blockquote type=cite>",
        "<div class=gmail_quote>",
        '<div class="gmail_quote">a<blockquote>b</blockquote></div>',
        '<div style="border-top:solid #e1e1e1 1pt">From: a</div>',
        '<div class="gmail_signature">x</div>',
    ],
)
def test_work_grows_with_the_markup_and_no_faster(piece: str) -> None:
    assert_linear(read_html, piece * (HOSTILE_CHARS // len(piece)))


def test_lines_that_look_like_attributions_are_looked_at_a_bounded_number_of_times() -> None:
    text = "x:\n" * MAX_TRIED + f"{ATTRIBUTION}\n> q\n"
    assert read_plain("new\n" + text).text.startswith("new")


@settings(max_examples=150)
@given(st.text(alphabet=st.sampled_from("ab>:\n -_*@<.0123,|＞：我"), max_size=400))
def test_whatever_the_text_lines_are_kept_or_counted(text: str) -> None:
    reply = read_plain(text)
    assert reply.original == text
    assert reply.text.strip() or not text.strip()
    assert reply.text.endswith(reply.signature)
    kept = {line.rstrip() for line in text.split("\n")}
    assert all(line in kept for line in reply.text.split("\n")) or reply.text == text


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from(
            [GMAIL, "<blockquote type=cite>", "</blockquote>", "<div id=divRplyFwdMsg>", "</div>", "a", "<br>"]
        ),
        max_size=12,
    )
)
def test_whatever_the_markup_the_whole_text_stays_the_same(pieces: list[str]) -> None:
    html = "".join(pieces)
    reply = read_html(html)
    assert reply.original == html_to_text(html)
    assert bool(reply.text.strip()) is bool(reply.original.strip())


BLANKS = ["&nbsp;", "&emsp;", "&#8206;", "<p>", "</p>", "&gt; ", "&gt;", "On Monday, 1 May 2026 Jo wrote:", "From: a"]
MARKUP = [CONTAINER, "<div class=gmail_quote>", "<div class=gmail_attr>", "<blockquote type=cite>", "</blockquote>"]


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*BLANKS, *MARKUP, "</div>", "<br>", "a"]), max_size=12))
def test_whatever_is_blank_in_the_markup_words_stay(pieces: list[str]) -> None:
    reply = read_html("".join(pieces))
    assert bool(reply.text.strip()) is bool(reply.original.strip())


CORPUS = Path(__file__).parents[1] / "corpus" / "mail"


def test_mails_of_the_other_corpus_lose_no_words_that_no_mail_program_wrote() -> None:
    """These mails are about MIME, not about replies: where something is taken out it is a quoted message."""
    shortened = []
    for path in sorted(CORPUS.glob("*.eml")):
        message = understand(path.read_bytes())
        if isinstance(message, Message) and message.reply is not None and message.reply.removed_lines:
            shortened.append(path.stem)
    assert shortened == []
