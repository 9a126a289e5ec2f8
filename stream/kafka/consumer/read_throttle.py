"""Limits how fast a source is read: to a rate, and not at all while others need the cluster. Pure: the time is passed in."""

from __future__ import annotations

from typing import Final

BURST_S: Final = 0.25
"""How much of the rate may be read at once after a pause."""
HELD_WAIT_S: Final = 0.1


class ReadThrottle:
    """Allows a number of records per second.

    per_second: None for no limit.
    held: while it is set, nothing may be read.
    """

    def __init__(self, per_second: float | None = None) -> None:
        self._per_second = per_second
        self._allowed = 0.0
        self._last_s: float | None = None
        self.held = False

    def allowance(self, wanted: int, *, now_s: float) -> int:
        """Return how many records may be read now, at most `wanted`."""
        if self.held:
            return 0
        if self._per_second is None:
            return wanted
        passed_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        burst = max(1.0, self._per_second * BURST_S)
        self._allowed = min(burst, self._allowed + passed_s * self._per_second)
        return min(wanted, int(self._allowed))

    def on_read(self, records: int) -> None:
        """Count records that were read."""
        self._allowed -= records

    def wait_s(self) -> float:
        """Return the seconds until a record may be read, as far as it is known."""
        if self.held or self._per_second is None:
            return HELD_WAIT_S
        return max(0.0, (1.0 - self._allowed) / self._per_second)
