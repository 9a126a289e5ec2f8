"""Find the frequent values among many distinct ones (Misra and Gries), with a bound on how much a count is too small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from forebay.models.statistics.counted_values import Counts

KEPT: Final = 1024
"""A value that is more than 1/1025 of all is always found."""

Key = float | int | str


class FrequentSketch:
    """The most frequent values with counts that are at most `max_missed` too small."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self.max_missed = 0

    def add(self, values: Sequence[Any] | Any, counts: Counts) -> None:
        """Add different values with their counts. values: anything that numpy.asarray takes, or a numpy array."""
        if len(counts) > KEPT and counts.max() == 1:
            self.max_missed += 1
            return
        if len(counts) > KEPT:
            cut = int(np.partition(counts, len(counts) - KEPT - 1)[len(counts) - KEPT - 1])
            chosen = np.flatnonzero(counts > cut)
            self.max_missed += cut
            counts = counts[chosen] - cut
            values = values[chosen] if isinstance(values, np.ndarray) else [values[index] for index in chosen.tolist()]
        keys = values.tolist() if isinstance(values, np.ndarray) else values
        self._add_all(dict(zip(keys, counts.tolist(), strict=True)))

    def merge(self, other: FrequentSketch) -> None:
        """Add the values of another sketch, which is not changed. The errors of both add up."""
        self.max_missed += other.max_missed
        self._add_all(other._counts)

    def counts(self) -> Mapping[Key, int]:
        """Return the counts of the frequent values, in no order; a count is at most `max_missed` too small."""
        return self._counts

    def _add_all(self, counts: Mapping[Key, int]) -> None:
        for key, count in counts.items():
            self._counts[key] = self._counts.get(key, 0) + count
        if len(self._counts) > KEPT:
            cut = sorted(self._counts.values(), reverse=True)[KEPT]
            self.max_missed += cut
            self._counts = {key: count - cut for key, count in self._counts.items() if count > cut}
