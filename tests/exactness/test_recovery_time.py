"""How long a killed worker's partitions have no outcomes, including the broker's scan for transactions that timed out.

The documented bound is the sum of the session time-out, the transaction time-out and the interval of the broker's scan.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping

import orjson
import pytest
import pytest_asyncio
from aiokafka import TopicPartition

from tests.brokers.clients import consumer
from tests.brokers.resolve import Broker, RealKafka
from tests.eventually import eventually
from tests.exactness.checker import check
from tests.exactness.feed import Feed
from tests.exactness.proof import PARTITIONS, tell
from tests.worker.harness import WorkerGroup, WorkerProcess

SCAN = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
SCAN_S = 10.0
SESSION_S = 6.0
TRANSACTION_S = 10.0
BOUND_S = SESSION_S + TRANSACTION_S + SCAN_S

KILLED_AT = 40
"""The number of the commit at which the worker is killed."""


@pytest_asyncio.fixture
async def broker(private_kafka: Callable[[Mapping[str, str]], RealKafka]) -> Broker:
    """A real Kafka that scans for timed-out transactions every SCAN_S seconds."""
    server = await asyncio.to_thread(private_kafka, {SCAN: str(round(SCAN_S * 1000))})
    return Broker("apache", server.bootstrap, "private")


async def died(worker: WorkerProcess) -> float:
    """Wait until the worker has ended, and return the time of that in seconds since the Unix epoch."""
    await eventually(
        worker.process.poll, "the worker's end", until=lambda status: status is not None, timeout_s=120, every_s=0.01
    )
    return time.time()


async def flow_again(worker_group: WorkerGroup, partitions: list[int], died_s: float) -> dict[int, float]:
    """Return the seconds from the death to the first readable prediction for a later event, by partition."""
    after_s: dict[int, float] = {}
    async with consumer(worker_group.bootstrap) as reader:
        reader.assign([TopicPartition(worker_group.topic("predictions"), number) for number in partitions])
        async with asyncio.timeout(2 * BOUND_S):
            while len(after_s) < len(partitions):
                for place, records in (await reader.getmany(timeout_ms=50, max_records=2000)).items():
                    if any(orjson.loads(record.value)["source"]["timestamp"] > died_s * 1000 for record in records):
                        after_s.setdefault(place.partition, round(time.time() - died_s, 1))
    return after_s


@pytest.mark.exactness
@pytest.mark.timeout(300)
@pytest.mark.parametrize("where", ["before_begin", "after_deliveries", "after_txn_offset_commit"])
async def test_after_a_kill_outcomes_flow_again_within_the_documented_time(
    worker_group: WorkerGroup, where: str
) -> None:
    await worker_group.create(partitions=PARTITIONS)
    victim = worker_group.start(failpoints={where: {"do": "kill", "at": KILLED_AT}})
    await victim.ready()
    survivor = worker_group.start()
    await survivor.ready()
    await victim.says("(generation 2)")
    feed = Feed(worker_group, random.Random(7), rate=1000, seconds=4 * BOUND_S)
    feeding = asyncio.create_task(feed.run())
    died_s = await died(victim)
    assigned = [line for line in victim.log.splitlines() if "partitions assigned" in line][-1]
    partitions = [int(number) for number in re.findall(r"-features-(\d+)@", assigned)]
    after_s = await flow_again(worker_group, partitions, died_s)
    feed.stop()
    await feeding
    await worker_group.settled()
    counts = await check(worker_group, feed)
    assert await survivor.stop() == 0, survivor.log
    worst_s = max(after_s.values())
    tell({"name": f"killed {where}", "after_s": after_s, "bound_s": BOUND_S, "aborted_output": counts.aborted_output})
    assert worst_s <= BOUND_S, f"{worst_s} s after the kill, by partition {after_s}; logs in {worker_group.folder}"
    assert counts.aborted_output == (0 if where == "before_begin" else 1)
