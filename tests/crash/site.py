"""A small site to be shot at: a sandbox, a mailbox, a ledger, and the real program as a process."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

from sqlalchemy import text

from connectors.imap import ImapConfig, ImapConnector
from connectors.maildir import MaildirConfig, MaildirConnector
from sync.connector import Connector
from sync.ledger import Ledger, MessageFilter
from sync.ledger.engine import Database
from sync.ledger.rows import MessageLine, Status
from sync.sandbox import Sandbox
from sync.sandbox.values import as_list, as_object, at_path
from sync.settings import LedgerSettings
from sync.testing import Reader
from sync.upload import UPLOADS_AT_ONCE
from tests.acceptance.harness import TOKEN, assert_each_once_in_order, seed_contacts, wait_for
from tests.crash.points import Point
from tests.crash.process import Running
from tests.mailbag import OWN, Mail, Mailbag
from tests.servers.dovecot import PASSWORD, Dovecot

ENVIRON = {"WIX_KEY": "sandbox-api-key", "MAIL_PASSWORD": PASSWORD}
SPOOL_BYTES = 1024 * 1024
"""The smallest spool there is: two padded mails fill it."""
PAD_BYTES = 700_000
FILE_CONTENT = b"%PDF-1.7 " * 20_000
DONE_SECONDS = 60.0
LIST_LIMIT = 100_000
"""More messages than any site here has."""
OPEN_STATES = ("pending", "sending", "unknown")


class Mailboxes:
    """Where the mails are: a Maildir with a folder for sent mail, or Dovecot."""

    def __init__(self, folder: Path, dovecot: Dovecot | None) -> None:
        self._path = folder / "mail"
        self._dovecot = dovecot
        self._count = 0
        if dovecot is None:
            for place in (self._path, self._path / ".Sent"):
                for part in ("cur", "new", "tmp"):
                    (place / part).mkdir(parents=True)

    def put(self, mails: Sequence[Mail], *, pad_bytes: int = 0, with_files: bool = False) -> None:
        """Delivers mails, each with a file of its own where that is wanted."""
        for mail in mails:
            raw = _with_file(mail) if with_files else mail.raw
            if pad_bytes:
                head, _, body = raw.partition(b"\n\n")
                raw = head + b"\nX-Pad: " + b"\n ".join([b"x" * 70] * (pad_bytes // 72)) + b"\n\n" + body
            self._put(mail, raw)

    def _put(self, mail: Mail, raw: bytes) -> None:
        at = mail.arrived_at.timestamp()
        if self._dovecot is not None:
            self._dovecot.deliver("alice", mail.folder, raw, mtime=at)
            return
        self._count += 1
        place = self._path if mail.folder == "INBOX" else self._path / f".{mail.folder}"
        waiting = place / "tmp" / f"{int(at)}.M{self._count}.host"
        waiting.write_bytes(raw)
        os.utime(waiting, (at, at))
        waiting.rename(place / "new" / waiting.name)

    def toml(self) -> str:
        """The source's own keys."""
        if self._dovecot is None:
            return f'connector = "maildir"\npath = "{self._path}"'
        return (
            f'connector = "imap"\nhost = "localhost"\nport = {self._dovecot.imaps_port}\n'
            f'ca_file = "{self._dovecot.ca_file}"\nusername = "alice"\npassword = {{ env = "MAIL_PASSWORD" }}\n'
            'folders = ["INBOX", "\\\\Sent"]'
        )

    def connector(self) -> Connector:
        """Another connector to the same mailbox."""
        if self._dovecot is None:
            return MaildirConnector(MaildirConfig.model_validate({"path": self._path}))
        return ImapConnector(
            ImapConfig.model_validate(
                {
                    "host": "localhost",
                    "port": self._dovecot.imaps_port,
                    "ca_file": str(self._dovecot.ca_file),
                    "username": "alice",
                    "password": PASSWORD,
                    "folders": ["INBOX", "\\Sent"],
                }
            )
        )


def _with_file(mail: Mail) -> bytes:
    message = message_from_bytes(mail.raw, policy=SMTP)
    message.add_attachment(FILE_CONTENT, maintype="application", subtype="pdf", filename=f"{mail.token}.pdf")
    return message.as_bytes()


@dataclass
class Site:
    """All of it. `bag` holds the mails that must arrive."""

    folder: Path
    sandbox: Sandbox
    ledger_url: str
    mailboxes: Mailboxes
    bag: Mailbag
    config: Path = field(init=False)
    _starts: int = 0

    def __post_init__(self) -> None:
        self.config = self.folder / "config.toml"
        self.config.write_text(
            CONFIG.format(
                site=self, inbox=self.sandbox, own=OWN, spool_bytes=SPOOL_BYTES, mailboxes=self.mailboxes.toml()
            )
        )

    def bring(self, count: int, *, pad_bytes: int = 0, with_files: bool = False) -> None:
        """More mails into the mailbox, from and to customers."""
        more = self.bag.more(count, outgoing_share=0.3, to_many_share=0.5)
        self.mailboxes.put(more, pad_bytes=pad_bytes, with_files=with_files)

    def know_contacts(self) -> None:
        """Makes those contacts known to the site that the program could not guess."""
        seed_contacts(self.sandbox, self.bag)

    def proof(self, point: Point) -> Path:
        """The file that is written when the point is reached."""
        return self.folder / f"{point.name}.reached"

    def start(self, point: Point | None = None, mode: str = "") -> Running:
        """The program as an operator starts it, or stopping at a point."""
        self._starts += 1
        log = self.folder / f"daemon-{self._starts}.log"
        stop = () if point is None else (point.name, mode, str(self.proof(point)))
        return Running(self.config, log, ENVIRON, point=stop)

    def run_until_all_is_done(self, running: Running | None = None, *, done_seconds: float = DONE_SECONDS) -> None:
        """A daemon as an operator starts it (or `running`), until nothing is open, and its quiet end."""
        daemon = running or self.start().ready()
        try:
            with self.ledger() as ledger:
                begun = ledger.sources.get("support")
                assert begun is not None
                try:
                    wait_for(
                        lambda: self._all_done(ledger, since=begun.last_good_pass_at),
                        "nothing is open",
                        done_seconds,
                    )
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{ledger.overview.status()}\n{daemon.log()[-6000:]}") from None
            assert daemon.stop() == 0
        finally:
            daemon.kill()

    def _all_done(self, ledger: Ledger, *, since: object) -> bool:
        status = ledger.overview.status()
        source = status.sources[0]
        return (
            source.source.last_good_pass_at not in (None, since)
            and not source.messages.get("found", 0)
            and status.deliveries.get("sent", 0) >= self.bag.deliveries()
            and not any(status.deliveries.get(state, 0) for state in OPEN_STATES)
        )

    def ledger(self) -> LedgerView:
        """For reading, beside a running daemon."""
        return LedgerView(self.ledger_url)

    async def assert_whole(self) -> None:
        """What must hold after every crash: one message per delivery, in order, one conversation and one contact per
        customer, nothing open, and cursors behind which there is nothing."""
        assert_each_once_in_order(self.sandbox, self.bag)
        assert self.sandbox.stats()["messages"] == self.bag.deliveries()
        assert len(self.sandbox.contacts()) == len(self.bag.expected())
        with self.ledger() as ledger:
            status = ledger.overview.status()
            assert_counts(status, messages=len(self.bag.mails), deliveries=self.bag.deliveries())
            lines = ledger.messages.list(MessageFilter(limit=LIST_LIMIT))
            ids = [delivery.inbox_message_id for line in lines for delivery in line.deliveries]
            assert sorted(map(str, ids)) == sorted(message["id"] for message in self.sandbox.messages())
            cursors = {row.key: json.dumps(row.cursor) for row in ledger.streams.of_source("support")}
        assert len(cursors) == 2
        await self._nothing_is_behind(cursors, lines)

    def assert_files(self) -> None:
        """Every message holds the file of its mail, whole; the ledger holds none, and few were uploaded twice."""
        for message in self.sandbox.messages():
            items = map(as_object, as_list(at_path(message["content"], "basic.items")))
            files = [at_path(item, "file.filename") for item in items if "file" in item]
            (token,) = TOKEN.findall(str(message["text"]))[:1]
            assert files.count(f"{token}.pdf") == 1
        site = self.sandbox.emulator.world.sites[self.sandbox.site_id]
        uploaded = [file for file in site.media.values() if TOKEN.match(file.filename)]
        assert {file.data for file in uploaded} == {FILE_CONTENT}
        assert len(uploaded) <= len(self.bag.mails) + UPLOADS_AT_ONCE
        with closing(Database(LedgerSettings(url=self.ledger_url))) as database:
            assert database.read(lambda tx: tx.execute(text("SELECT count(*) FROM attachment_pieces")).scalar()) == 0

    async def _nothing_is_behind(self, cursors: dict[str, str], lines: Sequence[MessageLine]) -> None:
        """A connector that is given these cursors finds nothing. (The one for files may ask for what is known.)"""
        connector = self.mailboxes.connector()
        reader = Reader(connector, cursors=cursors)
        if isinstance(connector, MaildirConnector):
            for line in lines:
                reader.seen.setdefault((line.stream, ""), set()).add(line.external_id)
        try:
            assert await reader.run_pass() == []
        finally:
            await connector.aclose()


def assert_counts(status: Status, *, messages: int, deliveries: int) -> None:
    """Everything loaded, everything sent, and not a row more."""
    assert {state: n for state, n in status.messages.items() if n} == {"loaded": messages}
    assert {state: n for state, n in status.deliveries.items() if n} == {"sent": deliveries}


class LedgerView:
    """A ledger opened for reading."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger.open(LedgerSettings(url=url), writer=False)

    def __enter__(self) -> Ledger:
        return self._ledger

    def __exit__(self, *_: object) -> None:
        self._ledger.close()


CONFIG = """
[ledger]
url = "{site.ledger_url}"
spool_max_bytes = {spool_bytes}

[daemon]
log_format = "json"
grace_seconds = "5s"
lease_seconds = "1s"

[inbox.main]
site_id = "{inbox.site_id}"
api_key = {{ env = "WIX_KEY" }}
base_url = "{inbox.url}"
own_addresses = ["{own}"]
requests_per_minute = 1000000
burst_requests = 100
connect_timeout_seconds = "1s"
answer_timeout_seconds = "2s"
unknown_settle_seconds = "1500ms"
first_look_seconds = "100ms"
retry_first_seconds = "100ms"
probe_seconds = "100ms"
probe_max_seconds = "500ms"
lane_hold_seconds = "20s"

[sources.support]
every = "200ms"
start = "all"
order_wait_seconds = "30s"
{mailboxes}
"""
"""Everything is small, and the ratios are kept: a lease is longer than the way of a request in good times, settling
takes as long as an answer may."""
