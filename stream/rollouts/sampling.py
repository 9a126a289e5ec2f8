"""The choice of the events that a shadow gets.

The unit is a block of consecutive offsets of a partition, not a micro-batch: where a micro-batch begins depends on timing, and
a replay has to choose the same events. Neighbouring events stay together, so the shadow gets runs of rows.
"""

from __future__ import annotations

from typing import Final

import xxhash

from forebay.stream.core.records import TopicPartition

BLOCK: Final = 64
"""The number of offsets in a block."""
_DIGESTS: Final = 2**64


class OffsetSample:
    """A share of all offsets, chosen by `xxh3_64(topic|partition|first offset of the block, seed)`.

    share: from 0 to 1. A larger share with the same seed contains all offsets of a smaller one.
    """

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        self.seed = seed
        self._limit = round(share * _DIGESTS)

    def ranges(self, partition: TopicPartition, first_offset: int, next_offset: int) -> list[range]:
        """Return the sampled offsets from `first_offset` to before `next_offset`, as ascending ranges that do not touch."""
        if self.share >= 1:
            return [range(first_offset, next_offset)]
        place = f"{partition.topic}|{partition.partition}|"
        ranges: list[range] = []
        for block in range(first_offset - first_offset % BLOCK, next_offset, BLOCK):
            if xxhash.xxh3_64_intdigest(f"{place}{block}".encode(), self.seed) < self._limit:
                start, stop = max(block, first_offset), min(block + BLOCK, next_offset)
                if ranges and ranges[-1].stop == start:
                    start = ranges.pop().start
                ranges.append(range(start, stop))
        return ranges
