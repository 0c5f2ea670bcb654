"""Several daemons over one ledger, each a process of its own with a file of its own that differs in nothing but the
control socket (and, where a test cuts its connection, the database's port)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from sync.ledger import Lease, Ledger, MessageFilter
from sync.sandbox import Sandbox
from sync.sandbox.operations import ConversationDump
from sync.settings import LedgerSettings
from tests.acceptance.harness import assert_in_order, seed_contacts, tokens_in, wait_for
from tests.crash.points import BY_NAME, FREEZE, Point
from tests.crash.process import Running
from tests.crash.site import ENVIRON, LIST_LIMIT, OPEN_STATES, Mailboxes
from tests.mailbag import OWN, Mailbag
from tests.servers.dovecot import Dovecot

LEASE_SECONDS = 1.0
IDLE_IN_TRANSACTION = "?options=-c%20idle_in_transaction_session_timeout%3D1500"
"""For a ledger's URL: the server ends the session of a frozen process sooner than it would."""
SETTLE_SECONDS = 2.0
ANSWER_DUE_SECONDS = 0.5 + 1.0 + 2.0
"""Connecting, the answer, and the program's margin: after that another daemon takes a send over."""
DONE_SECONDS = 120.0


@dataclass
class Box:
    """A source and what is in it."""

    name: str
    inbox: str
    mailboxes: Mailboxes
    bag: Mailbag


class Fleet:
    """`add` sources, `start` daemons, ask what became of it. All customers of a source write to no other one."""

    def __init__(self, folder: Path, ledger_url: str) -> None:
        self.folder = folder
        self.ledger_url = ledger_url
        self.sandbox = Sandbox()
        self.boxes: list[Box] = []
        self.sites: dict[str, str] = {}
        self.daemons: list[Running] = []
        self.inbox_settings = ""
        self.source_settings = 'start = "all"'
        self.daemon_settings = ""
        self._urls: dict[int, str] = {}
        self._begin = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        self._after = ExitStack()

    def __enter__(self) -> Self:
        self._after.enter_context(self.sandbox)
        self.ledger = Ledger.open(LedgerSettings(url=self.ledger_url))
        self._after.callback(self.ledger.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for number, daemon in enumerate(self.daemons, 1):
                print(f"--- daemon {number}\n{daemon.log()[-6000:]}")
        for daemon in self.daemons:
            daemon.kill()
        self._after.close()

    # ------------------------------------------------------------------ what there is

    def add(self, name: str, *, inbox: str, customers: int = 8, dovecot: Dovecot | None = None) -> Box:
        """Another source; its inbox is made with the first that names it."""
        number = len(self.boxes)
        if inbox not in self.sites:
            first = not self.sites
            self.sites[inbox] = self.sandbox.site_id if first else self.sandbox.add_site(_site_id(len(self.sites)))
        folder = self.folder / name
        folder.mkdir()
        # An odd second for each, or mails without an id would be the same in two sources.
        begin = self._begin + timedelta(seconds=number)
        bag = Mailbag(seed=300 + number, customers_count=customers, begin=begin, domain=f"{name}.example")
        box = Box(name, inbox, Mailboxes(folder, dovecot), bag)
        self.boxes.append(box)
        seed_contacts(self.sandbox, bag, self.sites[inbox])
        return box

    def bring(self, count: int) -> None:
        """So many mails, spread over all sources. While daemons are at work: each from another customer, or they would
        seem to have arrived long before they could be seen."""
        for number, box in enumerate(self.boxes):
            share = count // len(self.boxes) + (number < count % len(self.boxes))
            more = box.bag.one_each(share) if self.daemons else box.bag.more(share, outgoing_share=0.3)
            box.mailboxes.put(more)

    # ------------------------------------------------------------------ daemons

    def start(self, point: str | Point = "", *, ledger_url: str = "") -> Running:
        """A daemon more; frozen when it comes to a point."""
        number = len(self.daemons) + 1
        self._urls[number] = ledger_url or self.ledger_url
        config = self.config(number)
        stop: tuple[str, ...] = ()
        if point:
            name = point if isinstance(point, str) else point.name
            stop = (BY_NAME[name].name, FREEZE, str(self.proof(number)))
        daemon = Running(config, self.folder / f"daemon-{number}.log", ENVIRON, point=stop)
        self.daemons.append(daemon)
        return daemon

    def start_frozen(self, point: str) -> Running:
        """A daemon that has come to that point, and is frozen there."""
        daemon = self.start(point)
        wait_for(lambda: daemon.ended or daemon.frozen, f"it is frozen at {point}", DONE_SECONDS)
        assert self.proof(len(self.daemons)).exists()
        return daemon

    def proof(self, number: int) -> Path:
        return self.folder / f"daemon-{number}.reached"

    def config(self, number: int) -> Path:
        """The file of a daemon."""
        path = self.folder / f"config-{number}.toml"
        text = HEAD.format(
            url=self._urls[number],
            folder=self.folder,
            number=number,
            lease=LEASE_SECONDS,
            more=self.daemon_settings,
        )
        for inbox, site_id in self.sites.items():
            text += INBOX.format(
                inbox=inbox,
                site_id=site_id,
                sandbox=self.sandbox,
                own=OWN,
                settle=SETTLE_SECONDS,
                more=self.inbox_settings or UNLIMITED,
            )
        for box in self.boxes:
            text += SOURCE.format(box=box, toml=box.mailboxes.toml(), more=self.source_settings)
        path.write_text(text)
        return path

    def typed(self, number: int, *command: str) -> tuple[int, str]:
        """What an operator of a daemon's machine reads, and the exit code."""
        output = self.folder / f"typed-{number}-{'-'.join(command)}.txt"
        output.unlink(missing_ok=True)
        code = Running(self.config(number), output, {**ENVIRON, "COLUMNS": "200"}, command=command).wait()
        return code, output.read_text()

    # ------------------------------------------------------------------ what became of it

    @property
    def deliveries(self) -> int:
        """How many there must be in the end."""
        return sum(box.bag.deliveries() for box in self.boxes)

    @property
    def stored(self) -> int:
        """How many messages the Inbox has taken."""
        return self.sandbox.stats()["messagesStored"]

    @property
    def sends(self) -> int:
        """How many requests to send have reached the Inbox."""
        return self.sandbox.stats()["calls"].get("messages.send", 0)

    def lease(self, name: str) -> Lease | None:
        return self.ledger.leases.get(name)

    def holders(self) -> dict[str, str]:
        """Who holds which inbox."""
        found = {inbox: self.lease(f"inbox:{inbox}") for inbox in self.sites}
        return {inbox: lease.holder for inbox, lease in found.items() if lease is not None}

    def holder(self, inbox: str) -> Running | None:
        """The daemon that holds an inbox."""
        pid = self.holders().get(inbox, "::").split(":")[1]
        return next((daemon for daemon in self.daemons if str(daemon.pid) == pid), None)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = DONE_SECONDS) -> None:
        """Waits until it holds."""
        wait_for(condition, what, seconds)

    def wait_until_all_is_sent(self) -> None:
        """Until nothing is open."""
        try:
            wait_for(self._is_all_sent, "everything is sent", DONE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.ledger.overview.status()}") from None

    def _is_all_sent(self) -> bool:
        status = self.ledger.overview.status()
        done = status.deliveries.get("sent", 0) >= self.deliveries
        return done and not any(status.deliveries.get(state, 0) for state in OPEN_STATES)

    def events(self) -> Counter[str]:
        """What the stories of all messages tell, counted."""
        lines = self.ledger.messages.list(MessageFilter(limit=LIST_LIMIT))
        return Counter(event.kind for line in lines for event in self.ledger.events.of_message(line.id))

    def assert_each_once_in_order(self) -> None:
        """Every delivery once, in order, in the right conversation; ledger and Inbox agree."""
        for box in self.boxes:
            mine = [one for one in self.sandbox.conversations(self.sites[box.inbox]) if _is_of(one, box)]
            assert_in_order(tokens_in(mine, box.bag), box.bag)
        assert self.sandbox.stats()["messages"] == self.deliveries
        assert len(self.sandbox.contacts()) == sum(map(_contacts, self.boxes))
        assert self.sandbox.targets() == []
        status = self.ledger.overview.status()
        assert {state: n for state, n in status.deliveries.items() if n} == {"sent": self.deliveries}
        lines = self.ledger.messages.list(MessageFilter(limit=LIST_LIMIT))
        assert len(lines) == sum(len(box.bag.mails) for box in self.boxes)
        ids = [str(delivery.inbox_message_id) for line in lines for delivery in line.deliveries]
        assert sorted(ids) == sorted(message["id"] for message in self.sandbox.messages())


def _is_of(conversation: ConversationDump, box: Box) -> bool:
    return any(address.endswith("@" + box.bag.domain) for address in conversation["emails"])


def _contacts(box: Box) -> int:
    """Customers with several addresses are known to the site; the others once they write."""
    known = {customer.number for customer in box.bag.customers if len(customer.addresses) > 1}
    return len(known | box.bag.expected().keys())


def _site_id(number: int) -> str:
    return f"5a9d0b00-0000-4000-8000-00000000f{number:03}"


UNLIMITED = "requests_per_minute = 1000000\nburst_requests = 100"

HEAD = """
[ledger]
url = "{url}"
connect_timeout_seconds = 2
statement_timeout_seconds = 3

[daemon]
log_format = "json"
grace_seconds = "5s"
lease_seconds = {lease}
control_socket = "{folder}/{number}.sock"
{more}
"""

INBOX = """
[inbox.{inbox}]
site_id = "{site_id}"
api_key = {{ env = "WIX_KEY" }}
base_url = "{sandbox.url}"
own_addresses = ["{own}"]
lanes = 8
connect_timeout_seconds = "500ms"
answer_timeout_seconds = "1s"
unknown_settle_seconds = {settle}
first_look_seconds = "100ms"
retry_first_seconds = "100ms"
probe_seconds = "100ms"
probe_max_seconds = "500ms"
lane_hold_seconds = "20s"
{more}
"""

SOURCE = """
[sources.{box.name}]
inbox = "{box.inbox}"
every = "200ms"
order_wait_seconds = "30s"
{more}
{toml}
"""
"""Everything is small and the ratios are kept, but for the lease: so that a take-over takes seconds."""
