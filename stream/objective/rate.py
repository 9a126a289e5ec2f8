"""A rate that follows what happens, such as events per second."""

from __future__ import annotations

import math


class Rate:
    """The rate of something per second, with weights that decay over time.

    decay_s: time after which what happened has 1/e of its weight.
    """

    def __init__(self, *, decay_s: float) -> None:
        self._decay_s = decay_s
        self._count = 0.0
        self._last_s = -math.inf
        self._since_s = math.inf

    def add(self, count: float, *, now_s: float) -> None:
        """Count something."""
        self._count = self._kept(now_s) + count
        self._last_s = now_s
        self._since_s = min(self._since_s, now_s)

    def per_s(self, *, now_s: float) -> float:
        """Return the rate. In the first seconds it is the mean since the first count."""
        lasted_s = max(now_s - self._since_s, 0.1)
        if lasted_s == math.inf:
            return 0.0
        return self._kept(now_s) / (self._decay_s * (1.0 - math.exp(-lasted_s / self._decay_s)))

    def _kept(self, now_s: float) -> float:
        if not self._count:
            return 0.0
        return self._count * math.exp(-max(0.0, now_s - self._last_s) / self._decay_s)
