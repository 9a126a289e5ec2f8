"""The publisher on a broker: all records arrive, in order per key, in the partitions that other clients choose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import SystemClock
from forebay.stream.kafka.patches.fetch_pacing import pace_fetches
from forebay.stream.publish.publisher import Publisher, oversize
from tests.brokers.clients import create_topic
from tests.brokers.resolve import Broker
from tests.conftest import Names

PARTITIONS = 3
# Brokers remove records that are older than the topic's retention.
NOW_MS = SystemClock().wall_ms()


@pytest.fixture
async def topic(broker: Broker, names: Names) -> str:
    await create_topic(broker.bootstrap, names("features"), PARTITIONS)
    return names("features")


async def read_all(broker: Broker, topic: str, count: int) -> dict[int, list[tuple[bytes | None, bytes, int, object]]]:
    """Return the records of each partition, as (key, value, timestamp, headers)."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        pace_fetches(consumer)
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        records_by_partition: dict[int, list[tuple[bytes | None, bytes, int, object]]] = {
            number: [] for number in range(PARTITIONS)
        }
        async with asyncio.timeout(30):
            while sum(map(len, records_by_partition.values())) < count:
                for partition, records in (await consumer.getmany(timeout_ms=100, max_records=1000)).items():
                    records_by_partition[partition.partition] += [
                        (r.key, r.value, r.timestamp, r.headers) for r in records
                    ]
        return records_by_partition
    finally:
        await consumer.stop()


async def publish(broker: Broker, topic: str, chunks: Sequence[tuple[list[bytes | None], list[bytes]]]) -> Publisher:
    publisher = Publisher({"bootstrap_servers": broker.bootstrap}, topic)
    await publisher.start()
    try:
        for keys, values in chunks:
            await publisher.send(keys, values, timestamp_ms=NOW_MS, headers=[("a", b"b")])
        await publisher.flush()
    finally:
        await publisher.stop()
    return publisher


async def test_all_records_arrive_in_order_per_key_with_time_and_headers(broker: Broker, topic: str) -> None:
    # Values of 1 kB, 4,000 of them: several batches for each partition.
    keys: list[bytes | None] = [b"key-%d" % (number % 17) for number in range(4000)]
    values = [b"%06d" % number + b"." * 1000 for number in range(4000)]
    publisher = await publish(broker, topic, [(keys[:3000], values[:3000]), (keys[3000:], values[3000:])])
    assert publisher.num_delivered == 4000
    records_by_partition = await read_all(broker, topic, 4000)
    assert sorted(value for records in records_by_partition.values() for _, value, _, _ in records) == values
    for records in records_by_partition.values():
        assert [value for _, value, _, _ in records] == sorted(value for _, value, _, _ in records)
        assert {(timestamp, headers) for _, _, timestamp, headers in records} == {(NOW_MS, (("a", b"b"),))}


async def test_a_key_goes_to_the_partition_that_other_clients_choose(broker: Broker, topic: str) -> None:
    keys: list[bytes | None] = [b"flight-%d" % number for number in range(200)]
    await publish(broker, topic, [(keys, [b"ours"] * 200)])
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(topic, b"theirs", key=key) for key in keys])
    finally:
        await producer.stop()
    records_by_partition = await read_all(broker, topic, 400)
    for records in records_by_partition.values():
        ours, theirs = ({key for key, value, _, _ in records if value == who} for who in (b"ours", b"theirs"))
        assert ours == theirs


async def test_records_without_keys_go_to_the_partitions_in_turn(broker: Broker, topic: str) -> None:
    publisher = await publish(broker, topic, [([None], [b"%d" % number]) for number in range(9)])
    assert publisher.last_delivery == (2, 2)
    records_by_partition = await read_all(broker, topic, 9)
    assert {len(records) for records in records_by_partition.values()} == {3}


async def test_a_missing_topic_is_reported_and_not_created(broker: Broker, topic: str, names: Names) -> None:
    for _ in range(2):
        publisher = Publisher({"bootstrap_servers": broker.bootstrap}, names("featurez"))
        with pytest.raises(BrokerError, match="there is no topic") as caught:
            await publisher.start()
        assert caught.value.remedy is not None and f"did you mean {topic!r}" in caught.value.remedy


async def test_an_unreachable_cluster_is_reported() -> None:
    publisher = Publisher({"bootstrap_servers": "127.0.0.1:1"}, "features")
    with pytest.raises(BrokerError, match=r"cannot reach Kafka at 127\.0\.0\.1:1"):
        await publisher.start()


def test_a_record_larger_than_a_request_is_recognised() -> None:
    assert oversize(b"k", b"x" * 1000, []) is None
    assert oversize(b"k", b"x" * 1_048_576, []) is not None
    assert oversize(None, b"", [("h", b"x" * 1_048_576)]) is not None
