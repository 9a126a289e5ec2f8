"""When a child process that has ended is started again. Pure: times are passed in."""

from __future__ import annotations

from typing import Final

from forebay.stream.core.backoff import Backoff

HEALTHY_AFTER_S: Final = 60.0
"""A child that ran for this long does not count as failing at its start."""
FIRST_WAIT_S: Final = 0.2
MAX_WAIT_S: Final = 30.0
LOOPS_AFTER: Final = 5
"""From this number of failures in a row on, a child counts as failing again and again."""


class RestartPolicy:
    """The failures in a row of one child, and the wait after the last one."""

    def __init__(self, backoff: Backoff | None = None, *, healthy_after_s: float = HEALTHY_AFTER_S) -> None:
        self._backoff = backoff or Backoff(FIRST_WAIT_S, MAX_WAIT_S)
        self._healthy_after_s = healthy_after_s
        self.failures = 0

    def on_failure(self, *, ran_s: float) -> float:
        """Record that the child ended by itself after this long, and return the seconds until its next start."""
        self.failures = 1 if ran_s >= self._healthy_after_s else self.failures + 1
        return self._backoff.wait_s(self.failures)

    def failures_of(self, *, running_s: float | None) -> int:
        """Return the failures in a row; 0 if the child has now been running for long enough.

        running_s: None if it is not running.
        """
        is_healthy = running_s is not None and running_s >= self._healthy_after_s
        return 0 if is_healthy else self.failures
