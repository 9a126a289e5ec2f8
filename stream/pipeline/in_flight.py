"""Counts of what is in flight, from the poll to the commit, and how much more may be polled. Pure."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of what may be in flight at once."""

    max_events: int
    max_bytes: int
    max_batches: int


class InFlight:
    """Counts events, their bytes and closed micro-batches between poll and commit.

    limit_batches: whether the number of micro-batches limits polling. With several lanes or priorities it limits each lane or
        class instead.
    """

    def __init__(self, bounds: Bounds, *, limit_batches: bool = True) -> None:
        self._bounds = bounds
        self._max_batches = bounds.max_batches if limit_batches else sys.maxsize
        self._events_per_record = 1.0
        self.events = 0
        self.bytes = 0
        self.batches = 0

    @property
    def bounds(self) -> Bounds:
        """The limits."""
        return self._bounds

    @property
    def max_batches(self) -> int:
        """The largest number of micro-batches that may be in flight, or wait in one lane."""
        return self._bounds.max_batches

    def on_polled(self, *, events: int, num_bytes: int) -> None:
        """Count polled events."""
        self.events += events
        self.bytes += num_bytes

    def on_batch_closed(self) -> None:
        """Count a closed micro-batch."""
        self.batches += 1

    def on_committed(self, *, events: int, num_bytes: int, batches: int = 1) -> None:
        """Remove a committed micro-batch from the counts; or a part of one, with 0 batches until the last."""
        self.events -= events
        self.bytes -= num_bytes
        self.batches -= batches

    def purge(self) -> None:
        """Reset all counts."""
        self.events = self.bytes = self.batches = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything is committed. Windows closed by time hold no new events but have bytes."""
        return self.events == 0 and self.bytes == 0 and self.batches == 0

    def room(self) -> int:
        """Return how many more events may be polled now."""
        if self.bytes >= self._bounds.max_bytes or self.batches >= self._max_batches:
            return 0
        return max(0, self._bounds.max_events - self.events)

    def on_decoded(self, *, events: int, records: int) -> None:
        """Learn how many events the records of a poll had: a record may have many rows."""
        self._events_per_record = max(1.0, events / records)

    def records_of(self, events: int) -> int:
        """Return how many records probably have this number of events: at least one, unless it is 0."""
        return min(events, max(1, int(events / self._events_per_record)))

    def is_low(self) -> bool:
        """Return whether every count is at most half its limit. A paused source resumes then."""
        return (
            2 * self.events <= self._bounds.max_events
            and 2 * self.bytes <= self._bounds.max_bytes
            and 2 * self.batches <= self._max_batches
        )
