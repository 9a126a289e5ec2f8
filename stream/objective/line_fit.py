"""A straight line through samples as they come, such as S(n) = a + b·n, the duration of a model call of n rows."""

from __future__ import annotations

import math
from typing import Final

MIN_SPREAD: Final = 0.1
"""Standard deviation of x, relative to its mean, from which the slope is fitted. With less it keeps its last value."""


class LineFit:
    """Fits y = intercept + slope · x by least squares, with weights that decay over time. Neither of the two is negative.

    decay_s: time after which a sample has 1/e of its weight.
    """

    def __init__(self, *, decay_s: float) -> None:
        self._decay_s = decay_s
        self._last_s = -math.inf
        self._weight = self._x = self._y = self._xx = self._xy = 0.0
        self.intercept = 0.0
        self.slope = 0.0

    @property
    def is_known(self) -> bool:
        """Whether there was a sample."""
        return self._weight > 0

    @property
    def mean_x(self) -> float:
        """The mean of x; 0 before the first sample."""
        return self._x / self._weight if self._weight else 0.0

    @property
    def mean_y(self) -> float:
        """The mean of y; 0 before the first sample."""
        return self._y / self._weight if self._weight else 0.0

    def at(self, x: float) -> float:
        """Return the value of the line at x."""
        return self.intercept + self.slope * x

    def add(self, x: float, y: float, *, now_s: float) -> None:
        """Add a sample."""
        if self._weight:
            kept = math.exp(-max(0.0, now_s - self._last_s) / self._decay_s)
            self._weight *= kept
            self._x *= kept
            self._y *= kept
            self._xx *= kept
            self._xy *= kept
        self._last_s = now_s
        self._weight += 1.0
        self._x += x
        self._y += y
        self._xx += x * x
        self._xy += x * y
        self._fit()

    def _fit(self) -> None:
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        variance = self._xx / self._weight - mean_x * mean_x
        if variance > (MIN_SPREAD * mean_x) ** 2:
            self.slope = max(0.0, (self._xy / self._weight - mean_x * mean_y) / variance)
        if self.slope * mean_x > mean_y:
            self.slope = mean_y / mean_x
        self.intercept = mean_y - self.slope * mean_x
