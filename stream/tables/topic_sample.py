"""A sample of a topic: the newest events of each partition, read once and outside any consumer group."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay.schemas.errors import DataError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.decode.value_reader import ValueReader
from forebay.stream.kafka.consumer.topic_reader import OffsetRanges, TopicReader

MAX_BYTES: Final = 64 << 20
"""Reading ends when the events that were read are larger than this together."""

_MAX_REASONS: Final = 5


@dataclass(slots=True)
class TopicSample:
    """Some records of a topic.

    records: by partition, in the order of their offsets. num_offsets: what the topic holds now, at most.
    too_large: the number of events above the limit of a worker, which are not kept.
    ended_by: why reading ended before `limit` events; "" if it did not.
    """

    topic: str
    records: dict[TopicPartition, list[Record]] = field(default_factory=dict)
    num_offsets: int = 0
    too_large: int = 0
    ended_by: str = ""

    @property
    def count(self) -> int:
        """The number of records."""
        return sum(map(len, self.records.values()))

    @property
    def num_keys(self) -> int:
        """The number of records with a key."""
        return sum(record.key is not None for records in self.records.values() for record in records)

    def keys(self) -> Counter[bytes]:
        """Return how often each key occurs."""
        return Counter(record.key for records in self.records.values() for record in records if record.key is not None)


@dataclass(slots=True)
class SampleDocuments:
    """What the values of a sample say.

    documents: objects, with the timestamp of their record in ms.
    formats: the number of values in each format. empty: the number of records without a value.
    unread: the number of values that could not be read, by reason; and `unread_values`, the values themselves.
    """

    documents: list[tuple[Mapping[str, object], int]] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    unread_values: list[bytes] = field(default_factory=list)

    @property
    def num_unread(self) -> int:
        """The number of values that could not be read."""
        return sum(self.unread.values())

    def reasons(self) -> list[str]:
        """Return the most frequent reasons, with their number."""
        shown = [f"{count:,} × {reason}" for reason, count in self.unread.most_common(_MAX_REASONS)]
        return shown + (["…"] if len(self.unread) > _MAX_REASONS else [])


async def read_topic_sample(
    options: Mapping[str, object],
    topic: str,
    *,
    limit: int,
    timeout_s: float,
    max_event_bytes: int,
    clock: Clock,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> TopicSample:
    """Return the newest events of each partition, about the same number of each. It may be empty.

    options: for the Kafka client. timeout_s: for reading, once the client is connected.

    Raises BrokerError if the topic does not exist or cannot be read, and DataError if it holds no record at all.
    """
    sample = TopicSample(topic)
    async with TopicReader(options, [topic], from_beginning=True, clock=clock, bounded=True) as reader:
        ranges = await reader.offset_ranges()
        sample.num_offsets = sum(map(len, ranges.values()))
        if not sample.num_offsets:
            raise DataError(
                f"{topic}: the topic is empty",
                kind="empty",
                remedy="send some events first, or name a topic that has some; `forebay init` writes a file without a topic",
            )
        size = 0
        try:
            async with asyncio.timeout(timeout_s):
                async for partition, records in reader.within(_newest(ranges, limit), on_progress=on_progress):
                    kept = sample.records.setdefault(partition, [])
                    for record in records:
                        size += len(record.value or b"")
                        if len(record.value or b"") > max_event_bytes:
                            sample.too_large += 1
                        elif size <= MAX_BYTES:
                            kept.append(record)
                    if size > MAX_BYTES:
                        sample.ended_by = f"they are larger than {MAX_BYTES >> 20} MiB together"
                        break
        except TimeoutError:
            sample.ended_by = f"--timeout {timeout_s:g} ended the reading"
    return sample


def _newest(ranges: OffsetRanges, limit: int) -> OffsetRanges:
    """Return the last offsets of each partition, `limit` of them, and what small partitions leave to others."""
    chosen: dict[TopicPartition, range] = {}
    left = limit
    by_size = sorted((item for item in ranges.items() if item[1]), key=lambda item: len(item[1]))
    for number, (partition, offsets) in enumerate(by_size):
        share = -(-left // (len(by_size) - number))
        chosen[partition] = offsets[-share:] if share else range(0)
        left -= len(chosen[partition])
    return chosen


async def read_documents(sample: TopicSample, reader: ValueReader) -> SampleDocuments:
    """Return what the values say. Raises nothing for data."""
    found = SampleDocuments()
    for records in sample.records.values():
        await reader.resolve(sample.topic, records)
        for record in records:
            _read(found, sample.topic, record, reader)
    return found


def _read(found: SampleDocuments, topic: str, record: Record, reader: ValueReader) -> None:
    read = reader.read(topic, record)
    if read.reason is None and record.value is None:
        found.empty += 1
    elif read.reason is not None:
        found.unread[read.reason] += 1
        found.unread_values.append(record.value or b"")
    else:
        rows = _rows(read.document)
        if not rows:
            found.unread["the value is not an object with fields"] += 1
            found.unread_values.append(record.value or b"")
            return
        found.formats[read.format] += 1
        found.documents += [(row, record.timestamp) for row in rows]


def _rows(document: object) -> Sequence[Mapping[str, object]]:
    """Return the events of a value: one, or the first rows of a record in Arrow."""
    if not isinstance(document, Mapping):
        return ()
    rows = document.get("rows")
    if document.keys() == {"num_rows", "rows"} and isinstance(rows, list):
        return [row for row in rows if isinstance(row, Mapping)]
    return (document,)
