"""A histogram of fixed size for values from zero to a trillion. Histograms of the same kind can be added up.

Its buckets are geometric: each is 9 % wider than the one before. So a quantile is at most 9 % too large.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

BUCKETS_PER_OCTAVE: Final = 8
LOWEST_OCTAVE: Final = -24
OCTAVES: Final = 64
NUM_BUCKETS: Final = 1 + BUCKETS_PER_OCTAVE * OCTAVES
"""The first bucket holds all values up to 2**-24 (6e-8), the resolution of float32 near 1; the last one the largest."""


class ValueHistogram:
    """Counts of values that are not negative. largest: the largest value so far, exactly."""

    def __init__(self) -> None:
        self._counts: npt.NDArray[np.int64] = np.zeros(NUM_BUCKETS, dtype=np.int64)
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Add finite values."""
        if not len(values):
            return
        with np.errstate(divide="ignore"):
            positions = np.ceil((np.log2(values) - LOWEST_OCTAVE) * BUCKETS_PER_OCTAVE)
        buckets = np.clip(positions, 0, NUM_BUCKETS - 1).astype(np.int64)
        self._counts += np.bincount(buckets, minlength=NUM_BUCKETS)
        self.count += len(values)
        self.total += float(values.sum())
        self.largest = max(self.largest, float(values.max()))

    def add_repeated(self, value: float, count: int) -> None:
        """Add the same value `count` times."""
        if count:
            self._counts[_bucket(value)] += count
            self.count += count
            self.total += value * count
            self.largest = max(self.largest, value)

    def merge(self, other: ValueHistogram) -> None:
        """Add the values of another histogram."""
        self._counts += other._counts
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    @property
    def mean(self) -> float | None:
        """The mean of the values; None without values."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Return a value that at least this share of the values does not exceed; None without values.

        It is the upper bound of a bucket, but not more than the largest value. Values in the first bucket count as zero.
        """
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(self.largest, 2.0 ** (LOWEST_OCTAVE + bucket / BUCKETS_PER_OCTAVE)) if bucket else 0.0


def _bucket(value: float) -> int:
    if value <= 0:
        return 0
    position = math.ceil((math.log2(value) - LOWEST_OCTAVE) * BUCKETS_PER_OCTAVE)
    return min(max(0, position), NUM_BUCKETS - 1)
