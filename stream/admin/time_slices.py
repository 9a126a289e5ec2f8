"""Long work on a helper thread, in turns with the threads that the stream needs.

A thread that runs Python code gives the interpreter lock back only every 5 ms, and the stream's threads take it hundreds of
times for each micro-batch: beside such a thread a model call of 1 ms takes 50. So the work is done in slices, with a rest as
long as the slice after each: others then get the lock at once, and half of the time at least.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from forebay.stream.core.clock import Clock

SLICE: Final = 32
"""Events between two rests: less than a millisecond of work."""
MAX_REST_S: Final = 0.02

Item = TypeVar("Item")


class Abandoned(Exception):
    """Nobody waits for the result any more."""


class TimeSlices:
    """One piece of work. `abandon` may be called on any thread."""

    def __init__(self, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._since_s: float | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """End the work at its next rest."""
        self._abandoned = True

    def rest(self) -> None:
        """Give the others their turn. Raises Abandoned."""
        if self._abandoned:
            raise Abandoned
        now_s = self._clock.monotonic_s()
        worked_s = 0.0 if self._since_s is None else now_s - self._since_s
        self._sleep(min(worked_s, MAX_REST_S))
        self._since_s = self._clock.monotonic_s()

    def slices(self, items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
        """Yield the items in slices, with a rest before each."""
        iterator = iter(items)
        while part := tuple(itertools.islice(iterator, SLICE)):
            self.rest()
            yield part

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items one by one, with rests between."""
        for part in self.slices(items):
            yield from part
