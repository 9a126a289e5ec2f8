"""Windows are not closed as idle while events wait behind another producer's open transaction."""

from __future__ import annotations

import asyncio

import orjson
from aiokafka import TopicPartition

from forebay.stream.core.clock import SystemClock
from tests.brokers.clients import producer, send_batch
from tests.worker.echo import NUM_FEATURES
from tests.worker.harness import WorkerGroup, total

SIZE_MS = 3000
WINDOW = {"kind": "tumbling", "size_ms": SIZE_MS, "max_out_of_orderness_ms": 0, "idle_timeout_ms": 500}
KEY = b"a"


def next_window_ms() -> int:
    """Return the start of the next window, so that a whole window is still to come."""
    return (SystemClock().wall_ms() // SIZE_MS + 1) * SIZE_MS


def events(first_ms: int, count: int) -> list[bytes]:
    """Return events in order, 10 ms apart."""
    return [
        orjson.dumps(
            {"id": f"{first_ms}-{number}", "timestamp": first_ms + 10 * number, "features": [1] * NUM_FEATURES}
        )
        for number in range(count)
    ]


async def test_events_behind_an_open_transaction_are_not_late_when_it_ends(worker_group: WorkerGroup) -> None:
    await worker_group.create_for_windows(partitions=1)
    where = TopicPartition(worker_group.topic("features"), 0)
    worker = worker_group.start(mode="windows", window=WINDOW)
    await worker.ready()
    async with producer(worker_group.bootstrap, transactional_id=worker_group.topic("hung")) as hung:
        begin_ms = next_window_ms()
        await worker_group.send([events(begin_ms, 10)], [[KEY] * 10])
        await hung.begin_transaction()
        await send_batch(hung, where, events(begin_ms + 100, 1), keys=[KEY])
        await worker_group.send([events(begin_ms + 110, 50)], [[KEY] * 50])
        # Wait until the window is over by the wall clock and the partition has been idle for long enough.
        await asyncio.sleep((begin_ms + SIZE_MS - SystemClock().wall_ms()) / 1000 + 2)
        assert "closed by the wall clock" not in worker.log, worker.log
        await hung.commit_transaction()
    await worker.says("closed by the wall clock")
    await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    deltas = await worker_group.outputs("outcome-deltas")
    assert (total(deltas, outcome="accepted"), total(deltas, outcome="late")) == (61, 0)


async def test_a_partition_that_ends_in_an_aborted_transaction_is_read_to_its_end(worker_group: WorkerGroup) -> None:
    """Neither the aborted records nor the marker after them prevent windows from being closed as idle."""
    await worker_group.create_for_windows(partitions=1)
    worker = worker_group.start(mode="windows", window=WINDOW)
    await worker.ready()
    begin_ms = next_window_ms()
    await worker_group.send([events(begin_ms, 10)], [[KEY] * 10])
    async with producer(worker_group.bootstrap, transactional_id=worker_group.topic("aborting")) as aborting:
        await aborting.begin_transaction()
        where = TopicPartition(worker_group.topic("features"), 0)
        await send_batch(aborting, where, events(begin_ms + 100, 3), keys=[KEY] * 3)
        await aborting.abort_transaction()
    await worker.says("closed by the wall clock")
    await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    assert total(await worker_group.outputs("outcome-deltas"), outcome="accepted") == 10
