"""What is in flight, from the poll to the commit, and whether there is room for more. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that may be in flight at once."""

    max_events: int
    max_bytes: int
    max_batches: int


class InFlight:
    """Counts events, their bytes and closed micro-batches between the poll and the commit."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.events = 0
        self.bytes = 0
        self.batches = 0

    @property
    def max_batches(self) -> int:
        """How many micro-batches may be in flight."""
        return self._bounds.max_batches

    def on_polled(self, *, events: int, num_bytes: int) -> None:
        self.events += events
        self.bytes += num_bytes

    def on_batch_closed(self) -> None:
        self.batches += 1

    def on_committed(self, *, events: int, num_bytes: int) -> None:
        """One micro-batch is done."""
        self.events -= events
        self.bytes -= num_bytes
        self.batches -= 1

    def purge(self) -> None:
        self.events = self.bytes = self.batches = 0

    @property
    def is_empty(self) -> bool:
        """Return whether everything is committed. What holds no event, windows that time has closed, has bytes."""
        return self.events == 0 and self.bytes == 0 and self.batches == 0

    def room(self) -> int:
        """How many more events may be polled now."""
        if self.bytes >= self._bounds.max_bytes or self.batches >= self._bounds.max_batches:
            return 0
        return max(0, self._bounds.max_events - self.events)

    def is_low(self) -> bool:
        """Whether every count is at or under half its bound: where a paused source is resumed."""
        return (
            2 * self.events <= self._bounds.max_events
            and 2 * self.bytes <= self._bounds.max_bytes
            and 2 * self.batches <= self._bounds.max_batches
        )
