"""`/metrics` in Prometheus' text format: what the ledger knows now, and what this process has counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from sync.answers import InboxAnswer, SourceAnswer, StatusAnswer
from sync.budget import BudgetView
from sync.meter import METRICS, Meter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Gauges:
    """What only the running process can say. `token_ages`: seconds since a source's tokens were last renewed."""

    budgets: Mapping[str, BudgetView] = field(default_factory=dict)
    token_ages: Mapping[str, float] = field(default_factory=dict)
    spooled_bytes: int = 0


def metrics_text(status: StatusAnswer, gauges: Gauges, meter: Meter) -> bytes:
    """All of it. No addresses, subjects or secrets: names of inboxes and sources, codes and numbers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected([*_of_status(status), *_of_gauges(gauges), *_of_meter(meter)]))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Family]:
        return self._families


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"inbox_sync_{name}", about, labels=labels)


def _of_status(status: StatusAnswer) -> Iterator[Family]:
    now = status["at"]
    about = _gauge("info", "1; the version is a label.", "version")
    about.add_metric([status["version"]], 1)
    yield about
    ok = _gauge("ok", "1 while nothing waits for an operator.")
    ok.add_metric([], status["ok"])
    yield ok
    daemon = status["daemon"]
    if daemon is not None:
        started = _gauge("start_time_seconds", "When this process started, seconds since 1970.")
        started.add_metric([], datetime.fromisoformat(daemon["started_at"]).timestamp())
        yield started
    yield from _of_sources(status["sources"], now)
    yield from _of_inboxes(status["inboxes"], now)
    left = _gauge("backfill_left", "Messages that an unfinished backfill has still to bring in.", "source")
    for backfill in status["backfills"]:
        left.add_metric([backfill["source"]], backfill["left"])
    yield left


def _of_sources(sources: list[SourceAnswer], now: str) -> Iterator[Family]:
    up = _gauge("source_up", "1 while a source's passes go well (0: failing, parked or broken).", "source", "state")
    paused = _gauge("source_paused", "1 while an operator has paused a source.", "source")
    age = _gauge("source_last_good_pass_age_seconds", "Age of the last pass that went well.", "source")
    messages = _gauge("messages", "Messages by state and reason.", "source", "state", "reason")
    deliveries = _gauge("deliveries", "Deliveries by state and reason.", "source", "inbox", "state", "reason")
    for source in sources:
        name = source["name"]
        if source["state"] == "removed":
            continue
        up.add_metric([name, source["state"]], source["state"] in ("ok", "unknown"))
        paused.add_metric([name], source["paused"])
        if source["last_good_pass_at"] is not None:
            age.add_metric([name], _age(source["last_good_pass_at"], now))
        counts = source["messages"]
        for state, count in (("found", counts["found"]), ("loaded", counts["loaded"]), ("gone", counts["gone"])):
            messages.add_metric([name, state, ""], count)
        for state, reasons in (("skipped", source["skipped"]), ("dead", source["dead"])):
            for reason, count in sorted(reasons.items()):
                messages.add_metric([name, state, reason], count)
        sent = source["deliveries"]
        for state, count in (
            ("pending", sent["pending"]),
            ("sending", sent["sending"]),
            ("unknown", sent["unknown"]),
            ("sent", sent["sent"]),
            ("skipped", sent["skipped"]),
            ("held", sent["held"]),
            ("dead", sent["dead"]),
        ):
            reasons = source.get("delivery_reasons", {}).get(state, {})
            for reason, number in sorted({**reasons, "": count - sum(reasons.values())}.items()):
                deliveries.add_metric([name, source["inbox"], state, reason], number)
    yield from (up, paused, age, messages, deliveries)


def _of_inboxes(inboxes: list[InboxAnswer], now: str) -> Iterator[Family]:
    up = _gauge("inbox_up", "1 while an inbox takes messages (0: parked).", "inbox")
    fault = _gauge("inbox_fault", "1 for each fault of an inbox, by its code.", "inbox", "code")
    backlog = _gauge("backlog", "Deliveries that are not final.", "inbox")
    oldest = _gauge("backlog_oldest_age_seconds", "Age of the oldest of them, by its arrival.", "inbox")
    for inbox in inboxes:
        name, counts = inbox["name"], inbox["deliveries"]
        up.add_metric([name], inbox["state"] != "parked")
        for one in (inbox["fault"], inbox["warning"]):
            if one is not None:
                fault.add_metric([name, one["code"]], 1)
        backlog.add_metric([name], counts["pending"] + counts["sending"] + counts["unknown"])
        oldest.add_metric([name], _age(inbox["oldest_pending_at"], now) if inbox["oldest_pending_at"] else 0)
    yield from (up, fault, backlog, oldest)


def _of_gauges(gauges: Gauges) -> Iterator[Family]:
    rate = _gauge(
        "budget_requests_per_minute", "What an inbox may be asked now, and what is configured.", "inbox", "what"
    )
    used = _gauge("budget_used_last_minute", "Requests of the last minute.", "inbox")
    refused = _gauge("budget_refused_last_minute", "429s of the last minute.", "inbox")
    for name, view in gauges.budgets.items():
        rate.add_metric([name, "allowed"], view.rate_per_minute)
        rate.add_metric([name, "configured"], view.configured_per_minute)
        used.add_metric([name], view.used_last_minute)
        refused.add_metric([name], view.refused_last_minute)
    tokens = _gauge("token_age_seconds", "Since a source's tokens of a sign-in were renewed.", "source")
    for name, age in gauges.token_ages.items():
        tokens.add_metric([name], age)
    spooled = _gauge("spooled_bytes", "Contents and files that wait in the ledger.")
    spooled.add_metric([], gauges.spooled_bytes)
    yield from (rate, used, refused, tokens, spooled)


def _of_meter(meter: Meter) -> Iterator[Family]:
    for metric in METRICS:
        if not metric.buckets:
            counter = CounterMetricFamily(metric.name, metric.about, labels=metric.labels)
            for labels, count in sorted(meter.counters[metric].items()):
                counter.add_metric(labels, count)
            yield counter
            continue
        family = HistogramMetricFamily(metric.name, metric.about, labels=metric.labels)
        for labels, histogram in sorted(meter.histograms[metric].items()):
            below = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip([*map(str, metric.buckets), "+Inf"], histogram.counts, strict=True):
                below += count
                buckets.append((bound, below))
            family.add_metric(labels, buckets, histogram.total)
        yield family


def _age(then: str, now: str) -> float:
    return max(0.0, (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds())
