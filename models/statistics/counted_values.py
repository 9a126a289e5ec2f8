"""Values with their counts, sorted: the form in which numbers reach the statistics."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
"""Sorted, without repetitions; int64, uint64 or finite float64."""
Counts = NDArray[np.int64]
"""How often each of the values occurs; all positive."""

NO_COUNTS: Final = np.zeros(0, np.int64)


def count_values(array: NDArray[Any]) -> tuple[Values, Counts]:
    """Return the distinct values of an array, sorted, with their counts."""
    ordered = np.sort(array)
    if not len(ordered):
        return ordered, NO_COUNTS
    starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
    return ordered[starts], np.diff(starts, append=len(ordered)).astype(np.int64)


def sum_counts(array: NDArray[Any], counts: Counts) -> tuple[Values, Counts]:
    """Return the distinct values of an array, sorted, with the sums of the counts that belong to them."""
    order = np.argsort(array, kind="stable")
    ordered = array[order]
    if not len(ordered):
        return ordered, NO_COUNTS
    starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
    return ordered[starts], np.add.reduceat(counts[order], starts)


def merge_counts(first: tuple[Values, Counts], second: tuple[Values, Counts]) -> tuple[Values, Counts]:
    """Return the values of both, with the sums of their counts. Neither argument is changed."""
    (values, counts), (added, added_counts) = (first, second) if len(first[0]) >= len(second[0]) else (second, first)
    if not len(added):
        return values, counts
    places = np.searchsorted(values, added)
    known = values[np.minimum(places, len(values) - 1)] == added
    total = counts.copy()
    total[places[known]] += added_counts[known]
    new = ~known
    if not new.any():
        return values, total
    return np.insert(values, places[new], added[new]), np.insert(total, places[new], added_counts[new])


def quantiles_of(values: Values, counts: Counts, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Return quantiles by linear interpolation between neighbours, as numpy.percentile does by default."""
    ends = np.cumsum(counts)
    last = int(ends[-1]) - 1
    found = []
    for share in shares:
        position = share * last
        below = int(position)
        low, high = (values[np.searchsorted(ends, rank, side="right")] for rank in (below, min(below + 1, last)))
        found.append(_between(low, high, position - below))
    return tuple(found)


def _between(low: Any, high: Any, weight: float) -> float:
    if low == high or weight == 0:
        return float(low)
    # Weighted, because the difference of two large numbers can overflow.
    return float(low) * (1 - weight) + float(high) * weight
