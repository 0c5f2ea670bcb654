"""A mailbox of hard mails goes from a real Dovecot into the Inbox, with a kill -9 in the middle, and every mail is
accounted for: delivered as its twin says, or not, with the reason that was to be expected."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from sync.sandbox.operations import MessageDump
from sync.sandbox.values import JsonObject, as_list, as_object, at_path
from sync.text.clean import clean
from tests.acceptance.harness import Program, wait_for, write_config
from tests.hardbag import Hard, hard_mails
from tests.servers.dovecot import PASSWORD, Dovecot

pytestmark = [pytest.mark.dovecot, pytest.mark.timeout(900)]

MAILS = 240
SHOWN_CHARS = 120_000
"""Of a text, what certainly fits into the bubbles of one message."""
LINE_CHARS = 150
"""Of a machine's mail, what its one line shows of the text at least, with full stops where lines ended."""
LEFT_OUT = "Quoted text left out: "
FINAL_ROWS = {"loaded", "skipped", "dead", "gone"}


@dataclass(frozen=True)
class Row:
    """What the ledger says of one mail, by its UID."""

    state: str
    reason: str
    deliveries: tuple[tuple[str, str, str], ...]
    """State, reason, and the Inbox's message id."""


def source(mailbox: Dovecot) -> str:
    return f"""
[sources.support]
connector = "imap"
every = "500ms"
start = "all"
order_wait_seconds = "2s"
participant_messages_per_hour = 0
host = "localhost"
port = {mailbox.imaps_port}
ca_file = "{mailbox.ca_file}"
username = "alice"
password = {{ env = "MAIL_PASSWORD" }}
folders = ["INBOX"]
"""


def rows_of(ledger: Path) -> dict[int, Row]:
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as tx:
        deliveries: dict[int, list[tuple[str, str, str]]] = {}
        for message_id, *rest in tx.execute("SELECT message_id, state, reason, inbox_message_id FROM deliveries"):
            deliveries.setdefault(message_id, []).append((rest[0], rest[1], rest[2] or ""))
        rows = tx.execute("SELECT id, external_id, state, reason FROM messages").fetchall()
    return {int(uid): Row(state, reason, tuple(deliveries.get(number, ()))) for number, uid, state, reason in rows}


def uids_of(mailbox: Dovecot) -> dict[str, int]:
    """UID by file name, as Dovecot numbered them."""
    listed = (mailbox.maildir("alice") / "dovecot-uidlist").read_text("latin-1")
    return {name: int(uid) for uid, name in re.findall(r"^(\d+) .*?:([^:\n]+)$", listed, re.MULTILINE)}


def is_done(ledger: Path, count: int) -> bool:
    rows = rows_of(ledger)
    return len(rows) == count and all(
        row.state in FINAL_ROWS and all(state in {"sent", "dead", "held", "skipped"} for state, _, _ in row.deliveries)
        for row in rows.values()
    )


def squeezed(text: str) -> str:
    return " ".join(text.split())


def items_of(message: MessageDump) -> list[JsonObject]:
    if "minimal" in message["content"]:
        return [as_object(message["content"]["minimal"])]
    return [as_object(item) for item in as_list(at_path(message["content"], "basic.items"))]


def wrong_with(mail: Hard, row: Row | None, by_id: dict[str, MessageDump]) -> str:
    """What is not as the mail says it must be; empty when all is well."""
    if row is None:
        return "the ledger has no row"
    if mail.reason is not None or not row.deliveries:
        wanted = ("skipped", str(mail.reason))
        return "" if (row.state, row.reason) == wanted else f"{row.state}({row.reason}), not {wanted}"
    if len(row.deliveries) != 1 or row.deliveries[0][0] != "sent":
        return f"deliveries: {row.deliveries}"
    message = by_id.get(row.deliveries[0][2])
    if message is None:
        return "the Inbox does not hold it"
    items = items_of(message)
    texts = [str(item["text"]) for item in items if "text" in item]
    if mail.line:
        shown, begin = (squeezed(text).replace(".", "") for text in ("".join(texts), mail.words[:LINE_CHARS]))
        return "" if begin in shown and message["silent"] else f"one line with {begin!r}: {shown[:300]!r}"
    media = {str(as_object(item[kind])["filename"]) for item in items for kind in ("image", "file") if kind in item}
    whole = "\n".join(texts)
    missing = [name for name in mail.files if name not in media and name not in whole]
    return f"files missing: {missing}" if missing else wrong_words(mail, texts, whole)


def wrong_words(mail: Hard, texts: list[str], whole: str) -> str:
    if mail.match == "unreadable":
        return "" if "could not be read; it is in" in whole else f"not said to be unreadable: {whole[:200]!r}"
    words = squeezed(clean(mail.words[:SHOWN_CHARS]))
    if mail.match == "holds":
        return "" if words in squeezed(whole) else f"does not hold {words[:100]!r}: {whole[:200]!r}"
    for behind_subject in (texts, texts[1:]):  # the subject comes first where it is new in the conversation
        shown = squeezed("".join(behind_subject))
        if shown.startswith(words) or (LEFT_OUT in shown and is_part(behind_subject, mail.words)):
            return ""
    return f"{words[:200]!r} is not {whole[:200]!r}"


def is_part(texts: list[str], whole: str) -> bool:
    """Whether a text without its quotes begins with words of the whole one."""
    begin = next((line for text in texts for line in text.split("\n") if line.strip()), "")
    return squeezed(begin) in {squeezed(line) for line in whole.split("\n")}


def play(folder: Path, sandbox: Sandbox, mailbox: Dovecot, count: int) -> Counter[str]:
    """Puts the mails into the mailbox, runs the daemon with a kill -9 in the middle, and looks at every mail. Returns how
    many became what."""
    mails = hard_mails(count)
    began = datetime.now(UTC) - timedelta(days=1)
    names = [
        mailbox.deliver("alice", "INBOX", mail.raw, mtime=began + timedelta(seconds=number)).name
        for number, mail in enumerate(mails)
    ]
    program = write_config(folder, sandbox, source(mailbox))
    program.environ["MAIL_PASSWORD"] = PASSWORD
    run_with_a_kill(program, sandbox, folder / "ledger.db", len(mails))
    rows, uids = rows_of(folder / "ledger.db"), uids_of(mailbox)
    messages = sandbox.messages()
    by_id = {message["id"]: message for message in messages}
    wrong = {
        mail.name: problem
        for mail, name in zip(mails, names, strict=True)
        if (problem := wrong_with(mail, rows.get(uids[name]), by_id))
    }
    assert wrong == {}
    assert len(rows) == len(uids) == len(mails)
    sent = [number for row in rows.values() for state, _, number in row.deliveries if state == "sent"]
    assert sorted(sent) == sorted(by_id)  # each once, and nothing that no mail explains
    return Counter(f"{row.state}({row.reason})" if row.reason else "sent" for row in rows.values())


def run_with_a_kill(program: Program, sandbox: Sandbox, ledger: Path, count: int) -> None:
    daemon = program.daemon()
    daemon.wait_for(lambda: sandbox.stats()["messagesStored"] >= count // 3, "a third has arrived")
    daemon.kill()
    before = sandbox.stats()["messagesStored"]
    assert before < count * 0.9, "killed too late to be in the middle"
    again = program.daemon()
    try:
        wait_for(lambda: again.process.poll() is not None or is_done(ledger, count), "all is final", 600)
        assert again.stop() == 0, again.log()[-4000:]
    finally:
        if again.process.poll() is None:
            again.kill()


def test_a_mailbox_of_hard_mails_arrives_with_every_mail_accounted_for(tmp_path: Path) -> None:
    with Sandbox() as sandbox, Dovecot() as mailbox:
        became = play(tmp_path, sandbox, mailbox, MAILS)
    assert became.total() == MAILS
    assert became["sent"] > MAILS * 0.8


@pytest.mark.soak
def test_two_thousand_hard_mails_arrive_with_every_mail_accounted_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sandbox() as sandbox, Dovecot() as mailbox:
        became = play(tmp_path, sandbox, mailbox, 2_000)
    with capsys.disabled():
        print(f"\n2,000 hard mails: {dict(became)}")
    assert became.total() == 2_000
