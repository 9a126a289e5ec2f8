"""Number, mean and variance of numbers, merged without loss of precision (Chan, Golub and LeVeque)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forebay.models.statistics.counted_values import Counts, Values


@dataclass(frozen=True, slots=True)
class Moments:
    """count: the number of values. squares: the sum of the squared distances from the mean.

    origin, shift: the mean is their sum; apart, they keep the digits that the mean of numbers far from zero would lose.
    """

    count: int = 0
    origin: float = 0.0
    shift: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Values, counts: Counts) -> Moments:
        """Return the moments of sorted values with their counts, calculated in float64."""
        total = int(counts.sum())
        if not total:
            return cls()
        numbers = values.astype(np.float64, copy=False)
        # Distances from one of the values keep the precision of numbers that are close together, and are 0 for a constant.
        origin = float(numbers[len(numbers) // 2])
        with np.errstate(over="ignore", invalid="ignore"):
            distances = numbers - origin
            shift = float(np.sum(distances * counts)) / total
            squares = float(np.sum(np.square(distances - shift) * counts))
        return cls(total, origin, shift=shift, squares=squares)

    def merged(self, other: Moments) -> Moments:
        """Return the moments of the values of both."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        delta = (other.origin - self.origin) + (other.shift - self.shift)
        squares = self.squares + other.squares + delta * delta * (self.count * other.count / count)
        return Moments(count, self.origin, shift=self.shift + delta * (other.count / count), squares=squares)

    @property
    def mean(self) -> float | None:
        """The mean; None without values, or if float64 cannot hold the sum."""
        mean = self.origin + self.shift
        return mean if self.count and math.isfinite(mean) else None

    @property
    def standard_deviation(self) -> float | None:
        """The standard deviation of a sample (ddof 1); None for less than two values, or if float64 cannot hold it."""
        if self.count < 2:
            return None
        found = math.sqrt(self.squares / (self.count - 1)) if math.isfinite(self.squares) else math.inf
        return found if math.isfinite(found) else None
