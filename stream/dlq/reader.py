"""A bounded read of the committed dead letters, without a consumer group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from forebay.schemas.errors import DataError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.dead_letter import DeadLetter, Position, parse_dead_letter
from forebay.stream.kafka.consumer.topic_reader import OffsetRanges, TopicReader

Progress = Callable[[int, int], None]
"""Receives the number of offsets that were read, and the total."""


@dataclass(slots=True)
class ReadStats:
    """Counts of the records that were read. num_other_records: records that are not dead letters."""

    num_dead_letters: int = 0
    num_other_records: int = 0


class DeadLetterReader:
    """Reads the dead letters of the topic `topic`. options: for the Kafka client.

    async with DeadLetterReader(options, "dead-letters", clock=clock) as reader:
        async for dead_letter in reader.dead_letters(await reader.extent()): ...
    """

    def __init__(self, options: Mapping[str, object], topic: str, *, clock: Clock) -> None:
        self.topic = topic
        self.stats = ReadStats()
        self._reader = TopicReader(options, [topic], from_beginning=True, clock=clock, bounded=True)

    async def __aenter__(self) -> DeadLetterReader:
        await self._reader.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reader.stop()

    async def extent(self, *, since_ms: int | None = None) -> OffsetRanges:
        """Return the offsets that exist now, by partition; with `since_ms` from that time on. Raises BrokerError."""
        return await self._reader.offset_ranges(since_ms=since_ms)

    async def dead_letters(
        self, extent: OffsetRanges, *, progress: Progress = lambda done, total: None
    ) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters in `extent`, in order per partition. Raises BrokerError."""
        async for partition, records in self._reader.within(extent, on_progress=progress):
            for record in records:
                dead_letter = parse_dead_letter(partition, record)
                if dead_letter is None:
                    self.stats.num_other_records += 1
                else:
                    self.stats.num_dead_letters += 1
                    yield dead_letter

    async def dead_letter_at(self, partition: int, offset: int) -> DeadLetter:
        """Return the dead letter at an offset. Raises DataError if there is none, and BrokerError."""
        topic_partition, position = TopicPartition(self.topic, partition), Position(self.topic, partition, offset)
        extent = await self.extent()
        if topic_partition not in extent:
            raise DataError(
                f"{self.topic} has no partition {partition}",
                kind="no_such_letter",
                remedy=f"it has the partitions 0 to {len(extent) - 1}; `forebay dlq list` shows the dead letters",
            )
        offsets = extent[topic_partition]
        if offset not in offsets:
            content = f"holds offsets {offsets.start} to {offsets.stop - 1}" if offsets else "is empty"
            raise DataError(
                f"there is no dead letter {position}: partition {partition} {content}",
                kind="no_such_letter",
                remedy="the topic's retention may have removed it; `forebay dlq list` shows the dead letters that exist",
            )
        async for dead_letter in self.dead_letters({topic_partition: range(offset, offset + 1)}):
            return dead_letter
        reason = (
            "the record is not a dead letter"
            if self.stats.num_other_records
            else "the offset holds a transaction marker or a record that was never committed"
        )
        raise DataError(
            f"there is no dead letter {position}: {reason}",
            kind="no_such_letter",
            remedy="`forebay dlq list` shows the dead letters",
        )

    async def num_partitions(self, topic: str) -> int | None:
        """Return the number of partitions of any topic of the cluster; None if the topic does not exist. Raises BrokerError."""
        return await self._reader.num_partitions(topic)
