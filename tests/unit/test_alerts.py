"""One channel's trouble, or one alert's, is none of the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from sync.alarm import Alert, AlertKind
from sync.alerts import Alerts
from sync.answers import StatusAnswer
from sync.clock import SystemClock
from sync.http import HttpClient
from sync.lease import LeaseKeeper
from sync.ledger import Ledger
from sync.settings import AlertSettings, LedgerSettings

ALERT = Alert(
    AlertKind.TROUBLE, "source support", "imap.refused", "it said:\r\nNO", "wait", datetime(2026, 11, 1, tzinfo=UTC)
)


class Enough(Exception):
    """The clock has slept often enough."""


class Impatient(SystemClock):
    """Sleeps a few times, and not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = 0

    async def sleep(self, seconds: float) -> None:
        del seconds
        self.sleeps += 1
        if self.sleeps == 3:
            raise Enough


class Broken:
    """A client that fails in a way nobody foresaw."""

    async def request(self, *_args: object, **_more: object) -> None:
        raise ValueError("no such address")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.db"), writer=True)
    yield opened
    opened.close()


def alerts(ledger: Ledger, clock: Impatient, **settings: object) -> Alerts:
    async def status() -> StatusAnswer:
        raise AssertionError("nobody looks")

    return Alerts(
        AlertSettings.model_validate(settings),
        status=status,
        ledger=ledger,
        keeper=LeaseKeeper(ledger, clock, lease_seconds=30, alone=True, holder="holder"),
        http=cast("HttpClient", Broken()),
        clock=clock,
    )


async def test_a_heartbeat_that_fails_unforeseen_is_tried_again(ledger: Ledger) -> None:
    clock = Impatient()
    with pytest.raises(Enough):
        await alerts(ledger, clock, heartbeat_url=SecretStr("https://example.com"))._beat()
    assert clock.sleeps == 3


async def test_a_channel_that_fails_unforeseen_keeps_no_other_from_telling(ledger: Ledger, tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = ("/bin/sh", "-c", f"cat > {told}")
    channels = alerts(ledger, Impatient(), webhook=SecretStr("https://example.com"), command=command)
    channels._channels.reverse()
    assert await channels._tell(ALERT)
    assert told.exists()


def test_what_a_server_said_in_several_lines_can_be_mailed(ledger: Ledger) -> None:
    mail = alerts(ledger, Impatient(), mail_to=["me@example.com"], mail_from="us@example.com")._mail(ALERT)
    assert mail["Subject"] == "inbox-sync: source support: it said:  NO"
