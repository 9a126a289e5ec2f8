"""The time at which each event is due, at a fixed rate. Pure: the time is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pacer:
    """A schedule: event n (from 0) is due at `start_s` + n / `rate`, no matter when earlier events were sent.

    rate: events per second, None for as fast as possible. start_s: monotonic seconds.
    The schedule never slips: a late event is sent at once, so latency measured from `due_s` includes the delay that a slow
    system causes (open loop).
    """

    rate: float | None
    start_s: float

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError("the rate must be positive")

    def due_s(self, index: int) -> float:
        """Return the intended time of event `index`, in monotonic seconds."""
        return self.start_s if self.rate is None else self.start_s + index / self.rate

    def num_due(self, now_s: float, sent: int, limit: int) -> int:
        """Return how many events to send now, at most `limit`. sent: number of events sent before."""
        if self.rate is None:
            return limit
        due = math.floor((now_s - self.start_s) * self.rate + 1e-9) + 1
        return max(0, min(limit, due - sent))

    def wait_s(self, now_s: float, sent: int) -> float:
        """Return the seconds until the next event is due."""
        return max(0.0, self.due_s(sent) - now_s)
