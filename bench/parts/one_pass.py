"""One pass of one IMAP source into a ledger, and no delivery: fetching, understanding and recording alone.

    python -m bench.parts.one_pass --port 1143 --database FOLDER/ledger.db      prints what was found

The ledger is the program's own on SQLite (synchronous=FULL). The password is in MAIL_PASSWORD.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from bench.parts.mails import OWN
from connectors.imap import ImapConfig, ImapConnector
from sync.clock import SystemClock
from sync.ledger import Ledger
from sync.logs import configure
from sync.mail.address import OwnAddresses
from sync.passes import PassReport
from sync.poll import Poller
from sync.settings import LedgerSettings, SourceSettings

SPOOL_BYTES = 8 * 1024**3


async def one_pass(port: int, database: Path) -> PassReport:
    """What the pass did."""
    ledger = Ledger.open(LedgerSettings(url=f"sqlite:///{database}"), writer=True)
    clock = SystemClock()
    ledger.inboxes.load("main", "site", clock.now())
    connector = ImapConnector(
        ImapConfig.model_validate(
            {
                "host": "127.0.0.1",
                "port": port,
                "tls": "none",
                "username": "alice",
                "password": os.environ["MAIL_PASSWORD"],
                "folders": ["INBOX"],
                "push": False,
            }
        )
    )
    poller = Poller(
        "mail",
        SourceSettings(connector="imap", start="all", max_age_days=36_500, pass_timeout_seconds=3600),
        inbox="main",
        connector=connector,
        own_addresses=OwnAddresses((OWN,)),
        ledger=ledger,
        spool_max_bytes=SPOOL_BYTES,
        http=None,
        clock=clock,
    )
    try:
        return await poller.run_pass()
    finally:
        await connector.aclose()
        ledger.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", type=Path, required=True)
    options = parser.parse_args()
    configure("warning", "console")
    report = asyncio.run(one_pass(options.port, options.database))
    if report.error is not None:
        raise SystemExit(str(report.error))
    print(report.deliveries)


if __name__ == "__main__":
    main()
