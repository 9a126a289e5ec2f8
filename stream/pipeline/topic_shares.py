"""How much of what is in flight each input topic may hold, when several models are served. Pure.

A topic whose model is slow must not use up the limits for all topics. Each topic may hold at most `SHARE` times what is still
free, so that some room always remains for the others: the dynamic thresholds of Choudhury and Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking 6 (1998).
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from forebay.stream.pipeline.in_flight import Bounds

SHARE: Final = 2
"""One topic alone may hold two thirds of the limit; two that get stuck together leave a fifth to the others,
and one after the other a ninth."""


class TopicShares:
    """Counts events and bytes in flight by input topic."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._events: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, topic: str, *, events: int, num_bytes: int) -> None:
        """Count polled events."""
        self._events[topic] += events
        self._bytes[topic] += num_bytes

    def remove(self, topic: str, *, events: int, num_bytes: int) -> None:
        """Remove committed events from the counts."""
        self._events[topic] -= events
        self._bytes[topic] -= num_bytes

    def purge(self) -> None:
        """Reset all counts."""
        self._events.clear()
        self._bytes.clear()

    def full(self) -> set[str]:
        """Return the topics that hold their whole share."""
        free_events = self._bounds.max_events - self._events.total()
        free_bytes = self._bounds.max_bytes - self._bytes.total()
        full = {topic for topic, events in self._events.items() if events >= SHARE * max(free_events, 0) and events}
        return full | {topic for topic, size in self._bytes.items() if size >= SHARE * max(free_bytes, 0) and size}
