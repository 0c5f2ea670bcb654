"""What customers and their mail programs write in twelve languages: the words that `make_replies.py` composes.

Texts are made up for this project; the programs' own phrases (attributions, labels, footers) are facts about them.
In the attributions `{n}` is the sender's name and `{a}` the address.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """One language. Lists go by the three dates 2024-05-06 10:30, 2023-12-22 16:05 and 2025-02-13 09:07."""

    new: tuple[tuple[str, ...], ...]
    old: tuple[tuple[str, ...], ...]
    name: str
    gmail: tuple[str, str, str]
    apple: tuple[str, str, str]
    thunderbird: tuple[str, str, str]
    yahoo: tuple[str, str, str]
    proton: tuple[str, str, str]
    labels: tuple[str, str, str, str]
    outlook_dates: tuple[str, str, str]
    original: str
    samsung: tuple[str, str, str, str, str]
    iphone: str
    outlook_mobile: str
    galaxy: str
    above: str


D = ("06.05.2024", "22.12.2023", "13.02.2025")

WORDS = {
    "en": Words(
        new=(
            ("Hi,", "yes, the blue one please. Could you also send me an invoice?", "Thanks,\nAnna"),
            ("Thank you, that worked.",),
            ("Hello again,", "it still has not arrived. My number is 4711, ordered on 2 May.", "What can we do?"),
        ),
        old=(
            ("Hello Anna,", "thank you for your message. Which colour would you like?", "Kind regards\nThe shop"),
            ("Please restart the device and try again.", "Your support team"),
            ("Your order has left our warehouse.", "Tracking number: 12345"),
        ),
        name="Garden Shop",
        gmail=(
            "On Mon, May 6, 2024 at 10:30 AM {n} <{a}> wrote:",
            "On Fri, 22 Dec 2023 at 16:05, {n} <{a}> wrote:",
            "On Thu, Feb 13, 2025 at 9:07 AM {n} <{a}> wrote:",
        ),
        apple=(
            "On May 6, 2024, at 10:30 AM, {n} <{a}> wrote:",
            "On 22 Dec 2023, at 16:05, {n} <{a}> wrote:",
            "On 13 Feb 2025, at 9:07 am, {n} <{a}> wrote:",
        ),
        thunderbird=(
            "On 5/6/24 10:30, {n} wrote:",
            "On 22/12/2023 16:05, {n} wrote:",
            "On 2025-02-13 09:07, {n} wrote:",
        ),
        yahoo=(
            "On Monday, May 6, 2024 at 10:30:12 AM GMT+2, {n} <{a}> wrote:",
            "On Friday, 22 December 2023 at 16:05:44 GMT, {n} <{a}> wrote:",
            "On Thursday, February 13, 2025, 9:07 AM, {n} <{a}> wrote:",
        ),
        proton=(
            "On Monday, May 6th, 2024 at 10:30 AM, {n} <{a}> wrote:",
            "On Friday, December 22nd, 2023 at 16:05, {n} <{a}> wrote:",
            "On Thursday, 13 February 2025 at 09:07, {n} <{a}> wrote:",
        ),
        labels=("From:", "Sent:", "To:", "Subject:"),
        outlook_dates=(
            "Monday, May 6, 2024 10:30 AM",
            "22 December 2023 16:05",
            "Thursday, 13 February 2025 at 09:07",
        ),
        original="-----Original Message-----",
        samsung=("-------- Original message --------", "From:", "Date:", "To:", "Subject:"),
        iphone="Sent from my iPhone",
        outlook_mobile="Get Outlook for iOS",
        galaxy="Sent from my Galaxy",
        above="##- Please type your reply above this line -##",
    ),
    "de": Words(
        new=(
            ("Guten Tag,", "ja, bitte die blaue. Können Sie mir auch eine Rechnung schicken?", "Viele Grüße\nAnna"),
            ("Danke, das hat geklappt.",),
            ("Hallo nochmal,", "sie ist immer noch nicht da. Nummer 4711, bestellt am 2. Mai.", "Was machen wir nun?"),
        ),
        old=(
            (
                "Hallo Anna,",
                "vielen Dank für Ihre Nachricht. Welche Farbe soll es sein?",
                "Freundliche Grüße\nIhr Laden",
            ),
            ("Bitte starten Sie das Gerät neu und versuchen Sie es noch einmal.", "Ihr Support"),
            ("Ihre Bestellung hat unser Lager verlassen.", "Sendungsnummer: 12345"),
        ),
        name="Gartenladen Müller",
        gmail=(
            "Am Mo., 6. Mai 2024 um 10:30 Uhr schrieb {n} <{a}>:",
            "Am Fr., 22. Dez. 2023 um 16:05 Uhr schrieb {n} <{a}>:",
            "{n} <{a}> schrieb am Do., 13. Feb. 2025, 09:07:",
        ),
        apple=(
            "Am 06.05.2024 um 10:30 schrieb {n} <{a}>:",
            "Am 22.12.2023 um 16:05 schrieb {n} <{a}>:",
            "Am 13.02.2025 um 09:07 schrieb {n} <{a}>:",
        ),
        thunderbird=(
            "Am 06.05.24 um 10:30 schrieb {n}:",
            "Am 22.12.2023 um 16:05 schrieb {n}:",
            "Am 13.02.25 um 09:07 schrieb {n} via Kundendienst:",
        ),
        yahoo=(
            "Am Montag, 6. Mai 2024 um 10:30:12 MESZ hat {n} <{a}> Folgendes geschrieben:",
            "Am Freitag, 22. Dezember 2023, 16:05:44 MEZ hat {n} <{a}> Folgendes geschrieben:",
            "{n} <{a}> schrieb am 9:07 Donnerstag, 13.Februar 2025:",
        ),
        proton=(
            "Am Montag, 6. Mai 2024 um 10:30, schrieb {n} <{a}>:",
            "{n} <{a}> schrieb am Freitag, 22. Dezember 2023 um 16:05:",
            "Am Donnerstag, 13. Februar 2025 um 09:07, schrieb {n} <{a}>:",
        ),
        labels=("Von:", "Gesendet:", "An:", "Betreff:"),
        outlook_dates=(
            "Montag, 6. Mai 2024 10:30",
            "Freitag, 22. Dezember 2023 16:05",
            "Donnerstag, 13. Februar 2025 09:07",
        ),
        original="-----Ursprüngliche Nachricht-----",
        samsung=("-------- Ursprüngliche Nachricht --------", "Von:", "Datum:", "An:", "Betreff:"),
        iphone="Von meinem iPhone gesendet",
        outlook_mobile="Holen Sie sich Outlook für iOS",
        galaxy="Von meinem/meiner Galaxy gesendet",
        above="##- Bitte geben Sie Ihre Antwort über dieser Zeile ein. -##",
    ),
    "fr": Words(
        new=(
            ("Bonjour,", "oui, la bleue s'il vous plaît. Pourriez-vous m'envoyer une facture ?", "Merci,\nAnne"),
            ("Merci, cela fonctionne.",),
            ("Rebonjour,", "rien n'est arrivé : commande 4711, passée le 2 mai.", "Que faire ?"),
        ),
        old=(
            ("Bonjour Anne,", "merci de votre message. Quelle couleur souhaitez-vous ?", "Cordialement\nLa boutique"),
            ("Veuillez redémarrer l'appareil et réessayer.", "Votre service client"),
            ("Votre commande a quitté notre entrepôt.", "Numéro de suivi : 12345"),
        ),
        name="Boutique du Jardin",
        gmail=(
            "Le lun. 6 mai 2024 à 10:30, {n} <{a}> a écrit :",
            "Le ven. 22 déc. 2023 à 16:05, {n} <{a}> a\xa0écrit\xa0:",
            "Le jeu. 13 févr. 2025, 09:07, {n} <{a}> a écrit :",
        ),
        apple=(
            "Le 6 mai 2024 à 10:30, {n} <{a}> a écrit :",
            "Le 22 déc. 2023 à 16:05, {n} <{a}> a écrit :",
            "Le 13 févr. 2025 à 09:07, {n} <{a}> a écrit :",
        ),
        thunderbird=(
            "Le 06/05/2024 à 10:30, {n} a écrit\xa0:",
            "Le 22/12/2023 à 16:05, {n} a écrit :",
            "Le 13/02/2025 à 09:07, {n} a écrit\xa0:",
        ),
        yahoo=(
            "Le lundi 6 mai 2024 à 10:30:12 UTC+2, {n} <{a}> a écrit :",
            "Le vendredi 22 décembre 2023 à 16:05:44 UTC+1, {n} <{a}> a écrit :",
            "Le jeudi 13 février 2025 à 09:07, {n} <{a}> a écrit :",
        ),
        proton=(
            "Le lundi 6 mai 2024 à 10:30, {n} <{a}> a écrit :",
            "Le vendredi 22 décembre 2023 à 16:05, {n} <{a}> a écrit :",
            "Le jeudi 13 février 2025 à 09:07, {n} <{a}> a écrit :",
        ),
        labels=("De :", "Envoyé :", "À :", "Objet :"),
        outlook_dates=("lundi 6 mai 2024 10:30", "vendredi 22 décembre 2023 16:05", "jeudi 13 février 2025 09:07"),
        original="-----Message d'origine-----",
        samsung=("-------- Message d'origine --------", "De :", "Date :", "À :", "Objet :"),
        iphone="Envoyé de mon iPhone",
        outlook_mobile="Obtenez Outlook pour iOS",
        galaxy="Envoyé depuis mon appareil Galaxy",
        above="##- Veuillez saisir votre réponse au-dessus de cette ligne -##",
    ),
    "es": Words(
        new=(
            ("Hola:", "sí, la azul, por favor. ¿Me podrían enviar también la factura?", "Gracias,\nAna"),
            ("Gracias, ya funciona.",),
            ("Hola de nuevo:", "todavía no ha llegado. Es el pedido 4711, del 2 de mayo.", "¿Qué hacemos?"),
        ),
        old=(
            ("Hola, Ana:", "gracias por su mensaje. ¿Qué color prefiere?", "Un saludo\nLa tienda"),
            ("Por favor, reinicie el aparato e inténtelo otra vez.", "Su equipo de soporte"),
            ("Su pedido ha salido de nuestro almacén.", "Número de seguimiento: 12345"),
        ),
        name="Tienda del Jardín",
        gmail=(
            "El lun, 6 may 2024 a las 10:30, {n} (<{a}>) escribió:",
            "El vie., 22 dic. 2023 16:05, {n} <{a}> escribió:",
            "El jue, 13 feb 2025 a la(s) 9:07 a.m., {n} ({a}) escribió:",
        ),
        apple=(
            "El 6 may 2024, a las 10:30, {n} <{a}> escribió:",
            "El 22 dic 2023, a las 16:05, {n} <{a}> escribió:",
            "El 13 feb 2025, a la(s) 9:07 a.m., {n} <{a}> escribió:",
        ),
        thunderbird=(
            "El 6/5/24 a las 10:30, {n} escribió:",
            "El 22/12/2023 a las 16:05, {n} escribió:",
            "El 13/2/25 a las 9:07, {n} escribió:",
        ),
        yahoo=(
            "El lunes, 6 de mayo de 2024, 10:30:12 CEST, {n} <{a}> escribió:",
            "El viernes, 22 de diciembre de 2023, 16:05:44 CET, {n} <{a}> escribió:",
            "En jueves, 13 de febrero de 2025, 09:07:00 GMT-6, {n} <{a}> escribió:",
        ),
        proton=(
            "El lunes, 6 de mayo de 2024 a las 10:30, {n} <{a}> escribió:",
            "El viernes, 22 de diciembre de 2023 a las 16:05, {n} <{a}> escribió:",
            "El jueves, 13 de febrero de 2025 a las 9:07, {n} <{a}> escribió:",
        ),
        labels=("De:", "Enviado:", "Para:", "Asunto:"),
        outlook_dates=(
            "lunes, 6 de mayo de 2024 10:30",
            "viernes, 22 de diciembre de 2023 16:05",
            "jueves, 13 de febrero de 2025 9:07",
        ),
        original="-----Mensaje original-----",
        samsung=("-------- Mensaje original --------", "De:", "Fecha:", "A:", "Asunto:"),
        iphone="Enviado desde mi iPhone",
        outlook_mobile="Obtener Outlook para iOS",
        galaxy="Enviado desde mi Galaxy",
        above="##- Por favor, escriba su respuesta por encima de esta línea. -##",
    ),
    "pt": Words(
        new=(
            ("Olá,", "sim, a azul, por favor. Podem enviar também a fatura?", "Obrigada,\nAna"),
            ("Obrigada, agora funciona.",),
            ("Olá outra vez,", "ainda não chegou. É o pedido 4711, feito em 2 de maio.", "O que fazemos?"),
        ),
        old=(
            ("Olá, Ana,", "obrigado pela sua mensagem. Qual cor prefere?", "Atenciosamente\nA loja"),
            ("Por favor, reinicie o aparelho e tente outra vez.", "A sua equipa de apoio"),
            ("O seu pedido saiu do nosso armazém.", "Número de rastreio: 12345"),
        ),
        name="Loja do Jardim",
        gmail=(
            "Em seg., 6 de mai. de 2024 às 10:30, {n} <{a}> escreveu:",
            "{n} <{a}> escreveu (sexta, 22/12/2023 à(s) 16:05):",
            "Em qui., 13 de fev. de 2025, 09:07, {n} <{a}> escreveu:",
        ),
        apple=(
            "Em 6 de mai. de 2024, à(s) 10:30, {n} <{a}> escreveu:",
            "Em 22 de dez. de 2023, à(s) 16:05, {n} <{a}> escreveu:",
            "No dia 13/02/2025, às 09:07, {n} <{a}> escreveu:",
        ),
        thunderbird=(
            "Em 06/05/2024 10:30, {n} escreveu:",
            "Às 16:05 de 22/12/2023, {n} escreveu:",
            "Em 13/02/2025 09:07, {n} escreveu:",
        ),
        yahoo=(
            "Em segunda-feira, 6 de maio de 2024 às 10:30:12 BRT, {n} <{a}> escreveu:",
            "Em sexta-feira, 22 de dezembro de 2023 16:05:44 BRT, {n} <{a}> escreveu:",
            "Em quinta-feira, 13 de fevereiro de 2025 às 09:07:00 WET, {n} <{a}> escreveu:",
        ),
        proton=(
            "Em segunda-feira, 6 de maio de 2024 às 10:30, {n} <{a}> escreveu:",
            "A sexta-feira, 22 de dezembro de 2023 às 16:05, {n} <{a}> escreveu:",
            "Em quinta-feira, 13 de fevereiro de 2025 às 09:07, {n} <{a}> escreveu:",
        ),
        labels=("De:", "Enviado:", "Para:", "Assunto:"),
        outlook_dates=(
            "segunda-feira, 6 de maio de 2024 10:30",
            "22 de dezembro de 2023 16:05",
            "quinta-feira, 13 de fevereiro de 2025 09:07",
        ),
        original="-----Mensagem original-----",
        samsung=("-------- Mensagem original --------", "De:", "Data:", "Para:", "Assunto:"),
        iphone="Enviado do meu iPhone",
        outlook_mobile="Obter o Outlook para iOS",
        galaxy="Enviado do meu Galaxy",
        above="##- Digite sua resposta acima desta linha -##",
    ),
    "it": Words(
        new=(
            ("Buongiorno,", "sì, quella blu, per favore. Potete mandarmi anche la fattura?", "Grazie,\nAnna"),
            ("Grazie, ora funziona.",),
            ("Salve,", "non è ancora arrivato. È l'ordine 4711 del 2 maggio.", "Che cosa facciamo?"),
        ),
        old=(
            ("Gentile Anna,", "grazie del messaggio. Quale colore desidera?", "Cordiali saluti\nIl negozio"),
            ("Riavvii il dispositivo e riprovi, per favore.", "Il suo servizio clienti"),
            ("Il suo ordine ha lasciato il nostro magazzino.", "Numero di spedizione: 12345"),
        ),
        name="Negozio del Giardino",
        gmail=(
            "Il giorno lun 6 mag 2024 alle ore 10:30 {n} <{a}> ha scritto:",
            "Il ven 22 dic 2023, 16:05 {n} <{a}> ha scritto:",
            "Il giorno gio 13 feb 2025 alle 09:07 {n} <{a}> ha scritto:",
        ),
        apple=(
            "Il giorno 6 mag 2024, alle ore 10:30, {n} <{a}> ha scritto:",
            "Il giorno 22 dic 2023, alle ore 16:05, {n} <{a}> ha scritto:",
            "Il giorno 13 feb 2025, alle ore 09:07, {n} <{a}> ha scritto:",
        ),
        thunderbird=(
            "Il 06/05/2024 10:30, {n} ha scritto:",
            "Il 22/12/2023 16:05, {n} ha scritto:",
            "Il 13/02/25 09:07, {n} ha scritto:",
        ),
        yahoo=(
            "Il lunedì 6 maggio 2024 alle ore 10:30:12 CEST, {n} <{a}> ha scritto:",
            "Il venerdì 22 dicembre 2023 alle ore 16:05:44 CET, {n} <{a}> ha scritto:",
            "Il giovedì 13 febbraio 2025 09:07:00 CET, {n} <{a}> ha scritto:",
        ),
        proton=(
            "Il lunedì 6 maggio 2024 alle 10:30, {n} <{a}> ha scritto:",
            "Il venerdì 22 dicembre 2023 alle 16:05, {n} <{a}> ha scritto:",
            "Il giovedì 13 febbraio 2025 alle 09:07, {n} <{a}> ha scritto:",
        ),
        labels=("Da:", "Inviato:", "A:", "Oggetto:"),
        outlook_dates=(
            "lunedì 6 maggio 2024 10:30",
            "venerdì 22 dicembre 2023 16:05",
            "giovedì 13 febbraio 2025 09:07",
        ),
        original="-----Messaggio originale-----",
        samsung=("-------- Messaggio originale --------", "Da:", "Data:", "A:", "Oggetto:"),
        iphone="Inviato da iPhone",
        outlook_mobile="Ottieni Outlook per iOS",
        galaxy="Inviato dal mio Galaxy",
        above="##- Scrivere la risposta sopra questa riga -##",
    ),
    "nl": Words(
        new=(
            ("Hallo,", "ja, graag de blauwe. Kunt u mij ook een factuur sturen?", "Bedankt,\nAnna"),
            ("Dank u, het werkt nu.",),
            ("Hallo weer,", "het is er nog steeds niet. Het is bestelling 4711, van 2 mei.", "Wat doen we?"),
        ),
        old=(
            ("Beste Anna,", "bedankt voor uw bericht. Welke kleur wilt u?", "Met vriendelijke groet\nDe winkel"),
            ("Start het apparaat opnieuw op en probeer het nog eens.", "Uw klantenservice"),
            ("Uw bestelling heeft ons magazijn verlaten.", "Volgnummer: 12345"),
        ),
        name="Tuinwinkel",
        gmail=(
            "Op ma 6 mei 2024 om 10:30 schreef {n} <{a}>:",
            "Op vr 22 dec. 2023 16:05 schreef {n} <{a}>:",
            "Op do 13 feb 2025 om 09:07 schreef {n} <{a}>:",
        ),
        apple=(
            "Op 6 mei 2024, om 10:30 heeft {n} <{a}> het volgende geschreven:",
            "Op 22 dec. 2023 om 16:05 heeft {n} <{a}> het volgende geschreven:",
            "Op 13 feb 2025 om 09:07 heeft {n} <{a}> het volgende geschreven:",
        ),
        thunderbird=(
            "Op 6-5-2024 om 10:30 schreef {n}:",
            "Op 22-12-2023 om 16:05 schreef {n}:",
            "Op 13-02-2025 om 09:07 schreef {n}:",
        ),
        yahoo=(
            "Op maandag 6 mei 2024 om 10:30:12 CEST schreef {n} <{a}>:",
            "Op vrijdag 22 december 2023 16:05:44 CET schreef {n} <{a}>:",
            "Op donderdag 13 februari 2025 om 09:07:00 CET schreef {n} <{a}>:",
        ),
        proton=(
            "Op maandag 6 mei 2024 om 10:30 schreef {n} <{a}>:",
            "Op vrijdag 22 december 2023 om 16:05 schreef {n} <{a}>:",
            "Op donderdag 13 februari 2025 om 09:07 schreef {n} <{a}>:",
        ),
        labels=("Van:", "Verzonden:", "Aan:", "Onderwerp:"),
        outlook_dates=(
            "maandag 6 mei 2024 10:30",
            "vrijdag 22 december 2023 16:05",
            "donderdag 13 februari 2025 09:07",
        ),
        original="-----Oorspronkelijk bericht-----",
        samsung=("-------- Oorspronkelijk bericht --------", "Van:", "Datum:", "Aan:", "Onderwerp:"),
        iphone="Verstuurd vanaf mijn iPhone",
        outlook_mobile="Outlook voor iOS downloaden",
        galaxy="Verzonden vanaf mijn Galaxy",
        above="##- Typ uw antwoord boven deze regel -##",
    ),
    "pl": Words(
        new=(
            ("Dzień dobry,", "tak, poproszę niebieską. Czy mogę dostać też fakturę?", "Dziękuję,\nAnna"),
            ("Dziękuję, już działa.",),
            ("Witam ponownie,", "nadal nic nie przyszło. To zamówienie 4711 z 2 maja.", "Co robimy?"),
        ),
        old=(
            ("Dzień dobry, Pani Anno,", "dziękujemy za wiadomość. Jaki kolor?", "Z poważaniem\nSklep"),
            ("Proszę uruchomić urządzenie ponownie i spróbować jeszcze raz.", "Dział obsługi"),
            ("Zamówienie opuściło nasz magazyn.", "Numer przesyłki: 12345"),
        ),
        name="Sklep Ogrodowy",
        gmail=(
            "pon., 6 maj 2024 o 10:30 {n} <{a}> napisał(a):",
            "pt., 22 gru 2023 o 16:05 {n} <{a}> napisał(a):",
            "czw., 13 lut 2025, 09:07 użytkownik {n} <{a}> napisał:",
        ),
        apple=(
            "Wiadomość napisana przez {n} <{a}> w dniu 06.05.2024, o godz. 10:30:",
            "W dniu 22 gru 2023 o godz. 16:05 użytkownik {n} <{a}> napisał:",
            "Dnia 13 lut 2025 o godz. 09:07 {n} <{a}> napisał(a):",
        ),
        thunderbird=(
            "W dniu 6.05.2024 o 10:30, {n} pisze:",
            "W dniu 22.12.2023 o 16:05, {n} pisze:",
            "W dniu 2025-02-13 o 09:07, {n} pisze:",
        ),
        yahoo=(
            "W dniu poniedziałek, 6 maja 2024 10:30:12 CEST użytkownik {n} <{a}> napisał:",
            "W dniu piątek, 22 grudnia 2023 16:05:44 CET {n} <{a}> napisał(a):",
            "W dniu czwartek, 13 lutego 2025 09:07:00 CET użytkownik {n} <{a}> napisał:",
        ),
        proton=(
            "W dniu poniedziałek, 6 maja 2024 o 10:30, {n} <{a}> napisał(a):",
            "W dniu piątek, 22 grudnia 2023 o 16:05 {n} <{a}> napisał(a):",
            "czwartek, 13 lutego 2025 o 09:07, {n} <{a}> napisał(a):",
        ),
        labels=("Od:", "Wysłano:", "Do:", "Temat:"),
        outlook_dates=(
            "poniedziałek, 6 maja 2024 10:30",
            "piątek, 22 grudnia 2023 16:05",
            "czwartek, 13 lutego 2025 09:07",
        ),
        original="-----Wiadomość oryginalna-----",
        samsung=("-------- Oryginalna wiadomość --------", "Od:", "Data:", "Do:", "Temat:"),
        iphone="Wysłane z iPhone’a",
        outlook_mobile="Pobierz program Outlook dla systemu iOS",
        galaxy="Wysłano z mojego urządzenia Galaxy",
        above="##- Wpisz swoją odpowiedź powyżej tej linii -##",
    ),
    "ru": Words(
        new=(
            ("Здравствуйте,", "да, пожалуйста, синюю. Можно ещё прислать счёт?", "Спасибо,\nАнна"),
            ("Спасибо, заработало.",),
            ("Добрый день ещё раз,", "заказ так и не пришёл. Номер 4711, от 2 мая.", "Что будем делать?"),
        ),
        old=(
            ("Здравствуйте, Анна!", "Спасибо за сообщение. Какой цвет вы хотите?", "С уважением\nМагазин"),
            ("Пожалуйста, перезапустите устройство и попробуйте ещё раз.", "Служба поддержки"),
            ("Ваш заказ покинул наш склад.", "Номер отправления: 12345"),
        ),
        name="Садовый магазин",
        gmail=(
            "пн, 6 мая 2024 г. в 10:30, {n} <{a}>:",
            "пт, 22 дек. 2023 г. в 16:05, {n} <{a}>:",
            "чт, 13 февр. 2025 г., 09:07 {n} <{a}>:",
        ),
        apple=(
            "6 мая 2024 г., в 10:30, {n} <{a}> написал(а):",
            "22 дек. 2023 г., в 16:05, {n} <{a}> написал(а):",
            "13 февр. 2025 г., в 09:07, {n} <{a}> написал(а):",
        ),
        thunderbird=("06.05.2024 10:30, {n} пишет:", "22.12.2023 16:05, {n} пишет:", "13.02.25 09:07, {n} пишет:"),
        yahoo=(
            "В понедельник, 6 мая 2024 г., 10:30:12 GMT+3, {n} <{a}> написал(-а):",
            "пятница, 22 декабря 2023 г., 16:05:44 GMT+3, {n} <{a}> написал(а):",
            "В четверг, 13 февраля 2025 г. в 09:07:00 GMT+3 {n} <{a}> написал:",
        ),
        proton=(
            "понедельник, 6 мая 2024 г. в 10:30, {n} <{a}> написал(а):",
            "В пятницу, 22 декабря 2023 г. в 16:05, {n} <{a}> написал:",
            "четверг, 13 февраля 2025 г. в 09:07, {n} <{a}> написал(а):",
        ),
        labels=("От:", "Отправлено:", "Кому:", "Тема:"),
        outlook_dates=("6 мая 2024 г. 10:30", "пятница, 22 декабря 2023 г. 16:05", "13 февраля 2025 г. 9:07"),
        original="-----Исходное сообщение-----",
        samsung=("-------- Исходное сообщение --------", "От:", "Дата:", "Кому:", "Тема:"),
        iphone="Отправлено с iPhone",
        outlook_mobile="Получить Outlook для iOS",
        galaxy="Отправлено с моего Galaxy",
        above="##- Пожалуйста, введите ваш ответ над этой линией -##",
    ),
    "he": Words(
        new=(
            ("שלום,", "כן, את הכחולה בבקשה. אפשר לקבל גם חשבונית?", "תודה,\nענת"),
            ("תודה, זה עובד.",),
            ("שלום שוב,", "זה עדיין לא הגיע. הזמנה 4711 מיום 2 במאי.", "מה עושים?"),
        ),
        old=(
            ("שלום ענת,", "תודה על פנייתך. איזה צבע תרצי?", "בברכה\nהחנות"),
            ("נא להפעיל מחדש את המכשיר ולנסות שוב.", "צוות התמיכה"),
            ("ההזמנה שלך יצאה מהמחסן.", "מספר מעקב: 12345"),
        ),
        name="חנות הגינה",
        gmail=(
            "\u202bבתאריך יום ב׳, 6 במאי 2024 ב-10:30 מאת \u202a{n}\u202c\u200f <\u202a{a}\u202c\u200f>:\u202c",
            "\u202bבתאריך יום ו׳, 22 בדצמ׳ 2023 ב-16:05 מאת \u202a{n}\u202c\u200f <\u202a{a}\u202c\u200f>:\u202c",
            "בתאריך יום ה׳, 13 בפבר׳ 2025, 09:07, מאת {n} <{a}>:",
        ),
        apple=(
            "ב-6 במאי 2024, בשעה 10:30, \u200f{n} <{a}> כתב/ה:",
            "ב-22 בדצמ׳ 2023, בשעה 16:05, {n} <{a}> כתב/ה:",
            "בתאריך 13 בפבר׳ 2025, בשעה 9:07, {n} <{a}> כתב/ה:",
        ),
        thunderbird=(
            "ב־06/05/2024 בשעה 10:30, {n} כתב:",
            "בתאריך 22/12/2023 16:05, {n} כתב:",
            "בתאריך 13/02/2025 בשעה 09:07, {n} כתב/ה:",
        ),
        yahoo=(
            "ב-יום שני, 6 במאי 2024 בשעה 10:30:12 GMT+3, {n} <{a}> כתב/ה:",
            "ביום שישי, 22 בדצמבר 2023, 16:05:44 GMT+2, {n} <{a}> כתב/ה:",
            "ב-יום חמישי, 13 בפברואר 2025 בשעה 09:07:00 GMT+2, {n} <{a}> כתב:",
        ),
        proton=(
            "ב-יום שני, 6 במאי 2024 בשעה 10:30, {n} <{a}> כתב/ה:",
            "On Friday, December 22nd, 2023 at 16:05, {n} <{a}> wrote:",
            "ביום חמישי, 13 בפברואר 2025 בשעה 9:07, {n} <{a}> כתב/ה:",
        ),
        labels=("מאת:", "נשלח:", "אל:", "נושא:"),
        outlook_dates=("יום שני 06 מאי 2024 10:30", "יום שישי, 22 דצמבר 2023 16:05", "יום חמישי, 13 פברואר 2025 09:07"),
        original="-----הודעה מקורית-----",
        samsung=("-------- הודעה מקורית --------", "מאת:", "תאריך:", "אל:", "נושא:"),
        iphone="נשלח מה-iPhone שלי",
        outlook_mobile="השג את Outlook עבור iOS",
        galaxy="נשלח מה-Galaxy שלי",
        above="##- אנא הקלד את תשובתך מעל שורה זו -##",
    ),
    "ja": Words(
        new=(
            (
                "お世話になっております。",
                "はい、青でお願いします。請求書もいただけますか。",
                "よろしくお願いいたします。\n山田 花子",
            ),
            ("ありがとうございます。解決しました。",),
            (
                "何度もすみません。",
                "まだ届いていません。注文番号は4711、5月2日の注文です。",
                "どうすればよいでしょうか。",
            ),
        ),
        old=(
            ("山田様", "お問い合わせありがとうございます。ご希望の色をお知らせください。", "ガーデンショップ"),
            ("機器を再起動して、もう一度お試しください。", "サポート担当"),
            ("ご注文の商品を発送しました。", "追跡番号：12345"),
        ),
        name="ガーデンショップ",
        gmail=(
            "2024年5月6日(月) 10:30 {n} <{a}>:",
            "2023年12月22日(金) 16:05 {n} <{a}>:",
            "2025年2月13日(木) 9:07 {n} <{a}>:",
        ),
        apple=(
            "2024/05/06 10:30、{n} <{a}>のメール:",
            "2023/12/22 16:05、{n} <{a}>のメール：",
            "2025年2月13日 9:07、{n} <{a}>のメール:",
        ),
        thunderbird=(
            "On 2024/05/06 10:30, {n} wrote:",
            "2023/12/22 16:05、{n} のメール:",
            "On 2025/02/13 9:07, {n} wrote:",
        ),
        yahoo=(
            "2024年5月6日月曜日 10:30:12 JST、{n} <{a}>さんが書きました:",
            "On Friday, December 22, 2023 at 04:05:44 PM GMT+9, {n} <{a}> wrote:",
            "2025年2月13日木曜日 9:07:00 JST、{n} <{a}>さんは書きました:",
        ),
        proton=(
            "2024年5月6日月曜日 10:30、{n} <{a}> さんは書きました:",
            "On Friday, December 22nd, 2023 at 16:05, {n} <{a}> wrote:",
            "2025年2月13日木曜日 9:07に、{n} <{a}> さんは書きました：",
        ),
        labels=("差出人:", "送信日時:", "宛先:", "件名:"),
        outlook_dates=("2024年5月6日 10:30", "2023年12月22日金曜日 16:05", "2025年2月13日 9:07"),
        original="-----Original Message-----",
        samsung=("-------- 元のメッセージ --------", "差出人:", "日付:", "宛先:", "件名:"),
        iphone="iPhoneから送信",
        outlook_mobile="Outlook for iOS を入手",
        galaxy="Galaxyから送信",
        above="##- この行より上に返信を入力してください -##",
    ),
    "zh": Words(
        new=(
            ("您好，", "对，请给我蓝色的。能否也开一张发票？", "谢谢！\n安娜"),
            ("谢谢，问题解决了。",),
            ("您好，又是我。", "还是没有收到。订单号是4711，5月2日下的单。", "怎么办呢？"),
        ),
        old=(
            ("安娜您好：", "感谢您的来信。您想要哪种颜色？", "此致\n花园商店"),
            ("请重新启动设备后再试一次。", "客服团队"),
            ("您的订单已经发货。", "运单号：12345"),
        ),
        name="花园商店",
        gmail=(
            "{n} <{a}> 于2024年5月6日周一 10:30写道：",
            "{n} <{a}> 于2023年12月22日周五 16:05写道：",
            "{n} <{a}> 於 2025年2月13日 週四 上午9:07寫道：",
        ),
        apple=(
            "2024年5月6日 10:30，{n} <{a}> 写道：",
            "在 2023年12月22日，下午4:05，{n} <{a}> 写道：",
            "{n} <{a}> 於 2025年2月13日 上午9:07 寫道：",
        ),
        thunderbird=(
            "在 2024/5/6 10:30, {n} 写道:",
            "在 2023/12/22 16:05, {n} 写道:",
            "{n} 於 2025/2/13 上午 09:07 寫道:",
        ),
        yahoo=(
            "在 2024年5月6日星期一 GMT+8 10:30:12， {n} <{a}> 写道：",
            "在 2023年12月22日星期五 GMT+8 下午4:05:44， {n} <{a}> 写道：",
            "{n} <{a}> 於 2025年2月13日 星期四 GMT+8 上午09:07:00 寫道：",
        ),
        proton=(
            "在 2024年5月6日 星期一 10:30，{n} <{a}> 写道：",
            "On Friday, December 22nd, 2023 at 16:05, {n} <{a}> wrote:",
            "在 2025年2月13日 星期四 09:07，{n} <{a}> 写道：",
        ),
        labels=("发件人:", "发送时间:", "收件人:", "主题:"),
        outlook_dates=("2024年5月6日 10:30", "2023年12月22日 16:05", "2025年2月13日 9:07"),
        original="-----邮件原件-----",
        samsung=("-------- 原始邮件 --------", "发件人：", "日期：", "收件人：", "主题："),
        iphone="发自我的iPhone",
        outlook_mobile="获取 Outlook for iOS",
        galaxy="从我的 Galaxy 发送",
        above="##- 请在此行上方输入您的回复 -##",
    ),
}
