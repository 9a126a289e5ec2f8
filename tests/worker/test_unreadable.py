"""A real worker on both brokers gives each offset of unreadable records and batches one outcome."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition

from forebay.schemas import headers as names
from tests.brokers.clients import producer, send_raw
from tests.kafka.protocol.build import batch as batch_at
from tests.kafka.protocol.build import record, with_lengths
from tests.worker.echo import NUM_FEATURES
from tests.worker.harness import WorkerGroup, kinds, total

GOOD = orjson.dumps({"id": "good", "timestamp": 1, "features": [1.0] * NUM_FEATURES})
batch = partial(
    batch_at, base=0, timestamp=int(time.time() * 1000)
)  # brokers remove what is older than their retention


def headers_of(letter: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in letter.headers}


async def test_each_unreadable_offset_has_one_outcome(worker_group: WorkerGroup) -> None:
    await worker_group.create({"max.message.bytes": "2000000"}, partitions=1)
    where = TopicPartition(worker_group.topic("features"), 0)
    not_utf8 = record(1, GOOD, headers=[(b"\xff\xfe", b"1")])
    batches = [
        batch(with_lengths([record(0, GOOD), not_utf8, record(2, GOOD)]), 3),
        batch(with_lengths([record(number, b"x" * 1_000_000) for number in range(40)]), 40, codec=4),
        batch(with_lengths([record(0, GOOD, headers=[(b"", b"")] * 300_000), record(1, GOOD)]), 2),
        batch(with_lengths([record(number, GOOD) for number in range(20_000)]), 20_000, codec=4),
        # Kafka checks the offsets in a batch only if it is compressed.
        batch(with_lengths([record(0, GOOD), record(50, GOOD), record(2, GOOD)]), 3),
    ]
    async with producer(worker_group.bootstrap) as client:
        await client.client.force_metadata_update()
        await client.partitions_for(where.topic)
        for raw in batches:
            await send_raw(client, where, raw)
    worker = worker_group.start(input={"max_unpacked_batch_bytes": 10_000_000})
    await worker_group.settled_by(worker)
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {"unreadable_record": 2, "batch_too_large": 1, "too_many_headers": 1}
    assert len(await worker_group.outputs("predictions")) == 2 + 1 + 20_000 + 2
    assert total(await worker_group.outputs("outcome-deltas"), outcome="rejected") == 1 + 40 + 1 + 1
    assert total(await worker_group.outputs("outcome-deltas")) == 3 + 40 + 2 + 20_000 + 3
    bad, bomb, many, misplaced = letters
    assert bad.value == not_utf8 and bad.key == b"k" and headers_of(bad)[names.ERROR_OFFSET] == "1"
    assert len(bomb.value) == len(batches[1])
    told = headers_of(bomb)
    assert told[names.CONTENT_TYPE] == names.KAFKA_BATCH_CONTENT_TYPE
    assert (told[names.ERROR_OFFSET], told[names.ERROR_LAST_OFFSET], told[names.ERROR_COUNT]) == ("3", "42", "40")
    assert headers_of(many)[names.ERROR_OFFSET] == "43"
    assert headers_of(misplaced)[names.ERROR_OFFSET] == "20046"


@pytest.mark.embedded
@pytest.mark.parametrize("broker", ["embedded_broker"], indirect=True)  # a real Kafka does not accept such a batch
async def test_an_inconsistent_batch_stops_the_worker_with_its_offset(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=1)
    where = TopicPartition(worker_group.topic("features"), 0)
    broken = batch(with_lengths([record(0, GOOD)]), 5, last_delta=0)
    async with producer(worker_group.bootstrap) as client:
        await client.partitions_for(where.topic)
        await send_raw(client, where, batch(with_lengths([record(0, GOOD), record(1, GOOD)]), 2))
        await send_raw(client, where, broken)
    worker = worker_group.start()
    assert await worker.ended() == 1
    assert f"stopped: corrupt_batch: {where.topic}-0@2: " in worker.log
    assert len(await worker_group.outputs("predictions")) == 2
    assert await worker_group.committed() == {0: 2}
