"""The counts of a worker that is measured while it runs."""

from __future__ import annotations

from forebay.stream.bench.live_worker import Backlog, Counts, counts_of, metric_sum


def test_outcomes_of_events_and_of_windows_are_counted_apart() -> None:
    status = {
        "totals": {
            "outcomes": {"accepted": 90, "late": 4, "rejected": 1, "window_predicted": 7, "window_failed": 2},
            "batches": 3,
            "commits": 2,
        },
        "in_flight": {"bytes": 500},
        "models": [
            {"window": {"kind": "none"}},
            {"window": {"kind": "tumbling", "open_windows": 11}},
        ],
    }
    assert counts_of(status) == Counts(95, 9, 3, 2, open_windows=11, in_flight_bytes=500)


def test_the_rates_of_a_backlog() -> None:
    counts = Counts(1_000, 0, 2, 1, open_windows=0, in_flight_bytes=0)
    backlog = Backlog(seconds=2.0, cpu_s=0.5, peak_rss_mib=300.0, counts=counts)
    assert (backlog.events_per_s, backlog.events_per_cpu_s) == (500, 2_000)


def test_the_series_of_a_metric_are_added() -> None:
    page = """# TYPE a_seconds histogram
a_seconds_sum{model="x y",version="1"} 0.5
a_seconds_sum{model="z",version="2"} 1.25
a_seconds_sum_of_others 9
a_seconds_count{model="z",version="2"} 7
b_total 3
"""
    assert metric_sum(page, "a_seconds_sum") == 1.75
    assert metric_sum(page, "b_total") == 3
    assert metric_sum(page, "missing") == 0
