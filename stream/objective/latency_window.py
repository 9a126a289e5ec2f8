"""Percentiles of latency over the last seconds, from a histogram with logarithmic buckets for each second."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

WINDOW_S: Final = 10
GROWTH: Final = 1.04
"""Ratio of two neighbouring bounds: a percentile is at most 4 % too high."""
LEAST_MS: Final = 0.5
NUM_BUCKETS: Final = 512
"""The last bound is over three days."""
MAX_SAMPLES: Final = 4096
"""Of more events in one commit, evenly spaced ones are counted, each for several."""


class LatencyWindow:
    """Counts latencies by the second in which they were measured, for the last `WINDOW_S` seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, npt.NDArray[np.int64]]] = deque()

    def add(self, latencies_ms: npt.NDArray[np.float64], *, now_s: float) -> None:
        """Add the latencies of one commit."""
        step = 1 + len(latencies_ms) // MAX_SAMPLES
        sampled = np.maximum(latencies_ms[::step], LEAST_MS)
        buckets = np.ceil(np.log(sampled / LEAST_MS) / math.log(GROWTH)).astype(np.int64)
        counts = step * np.bincount(np.minimum(buckets, NUM_BUCKETS - 1), minlength=NUM_BUCKETS)
        second = math.floor(now_s)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1][:] += counts
            return
        self._seconds.append((second, counts))
        self._drop(second)

    def clear(self) -> None:
        """Forget everything."""
        self._seconds.clear()

    def count(self, *, now_s: float, seconds: int = WINDOW_S) -> int:
        """Return the number of events that were added in the last seconds, including the current one."""
        return int(sum(int(counts.sum()) for _, counts in self._recent(now_s, seconds)))

    def percentile_ms(self, percent: float, *, now_s: float, seconds: int = WINDOW_S) -> float | None:
        """Return a percentile over the last seconds, rounded up to a bound of a bucket; None if there were no events."""
        recent = [counts for _, counts in self._recent(now_s, seconds)]
        if not recent:
            return None
        cumulated = np.cumsum(np.sum(recent, axis=0))
        rank = math.ceil(cumulated[-1] * percent / 100)
        return float(LEAST_MS * GROWTH ** int(np.searchsorted(cumulated, rank)))

    def _recent(self, now_s: float, seconds: int) -> list[tuple[int, npt.NDArray[np.int64]]]:
        first = math.floor(now_s) - seconds + 1
        return [entry for entry in self._seconds if entry[0] >= first]

    def _drop(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_S:
            self._seconds.popleft()
