"""Histograms of fixed size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.rollouts.value_histogram import NUM_BUCKETS, ValueHistogram

VALUES = st.lists(st.floats(0, 1e12, allow_subnormal=False), min_size=1, max_size=200)


def histogram(*values: float) -> ValueHistogram:
    filled = ValueHistogram()
    filled.add(np.array(values, dtype=np.float64))
    return filled


@given(VALUES, st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_at_most_9_percent_too_large_and_never_too_small(values: list[float], share: float) -> None:
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    found = histogram(*values).quantile(share)
    assert found is not None
    assert exact * (1 - 1e-9) - 6e-8 <= found <= exact * 2 ** (1 / 8) * (1 + 1e-9)


@given(VALUES, VALUES)
def test_merged_histograms_equal_one_of_all_values(first: list[float], second: list[float]) -> None:
    merged, whole = histogram(*first), histogram(*first, *second)
    merged.merge(histogram(*second))
    assert [merged.quantile(share / 100) for share in range(101)] == [
        whole.quantile(share / 100) for share in range(101)
    ]
    assert (merged.count, merged.largest) == (whole.count, whole.largest)
    assert merged.total == pytest.approx(whole.total)


@given(st.floats(0, 1e15), st.integers(1, 50))
def test_a_repeated_value_is_that_value_several_times(value: float, count: int) -> None:
    repeated, several = ValueHistogram(), histogram(*[value] * count)
    repeated.add_repeated(value, count)
    assert (repeated.quantile(0.5), repeated.count) == (several.quantile(0.5), count)
    assert repeated.total == pytest.approx(several.total)


def test_values_beyond_the_buckets_are_counted() -> None:
    filled = histogram(1e30, 1e-30, 0.0)
    assert (filled.quantile(0.5), filled.largest, filled.count) == (0.0, 1e30, 3)
    assert filled.quantile(1.0) == 2.0 ** ((NUM_BUCKETS - 1) / 8 - 24)


def test_an_empty_histogram_has_no_quantiles() -> None:
    empty = histogram()
    empty.add_repeated(1.0, 0)
    assert (empty.quantile(0.5), empty.mean, empty.count) == (None, None, 0)
