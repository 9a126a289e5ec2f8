"""Intervals of measured values, by resampling. Pure: the source of randomness is passed in.

Shapes: N values, S resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

RESAMPLES: Final = 2_000
CONFIDENCE: Final = 0.95
_MAX_DRAWN: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return the interval as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


def mean_interval(values_N: Float64Array, random: np.random.Generator, resamples: int = RESAMPLES) -> Interval:
    """Return the mean with its percentile bootstrap interval (Efron, 1979). values_N: at least one."""
    num = len(values_N)
    means_S = np.empty(resamples)
    step = max(1, _MAX_DRAWN // num)
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        means_S[part] = values_N[random.integers(0, num, (part.stop - part.start, num))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means_S, [tail, 1 - tail])
    return Interval(float(values_N.mean()), float(low), float(high))


def ratio_interval(ratios_N: Float64Array, random: np.random.Generator) -> Interval:
    """Return the geometric mean of positive ratios with its interval."""
    found = mean_interval(np.log(ratios_N), random)
    return Interval(*(float(np.exp(value)) for value in (found.value, found.low, found.high)))
