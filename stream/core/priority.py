"""Priorities of events: three classes, and the share of a busy worker that each of them gets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Final


class Priority(IntEnum):
    """The class of an event. A smaller number is more urgent."""

    HIGH = 0
    NORMAL = 1
    LOW = 2

    @property
    def word(self) -> str:
        """The name in settings, headers, metrics and status."""
        return self.name.lower()


WEIGHTS: Final[Mapping[Priority, int]] = {Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}
"""Shares of events while all classes have more than the worker can take. So each class always makes progress."""


class FairSchedule:
    """Says whose turn it is: weighted fair sharing with start tags. Pure.

    Each class has a tag that grows by the events that it takes, divided by its weight; the smallest tag is next, of equal ones
    the most urgent class. A class that had nothing to take gets no credit for that time (Goyal, Vin and Cheng, "Start-time
    fair queueing", SIGCOMM 1996). So while class i has something, the others take at most w_j / w_i times its events, and
    one step each.
    """

    def __init__(self, weights: Mapping[Priority, int] = WEIGHTS) -> None:
        self._weights = weights
        self._tags = dict.fromkeys(weights, 0.0)
        self._now = 0.0

    def order(self, classes: Collection[Priority]) -> list[Priority]:
        """Return the classes that have something to take, the next one first."""
        return sorted(classes, key=lambda one: (max(self._tags[one], self._now), one))

    def charge(self, priority: Priority, events: int) -> None:
        """Record what a class has taken, in its turn or because no other one had anything."""
        start = max(self._tags[priority], self._now)
        self._now = start
        self._tags[priority] = start + max(1, events) / self._weights[priority]
