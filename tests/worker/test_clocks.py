"""Workers and producers with wrong clocks, on a real Kafka."""

from __future__ import annotations

import time

import orjson
import pytest
from aiokafka import TopicPartition

from forebay.stream.core.clock import SystemClock
from tests.brokers.clients import producer, send_batch
from tests.brokers.resolve import Broker
from tests.worker.echo import NUM_FEATURES
from tests.worker.harness import WorkerGroup, total

HOUR_MS = 3_600_000


@pytest.fixture
def broker(kafka: Broker) -> Broker:
    """Return a real Kafka, because only that checks timestamps."""
    return kafka


async def test_a_worker_with_a_clock_ahead_stops_with_the_limit_of_the_broker(worker_group: WorkerGroup) -> None:
    await worker_group.create_for_windows(partitions=1)
    await worker_group.publish(5)
    # The clock steps when the machine's uptime has grown by a third: not during the test.
    worker = worker_group.start(clock={"every_s": time.monotonic() / 1.5, "by_ms": 2 * HOUR_MS})
    assert await worker.ended() == 1, worker.log
    assert "stopped: wrong_clock: the cluster refused the same outputs 3 times" in worker.log
    assert (
        "from this worker's clock: it is too far from the broker's time (message.timestamp.after.max.ms is 1 hour"
        in worker.log
    )
    assert await worker_group.committed() == {0: 0}


async def test_a_producer_with_a_clock_ahead_does_not_make_other_events_late(worker_group: WorkerGroup) -> None:
    await worker_group.create_for_windows(partitions=1)
    now_ms, place = SystemClock().wall_ms(), TopicPartition(worker_group.topic("features"), 0)
    times = [now_ms + 10 * number for number in range(50)]
    times[20] = now_ms + 50 * 60_000  # below the broker's own bound of an hour, and its record is ahead with it
    values = [
        orjson.dumps({"id": f"{number}", "timestamp": t, "features": [1] * NUM_FEATURES})
        for number, t in enumerate(times)
    ]
    async with producer(worker_group.bootstrap) as client:
        await send_batch(client, place, values, keys=[b"a"] * 50, timestamps=times)
    window = {"kind": "tumbling", "size_ms": HOUR_MS, "max_out_of_orderness_ms": 0}
    worker = worker_group.start(mode="windows", window=window)
    await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    deltas = await worker_group.outputs("outcome-deltas")
    assert (total(deltas, outcome="accepted"), total(deltas, outcome="late")) == (49, 0)
    assert total(deltas, kind="timestamp_ahead") == 1
    assert "ahead of this worker's clock" in worker.log
    # The window is still open, and is rebuilt from the same events although the event was rejected by the clock.
    another = worker_group.start(mode="windows", window=window)
    await another.says("1 open windows are rebuilt")
    assert await another.stop() == 0, another.log
