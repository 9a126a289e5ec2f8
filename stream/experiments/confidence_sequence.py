"""Intervals for a mean over blocks that stay valid however often one looks.

The estimate is the mean over blocks of each block's own mean. It becomes normal as blocks become many, and its *information*
is 1 / variance. Times the information, its error behaves like a Brownian motion at that time. Robbins' normal mixture bounds
such a motion at all times at once, with probability 1 - alpha:

    |estimate - truth| < sqrt((v + rho) log((v + rho) / (rho alpha²))) / v,    v = 1 / variance

This is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit
theory and asymptotic confidence sequences" (Annals of Statistics, 2024), with the boundary of Howard, Ramdas, McAuliffe and
Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (Annals of Statistics, 2021).

The events of a key resemble each other, so the estimate at one time is closer to the estimate at a later time than a Brownian
motion with the same variances would be. By Slepian's inequality it leaves the boundary less often, not more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

MIN_BLOCKS: Final = 100
"""With fewer blocks the mean is not close enough to a normal distribution."""
_ITERATIONS: Final = 30


class Interval(NamedTuple):
    """A confidence interval, without limits if nothing is known yet."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Return whether a value is outside of the interval."""
        return not self.low <= value <= self.high


EVERYTHING: Final = Interval(-inf, inf)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over blocks, or a difference of two.

    variance: of the mean.
    num_blocks: number of blocks with data; for a difference, that of the arm with fewer.
    """

    mean: float
    variance: float
    num_blocks: int

    @property
    def information(self) -> float:
        """1 / variance; 0 if the variance is not known."""
        return 1 / self.variance if self.variance > 0 else 0.0

    @property
    def is_enough(self) -> bool:
        """Whether there are enough blocks for an interval."""
        return self.num_blocks >= MIN_BLOCKS and self.information > 0

    def minus(self, other: Estimate) -> Estimate:
        """Return the difference to the mean of other keys, which are independent of these."""
        return Estimate(self.mean - other.mean, self.variance + other.variance, min(self.num_blocks, other.num_blocks))


def estimate(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], *, spread: float = 0.0) -> Estimate:
    """Return the mean over the blocks that have events, of the mean of each.

    sums, counts: by block.
    spread: the largest possible difference of two block means, if there is one.

    The variance is that between blocks, and that of one more block that differs from the mean as much as the one that differs
    most, or by `spread`. Blocks that differ a lot but are rare have often not been seen yet, and blocks that are all equal so
    far need not always be.
    """
    filled = counts > 0
    number = int(filled.sum())
    if number < 2:
        return Estimate(float(sums.sum() / max(1, counts.sum())), 0.0, number)
    means = sums[filled] / counts[filled]
    mean = float(means.mean())
    largest = max(spread, float(np.abs(means - mean).max()))
    return Estimate(mean, float(means.var(ddof=1)) / number + (largest / number) ** 2, number)


def best_rho(information: float, alpha: float) -> float:
    """Return the rho with which the interval is narrowest at this information.

    It is information / (x - 1) with x - log x = 1 - 2 log alpha, the lower branch of Lambert's W function.
    """
    found = start = 1 - 2 * log(alpha)
    for _ in range(_ITERATIONS):
        found = start + log(found)
    return information / (found - 1)


def planned_information(effect: float, alpha: float) -> float:
    """Return the information at which a difference of `effect` is found about as often as not."""
    return (boundary(1.0, alpha, best_rho(1.0, alpha)) / effect) ** 2


def boundary(information: float, alpha: float, rho: float) -> float:
    """Return the largest size of estimate x information that is compatible with a true mean of zero."""
    total = information + rho
    return sqrt(total * log(total / (rho * alpha**2)))


def interval(found: Estimate, *, alpha: float, rho: float) -> Interval:
    """Return the interval that contains the true mean at all times with probability 1 - alpha."""
    if not found.is_enough:
        return EVERYTHING
    half = boundary(found.information, alpha, rho) / found.information
    return Interval(found.mean - half, found.mean + half)


def log_e_value(found: Estimate, *, rho: float) -> float:
    """Return the logarithm of the evidence against a mean of zero. The interval excludes zero where it reaches -log alpha.

    Its expected value never exceeds 1 if the mean is zero, whenever one stops.
    """
    if not found.is_enough:
        return 0.0
    information = found.information
    score = found.mean * information
    return score**2 / (2 * (information + rho)) - log((information + rho) / rho) / 2


def e_value(found: Estimate, *, rho: float) -> float:
    """Return the evidence against a mean of zero, at most e**700."""
    return exp(min(log_e_value(found, rho=rho), 700.0))
