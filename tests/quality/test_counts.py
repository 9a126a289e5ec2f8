"""Sparse counts by index."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from forebay.stream.quality.counts import Counts


@pytest.mark.parametrize("size", [50, 20_000])
@pytest.mark.parametrize("most", [3, 5000])
def test_counts_are_those_of_a_counter(size: int, most: int) -> None:
    random = np.random.default_rng(size + most)
    counts, other, expected = Counts(size), Counts(size), Counter[int]()
    for sign in (1, -1, 1, 1, -1):
        indices = random.integers(0, size, random.integers(0, most))
        counts.add(indices, sign)
        other.add(indices, 1)
        for index in indices.tolist():
            expected[index] += sign
    assert counts.items() == {index: count for index, count in sorted(expected.items()) if count}
    assert counts.total() == sum(expected.values())
    assert counts.dense().sum() == counts.total()
    before = other.items()
    counts.merge(other)
    counts.add(np.array([0, 0]), -1)
    assert other.items() == before
    assert counts.items().get(0, 0) == expected[0] + before.get(0, 0) - 2


def test_counts_without_a_difference_are_empty() -> None:
    counts = Counts(10)
    assert not counts
    counts.add(np.array([3, 4, 3]))
    assert counts
    counts.add(np.array([3, 3, 4]), -1)
    assert not counts
    assert counts == Counts(10)
    assert counts != Counts(11)
