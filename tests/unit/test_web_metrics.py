"""What Prometheus reads, from the answer of `status` and the counters of the process."""

from __future__ import annotations

from sync.meter import DELIVERY_LAG, PASSES, Meter
from sync.web.metrics import Gauges, metrics_text
from tests.unit.cli_answers import status


def test_deliveries_are_told_by_state_and_reason_and_add_up_to_their_state() -> None:
    answer = status()
    one = answer["sources"][0]
    one["deliveries"]["held"] = 3
    one["delivery_reasons"] = {"held": {"rate_limited": 2}}
    text = metrics_text(answer, Gauges(), Meter()).decode()
    held = sorted(line for line in text.splitlines() if f'source="{one["name"]}",state="held"' in line)
    assert [line.rpartition(" ")[2] for line in held] == ["1.0", "2.0"]
    assert 'reason="rate_limited"' in held[1]


def test_counters_and_histograms_are_as_prometheus_expects_them() -> None:
    meter = Meter()
    meter.count(PASSES, "mail", "ok")
    for seconds in (0.5, 4.0, 1_000_000.0):
        meter.observe(DELIVERY_LAG, seconds, "main")
    text = metrics_text(status(), Gauges(), meter).decode()
    assert 'inbox_sync_passes_total{outcome="ok",source="mail"} 1.0' in text
    assert 'inbox_sync_delivery_lag_seconds_bucket{inbox="main",le="1.0"} 1.0' in text
    assert 'inbox_sync_delivery_lag_seconds_bucket{inbox="main",le="5.0"} 2.0' in text
    assert 'inbox_sync_delivery_lag_seconds_bucket{inbox="main",le="+Inf"} 3.0' in text
