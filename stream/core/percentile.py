"""Percentiles by nearest rank."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of values in ascending order: the least value that `percent` % do not exceed.

    It is always a value that was measured. Raises ValueError without values, or outside 0 < percent <= 100.
    """
    if not ordered:
        raise ValueError("there are no values")
    if not 0 < percent <= 100:
        raise ValueError("the percentage must be above 0 and at most 100")
    # The product first: 0.07 * 100 is a little more than 7 in binary, and the rank would be one too high.
    return ordered[max(1, math.ceil(percent * len(ordered) / 100)) - 1]
