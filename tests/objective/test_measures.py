"""What the controller measures: percentiles, rates, the wait to be read, the trend of the lag."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.stream.objective.lag_trend import LagTrend
from forebay.stream.objective.latency_window import GROWTH, MAX_SAMPLES, LatencyWindow
from forebay.stream.objective.rate import Rate
from forebay.stream.objective.read_delay import ReadDelay


def test_percentiles_are_those_of_the_last_seconds_within_the_width_of_a_bucket() -> None:
    window, random = LatencyWindow(), np.random.default_rng(1)
    assert window.percentile_ms(99, now_s=0.0) is None
    latencies_ms = random.lognormal(3, 1, 20_000)
    for second in range(10):
        window.add(latencies_ms[2000 * second : 2000 * (second + 1)], now_s=100.5 + second)
    exact_ms = float(np.percentile(latencies_ms, 99))
    found_ms = window.percentile_ms(99, now_s=109.9)
    assert found_ms is not None and exact_ms * 0.99 <= found_ms <= exact_ms * GROWTH * 1.01
    assert window.count(now_s=109.9) == 20_000
    assert window.count(now_s=109.9, seconds=3) == 6_000
    assert window.count(now_s=112.9) == 14_000
    assert window.percentile_ms(99, now_s=130.0) is None


def test_a_large_commit_is_sampled_and_counts_in_full() -> None:
    window = LatencyWindow()
    window.add(np.full(8 * MAX_SAMPLES, 20.0), now_s=1.0)
    window.add(np.full(100, 500.0), now_s=1.1)
    assert window.count(now_s=1.5) >= 8 * MAX_SAMPLES
    low_ms, high_ms = window.percentile_ms(99, now_s=1.5), window.percentile_ms(100, now_s=1.5)
    assert low_ms is not None and low_ms < 21
    assert high_ms is not None and high_ms >= 500


def test_latencies_of_any_size_have_a_bucket() -> None:
    window = LatencyWindow()
    window.add(np.array([-5.0, 0.0, 1e12]), now_s=1.0)
    assert window.count(now_s=1.0) == 3


def test_a_rate_is_right_from_the_first_second_on_and_falls_when_nothing_comes() -> None:
    rate = Rate(decay_s=1.0)
    assert rate.per_s(now_s=5.0) == 0
    for number in range(300):
        rate.add(10, now_s=5.0 + 0.01 * number)
        if number in (60, 299):
            assert rate.per_s(now_s=5.0 + 0.01 * number) == pytest.approx(1000, rel=0.05)
    assert rate.per_s(now_s=13.0) < 10


def test_waiting_is_what_is_above_the_least_age() -> None:
    delay = ReadDelay()
    for number in range(100):
        delay.add(7.0 + 0.001 * (number % 3), now_s=0.1 * number)
    assert delay.offset_s == pytest.approx(7.0)
    assert delay.waited_s < 0.003
    for number in range(20):
        delay.add(8.0, now_s=10 + 0.1 * number)
    assert delay.waited_s == pytest.approx(1.0, abs=0.01)
    for second in range(12, 50):
        delay.add(8.0, now_s=second)
    assert delay.offset_s == 8.0 and delay.waited_s == pytest.approx(0.0)


def test_timestamps_in_the_future_are_an_offset_too() -> None:
    delay = ReadDelay()
    delay.add(-3.0, now_s=0.0)
    delay.add(-2.9, now_s=5.0)
    assert delay.offset_s == -3.0 and delay.waited_s == pytest.approx(0.1)


def test_the_trend_of_the_lag_is_that_of_the_same_partitions() -> None:
    trend = LagTrend()
    trend.add({0: 100, 1: 100}, 50, now_s=0.0)
    assert (trend.records, trend.arrival_rate) == (50, None)
    trend.add({0: 300, 1: 200}, 150, now_s=2.0)
    assert (trend.records, trend.arrival_rate, trend.growth) == (150, 150.0, 50.0)
    trend.add({0: 500}, 10, now_s=4.0)
    assert (trend.records, trend.arrival_rate, trend.growth) == (10, None, 0.0)
