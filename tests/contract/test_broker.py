"""The behaviour of brokers on which Forebay relies: one suite for the embedded broker and Apache Kafka."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.structs import OffsetAndMetadata

from tests.brokers.clients import admin, consumer, create_topic, producer, read, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually

JULY_MS = 1_720_000_000_000


async def test_a_topic_has_the_partitions_it_was_created_with(broker: Broker, names: Names) -> None:
    await create_topic(broker.bootstrap, names("features"), 5)
    async with admin(broker.bootstrap) as client:
        (described,) = await client.describe_topics([names("features")])
    assert sorted(partition["partition"] for partition in described["partitions"]) == [0, 1, 2, 3, 4]


async def test_a_topic_is_not_created_twice(broker: Broker, names: Names) -> None:
    await create_topic(broker.bootstrap, names("features"), 2)
    with pytest.raises(AssertionError, match="36"):  # TOPIC_ALREADY_EXISTS
        await create_topic(broker.bootstrap, names("features"), 2)


async def test_the_configuration_of_a_topic_reads_back(broker: Broker, names: Names) -> None:
    configs = {"retention.ms": "3600000", "cleanup.policy": "compact", "max.message.bytes": "200000"}
    await create_topic(broker.bootstrap, names("features"), configs=configs)
    async with admin(broker.bootstrap) as client:
        resource = ConfigResource(ConfigResourceType.TOPIC, names("features"))
        (answer,) = await client.describe_configs([resource])
    ((code, _message, _kind, _name, entries),) = answer.resources
    assert code == 0
    assert {entry[0]: entry[1] for entry in entries if entry[0] in configs} == configs


async def test_the_default_size_limit_of_a_record_can_be_read(broker: Broker, names: Names) -> None:
    await create_topic(broker.bootstrap, names("features"))
    async with admin(broker.bootstrap) as client:
        resource = ConfigResource(ConfigResourceType.TOPIC, names("features"))
        (answer,) = await client.describe_configs([resource])
    entries = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert int(entries["max.message.bytes"]) >= 1_000_000


async def test_a_batch_keeps_partition_order_timestamps_keys_and_headers(broker: Broker, names: Names) -> None:
    partitions = await create_topic(broker.bootstrap, names("features"), 3)
    values = [b"%d" % index for index in range(500)]
    async with producer(broker.bootstrap) as sender:
        first = await send_batch(
            sender,
            partitions[1],
            values,
            keys=[None if index % 3 == 0 else b"k%d" % index for index in range(500)],
            timestamps=[JULY_MS + index for index in range(500)],
            headers=[[("a", b"%d" % index), ("a", b"again"), ("empty", b"")] for index in range(500)],
        )
    async with consumer(broker.bootstrap, names("features")) as reader:
        records = await read(reader, 500)
    assert first == 0
    assert [record.partition for record in records] == [1] * 500
    assert [record.offset for record in records] == list(range(500))
    assert [record.value for record in records] == values
    assert [record.timestamp for record in records] == [JULY_MS + index for index in range(500)]
    assert records[0].key is None and records[1].key == b"k1"
    assert records[7].headers == (("a", b"7"), ("a", b"again"), ("empty", b""))


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_reads_back(broker: Broker, names: Names, compression: str) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    values = [b"value %d " % index * 20 for index in range(200)]
    async with producer(broker.bootstrap, compression_type=compression) as sender:
        await send_batch(sender, partition, values)
    async with consumer(broker.bootstrap, names("features")) as reader:
        assert [record.value for record in await read(reader, 200)] == values


async def test_committed_offsets_survive_their_consumer(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    async with producer(broker.bootstrap) as sender:
        await send_batch(sender, partition, [b"%d" % index for index in range(10)])
    async with consumer(broker.bootstrap, names("features"), group_id=names("group")) as reader:
        await read(reader, 10)
        await reader.commit({partition: OffsetAndMetadata(6, "note")})
    async with consumer(broker.bootstrap, names("features"), group_id=names("group")) as reader:
        assert await reader.committed(partition) == 6
        assert [record.value for record in await read(reader, 4)] == [b"6", b"7", b"8", b"9"]
    async with consumer(broker.bootstrap, names("features"), group_id=names("other")) as reader:
        assert await reader.committed(partition) is None


async def test_the_metadata_of_a_committed_offset_reads_back(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    async with consumer(broker.bootstrap, names("features"), group_id=names("group")) as reader:
        await reader.commit({partition: OffsetAndMetadata(0, "v1 digest=abc")})
    async with admin(broker.bootstrap) as client:
        offsets = await client.list_consumer_group_offsets(names("group"))
    assert offsets == {partition: OffsetAndMetadata(0, "v1 digest=abc")}


async def test_a_commit_of_an_older_generation_is_refused(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    async with consumer(broker.bootstrap, names("features"), group_id=names("group")) as reader:
        coordinator: Any = reader._coordinator

        async def commit(generation: int, member: str, offset: int) -> int:
            where = [(partition.topic, [(partition.partition, offset, "")])]
            request = OffsetCommitRequest(names("group"), generation, member, -1, where)
            response = await coordinator._send_req(request)
            ((_topic, ((_partition, code),)),) = response.topics
            return int(code)

        generation, member = coordinator.generation, coordinator.member_id
        assert await commit(generation, member, 1) == 0
        assert await commit(generation - 1, member, 2) == 22  # ILLEGAL_GENERATION
        assert await commit(generation, "nobody", 3) == 25  # UNKNOWN_MEMBER_ID
        assert await reader.committed(partition) == 1


async def _until_assigned(wanted: int, *readers: AIOKafkaConsumer) -> None:
    """Wait until each of the readers has `wanted` partitions."""
    await eventually(
        lambda: [len(reader.assignment()) for reader in readers],
        f"{wanted} partitions for each of {len(readers)} readers",
        until=lambda seen: set(seen) == {wanted},
    )


async def test_a_group_splits_partitions_and_reassigns_those_of_a_leaving_member(broker: Broker, names: Names) -> None:
    partitions = await create_topic(broker.bootstrap, names("features"), 4)
    async with consumer(broker.bootstrap, names("features"), group_id=names("group")) as stays:
        async with consumer(broker.bootstrap, names("features"), group_id=names("group")) as leaves:
            await _until_assigned(2, stays, leaves)
            assert stays.assignment() | leaves.assignment() == set(partitions)
        await _until_assigned(4, stays)
        async with producer(broker.bootstrap) as sender:
            for partition in partitions:
                await send_batch(sender, partition, [b"after"])
        assert {record.partition for record in await read(stays, 4)} == {0, 1, 2, 3}


async def _write_committed_and_aborted(broker: Broker, names: Names) -> TopicPartition:
    (partition,) = await create_topic(broker.bootstrap, names("predictions"))
    async with producer(broker.bootstrap, transactional_id=names("writer")) as sender:
        for values, keep in (([b"a", b"b"], True), ([b"x", b"y"], False), ([b"c"], True)):
            await sender.begin_transaction()
            await send_batch(sender, partition, values)
            await (sender.commit_transaction() if keep else sender.abort_transaction())
    return partition


async def test_only_committed_records_are_visible_to_read_committed(broker: Broker, names: Names) -> None:
    await _write_committed_and_aborted(broker, names)
    async with consumer(broker.bootstrap, names("predictions")) as reader:
        assert [record.value for record in await read(reader, 3)] == [b"a", b"b", b"c"]
    async with consumer(broker.bootstrap, names("predictions"), isolation_level="read_uncommitted") as reader:
        assert [record.value for record in await read(reader, 5)] == [b"a", b"b", b"x", b"y", b"c"]


async def test_an_open_transaction_hides_what_follows_until_it_ends(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("predictions"))
    async with (
        producer(broker.bootstrap, transactional_id=names("writer")) as sender,
        producer(broker.bootstrap) as plain,
        consumer(broker.bootstrap, names("predictions")) as reader,
    ):
        await sender.begin_transaction()
        await send_batch(sender, partition, [b"inside"])
        await send_batch(plain, partition, [b"beside"])
        with pytest.raises(TimeoutError):
            await read(reader, 1, timeout_s=1)
        await sender.commit_transaction()
        assert [record.value for record in await read(reader, 2)] == [b"inside", b"beside"]


async def test_positions_pass_the_control_markers(broker: Broker, names: Names) -> None:
    partition = await _write_committed_and_aborted(broker, names)
    async with consumer(broker.bootstrap, names("predictions")) as reader:
        await read(reader, 3)
        end = (await reader.end_offsets([partition]))[partition]
        assert end == 8  # five records and three markers

        async def position() -> int:
            await reader.getmany(timeout_ms=50, max_records=10)
            return int(await reader.position(partition))

        await eventually(position, f"the position {end}", until=lambda seen: seen == end, every_s=0)
        assert reader.last_stable_offset(partition) == end


async def test_offsets_sent_in_a_transaction_are_committed_with_it(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    async with producer(broker.bootstrap, transactional_id=names("writer")) as sender:
        for offset, keep in ((3, True), (7, False)):
            await sender.begin_transaction()
            await sender.send_offsets_to_transaction({partition: offset}, names("group"))
            await (sender.commit_transaction() if keep else sender.abort_transaction())
    async with consumer(broker.bootstrap, names("features"), group_id=names("group")) as reader:
        assert await reader.committed(partition) == 3


async def test_a_producer_is_fenced_by_a_later_one_with_its_id(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("predictions"))
    async with producer(broker.bootstrap, transactional_id=names("writer")) as older:
        await older.begin_transaction()
        await send_batch(older, partition, [b"older"])
        async with producer(broker.bootstrap, transactional_id=names("writer")) as newer:
            await newer.begin_transaction()
            await send_batch(newer, partition, [b"newer"])
            await newer.commit_transaction()
        with pytest.raises(ProducerFenced):
            await older.commit_transaction()
    async with consumer(broker.bootstrap, names("predictions")) as reader:
        assert [record.value for record in await read(reader, 1)] == [b"newer"]
        with pytest.raises(TimeoutError):
            await read(reader, 1, timeout_s=0.5)


async def test_an_oversized_record_is_rejected_and_not_stored(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("features"), configs={"max.message.bytes": "2000"})
    async with producer(broker.bootstrap, max_request_size=100_000) as sender:
        with pytest.raises(MessageSizeTooLargeError):
            await send_batch(sender, partition, [b"x" * 5000])
        assert await send_batch(sender, partition, [b"x" * 1000]) == 0


async def test_offsets_are_found_by_timestamp(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    async with producer(broker.bootstrap) as sender:
        for tens in range(3):  # three batches, so that the place is sought between and within batches
            stamps = [JULY_MS + 100 * (10 * tens + index) for index in range(10)]
            await send_batch(sender, partition, [b"x"] * 10, timestamps=stamps)
    async with consumer(broker.bootstrap, names("features")) as reader:
        for stamp, offset in ((JULY_MS - 1, 0), (JULY_MS + 1400, 14), (JULY_MS + 1401, 15)):
            found = (await reader.offsets_for_times({partition: stamp}))[partition]
            assert found is not None
            assert (found.offset, found.timestamp) == (offset, JULY_MS + 100 * offset)
        assert (await reader.offsets_for_times({partition: JULY_MS + 2901}))[partition] is None
        assert await reader.beginning_offsets([partition]) == {partition: 0}
        assert await reader.end_offsets([partition]) == {partition: 30}


async def test_a_position_outside_the_log_is_an_error_without_a_reset(broker: Broker, names: Names) -> None:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    async with consumer(broker.bootstrap, auto_offset_reset="none") as reader:
        reader.assign([partition])
        reader.seek(partition, 99)
        with pytest.raises(KafkaError) as caught:
            async with asyncio.timeout(10):
                while True:
                    await reader.getmany(timeout_ms=50, max_records=10)
        assert partition in caught.value.args[0]
