"""A source that ends at a frozen offset of each partition, for back-fills."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from forebay.stream.core.records import PartitionLag, Record, TopicPartition
from forebay.stream.kafka.consumer.frozen_ranges import FrozenRanges
from forebay.stream.kafka.consumer.read_throttle import ReadThrottle
from forebay.stream.kafka.consumer.source import Source

_offset = attrgetter("offset")


class BoundedSource(Source):
    """Reads each partition up to the end of its range, and no further.

    A partition is at its end by its position, not by its last record: the last offsets may be transaction markers, aborted
    records, or gaps of compaction. There it is held, so that nothing beyond it is fetched.

    ranges: filled by the restorer.
    throttle: limits how fast it reads.
    options: those of `Source`.
    """

    def __init__(self, ranges: FrozenRanges, throttle: ReadThrottle, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ranges = ranges
        self._throttle = throttle

    async def poll(
        self, *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return the next records before the ends, as many as the throttle allows. Raises like that of the source."""
        allowed = self._throttle.allowance(max_records, now_s=self._clock.monotonic_s())
        if not allowed:
            # Not read at all, rather than paused: what was fetched stays fetched.
            await asyncio.sleep(min(timeout_s, self._throttle.wait_s()))
            return {}
        records = await super().poll(timeout_s=timeout_s, max_records=allowed, topics=topics)
        if beyond := [place for place, part in records.items() if part[-1].offset >= self._ranges.end(place)]:
            within = dict(records)
            for partition in beyond:
                part = within.pop(partition)
                if count := bisect_left(part, self._ranges.end(partition), key=_offset):
                    within[partition] = part[:count]
            records = within
        self._hold_at_ends()
        self._throttle.on_read(sum(map(len, records.values())))
        return records

    def _hold_at_ends(self) -> None:
        for partition, position in (super().positions() or {}).items():
            end = self._ranges.end(partition)
            if position >= end and not self.held.is_held(partition):
                self.held.hold(partition, end)

    def positions(self) -> Mapping[TopicPartition, int] | None:
        """Return the position in each assigned partition, at most its end; None while the gate is closed or one is unknown."""
        positions = super().positions()
        if positions is None:
            return None
        return {partition: min(position, self._ranges.end(partition)) for partition, position in positions.items()}

    def is_at_end(self, partition: TopicPartition) -> bool:
        """Return whether everything in the range of a partition has been read."""
        positions = super().positions()
        return positions is not None and positions.get(partition, -1) >= self._ranges.end(partition)

    async def partition_lags(self) -> dict[TopicPartition, PartitionLag]:
        """Return how far each partition is from the end of its range. Raises KafkaError, TimeoutError."""
        lags = await super().partition_lags()
        return {place: PartitionLag(lag.position, self._ranges.end(place)) for place, lag in lags.items()}

    async def commit_idle(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str]
    ) -> None:
        """Commit the positions of an idle member, with the ranges. Raises KafkaError."""
        with_ranges = {partition: self._ranges.metadata(partition, inner) for partition, inner in metadata.items()}
        await super().commit_idle(positions, with_ranges)
