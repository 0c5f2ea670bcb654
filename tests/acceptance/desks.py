"""Customers who write by mail and to two helpdesks, agents who answer, and what should come of it.

Everything is made from a seed. Each thing said carries a token; the expectation is, for each customer, the tokens in the
order of DESIGN.md §2: arrival, source, position in the stream.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from itertools import count

from sync.message import Json
from tests.mailbag import OWN
from tests.servers.django_helpdesk import DjangoHelpdesk
from tests.servers.dovecot import Dovecot
from tests.servers.request_tracker import RequestTracker

SPACING = timedelta(seconds=3)
"""Between two arrivals, unless they are of one moment."""
GROUP = 20
"""Tickets of each helpdesk in a round."""
FILE: Json = {"name": "Rechnung.pdf", "type": "application/pdf", "content": base64.b64encode(b"%PDF-1.4 ").decode()}
MAIL, TRACKER, SITE = "mail", "rt", "site"


@dataclass(frozen=True)
class Said:
    """One thing said. `place`: its number at the helpdesk."""

    token: str
    source: str
    at: datetime
    customers: tuple[int, ...]


@dataclass
class Ticket:
    """A ticket of a helpdesk; `customers` are those to whom an answer goes."""

    number: int
    customers: tuple[int, ...]


@dataclass
class Desks:
    """A mailbox, a Request Tracker and a django-helpdesk with the same customers. Every third of these writes from another
    address where they write a ticket."""

    mailbox: Dovecot
    tracker: RequestTracker
    site: DjangoHelpdesk
    customers: int = 30
    seed: int = 1
    said: list[Said] = field(default_factory=list)
    late: set[str] = field(default_factory=set)
    """Tokens of what is seen later than newer things."""
    held_back: list[int] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    """Tokens that must never arrive: notes, and what is in deleted tickets."""

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._numbers = count(1)
        self._at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)

    def addresses(self, customer: int) -> list[str]:
        """One, or two."""
        return [f"k{customer}@customer.example", *([f"k{customer}@home.example"] if customer % 3 == 0 else [])]

    def expected(self) -> dict[int, list[str]]:
        """For each customer the tokens in order; of one moment, as they were said."""
        wanted: dict[int, list[str]] = {}
        for one in sorted(self.said, key=lambda said: (said.at, said.source)):
            for customer in one.customers:
                wanted.setdefault(customer, []).append(one.token)
        return wanted

    def deliveries(self) -> int:
        return sum(len(one.customers) for one in self.said)

    # -- what is said

    def round(self, tickets: int = GROUP, mails: int = 10) -> None:
        """Some mails, then as many tickets at each helpdesk, each with answers, notes, files, merges; a deletion."""
        for _ in range(mails):
            self._mail()
        self._tracker_tickets(tickets)
        self._site_tickets(tickets)

    def _say(self, source: str, customers: tuple[int, ...], *, same_moment: bool = False) -> Said:
        if not same_moment:
            self._at += SPACING
        said = Said(f"T{next(self._numbers):06d}", source, self._at, customers)
        self.said.append(said)
        return said

    def _mail(self) -> None:
        customer = self._chance.randrange(self.customers)
        outgoing = self._chance.random() < 0.3
        said = self._say(MAIL, (customer,))
        mail = EmailMessage()
        address = self.addresses(customer)[0]
        mail["From"], mail["To"] = (OWN, address) if outgoing else (address, OWN)
        mail["Date"], mail["Subject"] = format_datetime(said.at), "A question"
        mail["Message-ID"] = f"<{said.token}@mail.example>"
        mail.set_content(f"{said.token} by mail")
        self.mailbox.deliver("alice", "Sent" if outgoing else "INBOX", mail.as_bytes(), mtime=said.at.timestamp())

    def _tracker_tickets(self, count_: int) -> None:
        openings: list[dict[str, Json]] = []
        opened: list[int] = []
        for _ in range(count_):
            customer = self._chance.randrange(self.customers)
            said = self._say(TRACKER, (customer,))
            openings.append(self._tracker(said.token, said.at, self._writer(customer)) | {"do": "create"})
            opened.append(customer)
        answers = self.tracker.do(*openings)
        tickets = [Ticket(_number(answer, "ticket"), (who,)) for answer, who in zip(answers, opened, strict=True)]
        self._thread(tickets, TRACKER, self._tracker_write)
        winner, loser = self._chance.sample(tickets, 2)
        self.tracker.merge(loser.number, into=winner.number)
        both = tuple(dict.fromkeys((*winner.customers, *loser.customers)))
        self._thread([Ticket(winner.number, both)], TRACKER, self._tracker_write, everything=True)
        self._delete_unsaid(winner.customers[0])

    def _delete_unsaid(self, customer: int) -> None:
        """A ticket that is opened and deleted before anybody looks."""
        token = self._unsaid()
        answer = self.tracker.do(self._tracker(token, self._at, self._writer(customer)) | {"do": "create"})[0]
        self.tracker.delete(_number(answer, "ticket"))

    def _site_tickets(self, count_: int) -> None:
        opened = [self._chance.randrange(self.customers) for _ in range(count_)]
        numbers = self.site.do(
            *[
                {
                    "do": "open_ticket",
                    "queue": "support",
                    "title": "Order 17",
                    "description": "",
                    "email": self._writer(who),
                }
                for who in opened
            ]
        )
        tickets = []
        rows: list[dict[str, Json]] = []
        for number, who in zip(numbers, opened, strict=True):
            assert isinstance(number, int)
            tickets.append(Ticket(number, (who,)))
            said = self._say(SITE, (who,))
            title = f"E-Mail Received from {self._writer(who)}"
            mail_id = f"<{said.token}@desk.example>"
            rows.append(self._row(number, said.token, said.at) | {"title": title, "message_id": mail_id})
        self.site.do(*rows)
        self._thread(tickets, SITE, self._site_write)
        winner, loser = self._chance.sample(tickets, 2)
        self.site.merge([loser.number], into=winner.number)
        self._thread([winner], SITE, self._site_write, everything=True)

    def _thread(
        self,
        tickets: list[Ticket],
        source: str,
        write: Callable[[list[tuple[Ticket, str, datetime, int | None, bool, bool]]], None],
        *,
        everything: bool = False,
    ) -> None:
        """An agent's answer in each ticket, sometimes in one moment with the customer's next words, a note, a file."""
        rows: list[tuple[Ticket, str, datetime, int | None, bool, bool]] = []
        for ticket in tickets:
            answer = self._say(source, ticket.customers)
            rows.append((ticket, answer.token, answer.at, None, False, self._chance.random() < 0.2))
            if everything or self._chance.random() < 0.5:
                rows.append((ticket, self._unsaid(), answer.at, None, True, False))
            if everything or self._chance.random() < 0.6:
                again = self._say(source, ticket.customers[:1], same_moment=self._chance.random() < 0.5)
                rows.append((ticket, again.token, again.at, ticket.customers[0], False, False))
        write(rows)

    def _tracker_write(self, rows: list[tuple[Ticket, str, datetime, int | None, bool, bool]]) -> None:
        commands: list[dict[str, Json]] = [
            {
                "do": "write",
                "ticket": ticket.number,
                "by": "root" if who is None else self._writer(who),
                "text": f"{token} in a ticket",
                "note": note,
                "files": [FILE] if file else [],
                "at": f"{at:%F %T}",
            }
            for ticket, token, at, who, note, file in rows
        ]
        self.tracker.do(*commands)

    def _site_write(self, rows: list[tuple[Ticket, str, datetime, int | None, bool, bool]]) -> None:
        self.site.do(
            *[
                self._row(ticket.number, token, at)
                | {"user": "agent" if who is None else None, "public": not note, "files": [FILE] if file else []}
                for ticket, token, at, who, note, file in rows
            ]
        )

    def _tracker(self, token: str, at: datetime, by: str) -> dict[str, Json]:
        text, subject = f"{token} in a ticket", "Printer"
        return {"by": by, "queue": "General", "subject": subject, "text": text, "at": f"{at:%F %T}"}

    def _row(self, ticket: int, token: str, at: datetime) -> dict[str, Json]:
        return {
            "do": "write",
            "ticket": ticket,
            "user": None,
            "title": "Comment",
            "comment": f"{token} on the site",
            "public": True,
            "at": at.isoformat(),
            "message_id": None,
            "files": [],
        }

    def _writer(self, customer: int) -> str:
        return self.addresses(customer)[-1]

    def _unsaid(self) -> str:
        token = f"T{next(self._numbers):06d}"
        self.silent.add(token)
        return token

    # -- what is seen late

    def hold_back(self, tickets: int = 3) -> None:
        """Messages of Request Tracker that take numbers and are committed later than others (`commit`)."""
        for _ in range(tickets):
            customer = self._chance.randrange(self.customers)
            said = self._say(TRACKER, (customer,))
            answer = self.tracker.do(self._tracker(said.token, said.at, self._writer(customer)) | {"do": "create"})[0]
            self.held_back.append(_number(answer, "transaction"))
            self.tracker.hold_back(self.held_back[-1])
            self.late.add(said.token)

    def commit(self) -> None:
        """Now they are."""
        for transaction in self.held_back:
            self.tracker.commit(transaction)
        self.held_back.clear()

    def write_late(self) -> None:
        """The site shows a follow-up that is older than its newest."""
        customer = self._chance.randrange(self.customers)
        said = Said(f"T{next(self._numbers):06d}", SITE, self._at - timedelta(seconds=60), (customer,))
        self.said.append(said)
        self.late.add(said.token)
        ticket = self.site.open_ticket("Late", "", self._writer(customer))
        self.site.do(self._row(ticket, said.token, said.at))


def _number(answer: Json, key: str) -> int:
    assert isinstance(answer, dict)
    number = answer[key]
    assert isinstance(number, int)
    return number
