"""How long to wait before the next try: exponential, with jitter. Pure: randomness is passed in."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Times in seconds. jitter: gives numbers in [0, 1).

    The half that is jitter keeps workers that failed together from trying again together ("equal jitter", Brooker, Exponential
    Backoff and Jitter, 2015).
    """

    first_s: float = 0.1
    max_s: float = 5.0
    jitter: Callable[[], float] = random.random

    def wait_s(self, failures: int) -> float:
        """After so many failures in a row, 1 or more."""
        # The exponent is bounded, or a long outage would overflow.
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 32)) * (0.5 + 0.5 * self.jitter())
