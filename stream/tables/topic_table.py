"""The events of a topic as a `TableSource`: one row per record, and the end is that of the moment at which reading starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import closing
from typing import Final

import pyarrow as pa

from forebay.models.data.blocks import ParsedBlock, prefetched, rebatch
from forebay.models.data.input_row import InvalidRow
from forebay.models.data.object_columns import ObjectColumns, infer_schema
from forebay.models.data.table_options import SkippedRows, TableOptions
from forebay.schemas.errors import DataError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.kafka.consumer.topic_reader import OffsetRanges, TopicReader
from forebay.stream.tables.event_row import EventRow, read_event
from forebay.stream.tables.topic_location import TopicLocation, parse_topic_location

_SAMPLE_EVENTS: Final = 10_000
_BLOCK_EVENTS: Final = 2_000
_MAX_BLOCK_BYTES: Final = 8 << 20


class TopicTable:
    """The events of a topic. skipped: the records that were skipped, complete when all batches were read.

    location: such as `topic://features?from=-7d`. options: for the Kafka client.

    The columns are `id`, `timestamp` (milliseconds since 1970), `key`, the features by name, and other fields of the events,
    such as a label. Partitions are read one after the other, so the order of the rows is the same in every run.
    """

    def __init__(
        self, location: str, options: Mapping[str, object], *, clock: Clock, table: TableOptions | None = None
    ) -> None:
        self._name = location
        self._location = parse_topic_location(location, now_ms=clock.wall_ms())
        self._options = options
        self._clock = clock
        self._table = table or TableOptions()
        self._done = 0
        self._total = 0
        self.skipped = SkippedRows()

    @property
    def name(self) -> str:
        """The location."""
        return self._name

    def fraction(self) -> float | None:
        """Return the part of the offsets that was read, from 0 to 1; None before reading starts."""
        return self._done / self._total if self._total else None

    def batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the events. See `TableSource`.

        Raises BrokerError if the topic cannot be read; DataError for a record that is not an event, unless such records are
        skipped, and if there are no events.
        """
        self._done = self._total = 0
        self.skipped.clear()
        # The client's event loop runs in the thread that reads in advance: here one may be running already.
        depth = max(1, self._table.prefetch)
        with closing(prefetched(self._all_batches(rows), depth)) as batches:
            yield from batches

    def _all_batches(self, rows: int) -> Generator[pa.RecordBatch, None, None]:
        with closing(_iterated(self._blocks())) as blocks:
            yield from rebatch(map(self._checked, blocks), rows)

    def _checked(self, block: ParsedBlock) -> pa.RecordBatch:
        for row in block.invalid:
            if not self._table.skip_invalid:
                raise DataError(f"{row.place}: {row.reason}", kind="bad_row", remedy=row.remedy)
            self.skipped.add(self._location.topic, row)
        return block.batch

    async def _blocks(self) -> AsyncIterator[ParsedBlock]:
        columns: ObjectColumns | None = None
        pending, size = [], 0
        async for partition, record in self._records():
            pending.append(read_event(partition, record))
            size += len(record.value or b"")
            if len(pending) < (_SAMPLE_EVENTS if columns is None else _BLOCK_EVENTS) and size < _MAX_BLOCK_BYTES:
                continue
            columns = columns or self._columns(pending)
            yield _parsed(columns, pending)
            pending, size = [], 0
        if pending:
            columns = columns or self._columns(pending)
            yield _parsed(columns, pending)
        elif columns is None:
            raise DataError(
                f"{self._name}: there are no events in this part of the topic",
                kind="empty",
                remedy="read an earlier part, for example ?from=earliest",
            )

    def _columns(self, sample: list[EventRow | InvalidRow]) -> ObjectColumns:
        rows = [row.values for row in sample if isinstance(row, EventRow)]
        if not rows:
            first = next(row for row in sample if isinstance(row, InvalidRow))
            raise DataError(f"{first.place}: {first.reason}", kind="bad_row", remedy=first.remedy)
        return ObjectColumns(infer_schema(rows, self._name, self._table), self._table.columns is not None)

    async def _records(self) -> AsyncIterator[tuple[TopicPartition, Record]]:
        reader = TopicReader(
            self._options, [self._location.topic], from_beginning=True, clock=self._clock, bounded=True
        )
        async with reader:
            ranges = await _ranges(reader, self._location)
            self._total = sum(map(len, ranges.values()))
            for partition, offsets in sorted(ranges.items()):
                before = self._done
                async for _, records in reader.within({partition: offsets}):
                    for record in records:
                        yield partition, record
                        self._done = before + record.offset + 1 - offsets.start
                self._done = before + len(offsets)


async def _ranges(reader: TopicReader, location: TopicLocation) -> OffsetRanges:
    """Return the offsets to read, up to the end of the topic at this moment."""
    found = await reader.offset_ranges(since_ms=location.from_ms)
    starts = {} if location.until_ms is None else await reader.offset_ranges(since_ms=location.until_ms)
    if location.partitions is not None:
        _check_partitions(location, found)
    ranges = {}
    for partition, offsets in found.items():
        if location.partitions is not None and partition.partition not in location.partitions:
            continue
        start, stop = offsets.start, offsets.stop
        if location.from_offset is not None:
            start = max(start, location.from_offset)
        if location.until_offset is not None:
            stop = min(stop, location.until_offset)
        if partition in starts:
            stop = min(stop, starts[partition].start)
        ranges[partition] = range(start, max(start, stop))
    return ranges


def _check_partitions(location: TopicLocation, found: OffsetRanges) -> None:
    numbers = {partition.partition for partition in found}
    for number in location.partitions or ():
        if number not in numbers:
            raise DataError(
                f"{location.topic} has no partition {number}",
                kind="no_such_partition",
                remedy=f"it has the partitions 0 to {len(numbers) - 1}",
            )


def _parsed(columns: ObjectColumns, rows: list[EventRow | InvalidRow]) -> ParsedBlock:
    invalid: list[InvalidRow] = []
    good = []
    for row in rows:
        problem = row if isinstance(row, InvalidRow) else columns.misfit(row.place, row.values)
        if problem is not None:
            invalid.append(problem)
        elif isinstance(row, EventRow):
            good.append(row.values)
    return ParsedBlock(columns.batch(good), invalid)


def _iterated(items: AsyncIterator[ParsedBlock]) -> Generator[ParsedBlock, None, None]:
    """Yield the items of an asynchronous generator from an event loop of its own, which runs in the calling thread."""

    async def following() -> ParsedBlock | None:
        return await anext(items, None)

    with asyncio.Runner() as runner:
        try:
            while (item := runner.run(following())) is not None:
                yield item
        finally:
            runner.run(items.aclose())  # type: ignore[attr-defined]
