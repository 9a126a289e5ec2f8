"""Performance of a version: histograms and sums that can be merged in any order."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.rollouts.performance import MAX_BUCKET, LatencyHistogram, Performance, bucket_bound_s

DURATIONS = st.lists(st.tuples(st.floats(1e-6, 1000.0), st.integers(1, 50)), min_size=1, max_size=30)


def histogram(rows: list[tuple[float, int]]) -> LatencyHistogram:
    seconds, counts = zip(*rows, strict=True)
    return LatencyHistogram.of(np.array(seconds), np.array(counts))


@given(DURATIONS, st.floats(0.01, 1.0))
def test_a_quantile_is_at_most_nine_percent_too_large(rows: list[tuple[float, int]], share: float) -> None:
    ordered = sorted(second for seconds, count in rows for second in [seconds] * count)
    exact_s = ordered[math.ceil(share * len(ordered)) - 1]
    found_s = histogram(rows).quantile(share)
    assert found_s is not None and exact_s * (1 - 1e-6) <= found_s <= exact_s * 1.0906


@given(DURATIONS, DURATIONS)
def test_the_sum_of_two_histograms_is_the_histogram_of_all_rows(
    first: list[tuple[float, int]], second: list[tuple[float, int]]
) -> None:
    total = histogram(first)
    total.add(histogram(second))
    assert total == histogram(first + second)
    assert total.total == sum(count for _, count in first + second)


def test_durations_outside_of_the_buckets_are_in_the_first_and_the_last() -> None:
    found = histogram([(0.0, 1), (1e-9, 2), (1e9, 3)])
    assert found.counts == {0: 3, MAX_BUCKET: 3}
    assert found.quantile(0.5) == 1e-6 and found.quantile(1.0) == bucket_bound_s(MAX_BUCKET)
    assert LatencyHistogram().quantile(0.99) is None


def performance(rows: int, **changes: object) -> Performance:
    part = Performance(
        rows=rows, calls=1, cpu_s=0.25 * rows, queue_delay_s=0.005, latency=histogram([(0.01, rows)]),
        model_time=histogram([(0.002, rows)]),
    )  # fmt: skip
    for name, value in changes.items():
        setattr(part, name, value)
    return part


def test_sums_add_up_and_memory_is_the_largest() -> None:
    total = Performance.sum([performance(3), performance(5, gpu_s=0.5, memory_bytes=7), performance(1, gpu_s=0.25)])
    assert (total.rows, total.calls, total.cpu_s, total.gpu_s, total.memory_bytes) == (9, 3, 2.25, 0.75, 7)
    assert total.latency.total == total.model_time.total == 9 and total.queue_delay_s == 0.005
    assert Performance.sum([]) == Performance()


@pytest.mark.parametrize("part", [Performance(), performance(4), performance(4, gpu_s=0.5, memory_bytes=7)])
def test_it_survives_json(part: Performance) -> None:
    document = orjson.loads(orjson.dumps(part.to_json()))
    assert Performance.from_json(document | {"of the future": 1}) == part


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -1},
        {"rows": 1.5},
        {"cpu_s": "1"},
        {"cpu_s": -1.0},
        {"cpu_s": True},
        {"memory_bytes": -1},
        {"latency": None},
        {"latency": {"-1": 1}},
        {"latency": {"x": 1}},
        {"latency": {"3": 0}},
        {"model_time": {str(MAX_BUCKET + 1): 1}},
    ],
)
def test_invalid_documents_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Performance.from_json(performance(4).to_json() | change)
    with pytest.raises(ValueError, match="object"):
        Performance.from_json([])
