"""Bounds of a rate that hold at all times."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.rollouts.confidence import events_until_above, exceeds, lower_bound, upper_bound


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(1e-9, 0.5))
def test_the_bounds_enclose_the_observed_rate(successes: int, failures: int, error: float) -> None:
    total = successes + failures
    low, high = lower_bound(successes, total, error), upper_bound(successes, total, error)
    assert 0 <= low <= high <= 1
    if total:
        assert low <= successes / total + 1e-9 and successes / total <= high + 1e-9
    for limit in (low / 2, low * 1.001 + 1e-9, 0.5):
        assert exceeds(successes, total, limit, error) == (low > limit)
    assert lower_bound(0, total, error) == 0 and upper_bound(total, total, error) == 1


def test_without_observations_nothing_is_known() -> None:
    assert (lower_bound(0, 0, 0.01), upper_bound(0, 0, 0.01)) == (0.0, 1.0)


@pytest.mark.parametrize("rate", [0.002, 0.03, 0.5])
def test_the_error_holds_over_all_looks_together(rate: float) -> None:
    error, num_sequences, rng = 0.1, 200, np.random.default_rng(7)
    missed = 0
    for _ in range(num_sequences):
        counts = rng.binomial(50, rate, size=60).cumsum().tolist()
        totals = range(50, 3050, 50)
        missed += any(lower_bound(n, total, error) > rate for n, total in zip(counts, totals, strict=True))
    # Five standard deviations above the error. A test with a fixed number of events would miss in a third of them.
    assert missed / num_sequences <= error + 5 * (error / num_sequences) ** 0.5


def test_more_events_at_a_higher_rate_decide() -> None:
    needed = events_until_above(0.03, 100, 0.01, 1e-3)
    assert needed is not None and 300 < needed < 3000
    assert lower_bound(ceil(0.03 * (100 + needed)), 100 + needed, 1e-3) > 0.01
    assert events_until_above(0.01, 100, 0.01, 1e-3) is None
