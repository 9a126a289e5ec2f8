"""A summary of many numbers from which quantiles follow with a proven rank error.

Random sketches such as KLL give other quantiles on each run, and with them another manifest for the same data. This one is
the deterministic algorithm of Munro and Paterson: values wait in levels, where a value of level L stands for 2^L values. A full
level is sorted, and every second value of it moves one level up. Each such step changes the rank of a value by at most the
weight of the level, so the sum of these weights bounds the error of any rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.models.statistics.counted_values import Counts, Values, sum_counts

LEVEL_SIZE: Final = 8192
"""The number of values that fill a level.

The rank error for n values is at most (log2(n / 8192) + 1) / 8192: 0.25 % for 2^32 values.
"""


class QuantileSketch:
    """Numbers of one type (int64, uint64 or finite float64), added with counts and summarised."""

    def __init__(self) -> None:
        self._levels: list[list[NDArray[Any]]] = []
        self._sizes: list[int] = []
        # Which of two neighbours the next step keeps. In turn, so that the errors of two steps cancel.
        self._keep_upper: list[bool] = []
        self._lowered = self._raised = 0

    def add(self, values: Values, counts: Counts) -> None:
        """Add sorted values. The binary digits of a count are the levels at which its value is added."""
        for level in range(int(counts.max(initial=0)).bit_length()):
            chosen = values if level == 0 and counts.max() == 1 else values[(counts >> level) & 1 == 1]
            self._put(level, chosen)
        self._compress()

    def merge(self, other: QuantileSketch) -> None:
        """Add the values of another sketch, which is not changed. The errors of both add up."""
        for level, parts in enumerate(other._levels):
            for part in parts:
                self._put(level, part)
        self._lowered += other._lowered
        self._raised += other._raised
        self._compress()

    @property
    def max_rank_difference(self) -> int:
        """The number of values by which a rank can be wrong at most."""
        return max(self._lowered, self._raised)

    def counted(self) -> tuple[Values, Counts]:
        """Return values that stand for all, sorted, with the number of values for which each stands."""
        parts = list(self._parts())
        values = np.concatenate([part for _, part in parts])
        counts = np.concatenate([np.full(len(part), 1 << level, np.int64) for level, part in parts])
        return sum_counts(values, counts)

    def _parts(self) -> Iterator[tuple[int, NDArray[Any]]]:
        for level, parts in enumerate(self._levels):
            for part in parts:
                yield level, part

    def _put(self, level: int, values: NDArray[Any]) -> None:
        while len(self._levels) <= level:
            self._levels.append([])
            self._sizes.append(0)
            self._keep_upper.append(False)
        if len(values):
            self._levels[level].append(values)
            self._sizes[level] += len(values)

    def _compress(self) -> None:
        level = 0
        while level < len(self._levels):
            if self._sizes[level] >= LEVEL_SIZE:
                self._halve(level)
            level += 1

    def _halve(self, level: int) -> None:
        ordered = np.sort(np.concatenate(self._levels[level]))
        paired = len(ordered) // 2 * 2
        upper = self._keep_upper[level]
        self._levels[level], self._sizes[level] = [ordered[paired:]], len(ordered) - paired
        if upper:
            self._lowered += 1 << level
        else:
            self._raised += 1 << level
        self._keep_upper[level] = not upper
        self._put(level + 1, ordered[int(upper) : paired : 2].copy())
