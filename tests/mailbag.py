"""A believable mailbox for tests: customers with one or two addresses, agents' replies, and what should come of it.

Everything is made from a seed, so that a failure can be repeated. Each mail carries a token; the expectation is, for
each customer, the tokens in the order of DESIGN.md §2.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime

OWN = "support@shop.example"
SECOND_SECONDS = 7
"""Seconds between two arrivals, so that order never hangs on a tie."""


@dataclass(frozen=True)
class Customer:
    number: int
    addresses: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"Customer {self.number}"


@dataclass(frozen=True)
class Mail:
    folder: str
    arrived_at: datetime
    raw: bytes
    token: str
    customers: tuple[int, ...]
    outgoing: bool


@dataclass
class Mailbag:
    """Makes mails. `mails` are those made so far, in order of arrival."""

    seed: int = 1
    customers_count: int = 40
    begin: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0) - timedelta(days=1))
    mails: list[Mail] = field(default_factory=list)
    domain: str = "example.com"

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._at = self.begin
        self._count = 0
        self.customers = [
            Customer(n, tuple(f"c{n}.{k}@{self.domain}" for k in range(1 + n % 2))) for n in range(self.customers_count)
        ]

    def more(self, count: int, *, outgoing_share: float = 0.25, to_many_share: float = 0.1) -> list[Mail]:
        """`count` more mails, later than all before."""
        fresh = []
        for _ in range(count):
            if self._chance.random() < outgoing_share:
                size = 3 if self._chance.random() < to_many_share else 1
                fresh.append(self._outgoing(self._chance.sample(self.customers, size)))
            else:
                fresh.append(self._incoming(self._chance.choice(self.customers)))
        self.mails += fresh
        return fresh

    def one_each(self, count: int) -> list[Mail]:
        """A mail each from so many customers: their order among each other is nobody's business, and so they may be
        put into a mailbox while it is polled."""
        fresh = [self._incoming(customer) for customer in self._chance.sample(self.customers, count)]
        self.mails += fresh
        return fresh

    def expected(self) -> dict[int, list[str]]:
        """For each customer the tokens in order."""
        wanted: dict[int, list[str]] = {}
        for mail in sorted(self.mails, key=lambda one: (one.arrived_at, one.folder != "INBOX")):
            for number in mail.customers:
                wanted.setdefault(number, []).append(mail.token)
        return wanted

    def deliveries(self) -> int:
        return sum(len(mail.customers) for mail in self.mails)

    def _next(self) -> tuple[str, datetime]:
        self._count += 1
        self._at += timedelta(seconds=SECOND_SECONDS)
        return f"T{self._count:06d}", self._at

    def _incoming(self, customer: Customer) -> Mail:
        token, at = self._next()
        message = EmailMessage()
        address = self._chance.choice(customer.addresses)
        message["From"] = f"{customer.name} <{address}>"
        message["To"] = OWN
        return self._finish(message, token, at, (customer.number,), "INBOX", outgoing=False)

    def _outgoing(self, customers: list[Customer]) -> Mail:
        token, at = self._next()
        message = EmailMessage()
        message["From"] = f"The shop <{OWN}>"
        message["To"] = ", ".join(self._chance.choice(customer.addresses) for customer in customers)
        return self._finish(message, token, at, tuple(c.number for c in customers), "Sent", outgoing=True)

    def _finish(
        self,
        message: EmailMessage,
        token: str,
        at: datetime,
        customers: tuple[int, ...],
        folder: str,
        *,
        outgoing: bool,
    ) -> Mail:
        shape = self._chance.randrange(8)
        if shape != 0:
            message["Message-ID"] = f"<{token}.{self.seed}@mail.example>"
        message["Date"] = format_datetime(at - timedelta(seconds=2))
        message["Subject"] = self._chance.choice(
            ["Order 17", "Re: Order 17", "Frage zur Lieferung", "Ünïcode ☃", "请问"]
        )
        text = f"{token} " + self._chance.choice(
            ["Hello there.", "Grüße aus Köln", "Спасибо", "ありがとう", "a\n\nb\n  c"]
        )
        if shape == 1:
            message.set_content(f"<p>{token} <b>Hello</b></p><ul><li>one<li>two</ul>", subtype="html")
        elif shape == 2:
            message.set_content(text)
            message.add_alternative(f"<p>{text}</p>", subtype="html")
        elif shape == 3:
            message.set_content(text)
            message.add_attachment(b"%PDF-1.4 " * 50, maintype="application", subtype="pdf", filename="Rechnung ä.pdf")
        elif shape == 4:
            message.set_content(text, charset="utf-8", cte="base64")
        else:
            message.set_content(text)
        raw = message.as_bytes()
        return Mail(folder, at, raw, token, customers, outgoing)
