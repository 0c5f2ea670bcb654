"""The words by which mail programs introduce an earlier message, in the languages customers write in.

Facts of public record: what Gmail, Outlook, Apple Mail, Thunderbird, Yahoo and their like put above a quoted message.
Everything is compared as `fold` gives it; none of the patterns can match the same text in many ways (linear time).
"""

from __future__ import annotations

import re


def fold(text: str) -> str:
    """`text` for comparison, whatever its case (the dot that Turkish leaves on an i is taken off, too)."""
    return text.casefold().replace("\u0307", "")


def listed(text: str) -> tuple[str, ...]:
    """The words in `text`, which stand between commas, over any number of lines."""
    return tuple(word for part in text.split(",") if (word := " ".join(part.split())))


def one_of(text: str) -> str:
    """A pattern from alternatives that stand between bars, over any number of lines."""
    return "|".join(line.strip() for line in text.strip().split("\n"))


VERBS = listed("""
    wrote, writes, said, has written, schrieb, schrieben, schreibt, geschrieben, hat geschrieben, a écrit,
    a ecrit, avez écrit, escribió, escribio, ha escrito, escreveu, escribiu, va escriure, ha escrit, ha scritto,
    scrisse, scrive, schreef, het volgende geschreven, napisał, napisała, napisał(a), napisał/a, pisze,
    nadesłał,
    napisali, написал, написала, написал(а), написали, пишет,
    пишете, пишеш, пише, написав, написав(-ла), написано,
    написа, je napisao, je napisala, napisao je, napisala je, je napisao/la, је написао, је написао/ла,
    је написала, כתב, כתבה, כתב/ה, כתב(ה),
    כתבו, מאת, skrev, skrifaði, kirjutas, kirjoitti, napsal, napsala, napsal(a), napsal/a, napísal, napísala,
    napísal(a), yazdı, şunu yazdı, şunları yazdı, tarihinde yazdı, írta, ezt írta, a scris, scrie,
    έγραψε, έγραψαν,
    كتب, كتبت, كتب/كتبت, rašė, parašė, rakstīja, đã viết, viết, menulis, เขียนว่า, เขียน, je zapisal, je napisal,
    napisana przez, skreau, skreiv, escribeu, shkroi, skribis, sporoča, idatzi zuen, idatzi du, піша, hà scrittu,
    نوشت, ने लिखा, გწერა, დაწერა, գրել է, scríobh, ysgrifennodd, sgrìobh,
    """)
"""What stands before or after the sender's name: set off by blanks or punctuation."""

CJK_VERBS = listed("""
    より, 写道, 寫道, 写到, 寫到, のメール, さんは書きました, さんが書きました, 작성, 씀, 썼습니다, 썼어요, 님의 말,
    """)
"""The same in scripts that write words without blanks."""

OPENERS = (
    *(
        f"{word} "
        for word in listed("""
    on, at, in message, in a message, am, le, el, em, a, il, in data, op, dnia, w dniu, в, на, от, у,
    ביום, den, på,
    dne, dňa, ont, pe, la data, în, στις, την, τη, في, vào, pada, dana, ngày, ---- on,
    """)
    ),
    *listed("""
    בתאריך, ב-, بتاريخ, เมื่อ, kl, 在, 於, 于,
    """),
)
"""How the first line of an attribution begins, when it does not begin with a number or a weekday."""

WEEKDAYS = frozenset(
    listed("""
    monday, tuesday, wednesday, thursday, friday, saturday, sunday, mon, tue, tues, wed, thu, thur, thurs, fri, sat, sun,
    montag, dienstag, mittwoch, donnerstag, freitag, samstag, sonnabend, sonntag, mo, di, mi, do, fr, sa, so,
    lundi, mardi, mercredi, jeudi, vendredi, samedi, dimanche, lun, mar, mer, jeu, ven, sam, dim,
    lunes, martes, miércoles, miercoles, jueves, viernes, sábado, sabado, domingo, mié, mie, jue, vie, sáb, sab, dom,
    segunda, terça, quarta, quinta, sexta, segunda-feira, terça-feira, quarta-feira, quinta-feira, sexta-feira,
    seg, ter, qua, qui, sex,
    lunedì, martedì, mercoledì, giovedì, venerdì, sabato, domenica, lunedi, martedi, mercoledi, giovedi, venerdi, gio,
    maandag, dinsdag, woensdag, donderdag, vrijdag, zaterdag, zondag, ma, wo, vr, za, zo,
    poniedziałek, wtorek, środa, środę, czwartek, piątek, sobota, sobotę, niedziela, niedzielę, pon, wt, śr, czw, pt,
    sob, niedz, ndz, nd,
    понедельник, вторник, среда, среду, четверг, пятница, пятницу, суббота, субботу, воскресенье, пн, вт, ср, чт, пт,
    сб, вс, понед,
    понеділок, вівторок, середа, середу, четвер, п'ятниця, п'ятницю, п’ятниця, субота, суботу, неділя, неділю, нд,
    понеделник, сряда, четвъртък, петък, събота, неделя, понедељак, уторак, четвртак, петак, недеља,
    måndag, tisdag, onsdag, torsdag, fredag, lördag, söndag, mån, tis, ons, tors, tor, fre, lör, sön,
    mandag, tirsdag, lørdag, søndag, tir, tirs, man, lør, søn,
    maanantai, tiistai, keskiviikko, torstai, perjantai, lauantai, sunnuntai, maanantaina, tiistaina, keskiviikkona,
    torstaina, perjantaina, lauantaina, sunnuntaina, ti, ke, to, pe, la, su,
    pondělí, úterý, středa, středu, čtvrtek, pátek, sobotu, neděle, neděli, po, út, st, čt, pá, ne,
    pondelok, utorok, streda, stredu, štvrtok, piatok, nedeľa, nedeľu, ut, št, pi,
    ponedjeljak, ponedeljak, utorak, srijeda, sreda, četvrtak, petak, subota, nedjelja, nedelja, ponedeljek, torek,
    četrtek, petek, nedelja, uto, sri, sre, čet, pet, sub, ned,
    pazartesi, salı, çarşamba, perşembe, cuma, cumartesi, pazar, pzt, sal, çar, per, cum, cmt, paz,
    hétfő, kedd, szerda, csütörtök, péntek, szombat, vasárnap, h, k, sze, cs, p, szo, v,
    luni, marți, marti, miercuri, joi, vineri, sâmbătă, sambata, duminică, duminica, vin, sâm, dum,
    δευτέρα, τρίτη, τετάρτη, πέμπτη, παρασκευή, σάββατο, κυριακή, δευ, τρί, τρι, τετ, πέμ, πεμ, παρ, σάβ, σαβ, κυρ,
    esmaspäev, teisipäev, kolmapäev, neljapäev, reede, laupäev, pühapäev,
    dilluns, dimarts, dimecres, dijous, divendres, dissabte, diumenge, dl, dt, dc, dj, dv, ds, dg,
    """)
)
"""Whole words, as a line of an attribution may begin with them."""
FIRST_PERSON = re.compile(
    r"\b(?:i|we|ich|wir|je|nous|yo|nosotros|eu|nós|io|noi|ik|wij|we|ja|my|я|мы|ми|jag|vi|jeg|minä|já|ben|biz|én|אני)\W{1,3}$"
)
"""Right before the verb: the writer speaks of herself, and no mail program did this."""

FIRST_PERSON_AFTER = re.compile(r"^\W{1,3}(?:ich|wir|ik|wij|jag|vi|jeg)\b")

_FROM = listed("""
    from, von, absender, de, expéditeur, remitente, remetente, da, mittente, van, afzender, od, nadawca,
    от, от кого,
    отправитель, від, від кого, відправник, מאת, 差出人, 送信者, 发件人, 發件人,
    寄件者, 寄件人, 发送人, 发信人, 보낸 사람, 보낸사람, 보낸이, från,
    avsändare, fra, afsender, avsender, lähettäjä, kimden, gönderen, feladó, küldő, de la, expeditor, από,
    αποστολέας, من, المرسل, odesílatel, odosielateľ, nga, từ, dari, จาก, šalje, pošiljatelj, kellelt,
    no, nuo,
    """)
_DATE = listed("""
    sent, date, message du, sent at, sent on, gesendet, gesendet am, datum, envoyé, envoyé le, envoyée,
    date d'envoi,
    enviado, enviado el, enviada, enviado em, enviada em, enviada el, fecha, data, data de envio, fecha de envío,
    inviato, inviato il, data invio, verzonden, verzonden op, wysłano, wysłane, data wysłania,
    отправлено, дата,
    дата отправки, надіслано, נשלח, נשלח ב, תאריך, 送信日時, 日時, 日付, 送信日, 发送时间,
    发送日期, 日期, 时间, 時間, 傳送時間, 寄件日期, 傳送日期, 已发送,
    보낸 날짜, 보낸날짜, 날짜, 보낸 시간, 보냄, skickat, skickat den, sendt, dato, lähetetty, päivämäärä,
    päiväys, odesláno,
    odoslané, dátum, gönderildi, gönderme tarihi, tarih, gönderilme tarihi, elküldve, küldve, trimis, trimis la,
    dată, dată:, στάλθηκε, ημερομηνία, التاريخ, تاريخ, تاريخ الإرسال, تم الإرسال, الإرسال,
    đã gửi, ngày, dikirim,
    tanggal, poslano, saadetud, nosūtīts, išsiųsta,
    """)
_TO = listed("""
    to, an, empfänger, à, pour, destinataire, destinataires, a, para, destinatario, destinatário, aan, naar, do,
    odbiorca, кому, получатель, אל, עבור, ל, 宛先, 受信者, 收件人, 收件者, 받는 사람, 받는사람,
    받는이, till, mottagare, til, modtager,
    vastaanottaja, komu, kime, alıcı, kime:, címzett, către, catre, destinatar, προς,
    παραλήπτης, إلى, المستلم, đến,
    kepada, ถึง, za, prima, kam, kellele,
    """)
_SUBJECT = listed("""
    subject, betreff, objet, sujet, asunto, assunto, oggetto, onderwerp, temat, тема, נושא, הנדון, 件名,
    题名, 主题, 主題,
    主旨, 제목, ämne, emne, aihe, předmět, predmet, konu, tárgy, subiect, θέμα, الموضوع, موضوع, chủ đề,
    perihal, subjek,
    เรื่อง, zadeva, teema, temats, tema,
    """)
_OTHER = listed("""
    cc, bcc, ccn, cco, cci, kopie, kopie an, copie, copie à, cópia, copia, dw, udw, do wiadomości,
    копия, копія,
    עותק, 抄送, 副本, 密件抄送, 참조, kopia, kopi, kopio, bilgi, másolat, másolatot kap, κοιν.,
    κοινοποίηση, نسخة, نسخة إلى,
    reply-to, reply to, antwort an, antwort-an, répondre à, responder a, rispondi a, antwoord aan,
    ответить на,
    importance, wichtigkeit, priorität, priority, importancia, importância, attachments, attachment, anlagen, anlage,
    pièces jointes, adjuntos, anexos, allegati, bijlagen, załączniki, вложения, 添付ファイル, 附件,
    첨부, organization,
    organisation, mailed-by, newsgroups, sensitivity,
    """)

LABELS: dict[str, str] = {
    **dict.fromkeys(_OTHER, "other"),
    **dict.fromkeys(_TO, "to"),
    **dict.fromkeys(_DATE, "date"),
    **dict.fromkeys(_SUBJECT, "subject"),
    **dict.fromkeys(_FROM, "from"),
}
"""What stands before the colon in a block of header lines, and its role."""

MAX_LABEL_CHARS = 24

ORIGINAL_MESSAGE = frozenset(
    listed("""
    algkiri, algne kiri, alkuperäinen viesti, antwort nachricht, asıl mesaj, correo original, courriel initial,
    courrier original,
    end of original message, eredeti levél, eredeti üzenet, izvirno sporočilo, izvorna poruka, mensagem original,
    mensaje de origen, mensaje original, mensaxe orixinal, mesaj iniţial, mesaj inițial, mesaj original,
    mesajul original, mesazhi origjinal, message d'origine, message d’origine, message initial, message original,
    messaggio original, messaggio originale, missatge original, oorspronkelijk bericht, oorspronkelijke bericht,
    opphavleg melding, opprinnelig e-post, opprinnelig melding, oprindelig besked, oprindelig meddelelse,
    original appointment, original besked, original e-mail, original email, original mail, original meddelande,
    original meddelelse, original melding, original message, original nachricht, original text, original-mail,
    original-nachricht, originalmail, originalmeddelande, originalmeldung, originalna poruka, originalnachricht,
    originalus tekstas, origineel bericht, orijinal ileti, orijinal mesaj, orizjineel berjocht, oryginalna wiadomość,
    pesan asli, previous message, pôvodná správa, původní e-mail, původní zpráva, reply message,
    sākotnējā ziņa,
    thư gốc, tin nhắn gốc, treść oryginalnej wiadomości, upprunaleg skilaboð, urspruengliche nachricht,
    ursprungligt meddelande, ursprungsmeddelande, ursprüngliche nachricht, ursprünglicher termin,
    wiadomość oryginalna, wiadomość pierwotna, your original message, özgün ileti, αρχικό μήνυμα,
    πρωτότυπο μήνυμα,
    вихідне повідомлення, зыходны ліст, исходное письмо,
    исходное сообщение, оригинална порука, оригинално писмо,
    оригинальное сообщение, оригінальне повідомлення,
    первоначальное сообщение, початкове повідомлення,
    ההודעה המקורית, הודעה מקורית, الرسالة الأصلية, الرسالة الأصليَّة, رسالة أصلية, پیام نخستین, オリジナル メッセージ,
    オリジナルメッセージ, 元のメッセージ, 元のメール, 元メール, 原始信件, 原始消息, 原始訊息, 原始邮件,
    原始邮件信息, 原始郵件, 原邮件, 回复的原邮件, 回复的邮件, 回覆的原郵件, 転送元, 邮件原件,
    원본 메시지, 원본 메일, 원본메시지,
    """)
)
"""What stands between dashes above a quoted message."""

PROCESSED_BY = "original message processed by "
"""What Tobit David puts above a quoted message, without dashes."""

FORWARDED = re.compile(
    one_of(r"""
    forward|weitergeleitet|weiterleit|transf[ée]r|r[ée]exp[ée]di|fait suivre|reenv[íi]|reencaminh|encaminhad
    inoltrat|doorgestuur|doorgezonden|przekazan|przesłan|пересла|пересыл|пересил
    перенаправл|שהועבר|הועבר|מועבר|転送
    转发|轉寄|轉發|전달|vidarebefor|proslije|prosled|posredovan|препратен|проследен
    videresend|välitet|edelleenl|přeposl
    přepos|preposl|ileti\w|yönlendiril|továbbít|redirec|προωθ|توجيه|محولة|chuyển tiếp|diteruskan
    """)
)
"""What a forward's mark contains."""

FORWARD_BEGINS = re.compile(
    one_of(r"""
    begin|start|forwarded message|anfang|beginn|début|inicio|início|inizio|początek|начало|početak
    začátek|začiatok
    välitetty|vidare|påbörja|indledning|започ|början|έναρξη|αρχή|kezdete|továbbított|începe
    inceput|iletilen|bắt đầu
    転送|转发|下面是|以下是|전달된|תחילת|تحويل|بدء|doorgestuurd|mulai|---
    """)
)
"""How a forward's mark begins where it is a phrase without dashes (Apple's)."""

_FORWARD_MARKS = one_of(r"""
    fwd?|wg|wtr|tr|rv|enc|i|inoltro|doorst|pd|vb|vl|ilt|yml|továbbítás|προωθ|пересл|fs
    továbbítva|הועבר|转发|轉寄|轉發|転送
    전달
    """)
FORWARD_SUBJECT = re.compile(rf"\s*(?:{_FORWARD_MARKS})\s?(?:\[\d{{1,3}}\])?\s?[:：]")
"""A subject that says the mail is a forward: its header block introduces what is meant to be read."""

_WITHIN = one_of(r"""
    inline|in-line|in line below
    (?:answers?|comments?|repl(?:y|ies)|responses?) (?:below|within|in (?:red|blue|green|bold|caps))
    see (?:my )?(?:answers|comments|notes) (?:below|in)
    (?:antwort(?:en)?|anmerkung(?:en)?|kommentare?) (?:unten|im text|in (?:rot|blau|grün))|siehe (?:unten|im text)
    r[ée]ponses? (?:ci-dessous|dans le texte|en (?:rouge|bleu|vert))|respuestas? (?:abajo|en (?:rojo|azul|verde))
    respostas? (?:abaixo|em (?:vermelho|azul))|rispost[ae] (?:sotto|in (?:rosso|blu))
    antwoord(?:en)? (?:hieronder|in het (?:rood|blauw))|odpowied(?:ź|zi) (?:poniżej|na czerwono)
    ответы? (?:ниже|красным|в тексте)
    """)
ANSWERS_WITHIN = re.compile(rf"\b(?:{_WITHIN})\b")
"""New words that say: the answers stand within the quoted text."""

ABOVE = listed("""
    above, oberhalb, über diese, au-dessus, ci-dessus, encima, arriba, acima, sopra, boven, powyżej,
    выше, вище, מעל,
    より上, の上, 上方, 之上, 以上, 위에, ovanför, ovenfor, over denne, yläpuol, nad t, nad ř, üst, fölé,
    deasupra, πάνω, فوق,
    над ,
    """)
LINE = listed("""
    line, zeile, linie, ligne, línea, linea, linha, riga, regel, lijn, linia, linii, linią, wiersz,
    строк, черт,
    лини, рядк, лінії, שורה, קו, 行, 線, 线, 줄, 선, rad, linj, rivi, řád, satır, çizgi, sor,
    vonal, γραμμή, السطر, الخط,
    """)
REPLY = listed("""
    reply, respond, type, write, digit, tecle, insert, saisi, eingeb, הקלד, כתוב, введ, 输入, 輸入, 회신,
    antwort, schreib,
    répond, répons, écri, respon, respuest, escrib, repl, rispond, rispost, scriv, antwoord, beantwoord, typ,
    odpowie, odpis, wpisz, ответ, відпов, השב, תגוב, להגיב, 返信, 入力, 回复, 回覆, 答复, 답장,
    svar, skriv, vasta, kirjoita,
    odpověz, odpovì, yanıt, cevap, yaz, válasz, răspun, απάντ, απαντ, الرد, رد, kirjoit,
    """)
"""A line with a word of each of the three is a helpdesk's "please reply above this line"."""
