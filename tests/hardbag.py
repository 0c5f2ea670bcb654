"""A mailbox of hard mails: everything in tests/corpus, and variations made of its replies' words in many shapes.

Each comes with what must become of it: the words that must be seen, its files, or the reason for which it is not sent.
Everything is made from the corpus and a number, so that a failure can be repeated.
"""

from __future__ import annotations

import base64
import codecs
import html
import json
import quopri
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from sync.states import Reason

OWN = "support@shop.example"
CORPUS = Path(__file__).parent / "corpus"
CUSTOMERS = 60
CHARSETS = (
    *("iso-8859-1", "iso-8859-2", "windows-1251", "koi8-r", "iso-8859-8", "windows-1255", "iso-2022-jp", "shift_jis"),
    *("euc-jp", "gb18030", "big5hkscs", "utf-16", "windows-1252"),
)
PICTURES = (".png", ".jpg", ".gif")
"""Those of the corpus' mails are tiny, and so left out as decoration with their marks."""
QUOTED = """

On Mon, May 6, 2024 at 10:30 AM Shop <support@shop.example> wrote:
> This was said before.
> And this, too.
"""
SKIPPED = {"own_site": Reason.SITE_NOTIFICATION, "own_output": Reason.LOOP}
"""By class of machine mail; the other classes are shown as one silent line."""


@dataclass(frozen=True)
class Hard:
    """One mail. `reason` None: it is delivered, with `words` at its beginning (or within it, where only a piece is known),
    and `files` as files, images, or names. `line`: it is shown as one silent line."""

    name: str
    raw: bytes
    words: str = ""
    files: tuple[str, ...] = ()
    subject: str = ""
    reason: Reason | None = None
    match: Literal["begins", "holds", "unreadable"] = "begins"
    line: bool = False


def hard_mails(count: int) -> list[Hard]:
    """`count` mails: the whole corpus first if there is room for it, then variations; else a part of everything."""
    corpus = [*_mails(), *_replies()]
    variations = list(_variations(max(count - len(corpus), count // 2)))
    everything = [*corpus, *variations]
    if len(everything) <= count:
        return everything
    step = len(everything) / count
    return [everything[int(number * step)] for number in range(count)]


# ------------------------------------------------------------------------------------------------- the corpus


def _mails() -> Iterator[Hard]:
    for path in sorted((CORPUS / "mail").glob("*.eml")):
        raw = path.read_bytes()
        if b"\0" in raw:  # IMAP has no way to say it: Dovecot gives 0x80 instead
            continue
        twin = json.loads(path.with_suffix(".json").read_text("utf-8"))
        kind = twin.get("class", "person")
        words = twin.get("text", twin.get("contains", ""))
        for name in twin["attachments"]:
            words = words.replace(f"[{name}]", "") if name.endswith(PICTURES) else words
        one = Hard(
            path.stem,
            raw,
            words=words,
            files=tuple(name for name in twin["attachments"] if not name.endswith(PICTURES)),
            subject=twin["subject"],
            match="begins" if "text" in twin else "holds",
            line=kind not in {"person", *SKIPPED},
        )
        if twin["author"] is None:
            one = replace(one, reason=Reason.NO_IDENTITY)
        elif kind in SKIPPED:
            one = replace(one, reason=SKIPPED[kind])
        elif twin["author"] == OWN:
            one = replace(one, reason=Reason.OWN_ADDRESS)
        yield replace(one, match="unreadable") if twin["legibility"] == "unreadable" else one


def _replies() -> Iterator[Hard]:
    for path in sorted((CORPUS / "replies").glob("*.eml")):
        twin = json.loads(path.with_suffix(".json").read_text("utf-8"))
        yield Hard(path.stem, path.read_bytes(), words=twin["text"])


# ------------------------------------------------------------------------------------------------- variations


@cache
def _words() -> tuple[str, ...]:
    """The new words of the composed replies: plain sentences in twelve languages, each once."""
    found: dict[str, None] = {}
    for path in sorted((CORPUS / "replies").glob("*.json")):
        if not path.stem.startswith("hand-"):
            found[json.loads(path.read_text("utf-8"))["text"]] = None
    return tuple(found)


@dataclass(frozen=True)
class _Dress:
    """A MIME entity: its header lines without From, To, Subject, and its body."""

    header: str
    body: bytes
    files: tuple[str, ...] = ()
    line: bool = False
    reason: Reason | None = None

    def entity(self) -> bytes:
        return self.header.encode() + b"\r\n" + self.body


def _variations(count: int) -> Iterator[Hard]:
    words = _words()
    for number in range(count):
        text = words[number % len(words)]
        name, shape = SHAPES[number % len(SHAPES)]
        dress = shape(text, number)
        customer = f"c{number % CUSTOMERS}@hard{number % 7}.example"
        sender = f"Kunde Nr. {number % CUSTOMERS} <{customer}>"
        if dress.reason is Reason.OWN_ADDRESS:
            sender = f"Shop <{OWN}>"
        elif dress.reason is Reason.SITE_NOTIFICATION:
            sender = "Form <no-reply@wix-forms.com>"
        header = f"From: {sender}\r\n" if dress.reason is not Reason.NO_IDENTITY else ""
        header += f"To: {OWN}\r\nSubject: {name} {number}\r\nMessage-ID: <{number}.hard@mail.example>\r\n"
        header += "Date: Tue, 07 May 2024 08:00:00 +0000\r\nIn-Reply-To: <4711@shop.example>\r\n"
        yield Hard(
            f"{name}-{number}",
            header.encode() + dress.entity(),
            words=text,
            files=dress.files,
            subject=f"{name} {number}",
            reason=dress.reason,
            line=dress.line,
        )


def _plain(text: str, charset: str = "utf-8", encoding: str = "base64", more: str = "") -> _Dress:
    data = text.replace("\n", "\r\n").encode(charset)
    if encoding == "base64":
        data = base64.encodebytes(data)
    elif encoding == "quoted-printable":
        data = quopri.encodestring(data)
    return _Dress(
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}{more}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n",
        data,
    )


def _charset_of(text: str, number: int) -> str:
    """One of the charsets that can say this text; which one depends on the number."""
    able = [name for name in CHARSETS if _can_say(text, name)]
    return able[number // len(SHAPES) % len(able)]


def _can_say(text: str, charset: str) -> bool:
    try:
        return codecs.decode(codecs.encode(text, charset), charset) == text
    except UnicodeError:
        return False


def _joined(kind: str, parts: list[bytes], number: int, more: str = "") -> _Dress:
    boundary = f"=_{kind}.{number}"
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    header = f'MIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary="{boundary}"{more}\r\n'
    return _Dress(header, body + b"--" + boundary.encode() + b"--\r\n")


def _file(name: str, mime_type: str, data: bytes, more: str = "") -> bytes:
    head = f"Content-Type: {mime_type}\r\nContent-Transfer-Encoding: base64\r\n"
    disposition = more or f'Content-Disposition: attachment; filename="{name}"\r\n'
    return (head + disposition + "\r\n").encode() + base64.encodebytes(data)


def _html(text: str) -> str:
    paragraphs = "".join(f"<p>{html.escape(part).replace(chr(10), '<br>')}</p>" for part in text.split("\n\n"))
    return (
        "<html><head><style>.pre { display: none }</style><title>not shown</title></head><body>"
        '<div class="pre">A hidden preheader that nobody sees</div>'
        f'<span style="max-height:0;overflow:hidden">&#8203;&#847; hidden, too</span>{paragraphs}'
        '<img src="https://track.example/open.gif?id=1" width="1" height="1"></body></html>'
    )


def _html_part(text: str) -> bytes:
    head = b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head + quopri.encodestring(_html(text).encode())


def photo(number: int, width: int = 120, height: int = 90) -> bytes:
    """A picture that is large enough to be no decoration."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes((number + x * 3) % 256 for x in range(width * 3)) for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _in_its_charset(text: str, number: int) -> _Dress:
    charset = _charset_of(text, number)
    return _plain(text, charset, "base64" if charset == "utf-16" else "8bit")


def _undeclared(text: str, _number: int) -> _Dress:
    return _Dress("", text.encode())


def _wrongly_declared(text: str, number: int) -> _Dress:
    declared = ("us-ascii", "iso-8859-1", "windows-1252", "x-unknown", "utf-16")[number // len(SHAPES) % 5]
    dress = _plain(text, encoding="quoted-printable")
    return replace(dress, header=dress.header.replace("charset=utf-8", f"charset={declared}"))


def _html_only(text: str, _number: int) -> _Dress:
    head, _, body = _html_part(text).partition(b"\r\n\r\n")
    return _Dress(f"MIME-Version: 1.0\r\n{head.decode()}\r\n", body)


def _alternative(text: str, number: int) -> _Dress:
    return _joined("alternative", [_plain(text).entity(), _html_part(text)], number)


def _mixed(text: str, number: int) -> _Dress:
    parts = [
        _plain(text, encoding="quoted-printable").entity(),
        _file("Angebot Nr. 7.pdf", "application/pdf", b"%PDF-1.4 " * 200),
        _file("photo.png", "image/png", photo(number)),
    ]
    return replace(_joined("mixed", parts, number), files=("Angebot Nr. 7.pdf", "photo.png"))


def _related(text: str, number: int) -> _Dress:
    shown = _html(text).replace("</body>", '<img src="cid:p1"></body>')
    rich = b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    picture = _file(
        "p", "image/png", photo(number), 'Content-ID: <p1>\r\nContent-Disposition: inline; filename="p.png"\r\n'
    )
    dress = _joined("related", [rich + base64.encodebytes(shown.encode()), picture], number)
    return replace(dress, files=("p.png",))


def _flowed(text: str, _number: int) -> _Dress:
    """Cut anywhere; RFC 3676 wants a blank in front of a line that begins with one."""
    pieces = [[line[at : at + 40] for at in range(0, len(line), 40)] for line in text.split("\n")]
    lines = [" \n".join(f" {piece}" if piece[:1] in {" ", ">"} else piece for piece in line) for line in pieces]
    return _plain("\n".join(lines), encoding="quoted-printable", more="; format=flowed; delsp=yes")


def _named_by_rfc_2231(text: str, number: int) -> _Dress:
    name = "Content-Disposition: attachment; filename*0*=utf-8''%E8%AB%8B%E6%B1%82; filename*1*=%E6%9B%B8%20ä.txt\r\n"
    part = _file("", "text/csv", b"a;b\n", name.replace("ä", "%C3%A4"))
    return replace(_joined("mixed", [_plain(text).entity(), part], number), files=("請求書 ä.txt",))


def _signed(text: str, number: int) -> _Dress:
    more = '; protocol="application/pkcs7-signature"; micalg=sha-256'
    part = _file("smime.p7s", "application/pkcs7-signature", b"\x30\x80" * 40)
    return _joined("signed", [_plain(text).entity(), part], number, more)


def _pgp_signed(text: str, _number: int) -> _Dress:
    head = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
    tail = "\n-----BEGIN PGP SIGNATURE-----\n\niQEzBAEBCAAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"
    return _plain(head + text + tail, encoding="quoted-printable")


def _encrypted_beside(text: str, number: int) -> _Dress:
    part = _file("smime.p7m", "application/pkcs7-mime; smime-type=enveloped-data", b"\x30\x80\x06\x09" + b"\x2a" * 90)
    return replace(_joined("mixed", [_plain(text).entity(), part], number), files=("smime.p7m",))


def _with_forward(text: str, number: int) -> _Dress:
    inner = b"From: ben@other.example\r\nSubject: inner\r\n\r\nWhat Ben wrote.\r\n"
    part = b"Content-Type: message/rfc822\r\n\r\n" + inner
    return replace(_joined("mixed", [_plain(text).entity(), part], number), files=("inner.eml",))


def _with_invitation(text: str, number: int) -> _Dress:
    calendar = (
        "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1@x\r\nSUMMARY:Visit\r\n"
        "DTSTART:20240510T090000Z\r\nDTEND:20240510T100000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    part = f"Content-Type: text/calendar; charset=utf-8; method=REQUEST; name=invite.ics\r\n\r\n{calendar}".encode()
    return replace(_joined("mixed", [_plain(text).entity(), part], number), files=("invite.ics",))


def _deeply_nested(text: str, number: int) -> _Dress:
    dress = _plain(text)
    for level in range(20):
        dress = _joined("mixed", [dress.entity()], number * 100 + level)
    return dress


def _end_missing(text: str, number: int) -> _Dress:
    dress = _alternative(text, number)
    return replace(dress, body=dress.body.rpartition(b"\r\n--")[0])


def _uuencoded(text: str, _number: int) -> _Dress:
    lines = "\n".join(codecs.encode(bytes(range(45)), "uu").decode().split("\n")[1:2])
    return replace(_plain(f"{text}\n\nbegin 644 data.bin\n{lines}\n`\nend\n"), files=("data.bin",))


def _quoting(text: str, _number: int) -> _Dress:
    return _plain(text + QUOTED)


def _quoting_in_html(text: str, _number: int) -> _Dress:
    quote = (
        '<div class="gmail_quote"><div class="gmail_attr">On Monday Shop wrote:<br></div>'
        '<blockquote class="gmail_quote">This was said before.</blockquote></div></body>'
    )
    head = "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n"
    return _Dress(head, base64.encodebytes(_html(text).replace("</body>", quote).encode()))


def _out_of_office(text: str, _number: int) -> _Dress:
    dress = _plain(text)
    return replace(dress, header="Auto-Submitted: auto-replied\r\n" + dress.header, line=True)


def _newsletter(text: str, number: int) -> _Dress:
    dress = _alternative(text, number)
    return replace(
        dress, header="List-Unsubscribe: <https://x.example/u>\r\nList-Id: <n.x.example>\r\n" + dress.header, line=True
    )


def _from_the_site(text: str, _number: int) -> _Dress:
    return replace(_plain(text), reason=Reason.SITE_NOTIFICATION)


def _forged_own(text: str, _number: int) -> _Dress:
    return replace(_plain(text), reason=Reason.OWN_ADDRESS)


def _from_nobody(text: str, _number: int) -> _Dress:
    return replace(_plain(text), reason=Reason.NO_IDENTITY)


SHAPES: tuple[tuple[str, Callable[[str, int], _Dress]], ...] = (
    ("charset", _in_its_charset),
    ("undeclared", _undeclared),
    ("wrong-charset", _wrongly_declared),
    ("html", _html_only),
    ("alternative", _alternative),
    ("mixed", _mixed),
    ("related", _related),
    ("flowed", _flowed),
    ("rfc2231", _named_by_rfc_2231),
    ("signed", _signed),
    ("pgp", _pgp_signed),
    ("encrypted-part", _encrypted_beside),
    ("forward", _with_forward),
    ("invitation", _with_invitation),
    ("nested", _deeply_nested),
    ("no-end", _end_missing),
    ("uuencoded", _uuencoded),
    ("quoting", _quoting),
    ("quoting-html", _quoting_in_html),
    ("out-of-office", _out_of_office),
    ("newsletter", _newsletter),
    ("from-the-site", _from_the_site),
    ("forged-own", _forged_own),
    ("from-nobody", _from_nobody),
)
