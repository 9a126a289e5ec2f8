"""Compare two models on the same rows. Pure.

Shapes: N rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class McNemar:
    """The exact test of McNemar (1947) of two classifiers on the same rows.

    only_first, only_second: the rows that only this one predicts correctly.
    p_value: of at least such a difference if both are equally good, two-sided.
    """

    only_first: int
    only_second: int
    p_value: float

    @property
    def second_is_better(self) -> bool:
        """Whether the second is better, at 5 %."""
        return self.only_second > self.only_first and self.p_value < 0.05


def mcnemar(is_right_first_N: BoolArray, is_right_second_N: BoolArray) -> McNemar:
    """Return the test for which rows each model predicts correctly."""
    first = int((is_right_first_N & ~is_right_second_N).sum())
    second = int((is_right_second_N & ~is_right_first_N).sum())
    return McNemar(first, second, binomial_p_value(min(first, second), first + second))


def binomial_p_value(smaller: int, total: int) -> float:
    """Return the two-sided p-value of `smaller` of `total` tosses of a fair coin on the rarer side."""
    if total == 0:
        return 1.0
    logs = [
        math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1) for count in range(smaller + 1)
    ]
    largest = max(logs)
    tail = sum(math.exp(log - largest) for log in logs)
    return min(1.0, 2 * math.exp(largest + math.log(tail) - total * math.log(2)))
