"""A worker whose clock is wrong, and a producer whose clock is, on a real Kafka."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest_asyncio
from aiokafka import TopicPartition

from forebay.stream.clock import SystemClock
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.worker.echo import NUM_FEATURES
from tests.worker.harness import Stage, total

HOUR_MS = 3_600_000


@pytest_asyncio.fixture
async def stage(kafka: Broker, names: Names, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(kafka.bootstrap, names.prefix, tmp_path, partitions=1)
    await stage.create(**{"retention.ms": "-1"})
    await create_topic(stage.bootstrap, stage.topic("late-events"), stage.partitions)
    try:
        yield stage
    finally:
        stage.kill_all()


async def test_a_worker_whose_clock_is_ahead_names_it_and_the_brokers_bound(stage: Stage) -> None:
    await stage.publish(5)
    # The clock steps when the machine's uptime has grown by a third: not during the test.
    worker = stage.start(clock={"every_s": time.monotonic() / 1.5, "by_ms": 2 * HOUR_MS})
    assert await worker.ended() == 1, worker.log
    assert "stopped: wrong_clock: the cluster refused the same outputs 3 times" in worker.log
    assert (
        "which is this worker's clock: it is too far from the broker's (message.timestamp.after.max.ms is 1 hour"
        in worker.log
    )
    assert await stage.committed() == {0: 0}


async def test_a_producer_whose_clock_is_ahead_makes_nobody_elses_events_late(stage: Stage) -> None:
    now_ms, place = SystemClock().wall_ms(), TopicPartition(stage.topic("features"), 0)
    times = [now_ms + 10 * number for number in range(50)]
    times[20] = now_ms + 50 * 60_000  # below the broker's own bound of an hour, and its record is ahead with it
    values = [
        orjson.dumps({"id": f"{number}", "timestamp": t, "features": [1] * NUM_FEATURES})
        for number, t in enumerate(times)
    ]
    async with producer(stage.bootstrap) as client:
        await send_batch(client, place, values, keys=[b"a"] * 50, timestamps=times)
    window = {"kind": "tumbling", "size_ms": HOUR_MS, "max_out_of_orderness_ms": 0}
    worker = stage.start(mode="windows", window=window)
    await stage.settled()
    assert await worker.stop() == 0, worker.log
    deltas = await stage.outputs("outcome-deltas")
    assert (total(deltas, outcome="accepted"), total(deltas, outcome="late")) == (49, 0)
    assert total(deltas, kind="timestamp_ahead") == 1
    assert "ahead of this worker's clock" in worker.log
    # The window is still open, and is rebuilt from the same events although the event was rejected by the clock.
    another = stage.start(mode="windows", window=window)
    await another.says("1 open windows are there again")
    assert await another.stop() == 0, another.log
