"""How much of what is in flight each input topic may hold, when several models are served. Pure.

A topic whose model is slow must not use up the limits for all topics. Each topic may hold at most `SHARE` times what is still
free, so that some room always remains for the others: the dynamic thresholds of Choudhury and Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking 6 (1998).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from forebay.stream.core.priority import Priority
from forebay.stream.pipeline.in_flight import Bounds

SHARE: Final = 2
"""One topic alone may hold two thirds of the limit; two that get stuck together leave a fifth to the others,
and one after the other a ninth."""
SHARES: Final[Mapping[Priority, float]] = {Priority.HIGH: 8, Priority.NORMAL: SHARE, Priority.LOW: 0.5}
"""With priorities: one topic of class low alone may hold a third, and one of class high eight ninths. So a backlog of a lower
class always leaves room for higher ones, and these leave some for it."""


class TopicShares:
    """Counts events and bytes in flight by input topic.

    share_of: returns how many times what is free a topic may hold.
    """

    def __init__(self, bounds: Bounds, share_of: Callable[[str], float] = lambda _topic: SHARE) -> None:
        self._bounds = bounds
        self._share_of = share_of
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
        return self._above(self._events, free_events) | self._above(self._bytes, free_bytes)

    def _above(self, held: Counter[str], free: int) -> set[str]:
        return {topic for topic, size in held.items() if size and size >= self._share_of(topic) * max(free, 0)}
