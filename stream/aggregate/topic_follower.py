"""Reading error-aggregates and alerts: from a time on, then whatever has come since the last look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.kafka.consumer.topic_reader import TopicReader


class TopicFollower:
    """Bounded reads of one or more topics, one after the other; in no group."""

    def __init__(self, options: Mapping[str, object], topics: Sequence[str], *, clock: Clock) -> None:
        self._reader = TopicReader(options, topics, from_beginning=True, clock=clock, bounded=True)
        self._read_to: dict[TopicPartition, int] = {}

    async def start(self, *, since_ms: int | None = None) -> None:
        """Raises BrokerError."""
        await self._reader.start()
        extent = await self._reader.offset_ranges(since_ms=since_ms)
        self._read_to = {partition: offsets.start for partition, offsets in extent.items()}

    async def read_new(self) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """All that is committed by now and was not read yet. Raises BrokerError."""
        extent = await self._reader.offset_ranges()
        rest = {
            partition: range(max(self._read_to.get(partition, offsets.start), offsets.start), offsets.stop)
            for partition, offsets in extent.items()
        }
        async for found in self._reader.within({partition: part for partition, part in rest.items() if part}):
            yield found
        self._read_to.update({partition: part.stop for partition, part in rest.items()})

    async def stop(self) -> None:
        await self._reader.stop()
