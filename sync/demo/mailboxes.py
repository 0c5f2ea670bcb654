"""The demo's folder: Maildirs with the sample mails, and the configuration of the daemon that reads them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sync.control import socket_path
from sync.demo.samples import OWN_ADDRESSES, START, Box, Sample, moved
from sync.settings import LedgerSettings, Settings

REQUESTS_PER_MINUTE = 1500
"""The demo's budget: slow enough to watch, and to be killed in the middle."""
ANSWER_TIMEOUT_SECONDS = 5
UNKNOWN_SETTLE_SECONDS = 3
FIRST_LOOK_SECONDS = 0.25
"""Small, because the sandbox keeps nothing back; a real Inbox gets minutes."""

_PLACES = {
    Box.HELLO: Path("mail/hello"),
    Box.HELLO_SENT: Path("mail/hello/.Sent"),
    Box.ORDERS: Path("mail/orders"),
}


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where everything of one demo lies."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.path / "config.toml"

    @property
    def ledger_url(self) -> str:
        """The SQLite database."""
        return f"sqlite:///{self.path / 'ledger.db'}"

    @property
    def control_socket(self) -> Path:
        """Where the daemon answers typed commands."""
        return socket_path(Settings(ledger=LedgerSettings(url=self.ledger_url)))

    @property
    def daemon_log(self) -> Path:
        """What the daemon said, in all its lives."""
        return self.path / "daemon.log"

    @property
    def sandbox_log(self) -> Path:
        """What the sandbox said."""
        return self.path / "sandbox.log"

    @property
    def sandbox_data(self) -> Path:
        """What the sandbox holds."""
        return self.path / "sandbox.json"

    def place(self, box: Box) -> Path:
        """The Maildir of a box."""
        return self.path / _PLACES[box]


def write_mail(folder: DemoFolder, samples: Sequence[Sample], move: timedelta) -> None:
    """Puts every sample into its Maildir, as a mail server would have: times of arrival in names and file times.
    Agents' replies lie in `cur`, read; the customers' mails in `new`."""
    for box in Box:
        for part in ("cur", "new", "tmp"):
            (folder.place(box) / part).mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples, 1):
        arrived = (sample.arrived + move).timestamp()
        name = f"{int(arrived)}.M{number:06d}P1.mx.birkenhof.example"
        place = folder.place(sample.box)
        file = place / "cur" / f"{name}:2,S" if sample.box is Box.HELLO_SENT else place / "new" / name
        file.write_bytes(moved(sample.raw(), move))
        os.utime(file, (arrived, arrived))


def write_config(folder: DemoFolder, *, base_url: str, site_id: str, api_key: str, move: timedelta) -> None:
    """The daemon's configuration, as an operator would write it; the key lies in a file of its own."""
    key_file = folder.path / "api_key"
    key_file.touch(mode=0o600)
    key_file.write_text(api_key + "\n", encoding="utf-8")
    values = {
        "ledger": folder.ledger_url,
        "site_id": site_id,
        "key_file": str(key_file),
        "own": list(OWN_ADDRESSES),
        "base_url": base_url,
        "start": f"{START + move:%Y-%m-%d}",
        "hello": str(folder.place(Box.HELLO)),
        "orders": str(folder.place(Box.ORDERS)),
    }
    text = _CONFIG.format(**{key: json.dumps(value) for key, value in values.items()})
    folder.config.write_text(text, encoding="utf-8")


_CONFIG = f"""\
[ledger]
url = {{ledger}}

[inbox.main]
site_id = {{site_id}}
api_key = {{{{ file = {{key_file}} }}}}
own_addresses = {{own}}
requests_per_minute = {REQUESTS_PER_MINUTE}
answer_timeout_seconds = {ANSWER_TIMEOUT_SECONDS}
unknown_settle_seconds = {UNKNOWN_SETTLE_SECONDS}
first_look_seconds = {FIRST_LOOK_SECONDS}
base_url = {{base_url}}

[sources.hello]
connector = "maildir"
path = {{hello}}
sent = ["Sent"]
badge = "Mail"
every = "1s"
start = {{start}}

[[sources.hello.participant_rules]]
sender = ["form@birkenhof.example"]
use_line = "E-mail"

[sources.orders]
connector = "maildir"
path = {{orders}}
badge = "Orders"
every = "1s"
start = {{start}}
"""
