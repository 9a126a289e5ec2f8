"""The circuit breaker around what the worker depends on: the model's device, and the cluster that takes its outputs. Pure.

Closed, it lets everything through. After `failure_threshold` failures in a row it opens, and lets nothing through for
`reset_timeout_s`; then it is half open and lets one through, which closes it or opens it again (Nygard, Release It!, 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class BreakerState(StrEnum):
    """What it lets through: everything, one to try with, nothing."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitBreaker:
    """Times in monotonic seconds. on_change gets each new state and why."""

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
        """Return whether a call may begin now. It changes nothing: the caller reports the start to `begin`."""
        if self.state is BreakerState.OPEN:
            return now_s >= self._open_until_s
        return self.state is BreakerState.CLOSED or not self._probing

    def advance(self, now_s: float) -> None:
        """Change from open to half open once the reset timeout has passed."""
        if self.state is BreakerState.OPEN and now_s >= self._open_until_s:
            self._probing = False
            self._change(BreakerState.HALF_OPEN, "one is let through to try")

    def record_start(self, now_s: float) -> None:
        """Record that a call has begun that `allows` permits. Half open, it is the only one until its result is known."""
        self.advance(now_s)
        self._probing = True

    def record_success(self) -> None:
        """What was begun came out well."""
        self.failures = 0
        self._probing = False
        if self.state is not BreakerState.CLOSED:
            self._change(BreakerState.CLOSED, "it works again")

    def record_failure(self, now_s: float, reason: str) -> None:
        """What was begun failed."""
        self.failures += 1
        self._probing = False
        if self.state is BreakerState.HALF_OPEN or (
            self.state is BreakerState.CLOSED and self.failures >= self._threshold
        ):
            self.trip(now_s, f"{self.failures} failures in a row, the last: {reason}")

    def trip(self, now_s: float, reason: str) -> None:
        """Open at once, whatever the count."""
        self._open_until_s = now_s + self._reset_timeout_s
        if self.state is not BreakerState.OPEN:
            self._change(BreakerState.OPEN, reason)

    def wait_s(self, now_s: float) -> float:
        """How long it stays open; 0 where it is not."""
        return max(0.0, self._open_until_s - now_s) if self.state is BreakerState.OPEN else 0.0

    def _change(self, state: BreakerState, reason: str) -> None:
        self.state = state
        self._on_change(state, reason)
