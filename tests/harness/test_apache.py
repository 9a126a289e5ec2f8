"""A test's own real Kafka: acknowledged records survive a kill and the loss of one of three brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.brokers.apache import ApacheKafka
from tests.brokers.clients import consumer, create_topic, producer, read, send_batch
from tests.brokers.ready import answers
from tests.brokers.resolve import RealKafka
from tests.conftest import Names

pytestmark = pytest.mark.faults
"""Other tests stop, pause and kill their brokers, too, and would fail if these did."""


async def test_a_killed_broker_comes_back_on_its_port_with_its_records(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names
) -> None:
    server = await asyncio.to_thread(private_kafka, {"log.retention.hours": "1"})
    (partition,) = await create_topic(server.bootstrap, names("features"))
    async with producer(server.bootstrap) as sender:
        await send_batch(sender, partition, [b"a", b"b"])
    bootstrap = server.bootstrap
    host, port = bootstrap.split(":")
    await asyncio.to_thread(server.kill)
    assert not await asyncio.to_thread(answers, host, int(port))
    await asyncio.to_thread(server.restart)
    assert server.bootstrap == bootstrap
    async with consumer(bootstrap, names("features")) as reader:
        assert [record.value for record in await read(reader, 2)] == [b"a", b"b"]


async def test_a_paused_broker_answers_again_once_resumed(
    private_kafka: Callable[[Mapping[str, str]], RealKafka],
) -> None:
    server = await asyncio.to_thread(private_kafka, {})
    host, port = server.bootstrap.split(":")
    await asyncio.to_thread(server.pause)
    assert not await asyncio.to_thread(answers, host, int(port))
    await asyncio.to_thread(server.resume)
    assert await asyncio.to_thread(answers, host, int(port))


async def test_three_brokers_keep_what_was_acknowledged_when_one_is_killed(
    kafka_cluster: Callable[[int, Mapping[str, str]], ApacheKafka], names: Names
) -> None:
    cluster = await asyncio.to_thread(kafka_cluster, 3, {})
    (partition,) = await create_topic(cluster.bootstrap, names("features"), replication=3)
    async with producer(cluster.bootstrap, acks="all") as sender:
        await send_batch(sender, partition, [b"before"])
        await asyncio.to_thread(cluster.kill, 0)
        await send_batch(sender, partition, [b"after"])
    async with consumer(cluster.bootstrap, names("features")) as reader:
        assert [record.value for record in await read(reader, 2)] == [b"before", b"after"]
