"""Reports of devices are committed once, whichever worker commits them and wherever it ends."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer

from forebay.stream.kafka.producer.edge_commit import EdgeCommitter
from tests.brokers.clients import create_topic, read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names

RECORDS = [(b"k", b"1"), (b"k", b"2")]


async def test_a_report_is_committed_once(kafka: Broker, names: Names) -> None:
    topic, name = names("deltas"), names("edge")
    await create_topic(kafka.bootstrap, topic)
    records = [(topic, key, value) for key, value in RECORDS]
    committer = EdgeCommitter(
        {"bootstrap_servers": kafka.bootstrap}, name=name, topic=topic, transaction_timeout_ms=30_000
    )
    assert await committer.commit("a", 1, records)
    assert not await committer.commit("a", 1, records)
    # Another worker ended within the transaction: the same report is new for the next one.
    lost = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{name}-a")
    await lost.start()
    await lost.begin_transaction()
    await lost.send_and_wait(topic, b"lost", b"k")
    assert await committer.commit("a", 2, records)
    assert not await committer.commit("a", 1, records)
    assert await committer.commit("b", 1, records)
    # Two workers at once: one of them commits, the other finds that it has been done, or fails and is asked again.
    both = await asyncio.gather(*(committer.commit("a", 3, records) for _ in range(2)), return_exceptions=True)
    assert [result for result in both if result is True] == [True]
    await lost.stop()
    assert [record.value for record in await read_committed(kafka.bootstrap, topic, 1)] == [b"1", b"2"] * 4
