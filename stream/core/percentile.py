"""Percentiles by nearest rank."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `percent` % of the values do not exceed.

    ordered: values in ascending order. The result is always one of them.
    Raises ValueError if there are no values or `percent` is not in (0, 100].
    """
    if not ordered:
        raise ValueError("there are no values")
    if not 0 < percent <= 100:
        raise ValueError("the percentage must be above 0 and at most 100")
    # Multiply first: 0.07 * 100 is slightly more than 7 in binary, which would raise the rank by one.
    return ordered[max(1, math.ceil(percent * len(ordered) / 100)) - 1]
