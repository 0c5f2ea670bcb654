"""Which of the server's folders a configured name means. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

SENT = "\\Sent"

_COMMON_NAMES: Mapping[str, tuple[str, ...]] = {
    "\\sent": (
        "Sent", "Sent Items", "Sent Messages", "Sent Mail", "Sent-Mail", "Sent Objects",
        "Gesendet", "Gesendete Elemente", "Gesendete Objekte", "Gesendete Nachrichten",
        "Envoyés", "Éléments envoyés", "Messages envoyés", "Objets envoyés",
        "Enviados", "Elementos enviados", "Mensajes enviados", "Correo enviado",
        "Itens enviados", "Mensagens enviadas", "E-mails enviados",
        "Inviata", "Inviati", "Posta inviata", "Elementi inviati", "Messaggi inviati",
        "Verzonden", "Verzonden items", "Verzonden berichten",
        "Wysłane", "Elementy wysłane", "Odeslané", "Odeslaná pošta", "Odoslané", "Elküldött", "Elküldött elemek",
        "Skickat", "Skickade", "Sendt", "Sendte elementer", "Sendt post", "Lähetetyt", "Trimise", "Gönderilmiş Öğeler",
        "Gönderilenler", "Отправленные", "Надіслані", "Изпратени", "Απεσταλμένα", "נשלחו", "פריטים שנשלחו",
        "المرسلة", "البريد المرسل", "送信済み", "送信済みアイテム", "送信済みメール", "已发送", "已发送邮件", "已傳送",
        "寄件備份", "보낸 편지함", "보낸편지함", "รายการที่ส่ง", "Đã gửi", "Terkirim",
    ),
    "\\drafts": ("Drafts", "Draft", "Entwürfe", "Brouillons", "Borradores", "Rascunhos", "Bozze", "Concepten",
                 "Robocze", "Wersje robocze", "Черновики", "טיוטות", "下書き", "草稿", "草稿箱", "임시 보관함"),
    "\\junk": ("Junk", "Spam", "Junk E-mail", "Junk Email", "Bulk Mail", "Spamverdacht", "Courrier indésirable",
               "Correo no deseado", "Lixo eletrônico", "Posta indesiderata", "Ongewenste e-mail", "Wiadomości-śmieci",
               "Спам", "Нежелательная почта", "דואר זבל", "迷惑メール", "垃圾邮件", "스팸 메일함"),
    "\\trash": ("Trash", "Deleted", "Deleted Items", "Deleted Messages", "Bin", "Papierkorb", "Gelöschte Elemente",
                "Corbeille", "Éléments supprimés", "Papelera", "Elementos eliminados", "Lixeira", "Itens excluídos",
                "Cestino", "Posta eliminata", "Prullenbak", "Verwijderde items", "Kosz", "Elementy usunięte",
                "Корзина", "Удаленные", "אשפה", "ゴミ箱", "已删除", "已删除邮件", "휴지통"),
    "\\archive": ("Archive", "Archives", "Archiv", "Archivio", "Archivo", "Arquivo", "Archief", "Archiwum", "Архив",
                  "アーカイブ", "存档"),
    "\\all": ("All Mail", "Alle Nachrichten", "Tous les messages", "Todos", "Tutti i messaggi", "Вся почта",
              "すべてのメール", "所有邮件"),
    "\\flagged": ("Starred", "Flagged", "Markiert"),
}  # fmt: skip
"""Names by which servers without SPECIAL-USE (RFC 6154) call these folders, as mail programs create them."""

_XLIST_NAMES = {"\\spam": "\\junk", "\\starred": "\\flagged", "\\allmail": "\\all"}
"""Gmail's older XLIST attributes and their names in RFC 6154."""

_UNOPENABLE = {"\\noselect", "\\nonexistent"}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the server. `name` is UTF-8 and NFC, `wire` what the server wants to read, `delimiter` "" for a
    flat store, `attributes` lower-cased with their backslash."""

    name: str
    wire: bytes
    delimiter: str = ""
    attributes: frozenset[str] = frozenset()

    @property
    def can_be_opened(self) -> bool:
        """Whether it holds messages at all."""
        return not self.attributes & _UNOPENABLE

    def has_use(self, special_use: str) -> bool:
        """Whether the server says that this is its `\\Sent` (or other) folder."""
        return special_use.lower() in {_XLIST_NAMES.get(attribute, attribute) for attribute in self.attributes}


def is_special_use(name: str) -> bool:
    """Whether a configured name stands for a use instead of naming a folder."""
    return name.lower() in _COMMON_NAMES


def find_folder(name: str, folders: Sequence[Folder]) -> Folder | None:
    """The folder that a configured name means, or None.

    A special-use name goes by what the server says, then by common names. Any other name is tried as it stands, then
    with the server's own delimiter for `/` and `.`, then below the personal namespace `INBOX` (Courier's habit).
    """
    openable = [folder for folder in folders if folder.can_be_opened]
    return _by_use(name, openable) if is_special_use(name) else _by_name(name, openable)


def _by_use(name: str, folders: Sequence[Folder]) -> Folder | None:
    for folder in folders:
        if folder.has_use(name):
            return folder
    leaves = {}
    for folder in reversed(folders):
        leaf = folder.name.rsplit(folder.delimiter, 1)[-1] if folder.delimiter else folder.name
        parent = folder.name[: len(folder.name) - len(leaf) - len(folder.delimiter)] if leaf != folder.name else ""
        if parent.casefold() in {"", "inbox", "[gmail]", "[google mail]"}:
            leaves[leaf.casefold()] = folder
    for common in _COMMON_NAMES[name.lower()]:
        if (folder_found := leaves.get(common.casefold())) is not None:
            return folder_found
    return None


def _by_name(name: str, folders: Sequence[Folder]) -> Folder | None:
    wanted = unicodedata.normalize("NFC", name)
    if wanted.casefold() == "inbox":
        return next((folder for folder in folders if folder.name.casefold() == "inbox"), None)
    by_name = {folder.name: folder for folder in folders}
    delimiters = {folder.delimiter for folder in folders if folder.delimiter}
    candidates = [wanted]
    for delimiter in sorted(delimiters):
        spelt = wanted.replace("/", delimiter) if delimiter != "/" else wanted.replace(".", delimiter)
        candidates += [spelt, f"INBOX{delimiter}{wanted}", f"INBOX{delimiter}{spelt}"]
    return next((by_name[candidate] for candidate in candidates if candidate in by_name), None)


def near_names(name: str, folders: Sequence[Folder], *, most: int = 5) -> list[str]:
    """The folders that may have been meant, nearest first; some existing ones if none is near."""
    names = [folder.name for folder in folders if folder.can_be_opened]
    if is_special_use(name):
        return names[:most]
    by_fold = {existing.casefold(): existing for existing in names}
    leaves = {existing.casefold().rsplit("/", 1)[-1].rsplit(".", 1)[-1]: existing for existing in names}
    near = [by_fold[fold] for fold in get_close_matches(name.casefold(), by_fold, n=most, cutoff=0.5)]
    near += [leaves[fold] for fold in get_close_matches(name.casefold(), leaves, n=most, cutoff=0.6)]
    return list(dict.fromkeys(near))[:most] or names[:most]
