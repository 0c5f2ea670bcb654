"""Where a text's signature begins: "-- ", "Sent from my …" in many languages, legal notices, lists' and scanners' footers.

Cautious: a greeting and a name ("Kind regards, Anna") are what a person wrote and no signature.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sync.text.quotes.words import one_of

MAX_SIGNATURE_LINES = 20
"""A longer text below "-- " is no signature."""

MAX_SIGNATURE_CHARS = 1_500
MAX_FOOTER_CHARS = 110
"""A longer line is no "Sent from …"."""

MIN_LIST_RULE_CHARS = 20
"""Underscores that set off the footer of a mailing list."""

MAX_NOTICE_LINES = 30
MIN_NOTICE_CHARS = 80
"""A shorter paragraph is no legal notice, whatever its words."""

MAX_FOOTERS = 12
"""Footers below one another."""

_DELIMITERS = frozenset({"--", "—", "__"})
_FOOTERS = one_of(r"""
    sent (?:from|via|with|using|by) (?!the (?:office|bank|shop))\S|get outlook for |get \[?outlook|download outlook
    get yahoo mail|sent securely|secured? (?:by|with) |von meine[mr]?(?:/meiner)? .{2,60} gesendet|von unterwegs gesendet
    gesendet (?:von|mit|aus|über|vom) |diese (?:nachricht|e-mail|mail) wurde von .{2,80} gesendet
    holen sie sich outlook|outlook für .{2,20} (?:beschaffen|herunterladen|holen)|laden sie outlook
    envoyée? (?:de|du|depuis|à partir|avec|via|par) |obtenir outlook|obtenez outlook|télécharger outlook
    téléchargez outlook|enviad[oa] (?:desde|a partir|do|de|da|pelo|via|com|con|por) |obtener outlook|obtenga outlook
    descargar outlook|obter o outlook|obtenha o outlook|baixar outlook|inviat[oa] (?:da|dal|dallo|con|tramite)
    ottieni outlook|scarica outlook|(?:verzonden|verstuurd) (?:vanaf|vanuit|met|via|van|door)
    outlook voor .{2,20} (?:downloaden|ophalen)|haal outlook|wysłan[eoay] (?:z|ze|za|przez|od)
    pobierz (?:program |aplikację )?outlook|отправлено (?:с|из|через|от|при)
    послано с |скачать outlook
    получить outlook|загрузить outlook|надіслано (?:з|із|від|через)
    отримати outlook|נשלח (?:מ|באמצעות|דרך)
    השג את outlook|קבל את outlook|הורד את outlook|发自|發自|从我的.{1,30}发送|来自我的|從我的.{1,30}傳送
    从.{1,30}发送|通过.{1,30}发送
    获取 ?outlook|下载.{0,20}outlook|取得.{0,20}outlook|.{1,40}(?:から送信|から送信しました|より送信)
    .{0,20}outlook.{0,20}(?:を入手|を取得|をダウンロード)|.{1,40}에서 보냄
    .{0,20}outlook.{0,20}(?:다운로드|받기)|skickat från
    hämta outlook|sendt fra |sendt med |hent outlook|lähetetty .{2,60}(?:sta|stä|lla|llä|lta|ltä)\b|hanki outlook
    lataa outlook|odesláno (?:z|ze|pomocí) |získejte outlook|získat outlook|odoslané z
    .{2,60}(?:ımdan|imden|umdan|ümden|ndan|nden|tan|ten|dan|den) gönderildi|outlook.{0,10} (?:edinin|indirin)
    (?:küldve|elküldve) |.{2,40}(?:ról|ről) küldve|az? outlook .{2,30}(?:beszerzése|letöltése)
    trimis (?:de pe|din|de la|cu|prin) |obțineți outlook|descărcați outlook|στάλθηκε από
    εστάλη από|απεστάλη από
    αποκτήστε το outlook|(?:أ|ا|تم ال)?(?:رسلت|رسل|إرسال|ُرسلت) من |الحصول على outlook|poslano (?:s|z|sa)
    изпратено от
    """)
_FOOTER = re.compile(rf"[<\[(*_]{{0,2}}(?:{_FOOTERS})")
_SCANNER = re.compile(
    one_of(r"""
    virus-?free|this (?:e-?mail|message) (?:has been|was) (?:checked|scanned)
    (?:diese|die) e-?mail wurde (?:von|auf|mit).{0,60}(?:viren|avast|avg|geprüft)|www\.avast\.com
    avast\.com/antivirus|l'absence de virus|garantie sans virus|libre de virus|livre de vírus|privo di virus
    virusvrij|wolny od wirus|без вирусов|проверено на вирусы|אין וירוסים|ללא וירוסים
    """)
)
_NOTICE = re.compile(
    one_of(r"""
    confidential(?:ity)?(?: notice| note)?\b|disclaimer\b|legal notice|privileged|important notice|notice:|caution:
    this (?:e-?mail|message|communication|transmission)\b
    the (?:information|contents?) (?:contained )?(?:in|of) this|please consider the environment
    diese (?:e-?mail|nachricht)\b|der inhalt dieser|vertraulichkeit|wichtiger hinweis|haftungsausschluss
    bitte (?:denken|prüfen) sie|ce (?:message|courriel|mail|courrier)\b|cet e-?mail|les informations contenues
    avis de confidentialité|pensez à l'environnement|avant d'imprimer|este (?:mensaje|correo|e-?mail)
    la información contenida|aviso legal|aviso de confidencial|antes de imprimir|esta mensagem|a informação contida
    questo messaggio|il presente messaggio|le informazioni contenute|informativa|ai sensi|dit (?:e-?mail)?bericht
    deze e-?mail|de informatie in|vertrouwelijk|niniejsza wiadomość|ta wiadomość|informacje zawarte|klauzula
    настоящее сообщение|данное сообщение
    это (?:электронное )?(?:сообщение|письмо)
    информация, содержащаяся
    конфиденциальн|הודעה זו|דוא\"ל זה|המידע הכלול|このメール|本メール|当メール|このメッセージ
    本邮件|此邮件|本電子郵件|此電子郵件|本电子邮件|免责声明|保密
    """)
)
_NOTICE_WORD = re.compile(
    one_of(r"""
    confiden|privileged|intended|recipient|unauthori[sz]ed|environment|vertraulich|empfänger|unbefugt|umwelt
    destinatai?r|environnement|confid[eê]nci|secreto|ambiente|riservat|geadresseerde|vertrouwelijk|milieu|poufn
    adresat|środowisk|конфиденц|адресат|получател|חסוי|סודי|נמען|機密|誤って|宛先
    保密|机密|收件人
    """)
)
_LIST_FOOTER = re.compile(
    one_of(r"""
    _{20,}$|you received this message because you are subscribed|to unsubscribe from this (?:group|list)
    .{1,60} mailing list$|unsubscribe\b.{0,40}https?://|https?://\S{1,200}/(?:mailman|listinfo)\S{0,200}$
    """)
)


def signature_start(lines: Sequence[str], *, marked_lines: int = 0) -> int:
    """The line at which the signature at the end of `lines` begins; the number of lines when there is none, 0 when
    there is nothing else. `marked_lines`: so many lines at the end (blank ones not counted) are marked as a signature
    by the markup."""
    end = _end_of(lines, len(lines))
    start = _without_marked(lines, end, marked_lines)
    for _ in range(MAX_FOOTERS):
        shorter = _end_of(lines, _without_footer(lines, start))
        if shorter == start:
            break
        start = shorter
    at = _delimiter(lines, start)
    if at is not None:
        start = _end_of(lines, at)
    return start if start < end else len(lines)


def _end_of(lines: Sequence[str], stop: int) -> int:
    """The line after the last one before `stop` that is not blank."""
    while stop > 0 and not lines[stop - 1].strip():
        stop -= 1
    return stop


def _without_marked(lines: Sequence[str], stop: int, marked_lines: int) -> int:
    while marked_lines > 0 and stop > 0:
        stop -= 1
        if lines[stop].strip():
            marked_lines -= 1
    return _end_of(lines, stop)


def _without_footer(lines: Sequence[str], stop: int) -> int:
    """`stop`, or the line at which the footer right before it begins."""
    if stop == 0:
        return 0
    last = lines[stop - 1].strip().casefold()
    if len(last) <= MAX_FOOTER_CHARS and _FOOTER.match(last) is not None and not _is_sentence(last):
        return stop - 1
    if len(last) <= MAX_FOOTER_CHARS * 3 and (_SCANNER.search(last) is not None or _LIST_FOOTER.match(last)):
        return stop - 1
    if len(last) >= 3 and not last.strip("-_=*~—–") and stop > 1:
        return stop - 1
    return _notice_start(lines, stop)


def _is_sentence(line: str) -> bool:
    """ "Sent from the office, so I cannot look it up now." is no footer: it goes on."""
    return len(line) > 40 and ", " in line and line[-1] in ".!?"


def _notice_start(lines: Sequence[str], stop: int) -> int:
    """The beginning of a legal notice that is the last paragraph."""
    start = stop
    while start > 0 and stop - start < MAX_NOTICE_LINES and lines[start - 1].strip():
        start -= 1
    first = lines[start].strip(" *_\t>-").casefold()[:200]
    if _NOTICE.match(first) is None:
        return stop
    text = " ".join(lines[start:stop])[:4_000].casefold()
    return start if len(text) >= MIN_NOTICE_CHARS and _NOTICE_WORD.search(text) is not None else stop


def _delimiter(lines: Sequence[str], stop: int) -> int | None:
    """The line "-- " (RFC 3676, section 4.3) above the last few lines."""
    chars = 0
    for index in range(stop - 1, max(-1, stop - 1 - MAX_SIGNATURE_LINES), -1):
        line = lines[index].strip(" \t\u00a0")
        if line in _DELIMITERS or (len(line) >= MIN_LIST_RULE_CHARS and not line.strip("_") and index >= stop - 6):
            return index
        chars += len(line)
        if chars > MAX_SIGNATURE_CHARS:
            return None
    return None
