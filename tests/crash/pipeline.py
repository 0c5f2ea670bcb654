"""The real poller, deliverer and reconciler in this process, over a real ledger, against the sandbox; both live by one
clock that can be pushed forward, so that settling for two minutes takes none."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from sync.config import load
from sync.lease import new_holder
from sync.ledger import Ledger, MessageFilter
from sync.ledger.rows import DeliveryRow, StoryRow
from sync.runtime import Runtime
from sync.sandbox import Sandbox
from sync.settings import LedgerSettings
from sync.states import DeliveryState
from tests.crash.process import Running

ADA, BOB = "ada@example.com", "bob@example.com"
OWN = "support@shop.example"
SETTLE_SECONDS = 120.0
"""The default. All settings here are defaults, but for the budget, the lease and the time-out of an answer."""
DEADLINE_SECONDS = 60.0
CALM_SECONDS = 0.1


FILE_TIME_GRAIN_SECONDS = 2e-6
"""By so much two mails differ at least in their time of arrival."""


class PushedClock:
    """The machine's clock, ahead by what it was pushed. For the program (`now`, `elapsed_seconds`, `sleep`)."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0
        self._pushed = asyncio.Event()

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_seconds)

    def elapsed_seconds(self) -> float:
        return time.monotonic() + self.ahead_seconds

    async def sleep(self, seconds: float) -> None:
        until = self.elapsed_seconds() + seconds
        while (left := until - self.elapsed_seconds()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._pushed.wait()
        await asyncio.sleep(0)

    def push(self, seconds: float) -> None:
        """Time has passed."""
        self.ahead_seconds += seconds
        pushed, self._pushed = self._pushed, asyncio.Event()
        pushed.set()


class SandboxClock:
    """The same time, as the sandbox reads it."""

    def __init__(self, clock: PushedClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return time.time() + self._clock.ahead_seconds


class Pipeline:
    """`async with Pipeline(…) as pipeline:` runs it. Mails arrive by `arrive`, time passes by `pass_time`."""

    def __init__(
        self,
        folder: Path,
        ledger_url: str,
        *,
        inbox: str = "",
        answer_timeout: str = "20s",
        budget: str = "requests_per_minute = 1000000\nburst_requests = 100",
        source: str = "",
        first: str = "",
    ) -> None:
        self.clock = PushedClock()
        self.sandbox = Sandbox(clock=SandboxClock(self.clock))
        self._folder = folder
        self._ledger_url = ledger_url
        self._more = f'answer_timeout_seconds = "{answer_timeout}"\n{budget}\n{inbox}'
        self._source = source
        self._first = first
        self._mails = 0
        self._last_at = 0.0
        self._typed = 0
        self.config = folder / "config.toml"

    async def __aenter__(self) -> Self:
        self.sandbox.start()
        for part in ("cur", "new", "tmp"):
            (self._folder / "mail" / part).mkdir(parents=True)
            (self._folder / "second" / part).mkdir(parents=True)
        self.config.write_text(
            CONFIG.format(
                url=self._ledger_url,
                folder=self._folder,
                sandbox=self.sandbox,
                own=OWN,
                more=self._more,
                source=self._source.format(folder=self._folder),
                first=self._first,
            )
        )
        self.ledger = Ledger.open(LedgerSettings(url=self._ledger_url))
        await self._start()
        return self

    async def _start(self) -> None:
        loaded = load(self.config, environ={**os.environ, "WIX_KEY": self.sandbox.api_key})
        self.runtime = Runtime(loaded, self.ledger, clock=self.clock, holder=new_holder())
        await self.runtime.start()
        await self.until(lambda: self.runtime.sides["main"].serving, "the inbox is served")

    async def restart(self) -> None:
        """As after an end of the process, with the same ledger."""
        await self.runtime.stop(1.0)
        await self._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sandbox.clear_faults()
        await self.runtime.stop(1.0)
        self.ledger.close()
        self.sandbox.close()

    # ------------------------------------------------------------------ what happens

    async def arrive(self, *texts: str, sender: str = ADA) -> None:
        """A mail for each text, in this order; then a pass."""
        for text in texts:
            self.put(text, sender)
        report = await self.runtime.poll("support")
        assert report is not None
        assert report.error is None
        assert report.deliveries == len(texts)

    def put(
        self, text: str, sender: str = ADA, *, into: str = "mail", raw: bytes | None = None, **headers: str
    ) -> None:
        """A mail arrives now, and nobody looks. `headers`: more of them, `_` for `-`; `raw`: these bytes instead."""
        self._mails += 1
        now = self.clock.now()
        mail = EmailMessage()
        mail["From"] = sender
        mail["To"] = OWN
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = f"<{self._mails}@mail.example>"
        for name, value in headers.items():
            field = name.replace("_", "-")
            del mail[field]
            mail[field] = value
        mail.set_content(text)
        waiting = self._folder / into / "tmp" / f"{int(now.timestamp())}.M{self._mails}.host"
        waiting.write_bytes(mail.as_bytes() if raw is None else raw)
        # In order, and never in the future: that would wait for its siblings as long as it may.
        at = self._last_at = max(now.timestamp(), self._last_at + FILE_TIME_GRAIN_SECONDS)
        os.utime(waiting, (at, at))
        waiting.rename(waiting.parent.parent / "new" / waiting.name)

    async def pass_time(self, seconds: float) -> None:
        """Time passes; whoever waits for it by the machine's clock is told."""
        self.clock.push(seconds)
        serving = self.runtime.sides["main"].serving
        if serving is not None:
            serving.deliverer.wake()
            serving.deliverer.news_for_reconcile.set()
        await asyncio.sleep(0)

    async def breathe(self) -> None:
        """Lets what can move now move, until a tenth of a second goes by in which the sandbox is asked nothing."""
        asked, since = -1, 0.0

        def calm() -> bool:
            nonlocal asked, since
            requests = self.sandbox.stats()["requests"]
            if requests != asked:
                asked, since = requests, time.monotonic()
            return time.monotonic() - since > CALM_SECONDS

        await self.until(calm, "the sandbox is asked nothing more")

    async def settle(self) -> None:
        """The time passes after which a send without an answer is given up."""
        await self.pass_time(SETTLE_SECONDS + 1)

    # ------------------------------------------------------------------ what became of it

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits until the condition holds."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                stories = [self.ledger.messages.story(number) for number in range(1, self._mails + 1)]
                raise AssertionError(f"{what}: not within {DEADLINE_SECONDS:g} s\n" + "\n".join(map(str, stories)))
            await asyncio.sleep(0.01)

    async def until_state(self, state: DeliveryState, *numbers: int) -> None:
        """Waits until the deliveries of these mails (counted from 1) are in a state."""
        await self.until(
            lambda: all(self._state(number) is state for number in numbers), f"mails {numbers} are {state}"
        )

    async def until_attempt(self, number: int, attempt: int) -> None:
        """Waits until a mail was sent for the `attempt`-th time."""
        await self.until(lambda: self.delivery(number).attempt == attempt, f"mail {number} is sent, time {attempt}")

    async def until_called(self, call: str, times: int) -> None:
        """Waits until the sandbox got so many calls of a kind."""
        await self.until(lambda: self.calls(call) >= times, f"{times} times {call}")

    async def until_all_sent(self) -> None:
        """Waits until every mail is delivered."""
        await self.until_state(DeliveryState.SENT, *range(1, self._mails + 1))

    async def until_rechecked(self) -> None:
        """Passes the time after a resend, and waits for the first look at it."""
        await self.settle()
        await self.until_looked()

    async def until_looked(self) -> None:
        """Waits until no look for a second copy is due now."""
        now = self.clock.now()
        await self.until(lambda: not self.ledger.deliveries.rechecks("main", now), "no second copy is looked for")

    def _state(self, number: int) -> DeliveryState | None:
        found = self.ledger.messages.story(number)
        return found.message.deliveries[0].state if found and found.message.deliveries else None

    def story(self, number: int) -> StoryRow:
        """The story of the mail that arrived as the `number`-th."""
        found = self.ledger.messages.story(number)
        assert found is not None
        return found

    def delivery(self, number: int) -> DeliveryRow:
        """Its delivery."""
        [delivery] = self.story(number).message.deliveries
        return delivery

    def kinds(self, number: int) -> list[str]:
        """What happened to it, without the looks in between."""
        return [event.kind for event in self.story(number).events if event.kind != "delivery.looked"]

    def sends(self) -> int:
        """Send requests that reached the sandbox."""
        return self.calls("messages.send")

    def calls(self, call: str) -> int:
        """Calls of a kind that reached the sandbox."""
        return self.sandbox.stats()["calls"].get(call, 0)

    def bodies(self, email: str = ADA) -> list[str]:
        """What the customer's conversation shows, in order."""
        return [message["text"].strip() for message in self.sandbox.messages(email)]

    def typed_words(self, *command: str) -> str:
        """What an operator reads who types a command meanwhile."""
        self._typed += 1
        output = self._folder / f"typed-{self._typed}.txt"
        assert Running(self.config, output, {"COLUMNS": "200"}, command=command).wait() == 0
        return output.read_text()

    def typed(self, *command: str) -> dict[str, list[dict[str, object]]]:
        """The same for a command with --json."""
        answer: dict[str, list[dict[str, object]]] = json.loads(self.typed_words(*command))
        return answer

    def assert_each_message_is_one_delivery(self) -> None:
        """The ledger and the Inbox agree: every message of ours belongs to exactly one delivery."""
        lines = self.ledger.messages.list(MessageFilter(limit=1000))
        ids = sorted(str(delivery.inbox_message_id) for line in lines for delivery in line.deliveries)
        assert ids == sorted(message["id"] for message in self.sandbox.messages() if message["appId"])


CONFIG = """
[ledger]
url = "{url}"

[daemon]
lease_seconds = "1h"

[inbox.main]
site_id = "{sandbox.site_id}"
api_key = {{ env = "WIX_KEY" }}
base_url = "{sandbox.url}"
own_addresses = ["{own}"]
{more}

[sources.support]
connector = "maildir"
path = "{folder}/mail"
start = "all"
{first}
{source}
"""

SECOND = """
[sources.second]
connector = "maildir"
path = "{folder}/second"
start = "all"
"""
"""A second mailbox, for `source`."""
