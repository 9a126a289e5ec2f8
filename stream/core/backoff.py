"""Exponential backoff with jitter. Pure: randomness is passed in."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with equal jitter (Brooker, Exponential Backoff and Jitter, 2015).

    Half of each wait is jitter, so that workers that failed together do not retry together.

    first_s: wait after the first failure, before jitter.
    max_s: longest wait.
    jitter: returns numbers in [0, 1).
    """

    first_s: float = 0.1
    max_s: float = 5.0
    jitter: Callable[[], float] = random.random

    def wait_s(self, failures: int) -> float:
        """Return the seconds to wait after this number of failures in a row, from 1."""
        # The exponent is bounded because a long outage would overflow the float.
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 32)) * (0.5 + 0.5 * self.jitter())
