"""Distances between two distributions over the same bins.

Shapes: C bins. All arguments are shares that sum to 1, or counts, which are divided by their sum.

Each distance of two samples of one distribution is greater than zero. The expected PSI of samples of n and m rows is about
`(C - 1) * (1 / n + 1 / m)` (see `psi_bias`): 0.009 for ten bins and 1,000 rows against a large reference, but
0.09 for 100 rows.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]

FLOOR: Final = 1e-4
"""The least share of a bin in the PSI, whose logarithm is infinite for an empty bin."""


def psi(expected_C: NDArray[Any], actual_C: NDArray[Any]) -> float:
    """Return the population stability index: the sum of `(q - p) * ln(q / p)`. Shares below FLOOR count as FLOOR.

    It is symmetric. By convention values below 0.1 are stable, and above 0.2 the distributions differ.
    """
    p_C, q_C = np.maximum(_shares(expected_C), FLOOR), np.maximum(_shares(actual_C), FLOOR)
    return float(np.sum((q_C - p_C) * np.log(q_C / p_C)))


def psi_bias(num_bins: int, num_expected: float, num_actual: float) -> float:
    """Return the PSI to expect between samples of one distribution. num_expected, num_actual: the numbers of rows."""
    return max(0, num_bins - 1) * (1 / max(1.0, num_expected) + 1 / max(1.0, num_actual))


def jensen_shannon(expected_C: NDArray[Any], actual_C: NDArray[Any]) -> float:
    """Return the Jensen-Shannon distance with base 2, from 0 to 1: the root of the divergence."""
    p_C, q_C = _shares(expected_C), _shares(actual_C)
    middle_C = (p_C + q_C) / 2
    divergence = (_relative_entropy(p_C, middle_C) + _relative_entropy(q_C, middle_C)) / 2
    return math.sqrt(max(0.0, divergence))


def kolmogorov_smirnov(expected_C: NDArray[Any], actual_C: NDArray[Any]) -> float:
    """Return the largest difference of the cumulative shares at the edges of the bins.

    The statistic of the values themselves is at least this large. The order of the bins has to be that of the values.
    """
    return float(np.max(np.abs(np.cumsum(_shares(expected_C)) - np.cumsum(_shares(actual_C)))))


def share_lower_bound(count: int, total: int, z: float) -> float:
    """Return the lower end of the Wilson interval of a share. z: the number of standard deviations; 4 is 1 in 30,000."""
    return _wilson(count, total, -z)


def share_upper_bound(count: int, total: int, z: float) -> float:
    """Return the upper end of the Wilson interval of a share."""
    return _wilson(count, total, z)


def _wilson(count: int, total: int, z: float) -> float:
    if total <= 0:
        return 0.0 if z < 0 else 1.0
    share, square = min(1.0, max(0.0, count / total)), z * z / total
    root = math.sqrt(share * (1 - share) / total + square / (4 * total))
    return min(1.0, max(0.0, (share + square / 2 + z * root) / (1 + square)))


def _relative_entropy(p_C: Shares, q_C: Shares) -> float:
    used_C = p_C > 0
    return float(np.sum(p_C[used_C] * np.log2(p_C[used_C] / q_C[used_C])))


def _shares(values_C: NDArray[Any]) -> Shares:
    shares_C = np.asarray(values_C, np.float64)
    total = shares_C.sum()
    return shares_C / total if total > 0 else shares_C
