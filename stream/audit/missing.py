"""Numbers that are missing in a sequence, as ranges: the memory depends on how many records were read, not on what they say."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Final, NamedTuple

from forebay.stream.audit.chain import Place

_FIRST: Final = attrgetter("first")


class MissingRange(NamedTuple):
    """Consecutive missing numbers. place: the block that came instead."""

    first: int
    last: int
    place: Place


class MissingNumbers:
    """The numbers that were passed over, in order."""

    def __init__(self) -> None:
        self._ranges: list[MissingRange] = []

    def __iter__(self) -> Iterator[MissingRange]:
        return iter(self._ranges)

    def append(self, first: int, last: int, place: Place) -> None:
        """Add the numbers from first to last, if there are any. They are higher than all that are missing."""
        if first <= last:
            self._ranges.append(MissingRange(first, last, place))

    def remove(self, number: int) -> bool:
        """Remove a number, and return whether it was missing."""
        index = bisect_right(self._ranges, number, key=_FIRST) - 1
        if index < 0 or number > self._ranges[index].last:
            return False
        first, last, place = self._ranges[index]
        rest = [MissingRange(first, number - 1, place), MissingRange(number + 1, last, place)]
        self._ranges[index : index + 1] = [found for found in rest if found.first <= found.last]
        return True

    def clear(self) -> None:
        """Forget all of them."""
        self._ranges.clear()
