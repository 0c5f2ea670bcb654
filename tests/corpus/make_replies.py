"""Writes the composed part of tests/corpus/replies: replies as mail programs make them, in twelve languages.

`python -m tests.corpus.make_replies` writes them again; a test says when the files and this program disagree. Each mail
has a twin (.json): the new words, and the signature at their end. The replies whose names begin with `hand-` were
written one by one and are not touched.
"""

from __future__ import annotations

import base64
import html
import json
import quopri
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.corpus.reply_words import WORDS, Words

REPLIES = Path(__file__).parent / "replies"
SHOP = "support@shop.example"
CUSTOMER = "anna@customer.example"
SUBJECTS = ("4711", "Re: 4711", "AW: 4711")
PLAIN_WIDTH = 78


@dataclass(frozen=True)
class Case:
    """One reply: language, number (0 to 2: date, texts), and whether it is HTML, plain text or both."""

    language: str
    number: int
    form: str

    @property
    def words(self) -> Words:
        return WORDS[self.language]

    @property
    def new(self) -> tuple[str, ...]:
        return self.words.new[self.number]

    @property
    def old(self) -> tuple[str, ...]:
        return self.words.old[self.number]

    @property
    def direction(self) -> str:
        return "rtl" if self.language == "he" else "ltr"

    def filled(self, pattern: str) -> str:
        return pattern.format(n=self.words.name, a=SHOP)


@dataclass(frozen=True)
class Made:
    """What a program made: its two texts, and the signature below the new words."""

    plain: str
    html: str
    signature: str = ""
    flowed: bool = False


# ------------------------------------------------------------------------------------------------- pieces


def lines_of(paragraphs: tuple[str, ...]) -> list[str]:
    return "\n\n".join(paragraphs).split("\n")


def text_of(paragraphs: tuple[str, ...]) -> str:
    return "\n\n".join(paragraphs)


def quoted(text: str, mark: str = "> ") -> str:
    return "\n".join(f"{mark}{line}".rstrip() for line in text.split("\n"))


def wrapped(line: str, width: int = PLAIN_WIDTH) -> str:
    return "\n".join(textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False))


def divs(lines: list[str], attributes: str = "") -> str:
    return "".join(f"<div{attributes}>{html.escape(line) or '<br>'}</div>" for line in lines)


def breaks(lines: list[str]) -> str:
    return "<br>\n".join(html.escape(line) for line in lines)


def word_paragraphs(paragraphs: tuple[str, ...]) -> str:
    empty = '<p class="MsoNormal"><o:p>&nbsp;</o:p></p>\n'
    made = [
        '<p class="MsoNormal"><span lang="EN-US" style="mso-fareast-language:EN-US">'
        + "<br>\n".join(html.escape(line) for line in paragraph.split("\n"))
        + "<o:p></o:p></span></p>\n"
        for paragraph in paragraphs
    ]
    return empty.join(made)


def linked(attribution: str) -> str:
    """An attribution with its address as a link, as Gmail, Yahoo and Thunderbird write it."""
    return html.escape(attribution).replace(SHOP, f'<a href="mailto:{SHOP}">{SHOP}</a>')


def page(body: str, head: str = "") -> str:
    return f'<html><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8">{head}</head>{body}</html>'


# ------------------------------------------------------------------------------------------------- mail programs


def gmail(case: Case) -> Made:
    attribution = case.filled(case.words.gmail[case.number])
    old = text_of(case.old)
    signature_html = signature = ""
    if case.number == 2:
        signature = "-- \nAnna Example\nExample Street 5"
        signature_html = (
            '<div><br clear="all"></div><div><br></div><span class="gmail_signature_prefix">-- </span><br>'
            '<div dir="ltr" class="gmail_signature" data-smartmail="gmail_signature"><div dir="ltr">Anna Example'
            "<div>Example Street 5</div></div></div>"
        )
    plain = (
        text_of(case.new) + (f"\n\n{signature}" if signature else "") + f"\n\n{wrapped(attribution)}\n\n{quoted(old)}\n"
    )
    body = (
        f'<div dir="{case.direction}">{divs(lines_of(case.new))}{signature_html}</div><br>'
        f'<div class="gmail_quote gmail_quote_container"><div dir="{case.direction}" class="gmail_attr">'
        f"{linked(attribution)}<br></div>"
        '<blockquote class="gmail_quote" style="margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204);'
        f'padding-left:1ex">{divs(lines_of(case.old))}</blockquote></div>\n'
    )
    return Made(plain, body, signature.replace("-- ", "--"))


def gmail_android(case: Case) -> Made:
    attribution = case.filled(case.words.gmail[case.number])
    old = text_of(case.old)
    body = (
        f'<div dir="auto">{divs(lines_of(case.new), " dir=" + chr(34) + "auto" + chr(34))}</div><br>'
        f'<div class="gmail_quote"><div dir="{case.direction}" class="gmail_attr">{linked(attribution)}<br></div>'
        '<blockquote class="gmail_quote" style="margin:0 0 0 .8ex;border-left:1px #ccc solid;padding-left:1ex">'
        f"{breaks(lines_of(case.old))}</blockquote></div>\n"
    )
    return Made(f"{text_of(case.new)}\n\n{wrapped(attribution, 76)}\n\n{quoted(old)}\n", body)


def header_lines(case: Case, *, bold: str = "") -> list[str]:
    labels, date = case.words.labels, case.words.outlook_dates[case.number]
    values = (f"{case.words.name} <{SHOP}>", date, CUSTOMER, SUBJECTS[case.number])
    return [f"{bold}{label}{bold} {value}" for label, value in zip(labels, values, strict=True)]


def header_html(case: Case) -> str:
    labels, date = case.words.labels, case.words.outlook_dates[case.number]
    values = (f"{case.words.name} <{SHOP}>", date, CUSTOMER, SUBJECTS[case.number])
    return "<br>\n".join(f"<b>{label}</b> {html.escape(value)}" for label, value in zip(labels, values, strict=True))


def outlook_web(case: Case) -> Made:
    plain = f"{text_of(case.new)}\n\n{'_' * 32}\n" + "\n".join(header_lines(case)) + f"\n\n{text_of(case.old)}\n"
    style = ' class="elementToProof" style="font-family: Aptos, sans-serif; font-size: 12pt; color: rgb(0, 0, 0);"'
    body = page(
        f'<body dir="{case.direction}">{divs(lines_of(case.new), style)}<div id="appendonsend"></div>'
        '<hr style="display:inline-block;width:98%" tabindex="-1">'
        f'<div id="divRplyFwdMsg" dir="{case.direction}"><font face="Calibri, sans-serif" style="font-size:11pt" '
        f'color="#000000">{header_html(case)}</font><div>&nbsp;</div></div>{divs(lines_of(case.old))}</body>',
        '<style type="text/css" style="display:none;"> P {margin-top:0;margin-bottom:0;} </style>',
    )
    return Made(plain, body)


def outlook_windows(case: Case) -> Made:
    if case.form == "plain":
        header = f"{case.words.original}\n" + "\n".join(line + " " for line in header_lines(case))
    else:
        header = "\n".join(header_lines(case, bold="*" if case.number == 1 else ""))
    plain = f"{text_of(case.new)}\n\n{header}\n\n{text_of(case.old)}\n"
    colour = ("#E1E1E1 1.0pt", "#B5C4DF 1.0pt", "#E1E1E1 1.0pt")[case.number]
    body = page(
        '<body lang="EN-US" link="#0563C1" vlink="#954F72" style="word-wrap:break-word"><div class="WordSection1">'
        f'{word_paragraphs(case.new)}<p class="MsoNormal"><o:p>&nbsp;</o:p></p><div>'
        f'<div style="border:none;border-top:solid {colour};padding:3.0pt 0in 0in 0in"><p class="MsoNormal">'
        f"{header_html(case)}<o:p></o:p></p></div></div>"
        f'<p class="MsoNormal"><o:p>&nbsp;</o:p></p>{word_paragraphs(case.old)}</div></body>',
        '<meta name="Generator" content="Microsoft Word 15 (filtered medium)"><style>'
        "<!-- p.MsoNormal {margin:0in;} --></style>",
    )
    return Made(plain, body)


def outlook_mobile(case: Case) -> Made:
    footer, link = case.words.outlook_mobile, "https://aka.ms/o0ukef"
    plain = (
        f"{text_of(case.new)}\n\n{footer}<{link}>\n{'_' * 32}\n"
        + "\n".join(header_lines(case))
        + f"\n\n{text_of(case.old)}\n"
    )
    body = page(
        f'<body><div dir="{case.direction}" style="font-family: Aptos;">{divs(lines_of(case.new))}</div>'
        '<div id="ms-outlook-mobile-body-separator-line" data-applydefaultfontstyles="true">'
        '<div dir="ltr"><br></div></div>'
        f'<div id="ms-outlook-mobile-signature"><div dir="{case.direction}">'
        f'<a href="{link}">{html.escape(footer)}</a></div></div>'
        '<div id="mail-editor-reference-message-container" class="ms-outlook-mobile-reference-message skipProofing">'
        '<hr style="display: inline-block; width: 98%;" tabindex="-1">'
        f'<div id="divRplyFwdMsg" dir="{case.direction}"><font face="Calibri, sans-serif" style="font-size: 11pt;" '
        f'color="#000000">{header_html(case)}<br></font><div>&nbsp;</div></div>{divs(lines_of(case.old))}</div></body>'
    )
    signature = f"{footer}<{link}>" if case.form != "html" else f"{footer} ({link})"
    return Made(plain, body, signature)


def outlook_mac(case: Case) -> Made:
    labels, date = case.words.labels, case.words.outlook_dates[case.number]
    values = (f"{case.words.name} <{SHOP}>", date, CUSTOMER, SUBJECTS[case.number])
    fields = [f"{label} {value}" for label, value in zip(labels, values, strict=True)]
    fields_html = "<br>".join(
        f"<b>{label} </b>{html.escape(value)}" for label, value in zip(labels, values, strict=True)
    )
    plain = f"{text_of(case.new)}\n\n" + "\n".join(fields) + f"\n\n{text_of(case.old)}\n"
    body = page(
        '<body lang="EN-GB" style="word-wrap:break-word"><div class="WordSection1">'
        f'{word_paragraphs(case.new)}<p class="MsoNormal"><o:p>&nbsp;</o:p></p>'
        '<div id="mail-editor-reference-message-container"><div><div><div style="border:none;border-top:solid #B5C4DF '
        '1.0pt;padding:3.0pt 0cm 0cm 0cm"><p class="MsoNormal" style="margin-bottom:12.0pt">'
        f'<span style="color:black">{fields_html}<o:p></o:p></span></p></div>{word_paragraphs(case.old)}'
        f"</div></div></div></div></body>"
    )
    return Made(plain, body)


def apple_mail(case: Case) -> Made:
    attribution = case.filled(case.words.apple[case.number])
    old = text_of(case.old)
    if case.number == 1:  # newer versions quote the attribution, too
        plain = f"{text_of(case.new)}\n\n{quoted(attribution)}\n> \n{quoted(old)}\n"
    else:
        plain = f"{text_of(case.new)}\n\n{attribution}\n> \n{quoted(old)}\n"
    body = page(
        '<body style="overflow-wrap: break-word; -webkit-nbsp-mode: space; line-break: after-white-space;">'
        f'{divs(lines_of(case.new))}<div><br id="lineBreakAtBeginningOfMessage"><div><br><blockquote type="cite">'
        f'<div>{html.escape(attribution)}</div><br class="Apple-interchange-newline">'
        f"<div>{divs(lines_of(case.old))}</div>"
        "</blockquote></div><br></div></body>"
    )
    return Made(plain, body)


def apple_ios(case: Case) -> Made:
    attribution = case.filled(case.words.apple[case.number])
    footer = case.words.iphone
    plain = f"{text_of(case.new)}\n\n{footer}\n\n{quoted(attribution)}\n> \n{quoted(text_of(case.old))}\n"
    body = page(
        f'<body dir="auto"><div dir="{case.direction}">{divs(lines_of(case.new))}'
        f'<br id="lineBreakAtBeginningOfSignature">'
        f'<div dir="ltr">{html.escape(footer)}</div><div dir="ltr"><br>'
        f'<blockquote type="cite">{html.escape(attribution)}'
        f'<br><br></blockquote></div><blockquote type="cite">'
        f'<div dir="{case.direction}">{divs(lines_of(case.old))}</div></blockquote>'
        "</div></body>"
    )
    return Made(plain, body, footer)


def yahoo(case: Case) -> Made:
    attribution = case.filled(case.words.yahoo[case.number])
    plain = f"{text_of(case.new)}\n\n    {attribution}  \n \n {text_of(case.old)}\n  "
    body = (
        '<html><head></head><body><div class="yahoo-style-wrap" style="font-family: Helvetica Neue, Helvetica, Arial, '
        f'sans-serif; font-size: 16px;">{divs(lines_of(case.new), " dir=" + chr(34) + case.direction + chr(34))}'
        '<div><br></div></div><div id="yahoo_quoted_1234567890" class="yahoo_quoted">'
        '<div style="font-size:13px;color:#26282a;">'
        f"<div>{linked(attribution)}</div><div><br></div><div><br></div><div>"
        f'<div id="yiv5">{divs(lines_of(case.old))}</div></div>'
        "</div></div></body></html>"
    )
    return Made(plain, body)


def thunderbird(case: Case) -> Made:
    attribution = case.filled(case.words.thunderbird[case.number])
    plain = f"{text_of(case.new)}\n\n{attribution}\n{quoted(text_of(case.old))}\n\n"
    body = page(
        f"<body>\n    <p>{'</p><p>'.join(breaks(part.split(chr(10))) for part in case.new)}</p>\n"
        f'    <div class="moz-cite-prefix">{html.escape(attribution)}<br>\n    </div>\n'
        f'    <blockquote type="cite" cite="mid:20240506.4711@shop.example">\n{breaks(lines_of(case.old))}\n'
        "    </blockquote>\n    <br>\n  </body>"
    )
    return Made(plain, body, flowed=True)


def proton(case: Case) -> Made:
    attribution = case.filled(case.words.proton[case.number])
    footer = "Sent with Proton Mail secure email." if case.number != 1 else ""
    banner = ("", "------- Original Message -------\n", "‐‐‐‐‐‐‐ Original Message ‐‐‐‐‐‐‐\n")[case.number]
    plain = (
        text_of(case.new)
        + (f"\n\n{footer}" if footer else "")
        + f"\n\n{banner}{attribution}\n\n\n{quoted(text_of(case.old))}\n"
    )
    footer_html = (
        '<div class="protonmail_signature_block" style="font-family: Arial, sans-serif; font-size: 14px;"><div '
        'class="protonmail_signature_block-user protonmail_signature_block-empty"></div><div '
        f'class="protonmail_signature_block-proton">{footer}</div></div><div><br></div>'
        if footer
        else ""
    )
    banner_html = "------- Original Message -------<br>" if banner else ""
    body = (
        f""
        f"{divs(lines_of(case.new), ' style=' + chr(34) + 'font-family: Arial, sans-serif; font-size: 14px;' + chr(34))}"
        f'<div><br></div>{footer_html}<div class="protonmail_quote">{banner_html}{linked(attribution)}<br>'
        f'<blockquote class="protonmail_quote" type="cite">{divs(lines_of(case.old))}</blockquote><br></div>'
    )
    return Made(plain, body, footer)


def samsung(case: Case) -> Made:
    banner, *labels = case.words.samsung
    values = (f"{case.words.name} <{SHOP}>", "06/05/2024 10:30 (GMT+01:00)", CUSTOMER, SUBJECTS[case.number])
    fields = [f"{label} {value}" for label, value in zip(labels, values, strict=True)]
    footer = case.words.galaxy
    plain = f"{text_of(case.new)}\n\n{footer}\n\n{banner}\n" + " \n".join(fields) + f" \n\n{text_of(case.old)}\n"
    body = page(
        f'<body dir="auto">{divs(lines_of(case.new), " dir=" + chr(34) + "auto" + chr(34))}<div dir="auto"><br></div>'
        f'<div dir="auto"><br></div><div id="composer_signature" dir="auto">'
        f'<div dir="auto">{html.escape(footer)}</div></div>'
        '<div dir="auto"><br></div><div><br></div>'
        '<div align="left" dir="auto" style="font-size:100%;color:#000000"><div>'
        f"{banner}</div>" + "".join(f"<div>{html.escape(line)} </div>" for line in fields) + "<div><br></div></div>"
        f"{divs(lines_of(case.old))}</body>"
    )
    return Made(plain, body, footer)


def helpdesk(case: Case) -> Made:
    """A helpdesk's notice answered: in Gmail, in a program that quotes without marks, and with nothing but its line."""
    above = case.words.above
    notice = (above, *case.old)
    if case.number == 0:
        return (
            gmail(case)
            if case.language == "xx"
            else _noticed(case, case.filled(case.words.gmail[0]), notice, marked=True)
        )
    if case.number == 1:
        return _noticed(case, case.filled(case.words.yahoo[1]), notice, marked=False)
    return _noticed(case, "", notice, marked=False)


def _noticed(case: Case, attribution: str, notice: tuple[str, ...], *, marked: bool) -> Made:
    old = quoted(text_of(notice)) if marked else text_of(notice)
    plain = f"{text_of(case.new)}\n\n" + (f"{wrapped(attribution)}\n\n" if attribution else "") + f"{old}\n"
    table = (
        '<table width="100%"><tbody><tr><td><div style="color: #b5b5b5;">'
        f"{html.escape(notice[0])}</div>"
        f"<p>{'</p><p>'.join(breaks(part.split(chr(10))) for part in notice[1:])}</p></td></tr></tbody></table>"
    )
    quote = f'<blockquote type="cite">{table}</blockquote>' if marked else table
    body = f"<div>{divs(lines_of(case.new))}<div><br></div><div>{linked(attribution)}</div></div>{quote}"
    return Made(plain, body)


def regional(case: Case) -> Made:
    """The webmailers of the country: GMX and Web.de, La Poste or Orange, Libero, KPN, UOL, Onet, mail.ru, Walla,
    Yahoo Japan, QQ and 163."""
    return _REGIONAL.get(case.language, _gmx)(case)


def _gmx(case: Case) -> Made:
    sent, to_who, about = case.words.labels[1:]
    who = case.words.labels[0]
    date = case.words.outlook_dates[case.number]
    fields = [
        f"{sent} {date}",
        f'{who} "{case.words.name}" <{SHOP}>',
        f"{to_who} {CUSTOMER}",
        f"{about} {SUBJECTS[case.number]}",
    ]
    plain = f"{text_of(case.new)}\n\n \n\n" + "\n".join(fields) + f"\n\n{text_of(case.old)}\n"
    fields_html = "<br/>\n".join(
        f"<b>{line.partition(' ')[0]}</b>&nbsp;{html.escape(line.partition(' ')[2])}" for line in fields
    )
    body = page(
        '<body><div style="font-family: Verdana;font-size: 12.0px;">'
        f"{divs(lines_of(case.new))}<div>&nbsp;\n<div>&nbsp;\n"
        f'<div name="quote" style="margin:10px 5px 5px 10px; padding: 10px 0 '
        '10px 10px; border-left:2px solid #C3D9E5; word-wrap: break-word;">\n<div style="margin:0 0 10px 0;">'
        f'{fields_html}</div>\n\n<div name="quoted-content">{divs(lines_of(case.old))}</div></div></div>'
        f"</div></div></body>"
    )
    return Made(plain, body)


def _orange(case: Case) -> Made:
    date = ("06/05/24 10:30", "22/12/23 16:05", "13/02/25 09:07")[case.number]
    fields = [
        f"Message du {date}",
        f'De : "{case.words.name}" <{SHOP}>',
        f"A : {CUSTOMER}",
        "Copie à : ",
        f"Objet : {SUBJECTS[case.number]}",
    ]
    plain = (
        f"{text_of(case.new)}\n\n\n\n"
        + "\n".join(f"> {line}".rstrip() for line in fields)
        + f"\n> \n{quoted(text_of(case.old))}\n"
    )
    body = (
        f"<p>{'</p><p>'.join(breaks(part.split(chr(10))) for part in case.new)}</p><p>&nbsp;</p>"
        '<blockquote style="padding-left: 5px; margin-left: 5px; border-left: #ff0000 2px solid;">'
        + "<br />".join(html.escape(line) for line in fields)
        + f"<br /><br />{breaks(lines_of(case.old))}</blockquote>"
    )
    return Made(plain, body)


def _one_line(pattern: tuple[str, str, str], quote_open: str, quote_close: str) -> Callable[[Case], Made]:
    def make(case: Case) -> Made:
        attribution = case.filled(pattern[case.number])
        plain = f"{text_of(case.new)}\n\n{attribution}\n{quoted(text_of(case.old))}\n"
        body = (
            f"<div>{divs(lines_of(case.new))}</div><div>&nbsp;</div><div>{html.escape(attribution)}</div>"
            f"{quote_open}{divs(lines_of(case.old))}{quote_close}"
        )
        return Made(plain, body)

    return make


def _banner_and_fields(banner: str, labels: tuple[str, ...], *, semicolons: bool = False) -> Callable[[Case], Made]:
    def make(case: Case) -> Made:
        date = case.words.outlook_dates[case.number]
        values = (f'"{case.words.name}" <{SHOP}>', date, CUSTOMER, SUBJECTS[case.number])
        end = ";" if semicolons else ""
        fields = [f"{label}{value}{end}" for label, value in zip(labels, values, strict=True)]
        plain = f"{text_of(case.new)}\n\n\n{banner}\n" + "\n".join(fields) + f"\n\n{text_of(case.old)}\n"
        body = (
            f"<div>{divs(lines_of(case.new))}</div><div><br></div>"
            f'<div style="font-size: 12px; padding:2px 0;">{banner}</div>'
            '<div style="font-size: 12px;background:#efefef;padding:8px;">'
            + "".join(
                f"<div><b>{label}</b>{html.escape(value)}{end}</div>"
                for label, value in zip(labels, values, strict=True)
            )
            + f"</div><div><br></div>{divs(lines_of(case.old))}"
        )
        return Made(plain, body)

    return make


def _chinese(case: Case) -> Made:
    if case.number == 1:
        return _one_line(
            ("", '在 2023-12-22 16:05:12，"{n}" <{a}> 写道：', ""),
            ""
            '<blockquote id="isReplyContent" style="'
            'PADDING-LEFT: 1ex; MARGIN: 0px 0px 0px 0.8ex; BORDER-LEFT: #ccc 1px solid">',
            "</blockquote>",
        )(case)
    labels = ("发件人: ", "发送时间: ", "收件人: ", "主题: ")
    banner = "------------------&nbsp;原始邮件&nbsp;------------------"
    made = _banner_and_fields(banner, labels, semicolons=True)(case)
    return Made(made.plain.replace("&nbsp;", " "), made.html)


_REGIONAL: dict[str, Callable[[Case], Made]] = {
    "fr": _orange,
    "it": _one_line(
        (
            "Il 06/05/2024 10:30 CEST {n} <{a}> ha scritto:",
            "Il 22/12/2023 16:05 {n} <{a}> ha scritto:",
            "Il 13/02/2025 09:07 CET {n} <{a}> ha scritto:",
        ),
        '<blockquote type="cite">',
        "</blockquote>",
    ),
    "nl": _one_line(
        (
            "Op 06-05-2024 10:30 CEST schreef {n} <{a}>:",
            "Op 22-12-2023 16:05 schreef {n} <{a}>:",
            "Op 13-02-2025 09:07 CET schreef {n} <{a}>:",
        ),
        '<blockquote type="cite">',
        "</blockquote>",
    ),
    "pl": _one_line(
        (
            "Dnia 6 maja 2024 10:30 {n} <{a}> napisał(a):",
            "W dniu 2023-12-22 16:05:12 użytkownik {n} <{a}> napisał:",
            "Dnia czwartek, 13 lutego 2025 09:07 {n} <{a}> napisał(a):",
        ),
        '<blockquote style="margin:0 0 0 5px;border-left:2px solid #e6e6e6;padding-left:10px">',
        "</blockquote>",
    ),
    "ru": _one_line(
        (
            "Понедельник, 6 мая 2024, 10:30 +03:00 от {n} <{a}>:",
            '22.12.2023, 16:05, "{n}" <{a}>:',
            "Четверг, 13 февраля 2025 г., 9:07 +03:00 от {n} <{a}>:",
        ),
        '<blockquote style="border-left:1px solid #0857A6; margin:10px; padding:0 0 0 10px;">',
        "</blockquote>",
    ),
    "pt": _banner_and_fields("---", ("De: ", "Enviada: ", "Para: ", "Assunto: ")),
    "he": _banner_and_fields("-----הודעה מקורית-----", ("מאת: ", "תאריך: ", "אל: ", "נושא: ")),
    "ja": _banner_and_fields("----- Original Message -----", ("From: ", "Date: ", "To: ", "Subject: ")),
    "zh": _chinese,
}

PROGRAMS: dict[str, Callable[[Case], Made]] = {
    "gmail": gmail,
    "gmail-android": gmail_android,
    "outlook-web": outlook_web,
    "outlook-windows": outlook_windows,
    "outlook-mac": outlook_mac,
    "outlook-mobile": outlook_mobile,
    "apple-mail": apple_mail,
    "apple-ios": apple_ios,
    "yahoo": yahoo,
    "thunderbird": thunderbird,
    "proton": proton,
    "samsung": samsung,
    "regional": regional,
    "helpdesk": helpdesk,
}
FORMS = ("both", "html", "plain")


# ------------------------------------------------------------------------------------------------- files


def _part(kind: str, text: str, encoding: str, *, flowed: bool = False) -> bytes:
    parameters = "; format=flowed" if flowed else ""
    head = f"Content-Type: text/{kind}; charset=utf-8{parameters}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    data = text.replace("\n", "\r\n").encode()
    if encoding == "base64":
        data = b"\r\n".join(base64.encodebytes(data).split(b"\n"))
    elif encoding == "quoted-printable":
        data = b"\r\n".join(quopri.encodestring(data.replace(b"\r\n", b"\n")).split(b"\n"))
    return head.encode() + data


def mail(case: Case, made: Made) -> bytes:
    """The mail as bytes: headers, and the text in one or two forms."""
    head = (
        f""
        f"From: Anna Example <{CUSTOMER}>\r\nTo: {SHOP}\r\nSubject: Re: 4711\r\nDate: Tue, 07 May 2024 08:00:00 +0000\r\n"
        f"Message-ID: <reply-{case.language}-{case.number}@customer.example>\r\nIn-Reply-To: <4711@shop.example>\r\n"
        "MIME-Version: 1.0\r\n"
    ).encode()
    plain = _part("plain", made.plain, "base64" if case.number == 1 else "8bit", flowed=made.flowed)
    rich = _part("html", made.html, "quoted-printable")
    if case.form == "plain":
        return head + plain
    if case.form == "html":
        return head + rich
    edge = b"--=_reply\r\n"
    return (
        head
        + b'Content-Type: multipart/alternative; boundary="=_reply"\r\n\r\n'
        + edge
        + plain
        + b"\r\n"
        + edge
        + rich
        + b"\r\n--=_reply--\r\n"
    )


def files() -> Iterator[tuple[str, bytes]]:
    """(name, content) of each mail and twin."""
    for program, make in PROGRAMS.items():
        for place, language in enumerate(WORDS):
            for number in range(3):
                case = Case(language, number, FORMS[(number + place) % 3])
                made = make(case)
                text = text_of(case.new) + (f"\n\n{made.signature}" if made.signature else "")
                twin = {
                    "program": program,
                    "language": language,
                    "form": case.form,
                    "text": text,
                    "signature": made.signature,
                }
                name = f"{program}-{language}-{number}"
                yield f"{name}.eml", mail(case, made)
                yield f"{name}.json", (json.dumps(twin, ensure_ascii=False, indent=1) + "\n").encode()


def main() -> None:
    """Writes all files."""
    REPLIES.mkdir(exist_ok=True)
    for name, content in files():
        (REPLIES / name).write_bytes(content)


if __name__ == "__main__":
    main()
