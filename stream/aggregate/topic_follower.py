"""Reading error-aggregates and alerts in steps: from a start time, then what was added since the last read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.kafka.consumer.topic_reader import TopicReader


class TopicFollower:
    """Reads topics in bounded steps, each up to the current end; joins no consumer group."""

    def __init__(self, options: Mapping[str, object], topics: Sequence[str], *, clock: Clock) -> None:
        self._reader = TopicReader(options, topics, from_beginning=True, clock=clock, bounded=True)
        self._read_to: dict[TopicPartition, int] = {}

    @classmethod
    async def started(
        cls, options: Mapping[str, object], topics: Sequence[str], *, since_ms: int, clock: Clock
    ) -> TopicFollower:
        """Return a follower that has started (see `start`), or stop it and raise what prevented that."""
        follower = cls(options, topics, clock=clock)
        try:
            await follower.start(since_ms=since_ms)
        except BaseException:
            await asyncio.shield(follower.stop())
            raise
        return follower

    async def start(self, *, since_ms: int | None = None) -> None:
        """Connect, and begin at records of `since_ms` (ms since the Unix epoch) or at the beginning. Raises BrokerError."""
        await self._reader.start()
        extent = await self._reader.offset_ranges(since_ms=since_ms)
        self._read_to = {partition: offsets.start for partition, offsets in extent.items()}

    async def read_new(
        self, *, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield the committed records that were not read yet, by partition. Raises BrokerError.

        on_progress: receives the number of offsets read and their total.
        """
        extent = await self._reader.offset_ranges()
        unread = {
            partition: range(max(self._read_to.get(partition, offsets.start), offsets.start), offsets.stop)
            for partition, offsets in extent.items()
        }
        ranges = {tp: offsets for tp, offsets in unread.items() if offsets}
        async for partition_records in self._reader.within(ranges, on_progress=on_progress):
            yield partition_records
        self._read_to.update({partition: offsets.stop for partition, offsets in unread.items()})

    async def stop(self) -> None:
        """Close the client."""
        await self._reader.stop()
