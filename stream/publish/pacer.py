"""When which event is due, at a chosen rate. Pure: the time is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pacer:
    """Event n (from 0) is due at `start_s` + n / `rate`, whenever the ones before it really went out.

    rate: events a second, None for as fast as possible; start_s: monotonic seconds. The plan never slips: what comes late is
    sent at once, so latency counted from `due_s` includes the waiting that a slow system causes (open loop).
    """

    rate: float | None
    start_s: float

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError("the rate must be positive")

    def due_s(self, index: int) -> float:
        """The intended time of event `index`, in monotonic seconds."""
        return self.start_s if self.rate is None else self.start_s + index / self.rate

    def num_due(self, now_s: float, sent: int, most: int) -> int:
        """How many more events to send now, of at most `most`, after `sent` were."""
        if self.rate is None:
            return most
        due = math.floor((now_s - self.start_s) * self.rate + 1e-9) + 1
        return max(0, min(most, due - sent))

    def wait_s(self, now_s: float, sent: int) -> float:
        """How long until the next event is due."""
        return max(0.0, self.due_s(sent) - now_s)
