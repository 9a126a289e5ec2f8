"""Which rows are counted."""

from __future__ import annotations

import random

import numpy as np
import pytest

from forebay.stream.drift.sampling import MAX_VALUES_PER_S, RowSampler


def sampler(limit: float, *, num_columns: int = 32, seed: int = 0) -> RowSampler:
    return RowSampler(limit, num_columns=num_columns, random=random.Random(seed).random, now_s=0.0)


def run(chosen_by: RowSampler, *, rate: int, size: int, seconds: int) -> np.ndarray:
    """Return how often each row of a micro-batch was chosen, while `rate` rows arrive in a second."""
    chosen = np.zeros(size, np.int64)
    num_batches = rate * seconds // size
    for number in range(num_batches):
        rows = chosen_by.choose(size, number * size / rate)
        if rows is not None:
            chosen[rows] += 1
    return chosen


def test_everything_is_counted_below_the_limit() -> None:
    assert run(sampler(2_000), rate=1_000, size=50, seconds=20).tolist() == [400] * 50


@pytest.mark.parametrize(("rate", "size"), [(50_000, 64), (200_000, 512), (200_000, 2_048)])
def test_beyond_it_the_mean_is_the_limit_and_every_row_equally_likely(rate: int, size: int) -> None:
    seconds = 60
    chosen = run(sampler(2_000), rate=rate, size=size, seconds=seconds)
    assert 0.8 * 2_000 * seconds < chosen.sum() <= 1.15 * 2_000 * seconds
    rows = chosen.reshape(8, -1).sum(axis=1)
    assert rows.max() < 1.25 * rows.min(), "no part of a micro-batch is preferred"


@pytest.mark.parametrize("limit", [2_000, 100_000])
def test_rows_of_small_and_large_micro_batches_are_equally_likely(limit: float) -> None:
    mixed, counted, offered = sampler(limit), {10: 0, 1_000: 0}, {10: 0, 1_000: 0}
    for number in range(60_000):
        size = 1_000 if number % 100 == 0 else 10
        rows = mixed.choose(size, number / 1_000)  # 20,000 rows a second
        if number < 2_000:
            continue  # its first second is not sampled by the rate
        offered[size] += size
        counted[size] += 0 if rows is None else len(range(size)[rows])
    assert counted[1_000] / offered[1_000] == pytest.approx(counted[10] / offered[10], rel=0.15)


def test_a_burst_after_a_pause_is_bounded() -> None:
    burst = sampler(100)
    assert sum(run(burst, rate=100_000, size=50, seconds=1)) <= 200 + 150 + 50


def test_a_model_with_many_columns_counts_fewer_rows() -> None:
    chosen = run(sampler(2_000, num_columns=1_000), rate=20_000, size=64, seconds=30)
    assert chosen.sum() <= 1.2 * 30 * MAX_VALUES_PER_S / 1_000 + 64


def test_an_empty_micro_batch_has_no_rows() -> None:
    assert sampler(10).choose(0, 1.0) is None
