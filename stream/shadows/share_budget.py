"""The share of time that shadows may be busy. Pure."""

from __future__ import annotations

from typing import Final

BURST_S: Final = 2.0
"""An unused share is kept for this many seconds, so that bursts of events can be predicted."""


class ShareBudget:
    """A balance of busy seconds: it grows by `max_share` each second, up to a burst, and may be overdrawn by the last jobs.

    max_share: the share of one core's time, from 0 to 1.
    now_s: the monotonic time.
    """

    def __init__(self, max_share: float, *, now_s: float) -> None:
        self._max_share = max_share
        self._balance_s = self._limit_s = max_share * BURST_S
        self._started_s = self._updated_s = now_s
        self.busy_s = 0.0

    def allows(self, now_s: float, *, running_s: float = 0.0) -> bool:
        """Return whether more may be started. running_s: duration of the current job, which is not charged yet."""
        self._grow(now_s)
        return self._max_share >= 1 or self._balance_s > running_s

    def charge(self, busy_s: float, now_s: float) -> None:
        """Subtract the duration of a job."""
        self._grow(now_s)
        self._balance_s -= busy_s
        self.busy_s += busy_s

    def used_share(self, now_s: float) -> float:
        """Return the share of the time since the start that was used."""
        return self.busy_s / max(now_s - self._started_s, 1e-9)

    def _grow(self, now_s: float) -> None:
        self._balance_s = min(self._limit_s, self._balance_s + (now_s - self._updated_s) * self._max_share)
        self._updated_s = now_s
