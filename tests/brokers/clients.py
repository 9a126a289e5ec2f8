"""Helpers to create topics, write and read, for tests on any broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.produce import ProduceRequest

from forebay.stream.kafka.patches.fetch_pacing import pace_fetches
from tests.eventually import eventually

_READ_TIMEOUT_S = 60.0


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a started admin client."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def producer(bootstrap: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a started producer with batches of up to 1 MiB."""
    client = AIOKafkaProducer(bootstrap_servers=bootstrap, **({"max_batch_size": 1 << 20} | options))
    try:
        await client.start()
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def consumer(bootstrap: str, *topics: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a started read_committed consumer, which starts at the beginning and does not commit by itself."""
    defaults: dict[str, Any] = {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "heartbeat_interval_ms": 300,
        "metadata_max_age_ms": 1000,
    }
    client = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, **(defaults | options))
    try:
        await client.start()
        pace_fetches(client)
        yield client
    finally:
        await client.stop()


async def create_topic(
    bootstrap: str,
    name: str,
    partitions: int = 1,
    *,
    replication: int = 1,
    configs: Mapping[str, str] | None = None,
) -> list[TopicPartition]:
    """Create a topic and return its partitions once each has a leader."""
    async with admin(bootstrap) as client:
        topic = NewTopic(name, partitions, replication, topic_configs=dict(configs or {}))
        answer = await client.create_topics([topic])
        for _topic, code, *message in answer.topic_errors:
            assert code == 0, f"creating {name}: {code} {message}"

        async def leaders() -> list[int]:
            (described,) = await client.describe_topics([name])
            return [partition["leader"] for partition in described["partitions"]]

        await eventually(
            leaders,
            f"leaders of {partitions} partitions of {name}",
            until=lambda leaders: len(leaders) == partitions and min(leaders) >= 0,
            timeout_s=_READ_TIMEOUT_S,
        )
        return [TopicPartition(name, index) for index in range(partitions)]


async def read(client: AIOKafkaConsumer, count: int, *, timeout_s: float = _READ_TIMEOUT_S) -> list[ConsumerRecord]:
    """Return the next `count` records. Raises TimeoutError if fewer arrive."""
    records: list[ConsumerRecord] = []
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while len(records) < count:
        if loop.time() > deadline_s:
            raise TimeoutError(f"{len(records)} of {count} records in {timeout_s:g} s")
        # Not under asyncio.timeout: after a cancelled getmany, the client counts a fetch as pending forever.
        batches = await client.getmany(timeout_ms=200, max_records=count - len(records))
        records += [record for batch in batches.values() for record in batch]
    return records


async def read_committed(bootstrap: str, topic: str, partitions: int) -> list[ConsumerRecord]:
    """Return all committed records of a topic, in order within each partition."""
    assignment = [TopicPartition(topic, number) for number in range(partitions)]
    records: list[ConsumerRecord] = []
    async with consumer(bootstrap) as client:
        client.assign(assignment)
        ends = await client.end_offsets(assignment)
        for partition in assignment:
            await client.seek_to_beginning(partition)
        while any([await client.position(partition) < ends[partition] for partition in assignment]):
            batches = await client.getmany(timeout_ms=200, max_records=5000)
            records += [record for batch in batches.values() for record in batch]
    return records


async def send_batch(
    client: AIOKafkaProducer,
    where: TopicPartition,
    values: Sequence[bytes],
    *,
    keys: Sequence[bytes | None] | None = None,
    timestamps: Sequence[int | None] | None = None,
    headers: Sequence[Sequence[tuple[str, bytes]]] | None = None,
) -> int:
    """Send `values` as one record batch to a partition and return the offset of the first."""
    batch = client.create_batch()
    for index, value in enumerate(values):
        appended = batch.append(
            value=value,
            key=keys[index] if keys else None,
            timestamp=timestamps[index] if timestamps else None,
            headers=headers[index] if headers else [],
        )
        assert appended is not None, "the batch is full"
    delivery = await client.send_batch(batch, where.topic, partition=where.partition)
    metadata = await delivery
    return int(metadata.offset)


async def send_raw(client: AIOKafkaProducer, where: TopicPartition, raw: bytes) -> None:
    """Send the bytes of a batch that no producer would create."""
    not_leader = 6
    request = ProduceRequest(
        transactional_id=None, required_acks=-1, timeout=10_000, topics=[(where.topic, [(where.partition, raw)])]
    )

    async def sent() -> int:
        answer = await client.client.send(client.client.cluster.leader_for_partition(where), request)
        ((_, ((_, code, *_),)),) = answer.topics
        if code == not_leader:  # a topic that was created just now
            await client.client.force_metadata_update()
        return int(code)

    code = await eventually(
        sent, f"a leader of {where}", until=lambda code: code != not_leader, timeout_s=_READ_TIMEOUT_S
    )
    assert code == 0, code
