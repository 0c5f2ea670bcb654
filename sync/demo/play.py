"""One demo from its first process to its verdict."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import cast

from sync.answers import StatusAnswer
from sync.demo.mailboxes import DemoFolder, write_config, write_mail
from sync.demo.processes import DemoError, Process, SandboxAddress, ask_daemon, daemon_process, start_sandbox
from sync.demo.samples import Sample, load_samples, weeks_to_move
from sync.demo.show import Show
from sync.demo.verdict import ConversationVerdict, Outcomes, Shown, expected_outcomes, judge
from sync.errors import Interrupted
from sync.sandbox import ConversationDump, SandboxClient
from sync.sandbox.values import JsonObject, as_list, as_object, at_path
from sync.states import FINAL_DELIVERY_STATES, DeliveryState, MessageState

DEADLINE_SECONDS = 120.0
"""The whole demo takes a quarter of a minute; after this long it has failed."""
LOOK_SECONDS = 0.1
"""The pause between two looks at the Inbox, or at the ledger."""
KILL_AT_SHARE = 0.45
"""The daemon is killed when this share of all deliveries has arrived."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`keep`: the sandbox's page stays up until Ctrl-C. `json`: the result as one JSON document on standard output.
    `port`: where the sandbox listens on 127.0.0.1; 0 takes a free one."""

    keep: bool = False
    json: bool = False
    port: int = 0


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What came of a demo. `outcomes` is the ledger's word, `expected` the samples' own; `conversations` is what the
    Inbox holds compared with the samples."""

    seconds: float
    killed_after: int
    page: str
    expected: Outcomes
    outcomes: Outcomes
    conversations: tuple[ConversationVerdict, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is not as it must be, a sentence each."""
        found: list[str] = []
        for one in self.conversations:
            found += [f"{mail} did not reach {one.customer}" for mail in one.missing]
            found += [f"{mail} reached {one.customer} more than once" for mail in one.doubled]
            if one.foreign:
                found.append(f"{one.customer} was sent {one.foreign} messages that no mail explains")
            if not one.in_order:
                found.append(f"the messages with {one.customer} are not in order")
        if self.outcomes != self.expected:
            found.append(f"the ledger counts {self.outcomes}, expected was {self.expected}")
        return tuple(found)


def run(options: DemoOptions) -> int:
    """Plays the demo; 0 when every delivery arrived once and in order, else 1. Raises DemoError when it could not be
    played to its end, Interrupted on Ctrl-C or SIGTERM. The folder is removed unless something went wrong."""
    show = Show(json=options.json)
    folder = DemoFolder(Path(tempfile.mkdtemp(prefix="inbox-sync-demo-")))
    try:
        with _sigterm_interrupts():
            result = _play(folder, options, show)
    except KeyboardInterrupt:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise Interrupted("the demo was stopped before its end") from None
    except BaseException:
        show.kept(folder.path)
        raise
    if result.problems:
        show.kept(folder.path)
        return 1
    shutil.rmtree(folder.path, ignore_errors=True)
    return 0


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that its processes end with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _play(folder: DemoFolder, options: DemoOptions, show: Show) -> DemoResult:
    samples = load_samples()
    move = weeks_to_move(samples, datetime.now(UTC))
    write_mail(folder, samples, move)
    sandbox, address = start_sandbox(folder, options.port)
    daemon = daemon_process(folder)
    try:
        show.page(address.url, stays=options.keep)
        write_config(folder, base_url=address.url, site_id=address.site_id, api_key=address.api_key, move=move)
        result = _Play(folder, samples, daemon, address, show).to_the_end()
        show.result(result)
        if options.keep:
            show.staying(address.url)
            _stay(sandbox)
        return result
    finally:
        daemon.kill()
        sandbox.stop()


def _stay(sandbox: Process) -> None:
    try:
        sandbox.wait()
    except KeyboardInterrupt:
        return


class _Play:
    """The daemon's two lives."""

    def __init__(
        self, folder: DemoFolder, samples: Sequence[Sample], daemon: Process, address: SandboxAddress, show: Show
    ) -> None:
        self._folder = folder
        self._samples = samples
        self._daemon = daemon
        self._page = f"{address.url}/"
        self._inbox = SandboxClient(address.url)
        self._show = show
        self._expected = expected_outcomes(samples)
        self._deadline = time.monotonic() + DEADLINE_SECONDS

    def to_the_end(self) -> DemoResult:
        """Start, kill -9 in the middle, start again, wait until everything is final, stop, compare."""
        began = time.monotonic()
        self._show.begins(self._expected)
        with self._show.progress(self._expected.deliveries):
            self._daemon.start()
            killed_after = self._kill_in_the_middle()
            self._daemon.start()
            outcomes = self._until_all_is_final()
            self._stop()
        return DemoResult(
            seconds=round(time.monotonic() - began, 1),
            killed_after=killed_after,
            page=self._page,
            expected=self._expected,
            outcomes=outcomes,
            conversations=judge(self._samples, _by_customer(self._inbox.conversations())),
        )

    def _kill_in_the_middle(self) -> int:
        wanted = int(self._expected.deliveries * KILL_AT_SHARE)
        while (arrived := self._arrived()) < wanted:
            self._wait_a_little(f"{wanted} messages were in the Inbox")
        self._daemon.kill()
        arrived = self._arrived()
        self._show.killed(arrived)
        return arrived

    def _until_all_is_final(self) -> Outcomes:
        while True:
            self._arrived()
            status = ask_daemon(self._folder, "status")
            if status is not None:
                outcomes = _final_outcomes(cast("StatusAnswer", status))
                if outcomes is not None and outcomes.mails >= self._expected.mails:
                    return outcomes
            self._wait_a_little("every message was delivered, or a line said why not")

    def _stop(self) -> None:
        code = self._daemon.stop()
        if code != 0:
            raise DemoError(f"the daemon ended with {code} after SIGTERM", next_step=f"see {self._folder.daemon_log}")

    def _arrived(self) -> int:
        arrived = self._inbox.stats()["messages"]
        self._show.arrived(arrived)
        return arrived

    def _wait_a_little(self, what: str) -> None:
        if not self._daemon.is_running:
            raise DemoError(
                f"the daemon ended before {what}: {self._daemon.last_words()}",
                next_step=f"see {self._folder.daemon_log}",
            )
        if time.monotonic() > self._deadline:
            raise DemoError(
                f"{DEADLINE_SECONDS:.0f} seconds passed before {what}", next_step=f"see {self._folder.daemon_log}"
            )
        time.sleep(LOOK_SECONDS)


def _final_outcomes(status: StatusAnswer) -> Outcomes | None:
    """The ledger's counts, or None while something is still on its way."""
    mails = deliveries = 0
    skipped: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    for source in status["sources"]:
        by_state = _counts(source["deliveries"])
        messages = _counts(source["messages"])
        if messages[MessageState.FOUND] or any(
            count for state, count in by_state.items() if state not in FINAL_DELIVERY_STATES
        ):
            return None
        mails += sum(messages.values()) + source["before_horizon"]
        deliveries += by_state[DeliveryState.SENT]
        skipped.update(source["skipped"])
        if source["before_horizon"]:
            skipped["before_horizon"] += source["before_horizon"]
        dead.update(source["dead"])
    return Outcomes(mails=mails, deliveries=deliveries, skipped=dict(skipped), dead=dict(dead))


def _counts(counts: object) -> Mapping[str, int]:
    return cast("Mapping[str, int]", counts)


def _by_customer(conversations: Sequence[ConversationDump]) -> dict[str, list[Shown]]:
    """Every message of the Inbox by the address of its conversation's customer. Two conversations with one customer
    are put together: each of their messages must be explained all the same."""
    found: dict[str, list[Shown]] = {}
    for conversation in conversations:
        customer = conversation["emails"][0].lower() if conversation["emails"] else conversation["id"]
        found.setdefault(customer, []).extend(
            Shown(message["text"], message["direction"], _files_of(message["content"]))
            for message in conversation["messages"]
        )
    return found


def _files_of(content: JsonObject) -> tuple[str, ...]:
    """The names of the images and files in the bubbles of a message."""
    if "basic" not in content:
        return ()
    items = [as_object(item) for item in as_list(at_path(content, "basic.items"))]
    return tuple(str(as_object(item[kind])["filename"]) for item in items for kind in ("image", "file") if kind in item)
