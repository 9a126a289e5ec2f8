"""The time of a start with a long changelog: many buckets, each written many times."""

from __future__ import annotations

import time

import pytest
from aiokafka import TopicPartition

from forebay.stream.aggregate.delta import Exemplar
from forebay.stream.aggregate.state import PartitionState
from tests.aggregate.build import MODEL_ERROR, NOT_JSON, PREDICTED, delta
from tests.aggregate.harness import PARTITIONS, AggregatorGroup
from tests.brokers.clients import create_topic, producer, send_batch
from tests.exactness.proof import tell

RECORDS = 100_000
STACK = Exemplar("IndexError: …", "1", 'File "model.py", line 12, in forward\n' * 20)


@pytest.mark.exactness
@pytest.mark.timeout(600)
async def test_a_long_changelog_is_restored(aggregator_group: AggregatorGroup) -> None:
    await aggregator_group.create()
    changelog = aggregator_group.topic("aggregator-changelog")
    await create_topic(aggregator_group.bootstrap, changelog, PARTITIONS, configs={"cleanup.policy": "compact"})
    state = PartitionState(0)
    start = time.time_ns() // 60_000_000_000 * 60_000
    rows: list[tuple[bytes, bytes | None]] = []
    offset = size = written = 0
    async with producer(aggregator_group.bootstrap) as client:
        while offset < RECORDS:
            for cell in (PREDICTED, NOT_JSON, MODEL_ERROR):
                window = start - offset % 60 * 60_000
                exemplar = STACK if cell is MODEL_ERROR else None
                one = delta(0, cell, 3, window_start=window, window_end=window + 60_000, exemplar=exemplar)
                state.apply(offset, start, one)
                offset += 1
            # Without the position: the deltas themselves are not there.
            rows += state.take_changes()[:-1]
            if len(rows) >= 200 or offset >= RECORDS:
                written += len(rows)
                size += sum(len(value or b"") for _, value in rows)
                values = [value or b"" for _, value in rows]
                await send_batch(client, TopicPartition(changelog, 0), values, keys=[key for key, _ in rows])
                rows = []
    began_s = time.monotonic()
    aggregator = aggregator_group.start()
    await aggregator.says("aggregator ready", 300)
    took_s = time.monotonic() - began_s
    assert "partition 0: 60 buckets restored, counted up to its beginning" in aggregator.log
    tell({"name": "recovery", "records": written, "mebibytes": round(size / (1 << 20)), "seconds": round(took_s, 1)})
