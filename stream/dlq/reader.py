"""Letters from the cluster: a bounded read, in no group, of what is committed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from forebay.schemas.errors import DataError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.dead_letter import DeadLetter, Position, parse_dead_letter
from forebay.stream.kafka.consumer.topic_reader import OffsetRanges, TopicReader

Progress = Callable[[int, int], None]
"""Gets how many of how many offsets were passed."""


@dataclass(slots=True)
class ReadStats:
    """What a read came across. strangers: records that are no dead letters."""

    num_dead_letters: int = 0
    num_other_records: int = 0


class DeadLetterReader:
    """The dead-letter topic `topic`. options: for the Kafka client.

    async with LetterBox(options, "dead-letters", clock=clock) as box:
        async for letter in box.letters(await box.extent()): ...
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
        """All that is there by now, from a time on. Raises BrokerError."""
        return await self._reader.offset_ranges(since_ms=since_ms)

    async def dead_letters(
        self, extent: OffsetRanges, *, progress: Progress = lambda done, total: None
    ) -> AsyncIterator[DeadLetter]:
        """Those of `extent`, each partition's in order. Raises BrokerError."""
        async for partition, records in self._reader.within(extent, on_progress=progress):
            for record in records:
                dead_letter = parse_dead_letter(partition, record)
                if dead_letter is None:
                    self.stats.num_other_records += 1
                else:
                    self.stats.num_dead_letters += 1
                    yield dead_letter

    async def dead_letter_at(self, partition: int, offset: int) -> DeadLetter:
        """That one. Raises DataError where there is none, BrokerError."""
        at, position = TopicPartition(self.topic, partition), Position(self.topic, partition, offset)
        extent = await self.extent()
        if at not in extent:
            raise DataError(
                f"{self.topic} has no partition {partition}",
                kind="no_such_letter",
                remedy=f"it has {len(extent)}, from 0 to {len(extent) - 1}; `forebay dlq list` shows the letters",
            )
        there = extent[at]
        if offset not in there:
            holds = f"holds offsets {there.start} to {there.stop - 1}" if there else "is empty"
            raise DataError(
                f"there is no letter {position}: partition {partition} {holds}",
                kind="no_such_letter",
                remedy="letters are removed when the topic's retention is over; `forebay dlq list` shows those that are there",
            )
        async for dead_letter in self.dead_letters({at: range(offset, offset + 1)}):
            return dead_letter
        what = (
            "the record is no dead letter"
            if self.stats.num_other_records
            else "a transaction's mark is there, or what was never committed"
        )
        raise DataError(
            f"there is no letter {position}: {what}",
            kind="no_such_letter",
            remedy="`forebay dlq list` shows the letters",
        )

    async def num_partitions(self, topic: str) -> int | None:
        """Of any topic of the cluster; None where it is not there. Raises BrokerError."""
        return await self._reader.num_partitions(topic)
