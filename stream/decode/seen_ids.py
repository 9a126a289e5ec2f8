"""The ids of the last events of a partition, for finding those that are sent again. Pure.

What is remembered is a function of the records before a position: whether they are read once or, after rewinds, several times
makes no difference. An id that falls out of the window is kept until nothing can rewind to before the event that pushed it out.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate, islice
from typing import Final

MAX_ID_CHARS: Final = 64
"""Longer ids are remembered by a digest of 32 bytes, so that memory has a limit."""
BLOCK_EVENTS: Final = 512

_Key = str | bytes


@dataclass(frozen=True, slots=True)
class DuplicateWindow:
    """How long an id is remembered.

    max_events: for this many further events of the partition, duplicates not counted.
    max_ms: and at most for this time, by the timestamps of the records; 0 for no limit in time.
    """

    max_events: int
    max_ms: int = 0


@dataclass(slots=True)
class _Block:
    """Consecutive remembered events. first: number of the first one. times: the greatest timestamp up to each."""

    first: int
    keys: list[_Key] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))

    @property
    def end(self) -> int:
        return self.first + len(self.keys)


class SeenIds:
    """The ids of the last events of one partition and model."""

    def __init__(self, window: DuplicateWindow) -> None:
        self._window = window
        self._numbers: dict[_Key, int] = {}
        self._blocks: list[_Block] = []
        self._end = 0

    def __len__(self) -> int:
        """The number of events that are remembered."""
        return self._end - self._blocks[0].first if self._blocks else 0

    def take(
        self,
        ids: Sequence[str],
        offsets: Sequence[int],
        times: Sequence[int],
        *,
        may_repeat: Callable[[int], bool] = lambda _: False,
    ) -> dict[int, int]:
        """Remember events, and return the rows of duplicates with the offset of the event that each one repeats.

        ids, offsets, times: by row, in offset order. Offsets not above known ones mean that the records are read again.
        may_repeat: returns whether the event of a row is not a duplicate even if its id is known.
        """
        if not ids:
            return {}
        self._forget_from(offsets[0])
        keys: Sequence[_Key] = ids
        if max(map(len, ids)) > MAX_ID_CHARS:
            keys = list(map(_short, ids))
        # Without duplicates, which is usual, the loops over rows run in C.
        if self._numbers.keys().isdisjoint(keys) and len(set(keys)) == len(keys):
            self._append(keys, offsets, times)
            return {}
        duplicates: dict[int, int] = {}
        for row, (key, offset, time) in enumerate(zip(keys, offsets, times, strict=True)):
            known = self._find(key, time)
            if known is None or may_repeat(row):
                self._append((key,), (offset,), (time,))
            else:
                duplicates[row] = known
        return duplicates

    def forget_before(self, position: int) -> None:
        """Forget what is out of the window for every record from a position on, which was committed."""
        index = bisect_left(self._blocks, position, key=lambda block: block.offsets[0])
        if index == 0:
            return
        block = self._blocks[index - 1]
        within = bisect_left(block.offsets, position)
        number, time = block.first + within, block.times[within - 1]
        num_old = 0
        for old in self._blocks:
            is_old = old.end <= number - self._window.max_events
            if not is_old and not (self._window.max_ms and old.times[-1] < time - self._window.max_ms):
                break
            num_old += 1
            for known, key in enumerate(old.keys, old.first):
                if self._numbers[key] == known:
                    del self._numbers[key]
        del self._blocks[:num_old]  # the block of the last event before the position is never old

    def _find(self, key: _Key, time: int) -> int | None:
        """Return the offset of the event in the window with this id."""
        number = self._numbers.get(key)
        if number is None or self._end - number > self._window.max_events:
            return None
        block = self._blocks[bisect_right(self._blocks, number, key=lambda block: block.first) - 1]
        index = number - block.first
        now = max(time, self._blocks[-1].times[-1])
        if self._window.max_ms and now - block.times[index] > self._window.max_ms:
            return None
        return block.offsets[index]

    def _append(self, keys: Sequence[_Key], offsets: Sequence[int], times: Sequence[int]) -> None:
        if not self._blocks or len(self._blocks[-1].keys) >= BLOCK_EVENTS:
            latest = self._blocks[-1].times[-1:] if self._blocks else ()
            self._blocks.append(_Block(self._end))
        else:
            latest = self._blocks[-1].times[-1:]
        block = self._blocks[-1]
        block.keys.extend(keys)
        block.offsets.extend(offsets)
        block.times.extend(islice(accumulate((*latest, *times), max), len(latest), None))
        self._numbers.update(zip(keys, range(self._end, self._end + len(keys)), strict=True))
        self._end += len(keys)

    def _forget_from(self, offset: int) -> None:
        """Forget the records from an offset on, because they are read again."""
        if not self._blocks or self._blocks[-1].offsets[-1] < offset:
            return
        while self._blocks and self._blocks[-1].offsets[0] >= offset:
            self._end = self._blocks.pop().first
        if self._blocks:
            block = self._blocks[-1]
            kept = bisect_left(block.offsets, offset)
            del block.keys[kept:], block.offsets[kept:], block.times[kept:]
            self._end = block.end
        self._numbers = {
            key: number for block in self._blocks for number, key in enumerate(block.keys, start=block.first)
        }


def _short(event_id: str) -> _Key:
    if len(event_id) <= MAX_ID_CHARS:
        return event_id
    return blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=32).digest()
