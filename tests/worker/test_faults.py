"""At least once on a real Apache Kafka: workers killed, the broker restarted; nothing is lost and order per key holds."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.brokers.resolve import RealKafka
from tests.conftest import Names
from tests.worker.harness import Stage, total

SEED = 20260131
AT_LEAST_ONCE = {"processing_guarantee": "at_least_once"}


@pytest_asyncio.fixture
async def server(private_kafka: Callable[[Mapping[str, str]], RealKafka]) -> RealKafka:
    return await asyncio.to_thread(private_kafka, {})


@pytest_asyncio.fixture
async def stage(server: RealKafka, names: Names, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(server.bootstrap, names.prefix, tmp_path, partitions=6)
    try:
        await stage.create()
        yield stage
    finally:
        stage.kill_all()


@pytest.mark.slow
async def test_three_workers_killed_and_a_broker_restarted_lose_nothing(server: RealKafka, stage: Stage) -> None:
    rng = random.Random(SEED)
    alive = [stage.start(delivery=AT_LEAST_ONCE) for _ in range(3)]
    for worker in alive:
        await worker.ready()
    for step in range(8):
        for _ in range(4):
            await stage.publish(150)
            await asyncio.sleep(0.2)
        if step in (1, 3, 6):
            victim = alive.pop(rng.randrange(len(alive)))
            victim.kill()
            alive.append(stage.start(delivery=AT_LEAST_ONCE))
        elif step == 4:
            for worker in alive:
                await worker.ready()  # one that finds no broker at its start ends
            await asyncio.to_thread(server.restart, None)
        elif step == 5:
            leaver = alive.pop(0)
            assert await leaver.stop() == 0, leaver.log
    await stage.publish(100)
    await stage.settled(90)
    for worker in alive:
        await worker.ready()
        assert await worker.stop() == 0, worker.log
    stage.check_predictions(await stage.outputs("predictions"), exactly_once=False)
    assert total(await stage.outputs("outcome-deltas")) >= 8 * 600 + 100
    for worker in stage.workers:
        assert "stopped:" not in worker.log and "Traceback" not in worker.log, worker.log


@pytest.mark.slow
async def test_workers_that_join_and_leave_commit_what_they_read(stage: Stage) -> None:
    """Clean joins and leaves give no duplicates either: what is in flight is committed before partitions are given up."""
    first = stage.start(delivery=AT_LEAST_ONCE)
    await first.ready()
    for _ in range(3):
        await stage.publish(600)
        joiner = stage.start(delivery=AT_LEAST_ONCE)
        await joiner.ready()
        await stage.publish(600)
        assert await joiner.stop() == 0, joiner.log
    await stage.settled()
    assert await first.stop() == 0, first.log
    stage.check_predictions(await stage.outputs("predictions"), exactly_once=True)
    assert total(await stage.outputs("outcome-deltas")) == 3600


@pytest.mark.slow
async def test_a_broker_that_is_away_is_waited_for(server: RealKafka, stage: Stage) -> None:
    worker = stage.start(delivery=AT_LEAST_ONCE | {"commit_timeout_ms": 2000})
    await worker.ready()
    await stage.publish(200)
    await asyncio.to_thread(server.kill, None)
    await asyncio.sleep(6)
    assert worker.process.poll() is None, worker.log
    await asyncio.to_thread(server.restart, None)
    await stage.publish(200)
    await stage.settled(60)
    assert await worker.stop() == 0, worker.log
    stage.check_predictions(await stage.outputs("predictions"), exactly_once=False)


async def test_a_stop_while_the_broker_is_away_is_clean(server: RealKafka, stage: Stage) -> None:
    worker = stage.start(delivery=AT_LEAST_ONCE)
    await worker.ready()
    await asyncio.to_thread(server.kill, None)
    await asyncio.sleep(3)
    assert await worker.stop() == 0, worker.log
    assert "Traceback" not in worker.log and "Unclosed" not in worker.log
    assert worker.log.count("aiokafka") < 10, "the client's repetitions are kept back"


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_a_drain_that_commits_nothing_is_no_success(server: RealKafka, stage: Stage, guarantee: str) -> None:
    delivery = {"processing_guarantee": guarantee, "commit_timeout_ms": 1000, "drain_timeout_ms": 4000}
    worker = stage.start(mode="slow", delivery=delivery)
    await worker.ready()
    await stage.publish(3000)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.kill, None)
    assert await worker.stop() == 1, worker.log
    assert re.search(r"stopped: drain_timeout: [1-9]\d* events were not committed within 4 s", worker.log), worker.log
    assert "Traceback" not in worker.log and "Unclosed" not in worker.log


async def test_a_commit_that_fails_in_a_drain_is_tried_again(server: RealKafka, stage: Stage) -> None:
    worker = stage.start(mode="slow", delivery={"commit_timeout_ms": 1000, "drain_timeout_ms": 60_000})
    await worker.ready()
    await stage.publish(3000)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.kill, None)
    worker.process.send_signal(signal.SIGTERM)
    await worker.says("commit failed")
    await asyncio.to_thread(server.restart, None)
    assert await worker.ended(60) == 0, worker.log
    found = re.search(r"stopping: draining (\d+) events", worker.log)
    assert found is not None and int(found[1]) > 0, worker.log
    predictions = await stage.outputs("predictions")
    assert len(predictions) == sum(offset or 0 for offset in (await stage.committed()).values()) >= int(found[1])
    assert "Traceback" not in worker.log and "Unclosed" not in worker.log


async def test_records_deleted_before_they_were_read_stop_the_worker_with_the_range(stage: Stage) -> None:
    from tests.brokers.clients import admin

    await stage.publish(600)
    await stage.settled_by(stage.start(delivery=AT_LEAST_ONCE))
    await stage.publish(600)
    ends = await stage.ends()
    async with admin(stage.bootstrap) as client:
        from aiokafka import TopicPartition
        from aiokafka.admin.records_to_delete import RecordsToDelete

        await client.delete_records(
            {TopicPartition(stage.topic("features"), 0): RecordsToDelete(before_offset=ends[0] - 5)}
        )
    worker = stage.start(delivery=AT_LEAST_ONCE)
    assert await worker.ended() == 1
    assert "stopped: offset_out_of_range" in worker.log and "were deleted before they were read" in worker.log
