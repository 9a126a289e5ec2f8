"""Time slices for long work on a helper thread, so that it does not slow down the threads of the stream.

A thread that runs Python code releases the interpreter lock only every 5 ms, and the stream's threads acquire it hundreds of
times for each micro-batch: next to such a thread a model call of 1 ms takes 50. So the work is done in slices, each followed
by a rest of equal length: other threads then get the lock at once, and at least half of the time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from forebay.stream.core.clock import Clock

SLICE: Final = 32
"""Number of events between two rests: less than a millisecond of work."""
MAX_REST_S: Final = 0.02

Item = TypeVar("Item")


class Abandoned(Exception):
    """The client has gone, so the result is not needed any more."""


class TimeSlices:
    """Slices one piece of work. `abandon` may be called on any thread."""

    def __init__(self, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._slice_began_s: float | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """End the work at its next rest."""
        self._abandoned = True

    def rest(self) -> None:
        """Sleep for as long as the last slice took. Raise Abandoned if the work was abandoned."""
        if self._abandoned:
            raise Abandoned
        now_s = self._clock.monotonic_s()
        worked_s = 0.0 if self._slice_began_s is None else now_s - self._slice_began_s
        self._sleep(min(worked_s, MAX_REST_S))
        self._slice_began_s = self._clock.monotonic_s()

    def slices(self, items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
        """Yield the items in slices, with a rest before each."""
        iterator = iter(items)
        while items_of_slice := tuple(itertools.islice(iterator, SLICE)):
            self.rest()
            yield items_of_slice

    def items(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items one by one, with a rest before each slice."""
        for items_of_slice in self.slices(items):
            yield from items_of_slice
