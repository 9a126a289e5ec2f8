"""The distribution of the numbers in a column: exact while there are few distinct values, then summarised by sketches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.models.statistics.counted_values import (
    NO_COUNTS,
    Counts,
    Values,
    count_values,
    merge_counts,
    quantiles_of,
)
from forebay.models.statistics.distinct_sketch import ERROR, DistinctSketch, hash_numbers
from forebay.models.statistics.frequent_sketch import FrequentSketch
from forebay.models.statistics.moments import Moments
from forebay.models.statistics.quantile_sketch import QuantileSketch

MAX_EXACT: Final = 100_000
"""With more distinct values, a column is summarised by sketches."""


@dataclass(frozen=True, slots=True)
class Frequency:
    """A value and how often it occurs."""

    value: float | int | str
    count: int


@dataclass(slots=True)
class _Sketches:
    quantiles: QuantileSketch
    distinct: DistinctSketch
    frequent: FrequentSketch

    @classmethod
    def empty(cls) -> _Sketches:
        return cls(QuantileSketch(), DistinctSketch(), FrequentSketch())

    def add(self, values: Values, counts: Counts) -> None:
        self.quantiles.add(values, counts)
        self.distinct.add(hash_numbers(values))
        self.frequent.add(values, counts)

    def merge(self, other: _Sketches) -> None:
        self.quantiles.merge(other.quantiles)
        self.distinct.merge(other.distinct)
        self.frequent.merge(other.frequent)


class NumberDistribution:
    """Finite numbers of one type.

    dtype: int64, uint64 or float64.
    max_exact: the number of distinct values up to which everything is exact.
    """

    def __init__(self, dtype: np.dtype[Any], max_exact: int = MAX_EXACT) -> None:
        self._max_exact = max_exact
        self._exact: tuple[Values, Counts] = (np.zeros(0, dtype), NO_COUNTS)
        self._sketches: _Sketches | None = None
        self._ends: tuple[Any, Any] | None = None
        self.moments = Moments()

    def add(self, array: NDArray[Any]) -> None:
        """Add numbers of the distribution's type, in any order."""
        self.add_counted(*count_values(array))

    def add_counted(self, values: Values, counts: Counts) -> None:
        """Add sorted numbers with their counts."""
        if not len(values):
            return
        self.moments = self.moments.merged(Moments.of(values, counts))
        self._widen(values[0], values[-1])
        if self._sketches is not None:
            self._sketches.add(values, counts)
            return
        self._exact = merge_counts(self._exact, (values, counts))
        if len(self._exact[0]) > self._max_exact:
            self._sketch()

    def merge(self, other: NumberDistribution) -> None:
        """Add the numbers of another distribution of the same type, which is not changed."""
        self.moments = self.moments.merged(other.moments)
        if other._ends is not None:
            self._widen(*other._ends)
        if other._sketches is not None:
            if self._sketches is None:
                self._sketch()
            assert self._sketches is not None
            self._sketches.merge(other._sketches)
        elif self._sketches is not None:
            self._sketches.add(*other._exact)
        else:
            self._exact = merge_counts(self._exact, other._exact)
            if len(self._exact[0]) > self._max_exact:
                self._sketch()

    @property
    def is_exact(self) -> bool:
        """Whether nothing is estimated."""
        return self._sketches is None

    @property
    def minimum(self) -> Any:
        """The least number, as a Python number; None if there is none."""
        return None if self._ends is None else self._ends[0].item()

    @property
    def maximum(self) -> Any:
        """The greatest number, as a Python number; None if there is none."""
        return None if self._ends is None else self._ends[1].item()

    @property
    def num_distinct(self) -> int:
        """The number of distinct values."""
        return len(self._exact[0]) if self._sketches is None else self._sketches.distinct.estimate()

    @property
    def distinct_error(self) -> float:
        """The relative error that `num_distinct` may have; 0 if it is exact."""
        return 0.0 if self._sketches is None else ERROR

    @property
    def rank_error(self) -> float:
        """The largest possible error of a rank, as a share of all numbers; 0 if quantiles and histograms are exact."""
        if self._sketches is None or not self.moments.count:
            return 0.0
        return self._sketches.quantiles.max_rank_difference / self.moments.count

    @property
    def max_missed(self) -> int:
        """How much the count of a frequent value can be too small at most."""
        return 0 if self._sketches is None else self._sketches.frequent.max_missed

    def counted(self) -> tuple[Values, Counts]:
        """Return the values with their counts, or values that stand for them within `rank_error`."""
        return self._exact if self._sketches is None else self._sketches.quantiles.counted()

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...] | None:
        """Return quantiles, None without numbers. share: 0.5 is the median."""
        if not self.moments.count:
            return None
        return quantiles_of(*self.counted(), tuple(shares))

    def most_frequent(self, limit: int) -> tuple[Frequency, ...]:
        """Return the values that occur most often, the most frequent first; of equals the least first."""
        if self._sketches is None:
            values, counts = self._exact
            order = np.argsort(-counts, kind="stable")[:limit]
            return tuple(Frequency(values[place].item(), int(counts[place])) for place in order)
        return most_frequent(self._sketches.frequent, limit)

    def _widen(self, low: Any, high: Any) -> None:
        ends = self._ends
        self._ends = (low, high) if ends is None else (min(ends[0], low), max(ends[1], high))

    def _sketch(self) -> None:
        self._sketches = _Sketches.empty()
        self._sketches.add(*self._exact)
        self._exact = (self._exact[0][:0], NO_COUNTS)


def most_frequent(sketch: FrequentSketch, limit: int) -> tuple[Frequency, ...]:
    """Return the values of a sketch that are known to occur more than once, the most frequent first."""
    found = [Frequency(value, count) for value, count in sketch.counts().items() if count > 1]
    found.sort(key=lambda one: (-one.count, one.value))
    return tuple(found[:limit])


@dataclass(frozen=True, slots=True)
class Histogram:
    """edges: strictly increasing, one more than counts. A bin includes its lower edge; the last one also its upper edge."""

    edges: tuple[float | int, ...]
    counts: tuple[int, ...]


def histogram_of(distribution: NumberDistribution, num_bins: int) -> Histogram | None:
    """Return a histogram with bins of one width, None without numbers. Whole numbers get edges that are whole numbers."""
    low, high = distribution.minimum, distribution.maximum
    if low is None:
        return None
    values, counts = distribution.counted()
    if isinstance(low, int):
        width = max(1, -(-(high - low + 1) // num_bins))
        whole = tuple(low + width * number for number in range(-(-(high - low + 1) // width) + 1))
        # The first edge is the minimum, so the distance of a value from it fits into uint64.
        bins = ((values.astype(np.uint64) - np.uint64(low % 2**64)) // np.uint64(width)).astype(np.int64)
        return Histogram(whole, _sums(bins, counts, len(whole) - 1))
    edges = _equal_edges(low, high, num_bins)
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return Histogram(tuple(edges.tolist()), _sums(places, counts, len(edges) - 1))


def _equal_edges(low: float, high: float, num_bins: int) -> NDArray[np.float64]:
    if low == high:
        return np.array([low, math.nextafter(high, math.inf)])
    # Halves, because the difference of two large numbers can overflow.
    edges = np.unique(np.linspace(low / 2, high / 2, num_bins + 1) * 2)
    edges[0], edges[-1] = low, high
    return np.unique(edges)


def _sums(bins: NDArray[np.int64], counts: Counts, num_bins: int) -> tuple[int, ...]:
    sums = np.zeros(num_bins, np.int64)
    np.add.at(sums, bins, counts)
    return tuple(sums.tolist())
