"""A bounded read on both brokers: what is committed by then, past the marks of transactions, and then an end."""

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

# Brokers remove what is older than the topic's retention.
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
        [each.value or b"" for each in dead_letters],
        timestamps=[each.timestamp for each in dead_letters],
        headers=[each.headers for each in dead_letters],
    )


def box_of(broker: Broker, topic: str) -> DeadLetterReader:
    return DeadLetterReader({"bootstrap_servers": broker.bootstrap}, topic, clock=SystemClock())


async def offsets(reader: DeadLetterReader, since_ms: int | None = None) -> list[int]:
    """Of the events, of all letters there are."""
    async with asyncio.timeout(30):
        found: list[DeadLetter] = [each async for each in reader.dead_letters(await reader.extent(since_ms=since_ms))]
    return sorted(each.source.offset for each in found)


async def test_aborted_letters_are_passed_over_and_trailing_marks_are_no_hang(broker: Broker, names: Names) -> None:
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
    async with box_of(broker, names("dead")) as reader:
        assert await offsets(reader) == [0, 1, 2, 20, 21, 22, 40, 41, 42]
        assert await offsets(reader) == [0, 1, 2, 20, 21, 22, 40, 41, 42], "as often as one likes"
        extent = await reader.extent()
        assert extent[TopicPartition(*empty)] == range(0, 0) and len(extent[TopicPartition(*first)]) > 9
        aborted = extent[TopicPartition(*second)]
        with pytest.raises(DataError, match="never committed"):
            await reader.dead_letter_at(second.partition, aborted.start)


async def test_an_open_transaction_is_not_waited_for(broker: Broker, names: Names) -> None:
    (where,) = await create_topic(broker.bootstrap, names("dead"))
    async with producer(broker.bootstrap, transactional_id=names("writer")) as writer:
        await writer.begin_transaction()
        await write(writer, where, records(3))
        await writer.commit_transaction()
        await writer.begin_transaction()
        await write(writer, where, records(3, first=10))
        async with box_of(broker, names("dead")) as reader:
            assert await offsets(reader) == [0, 1, 2]
        await writer.abort_transaction()


async def test_what_comes_later_is_not_read(broker: Broker, names: Names) -> None:
    (where,) = await create_topic(broker.bootstrap, names("dead"))
    async with producer(broker.bootstrap) as writer, box_of(broker, names("dead")) as reader:
        await write(writer, where, records(3))
        extent = await reader.extent()
        await write(writer, where, records(3, first=10))
        told: list[tuple[int, int]] = []
        found = [each.source.offset async for each in reader.dead_letters(extent, progress=lambda *at: told.append(at))]
        assert found == [0, 1, 2] and told[-1] == (3, 3)


async def test_from_a_time_on(broker: Broker, names: Names) -> None:
    first, second = await create_topic(broker.bootstrap, names("dead"), 2)
    async with producer(broker.bootstrap) as writer:
        for number in range(4):
            await write(writer, first, records(5, first=10 * number))
        await write(writer, second, records(5))
    async with box_of(broker, names("dead")) as reader:
        # A batch begins with what is older: the filter is for that.
        later = await offsets(reader, NOW_MS + 22)
        assert set(later) >= {22, 23, 24, 30, 34} and min(later) >= 20
        assert await offsets(reader, NOW_MS + 1_000_000) == []


async def test_one_letter_by_its_place(broker: Broker, names: Names) -> None:
    first, second = await create_topic(broker.bootstrap, names("dead"), 2)
    async with producer(broker.bootstrap) as writer:
        await write(writer, first, records(5))
        await send_batch(writer, first, [b"somebody else's"])
    async with box_of(broker, names("dead")) as reader:
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


async def test_a_log_that_does_not_move_is_an_error_and_no_hang(broker: Broker, names: Names) -> None:
    (where,) = await create_topic(broker.bootstrap, names("dead"))
    options = {"bootstrap_servers": broker.bootstrap}
    async with TopicReader(options, [names("dead")], from_beginning=True, clock=SystemClock()) as reader:
        with pytest.raises(BrokerError, match=r"made no progress for 0\.3 s"):
            async for _ in reader.within({TopicPartition(*where): range(0, 10)}, stalled_after_s=0.3):
                pass
