"""A clock that only a test advances."""

from __future__ import annotations


class ManualClock:
    """A clock that changes only when it is set or advanced. Implements `Clock`.

    wall_ms: the time of day, in milliseconds since 1970.
    """

    def __init__(self, wall_ms: int = 1_700_000_000_000) -> None:
        self._wall_ms = wall_ms
        self._monotonic_s = 0.0

    def monotonic_s(self) -> float:
        """Return the seconds since the clock was made."""
        return self._monotonic_s

    def wall_ms(self) -> int:
        """Return the milliseconds since 1970."""
        return self._wall_ms

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self._monotonic_s += seconds
        self._wall_ms += round(seconds * 1000)
