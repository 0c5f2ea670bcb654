"""Whether what the Inbox holds is what the sample mails must lead to: each delivery once, in order. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sync.demo.samples import Sample
from sync.message import Direction


@dataclass(frozen=True, slots=True)
class Shown:
    """One message as the Inbox shows it."""

    text: str
    direction: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversationVerdict:
    """One customer's conversation. `missing` and `doubled` name sample mails, `foreign` counts messages that no sample
    mail explains."""

    customer: str
    expected: int
    shown: int
    missing: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    foreign: int = 0
    in_order: bool = True

    @property
    def ok(self) -> bool:
        """Each delivery once, nothing else, in order."""
        return self.in_order and not (self.missing or self.doubled or self.foreign)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Mails and deliveries, counted by what came of them."""

    mails: int
    deliveries: int
    skipped: Mapping[str, int]
    dead: Mapping[str, int]


def expected_outcomes(samples: Iterable[Sample]) -> Outcomes:
    """What the sample mails must lead to."""
    all_of_them = tuple(samples)
    counts: dict[str, Counter[str]] = {"skipped": Counter(), "dead": Counter()}
    for sample in all_of_them:
        if sample.reason is not None:
            counts[sample.outcome][sample.reason.value] += 1
    return Outcomes(
        mails=len(all_of_them),
        deliveries=sum(len(sample.reaches) for sample in all_of_them),
        skipped=dict(counts["skipped"]),
        dead=dict(counts["dead"]),
    )


def judge(samples: Sequence[Sample], inbox: Mapping[str, Sequence[Shown]]) -> tuple[ConversationVerdict, ...]:
    """Compares the samples, in order of arrival, with the Inbox's conversations by customer (address in lower case).
    A conversation with somebody no sample reaches is judged too: all of it is foreign."""
    expected: dict[str, list[Sample]] = {}
    for sample in samples:
        for customer in sample.reaches:
            expected.setdefault(customer, []).append(sample)
    customers = [*expected, *(customer for customer in inbox if customer not in expected)]
    return tuple(_judge_one(customer, expected.get(customer, []), inbox.get(customer, ())) for customer in customers)


def _judge_one(customer: str, expected: Sequence[Sample], shown: Sequence[Shown]) -> ConversationVerdict:
    open_ones = list(range(len(expected)))
    order: list[int] = []
    doubled: list[str] = []
    foreign = 0
    for message in shown:
        fits = [number for number, sample in enumerate(expected) if _is(message, sample)]
        still_open = [number for number in fits if number in open_ones]
        if still_open:
            open_ones.remove(still_open[0])
            order.append(still_open[0])
        elif fits:
            doubled.append(expected[fits[0]].file)
        else:
            foreign += 1
    return ConversationVerdict(
        customer=customer,
        expected=len(expected),
        shown=len(shown),
        missing=tuple(expected[number].file for number in open_ones),
        doubled=tuple(doubled),
        foreign=foreign,
        in_order=order == sorted(order),
    )


def _is(message: Shown, sample: Sample) -> bool:
    direction: Direction | None = sample.speaker.direction if sample.speaker else None
    return message.direction == direction and sample.says in message.text and message.files == sample.files
