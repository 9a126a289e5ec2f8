"""A bounded read on both brokers: it returns the committed dead letters, skips transaction markers, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from forebay.schemas.errors import BrokerError, DataError
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.dead_letter import DeadLetter
from forebay.stream.dlq.reader import DeadLetterReader
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.core.build import FakeRecord
from tests.dlq.build import dead_letter_record

# Brokers remove records that are older than the topic's retention.
NOW_MS = SystemClock().wall_ms()


def records(count: int, *, first: int = 0) -> list[FakeRecord]:
    return [
        dead_letter_record(
            0, source_offset=first + number, timestamp=NOW_MS + first + number, value=b"%d" % (first + number)
        )
        for number in range(count)
    ]


async def write(client: object, where: TopicPartition, dead_letters: Sequence[FakeRecord]) -> int:
    return await send_batch(
        client,  # type: ignore[arg-type]
        where,  # type: ignore[arg-type]
        [dead_letter.value or b"" for dead_letter in dead_letters],
        timestamps=[dead_letter.timestamp for dead_letter in dead_letters],
        headers=[dead_letter.headers for dead_letter in dead_letters],
    )


def reader_of(broker: Broker, topic: str) -> DeadLetterReader:
    return DeadLetterReader({"bootstrap_servers": broker.bootstrap}, topic, clock=SystemClock())


async def offsets(reader: DeadLetterReader, since_ms: int | None = None) -> list[int]:
    """Return the offsets of the events of all dead letters."""
    async with asyncio.timeout(30):
        read: list[DeadLetter] = [
            dead_letter async for dead_letter in reader.dead_letters(await reader.extent(since_ms=since_ms))
        ]
    return sorted(dead_letter.source.offset for dead_letter in read)


async def test_aborted_dead_letters_are_skipped_and_trailing_markers_do_not_block(broker: Broker, names: Names) -> None:
    first, second, empty = await create_topic(broker.bootstrap, names("dead"), 3)
    async with producer(broker.bootstrap, transactional_id=names("writer")) as writer:
        for number in range(6):
            await writer.begin_transaction()
            await write(writer, first, records(3, first=10 * number))
            await (writer.abort_transaction() if number % 2 else writer.commit_transaction())
        # Nothing in this partition was ever committed.
        await writer.begin_transaction()
        await write(writer, second, records(2, first=1000))
        await writer.abort_transaction()
    async with reader_of(broker, names("dead")) as reader:
        assert await offsets(reader) == [0, 1, 2, 20, 21, 22, 40, 41, 42]
        assert await offsets(reader) == [0, 1, 2, 20, 21, 22, 40, 41, 42], "the topic can be read again"
        extent = await reader.extent()
        assert extent[TopicPartition(*empty)] == range(0, 0) and len(extent[TopicPartition(*first)]) > 9
        aborted = extent[TopicPartition(*second)]
        with pytest.raises(DataError, match="never committed"):
            await reader.dead_letter_at(second.partition, aborted.start)


async def test_the_reader_does_not_wait_for_an_open_transaction(broker: Broker, names: Names) -> None:
    (where,) = await create_topic(broker.bootstrap, names("dead"))
    async with producer(broker.bootstrap, transactional_id=names("writer")) as writer:
        await writer.begin_transaction()
        await write(writer, where, records(3))
        await writer.commit_transaction()
        await writer.begin_transaction()
        await write(writer, where, records(3, first=10))
        async with reader_of(broker, names("dead")) as reader:
            assert await offsets(reader) == [0, 1, 2]
        await writer.abort_transaction()


async def test_later_records_are_not_read(broker: Broker, names: Names) -> None:
    (where,) = await create_topic(broker.bootstrap, names("dead"))
    async with producer(broker.bootstrap) as writer, reader_of(broker, names("dead")) as reader:
        await write(writer, where, records(3))
        extent = await reader.extent()
        await write(writer, where, records(3, first=10))
        calls: list[tuple[int, int]] = []
        read = [
            dead_letter.source.offset
            async for dead_letter in reader.dead_letters(extent, progress=lambda *at: calls.append(at))
        ]
        assert read == [0, 1, 2] and calls[-1] == (3, 3)


async def test_reading_can_start_at_a_time(broker: Broker, names: Names) -> None:
    first, second = await create_topic(broker.bootstrap, names("dead"), 2)
    async with producer(broker.bootstrap) as writer:
        for number in range(4):
            await write(writer, first, records(5, first=10 * number))
        await write(writer, second, records(5))
    async with reader_of(broker, names("dead")) as reader:
        # A batch can begin with older records; the filter removes them.
        later = await offsets(reader, NOW_MS + 22)
        assert set(later) >= {22, 23, 24, 30, 34} and min(later) >= 20
        assert await offsets(reader, NOW_MS + 1_000_000) == []


async def test_a_dead_letter_is_found_by_partition_and_offset(broker: Broker, names: Names) -> None:
    first, second = await create_topic(broker.bootstrap, names("dead"), 2)
    async with producer(broker.bootstrap) as writer:
        await write(writer, first, records(5))
        await send_batch(writer, first, [b"somebody else's"])
    async with reader_of(broker, names("dead")) as reader:
        assert (await reader.dead_letter_at(first.partition, 3)).source.offset == 3
        for partition, offset, words in (
            (7, 0, "has no partition 7"),
            (first.partition, 99, "partition 0 holds offsets 0 to 5"),
            (second.partition, 0, "partition 1 is empty"),
            (first.partition, 5, "the record is not a dead letter"),
        ):
            with pytest.raises(DataError, match=words):
                await reader.dead_letter_at(partition, offset)
        assert await reader.num_partitions(names("dead")) == 2
        assert await reader.num_partitions(names("none")) is None


async def test_a_stalled_read_is_an_error(broker: Broker, names: Names) -> None:
    (where,) = await create_topic(broker.bootstrap, names("dead"))
    options = {"bootstrap_servers": broker.bootstrap}
    async with TopicReader(options, [names("dead")], from_beginning=True, clock=SystemClock()) as reader:
        with pytest.raises(BrokerError, match=r"made no progress for 0\.3 s"):
            async for _ in reader.within({TopicPartition(*where): range(0, 10)}, stalled_after_s=0.3):
                pass
