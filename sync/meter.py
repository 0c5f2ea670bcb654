"""What is counted while the program runs: numbers since the start of the process, for `/metrics`.

What the ledger knows (deliveries by state, ages) is not counted here: it outlives the process. Counted in the event
loop only, so nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, or a histogram where it has `buckets` (upper bounds). `name` as Prometheus knows it, without the endings
    it adds itself."""

    name: str
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


PASSES = Metric(
    "inbox_sync_passes", "Passes of a source by how they ended: ok, failed, abandoned.", ("source", "outcome")
)
API_CALLS = Metric(
    "inbox_sync_api_calls",
    "Calls to the Inbox's API by outcome: the status, or no_answer.",
    ("inbox", "call", "outcome"),
)
DELIVERY_LAG = Metric(
    "inbox_sync_delivery_lag_seconds",
    "From a live message's arrival at its service to its arrival in the Inbox.",
    ("inbox",),
    (1.0, 5.0, 15.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0),
)
LEDGER = Metric(
    "inbox_sync_ledger_seconds",
    "Transactions of the ledger, the wait for a thread included.",
    (),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0),
)
METRICS = (PASSES, API_CALLS, DELIVERY_LAG, LEDGER)


@dataclass(slots=True)
class Histogram:
    """How many values fell below each bound and above the one before it; the last one has no bound."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Meter:
    """The numbers, by metric and labels."""

    counters: dict[Metric, dict[tuple[str, ...], int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    histograms: dict[Metric, dict[tuple[str, ...], Histogram]] = field(default_factory=lambda: defaultdict(dict))

    def count(self, metric: Metric, *labels: str) -> None:
        """One more."""
        self.counters[metric][labels] += 1

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """One more value."""
        of_metric = self.histograms[metric]
        histogram = of_metric.get(labels)
        if histogram is None:
            histogram = of_metric[labels] = Histogram([0] * (len(metric.buckets) + 1))
        histogram.counts[bisect_left(metric.buckets, value)] += 1
        histogram.total += value


meter = Meter()
"""This process's."""
