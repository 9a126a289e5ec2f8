"""The clock, which is passed in everywhere, so that tests can set the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock for durations (`monotonic_s`) and a wall clock for records and users (`wall_ms`)."""

    def monotonic_s(self) -> float:
        """Return the seconds since a fixed moment. Never decreases."""
        ...

    def wall_ms(self) -> int:
        """Return the milliseconds since the Unix epoch. May jump."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
