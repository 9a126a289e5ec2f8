"""The circuit breaker around model calls and commits. Pure.

A closed breaker permits all calls. After `failure_threshold` failures in a row it opens and permits none for `reset_timeout_s`.
Then it is half open and permits one call, whose result closes it or opens it again (Nygard, Release It!, 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class BreakerState(StrEnum):
    """State of a circuit breaker: closed permits all calls, half open permits one trial call, open permits none."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitBreaker:
    """A circuit breaker. Times are monotonic seconds.

    failure_threshold: number of failures in a row that opens it.
    reset_timeout_s: seconds that it stays open.
    on_change: called with each new state and the reason.
    """

    def __init__(
        self, *, failure_threshold: int, reset_timeout_s: float, on_change: Callable[[BreakerState, str], None]
    ) -> None:
        self._threshold = failure_threshold
        self._reset_timeout_s = reset_timeout_s
        self._on_change = on_change
        self._open_until_s = 0.0
        self._probing = False
        self.state = BreakerState.CLOSED
        self.failures = 0

    def allows(self, now_s: float) -> bool:
        """Return whether a call may begin now. Changes no state: the caller reports the start with `record_start`."""
        if self.state is BreakerState.OPEN:
            return now_s >= self._open_until_s
        return self.state is BreakerState.CLOSED or not self._probing

    def advance(self, now_s: float) -> None:
        """Change from open to half open once the reset timeout has passed."""
        if self.state is BreakerState.OPEN and now_s >= self._open_until_s:
            self._probing = False
            self._change(BreakerState.HALF_OPEN, "one call is permitted as a trial")

    def record_start(self, now_s: float) -> None:
        """Record the start of a permitted call. While half open, no other call is permitted until its result is known."""
        self.advance(now_s)
        self._probing = True

    def record_success(self) -> None:
        """Record that a call succeeded, and close the breaker."""
        self.failures = 0
        self._probing = False
        if self.state is not BreakerState.CLOSED:
            self._change(BreakerState.CLOSED, "it works again")

    def record_failure(self, now_s: float, reason: str) -> None:
        """Record that a call failed, and open the breaker at the threshold or if it is half open."""
        self.failures += 1
        self._probing = False
        if self.state is BreakerState.HALF_OPEN or (
            self.state is BreakerState.CLOSED and self.failures >= self._threshold
        ):
            self.trip(now_s, f"{self.failures} failures in a row, the last: {reason}")

    def trip(self, now_s: float, reason: str) -> None:
        """Open the breaker at once, regardless of the number of failures."""
        self._open_until_s = now_s + self._reset_timeout_s
        if self.state is not BreakerState.OPEN:
            self._change(BreakerState.OPEN, reason)

    def wait_s(self, now_s: float) -> float:
        """Return how many seconds the breaker stays open; 0 if it is not open."""
        return max(0.0, self._open_until_s - now_s) if self.state is BreakerState.OPEN else 0.0

    def _change(self, state: BreakerState, reason: str) -> None:
        self.state = state
        self._on_change(state, reason)
