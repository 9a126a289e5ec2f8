"""How long events wait to be read, from the ages of record timestamps, whose clock may differ.

The least age over the last half minute is what an event has that does not wait: the way from its producer, a difference of
clocks, or timestamps that are not times of publish. What is above it is waiting.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

SECONDS: Final = 30
FOLLOW_S: Final = 0.3


class ReadDelay:
    """Follows the ages at which events are read.

    waited_s: how long events have lately waited to be read.
    offset_s: the age of an event that does not wait.
    """

    def __init__(self) -> None:
        self._least: deque[tuple[int, float]] = deque()
        self._last_s = -math.inf
        self._age_s = 0.0

    def add(self, age_s: float, *, now_s: float) -> None:
        """Add the age of an event that is read now."""
        kept = math.exp(-max(0.0, now_s - self._last_s) / FOLLOW_S)
        self._age_s = age_s + kept * (self._age_s - age_s) if kept > 0 else age_s
        self._last_s = now_s
        second = math.floor(now_s)
        if self._least and self._least[-1][0] == second:
            self._least[-1] = (second, min(age_s, self._least[-1][1]))
            return
        self._least.append((second, age_s))
        while self._least[0][0] <= second - SECONDS:
            self._least.popleft()

    @property
    def offset_s(self) -> float:
        return min((age_s for _, age_s in self._least), default=0.0)

    @property
    def waited_s(self) -> float:
        return max(0.0, self._age_s - self.offset_s)
