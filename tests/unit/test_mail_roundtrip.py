"""Mails that the standard library writes are read as they were meant."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage

from hypothesis import example, given
from hypothesis import strategies as st

from sync.mail import understand
from sync.message import Legibility, Message

WORDS = st.text(
    st.characters(categories=["L", "N"], max_codepoint=0x1FFFF, exclude_characters="\u0345"), min_size=1, max_size=12
)
LINES = st.lists(st.lists(WORDS, min_size=1, max_size=12).map(" ".join), min_size=1, max_size=8)
FILES = st.lists(st.tuples(WORDS, st.binary(max_size=200)), max_size=4)


@example(["we want", "HTML"], "s", "8bit", True, [], False)
@given(LINES, WORDS, st.sampled_from(["quoted-printable", "base64", "8bit"]), st.booleans(), FILES, st.booleans())
def test_text_subject_and_files_come_back(
    lines: list[str], subject: str, encoding: str, html: bool, files: list[tuple[str, bytes]], crlf: bool
) -> None:
    text = "\n".join(lines)
    mail = EmailMessage(policy=policy.SMTP if crlf else policy.default)
    mail["From"] = "Jo <jo@example.com>"
    mail["Subject"] = subject
    mail.set_content(text, cte=encoding)
    if html:
        mail.add_alternative("<p>" + text + "</p>", subtype="html", cte="base64")
    for name, data in files:
        mail.add_attachment(data, maintype="application", subtype="octet-stream", filename=f"{name}.bin")
    message = understand(mail.as_bytes())
    assert isinstance(message, Message)
    assert message.legibility is Legibility.FULL
    assert message.text == text
    assert message.subject == subject
    assert [file.filename for file in message.attachments] == [f"{name}.bin" for name, _ in files]
    assert [file.size for file in message.attachments] == [len(data) for _, data in files]


ENCODED_AS = {
    "iso-8859-1": "cp1252",
    "windows-1251": "cp1251",
    "koi8-r": "koi8-r",
    "utf-16": "utf-16",
    "utf-7": "utf-7",
    "gb2312": "gb18030",
    "shift_jis": "cp932",
    "ks_c_5601-1987": "cp949",
    "iso-2022-jp": "iso2022_jp",
}


@given(LINES, st.sampled_from(sorted(ENCODED_AS)))
def test_text_comes_back_from_every_charset_that_can_hold_it(lines: list[str], declared: str) -> None:
    data = "\n".join(lines).encode(ENCODED_AS[declared], "ignore")
    message = understand(f"From: jo@example.com\nContent-Type: text/plain; charset={declared}\n\n".encode() + data)
    assert isinstance(message, Message)
    assert message.text.split() == data.decode(ENCODED_AS[declared]).split()
