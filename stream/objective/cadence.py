"""The cadence of commits: the shortest time from the start of one to the start of the next.

While a worker keeps up, it commits as soon as results are ready: what arrives during a commit goes into the next one, which
gives the lowest latency that commits of their duration permit, and larger commits as the load grows. Each commit costs time of
the event loop. If events wait longer than the objective to be read because the loop is busy, fewer commits leave more of it for
events, so the interval grows, within the objective. It shrinks slowly when nothing waits, so that it does not swing.

With `efficient`, the interval is as long as the objective permits, whatever the load.
"""

from __future__ import annotations

from typing import Final

MAX_SHARE: Final = 0.4
"""Share of the objective that the interval may take: an event waits for one, and then for the commit."""
TARGET_SHARE: Final = 0.75
"""Share of the objective at which `efficient` aims with the measured latency."""
BUSY_LOOP: Final = 0.8
"""Share of the time for which the event loop must be busy for fewer commits to help."""
FIRST_SHARE: Final = 1.5
"""First interval, in durations of a commit: a shorter one would delay none."""
GROWTH: Final = 1.5
SHRINK_S: Final = 3.0
"""Time in which an interval that is no longer needed falls to 1/e."""
BUSY_SHRINK_S: Final = 60.0
"""The same while the event loop is busy: then the interval may be why nothing waits."""
GROW_EVERY_S: Final = 0.5
"""Least time between two steps up: the effect of one shows after some commits."""
AIM_S: Final = 3.0
"""Time in which `efficient` approaches the interval that it aims at; the measured latency follows as slowly."""


class Cadence:
    """Decides about the interval. interval_s: 0 to commit as soon as results are ready."""

    def __init__(self, objective_s: float, *, efficient: bool) -> None:
        self._objective_s = objective_s
        self._efficient = efficient
        self.interval_s = 0.0
        self._grown_s = 0.0
        self._last_s: float | None = None

    def advance(self, *, now_s: float, commit_s: float, waited_s: float, loop_load: float, p99_s: float | None) -> None:
        """Decide again, a few times per second.

        commit_s: usual duration of a commit.
        waited_s: how long the events that are read now have waited to be read.
        loop_load: share of the time for which the event loop was busy.
        p99_s: measured latency over the last seconds; None if there were no events.
        """
        passed_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        longest_s = MAX_SHARE * self._objective_s
        if self._efficient:
            if p99_s is not None:
                self._aim(longest_s, p99_s, min(1.0, passed_s / AIM_S))
            return
        is_behind = waited_s > self._objective_s and loop_load >= BUSY_LOOP
        if is_behind:
            if now_s - self._grown_s >= GROW_EVERY_S:
                self._grown_s = now_s
                self.interval_s = min(longest_s, max(GROWTH * self.interval_s, FIRST_SHARE * commit_s))
            return
        shrink_s = BUSY_SHRINK_S if loop_load >= BUSY_LOOP else SHRINK_S
        self.interval_s -= self.interval_s * min(1.0, passed_s / shrink_s)
        if self.interval_s < commit_s:
            self.interval_s = 0.0

    def _aim(self, longest_s: float, p99_s: float, gain: float) -> None:
        """Move towards the interval at which the latency would be `TARGET_SHARE` of the objective."""
        rest_s = p99_s - self.interval_s
        wanted_s = min(longest_s, max(0.0, TARGET_SHARE * self._objective_s - rest_s))
        self.interval_s += gain * (wanted_s - self.interval_s)
