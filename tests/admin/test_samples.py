"""The history of samples: percentiles over any span, whatever the clock does."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.failures import Outcome
from forebay.stream.admin.samples import BUCKET_RATIO, LOWEST_MS, DurationHistogram, SampleHistory

DURATIONS = st.lists(st.floats(0.06, 1e6), min_size=1, max_size=200)


def commit(samples: SampleHistory, at_s: float, events: int, latency_ms: float = 5.0, rejected: int = 0) -> None:
    samples.record_commit(
        wall_ms=round(at_s * 1000),
        outcomes={Outcome.PREDICTED: events - rejected, Outcome.REJECTED: rejected},
        batch_sizes=[events],
        model_ms=np.array([1.0]),
        latencies_ms=np.full(events, latency_ms),
    )


@given(DURATIONS, st.floats(0.01, 1.0))
def test_a_percentile_is_within_its_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    histogram = DurationHistogram()
    histogram.add(np.array(values))
    (percentile,) = histogram.percentiles([share])
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    assert percentile is not None
    assert exact / BUCKET_RATIO - 0.01 <= percentile <= exact * BUCKET_RATIO + 0.01


@given(st.lists(DURATIONS, min_size=1, max_size=5))
def test_merged_histograms_equal_one_of_all_values(parts: list[list[float]]) -> None:
    whole, merged = DurationHistogram(), DurationHistogram()
    whole.add(np.array([value for part in parts for value in part]))
    for part in parts:
        histogram = DurationHistogram()
        histogram.add(np.array(part))
        merged.merge(histogram)
    assert merged.percentiles([0.1, 0.5, 0.99, 1.0]) == whole.percentiles([0.1, 0.5, 0.99, 1.0])


def test_an_empty_histogram_has_no_percentile_and_any_value_has_a_bucket() -> None:
    histogram = DurationHistogram()
    assert histogram.percentiles([0.5]) == [None]
    histogram.add(np.array([]))
    assert histogram.percentiles([0.5]) == [None]
    histogram.add(np.array([0.0, 1e12]))
    low, high = histogram.percentiles([0.5, 1.0])
    assert low is not None and low <= LOWEST_MS
    assert high is not None and high > 1e6


def test_columns_hold_whole_seconds_after_the_one_asked_for() -> None:
    samples = SampleHistory()
    commit(samples, 100.2, 10, rejected=2)
    commit(samples, 100.9, 30, latency_ms=50.0)
    samples.record_lag(7, wall_ms=100_950)
    commit(samples, 103.1, 5)
    samples.record_lag(0, wall_ms=104_000)
    columns = samples.columns(now_ms=104_500)
    assert columns["at"] == [100, 101, 102, 103]
    assert columns["predicted"] == [38, 0, 0, 5]
    assert columns["rejected"] == [2, 0, 0, 0]
    assert columns["batch_mean"] == [20.0, None, None, 5.0]
    assert columns["batch_max"] == [30, None, None, 5]
    assert columns["latency_p50"][1] is None
    assert 40 < columns["latency_p50"][0] < 60
    assert columns["lag"] == [7, 7, 7, None]
    assert samples.columns(now_ms=104_500, since=102)["at"] == [103]


def test_the_summary_covers_the_last_seconds_only() -> None:
    samples = SampleHistory()
    commit(samples, 50, 1_000_000)
    for second in range(90, 100):
        commit(samples, second, 100, rejected=10)
    summary = samples.summary(now_ms=100_000)
    assert (summary["events_per_s"], summary["predicted_per_s"], summary["rejected_per_s"]) == (100.0, 90.0, 10.0)
    assert summary["batch_mean"] == summary["batch_max"] == 100
    assert samples.summary(now_ms=200_000)["events_per_s"] == 0
    assert samples.summary(now_ms=200_000)["latency_p99_ms"] is None


def test_the_history_is_bounded_and_in_order_when_the_clock_is_set_back() -> None:
    samples = SampleHistory(history_s=5)
    for at_s in (100, 101, 40, 102, 9000, 9001):
        commit(samples, at_s, 1)
    at = samples.columns(now_ms=10_000_000)["at"]
    assert at == [100, 101, 102, 9000, 9001]  # what came at 40 is counted in 101
