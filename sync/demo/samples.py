"""The sample mails and what each of them must lead to.

The files are whole mails with fixed dates in one week. The demo moves them by whole weeks, so that the last ones are a
few days old and Thursdays stay Thursdays.
"""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, model_validator

from sync.message import Direction
from sync.states import Reason

OWN_ADDRESSES = ("*@birkenhof.example",)
"""Who the shop of the sample mails is."""

START = datetime(2026, 10, 1, tzinfo=UTC)
"""The horizon of both sources, before it is moved: one mail is older."""

_WEEK = timedelta(weeks=1)
_DATE_LINE = re.compile(rb"^Date: ([^\r\n]+)$", re.MULTILINE)


class Box(StrEnum):
    """The folders the mails lie in. `hello` and `hello-sent` are one source, `orders` is another."""

    HELLO = "hello"
    HELLO_SENT = "hello-sent"
    ORDERS = "orders"


class Speaker(StrEnum):
    """Whose words a delivery shows."""

    CUSTOMER = "customer"
    SHOP = "shop"

    @property
    def direction(self) -> Direction:
        """The same in the Inbox's words."""
        return Direction.PARTICIPANT_TO_BUSINESS if self is Speaker.CUSTOMER else Direction.BUSINESS_TO_PARTICIPANT


class Sample(BaseModel):
    """One entry of `manifest.toml`: a mail, where it lies, and what must come of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    box: Box
    arrived: Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]
    speaker: Speaker | None = None
    reaches: tuple[str, ...] = ()
    """The customers' addresses: one delivery for each."""
    says: str = ""
    """Words of the mail that must be seen in the Inbox; no other mail says them, except its twin."""
    files: tuple[str, ...] = ()
    """What must be there as an image or a file, in this order."""
    outcome: Literal["delivered", "skipped", "dead"] = "delivered"
    reason: Reason | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        delivered = self.outcome == "delivered"
        if delivered != bool(self.reaches and self.says and self.speaker):
            raise ValueError(f"{self.file}: a delivered mail, and no other, has speaker, reaches and says")
        if delivered == (self.reason is not None):
            raise ValueError(f"{self.file}: what is not delivered, and nothing else, has a reason")
        return self

    def raw(self) -> bytes:
        """The mail as it is in the package."""
        return (files("sync.demo") / "mails" / self.file).read_bytes()


class _Manifest(BaseModel):
    mail: tuple[Sample, ...]


def load_samples() -> tuple[Sample, ...]:
    """All samples in order of arrival."""
    text = (files("sync.demo") / "mails" / "manifest.toml").read_text(encoding="utf-8")
    return tuple(sorted(_Manifest.model_validate(tomllib.loads(text)).mail, key=lambda sample: sample.arrived))


def weeks_to_move(samples: tuple[Sample, ...], now: datetime) -> timedelta:
    """By how much all dates move, so that the last mail arrived within the week before `now`."""
    return (now - max(sample.arrived for sample in samples)) // _WEEK * _WEEK


def moved(raw: bytes, by: timedelta) -> bytes:
    """The mail with its Date header moved; one without stays as it is."""
    header, separator, body = raw.partition(b"\n\n")
    found = _DATE_LINE.search(header)
    if found is None:
        return raw
    date = parsedate_to_datetime(found[1].decode("ascii")) + by
    return header[: found.start(1)] + format_datetime(date).encode("ascii") + header[found.end(1) :] + separator + body
