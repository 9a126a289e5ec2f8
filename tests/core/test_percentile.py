"""Percentiles by nearest rank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.percentile import percentile


def test_percentiles_are_nearest_rank() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert [percentile(ordered, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile(ordered, 99.5) == 100
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7


def test_binary_fractions_do_not_raise_the_rank() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert [percentile(ordered, percent) for percent in range(1, 101)] == ordered


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0.001, 100))
def test_the_requested_share_of_values_does_not_exceed_a_percentile(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    result = percentile(ordered, percent)
    assert result in values
    assert sum(value <= result for value in values) >= percent * len(values) / 100
    assert sum(value < result for value in values) < percent * len(values) / 100


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 100.1), ([1.0], -1)])
def test_invalid_arguments_are_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError):
        percentile(values, percent)
