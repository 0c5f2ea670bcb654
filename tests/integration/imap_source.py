"""A source over IMAP with a real ledger behind it, without an inbox: what passes record, and nothing else."""

from __future__ import annotations

import asyncio
import itertools

from connectors.imap import ImapConfig, ImapConnector
from sync.clock import SystemClock
from sync.ledger import Ledger, MessageFilter
from sync.mail.address import OwnAddresses
from sync.passes import PassReport
from sync.poll import Poller
from sync.settings import SourceSettings
from tests.servers.dovecot import PASSWORD
from tests.servers.imap_faults import ImapFaults

OWN = "support@shop.example"
PASS_SECONDS = 0.5
"""The deadline of a pass that meets trouble; the connector by itself would wait for half a minute."""
MEET_SECONDS = 40.0


class ImapSource:
    """A source over the proxy: `hurried` passes have little time, `patient` ones enough."""

    def __init__(self, ledger: Ledger, port: int, *, kind: type[ImapConnector] = ImapConnector, **more: object) -> None:
        values = {"host": "127.0.0.1", "port": port, "tls": "none", "username": "alice", "password": PASSWORD}
        more = {"folders": ["INBOX", "Sent"], "read_timeout_seconds": 30, "whole_max_bytes": 20_000, **more}
        self.connector = kind(ImapConfig.model_validate({**values, **more}))
        self.ledger = ledger
        self.hurried = self._poller(PASS_SECONDS)
        self.patient = self._poller(20.0)

    def _poller(self, pass_seconds: float) -> Poller:
        settings = {"connector": "imap", "start": "all", "every": 0.05, "pass_timeout_seconds": pass_seconds}
        return Poller(
            "support",
            SourceSettings.model_validate({**settings, "max_age_days": 36_500}),
            inbox="main",
            connector=self.connector,
            own_addresses=OwnAddresses((OWN,)),
            ledger=self.ledger,
            spool_max_bytes=10**9,
            http=None,
            clock=SystemClock(),
        )

    async def meet_trouble(self, proxy: ImapFaults, poller: Poller) -> tuple[PassReport, float]:
        """Passes until one has come to the trouble: its report, and how long it took."""
        loop = asyncio.get_running_loop()
        struck, give_up_at = proxy.struck, loop.time() + MEET_SECONDS
        while loop.time() < give_up_at:
            began = loop.time()
            async with asyncio.timeout(60):
                report = await poller.run_pass()
            if proxy.struck > struck:
                return report, loop.time() - began
            await asyncio.sleep(0.01)  # on a slow machine it was cut off before that; what it was at is due again later
        raise AssertionError(f"it never came to that command: {proxy.seen[-20:]}")

    async def loaded(self) -> dict[str, bytes]:
        """What has arrived, when nothing is left to load: each text with its file."""
        told = ""
        for _ in range(50):
            report = await self.patient.run_pass()
            lines = self.ledger.messages.list(MessageFilter())
            if report.error is None and all(line.state.value == "loaded" for line in lines):
                return self._arrived([line.id for line in lines])
            told = f"{report.error!r}, {[(line.state, line.reason) for line in lines]}"
            await asyncio.sleep(0.01)
        raise AssertionError(f"not within 50 passes: {told}")

    def _arrived(self, message_ids: list[int]) -> dict[str, bytes]:
        contents = self.ledger.messages.contents(message_ids)
        texts = [message.text for message in contents.values()]
        assert sorted(texts) == sorted(set(texts)), "each once"
        return {
            message.text: b"".join(self._pieces(one.spooled) for one in message.attachments)
            for message in contents.values()
        }

    def _pieces(self, number: int) -> bytes:
        found = (self.ledger.attachments.piece(number, count) for count in itertools.count())
        return b"".join(itertools.takewhile(lambda piece: piece is not None, found))  # type: ignore[arg-type]
