"""At least once on a real Apache Kafka: after killed workers and broker restarts, nothing is lost and keys stay in order."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections.abc import Callable, Mapping

import pytest
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from forebay.stream.telemetry.log_setup import CLIENT_LINES_EVERY_S
from tests.brokers.clients import admin
from tests.brokers.ready import answers
from tests.brokers.resolve import Broker, RealKafka
from tests.worker.harness import WorkerGroup, WorkerProcess, total
from tests.worker.structured_log import check_client_lines

SEED = 20260131
AT_LEAST_ONCE = {"processing_guarantee": "at_least_once"}


@pytest.fixture(scope="module")
def started(module_kafka: Callable[[Mapping[str, str]], RealKafka]) -> RealKafka:
    return module_kafka({})


@pytest.fixture
def server(started: RealKafka) -> RealKafka:
    """Return the server of this module, which a test may stop, and which runs when the next test begins."""
    host, port = started.bootstrap.split(":")
    if not answers(host, int(port)):
        started.restart()
    return started


@pytest.fixture
def broker(server: RealKafka) -> Broker:
    return Broker("apache", server.bootstrap, "private")


async def kill_server_and_stop(server: RealKafka, worker: WorkerProcess) -> None:
    """Kill the server and stop the worker, which has events in flight when it begins to drain.

    The worker is paused meanwhile. Otherwise a commit could fail before the signal is handled, and nothing would be in flight.
    """
    await worker.has_in_flight()
    worker.pause()
    await asyncio.to_thread(server.kill, None)
    worker.process.send_signal(signal.SIGTERM)
    worker.resume()


@pytest.mark.slow
async def test_nothing_is_lost_with_three_workers_killed_and_a_broker_restarted(
    server: RealKafka, worker_group: WorkerGroup
) -> None:
    await worker_group.create(partitions=6)
    rng = random.Random(SEED)
    alive = [worker_group.start(delivery=AT_LEAST_ONCE) for _ in range(3)]
    for worker in alive:
        await worker.ready()
    for step in range(8):
        for _ in range(4):
            await worker_group.publish(150)
            await asyncio.sleep(0.2)
        if step in (1, 3, 6):
            victim = alive.pop(rng.randrange(len(alive)))
            victim.kill()
            alive.append(worker_group.start(delivery=AT_LEAST_ONCE))
        elif step == 4:
            for worker in alive:
                await worker.ready()  # one that finds no broker at its start ends
            await asyncio.to_thread(server.restart, None)
        elif step == 5:
            leaver = alive.pop(0)
            assert await leaver.stop() == 0, leaver.log
    await worker_group.publish(100)
    await worker_group.settled(90)
    for worker in alive:
        await worker.ready()
        assert await worker.stop() == 0, worker.log
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=False)
    assert total(await worker_group.outputs("outcome-deltas")) >= 8 * 600 + 100
    for worker in worker_group.workers:
        assert "stopped:" not in worker.log and "Traceback" not in worker.log, worker.log


@pytest.mark.slow
async def test_workers_that_join_and_leave_commit_what_they_read(worker_group: WorkerGroup) -> None:
    """Clean joins and leaves cause no duplicates: events in flight are committed before partitions are revoked."""
    await worker_group.create(partitions=6)
    first = worker_group.start(delivery=AT_LEAST_ONCE)
    await first.ready()
    for _ in range(3):
        await worker_group.publish(600)
        joiner = worker_group.start(delivery=AT_LEAST_ONCE)
        await joiner.ready()
        await worker_group.publish(600)
        assert await joiner.stop() == 0, joiner.log
    await worker_group.settled()
    assert await first.stop() == 0, first.log
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
    assert total(await worker_group.outputs("outcome-deltas")) == 3600


@pytest.mark.slow
async def test_a_worker_waits_for_an_unreachable_broker(server: RealKafka, worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=6)
    worker = worker_group.start(delivery=AT_LEAST_ONCE | {"commit_timeout_ms": 2000})
    await worker.ready()
    await worker_group.publish(200)
    await asyncio.to_thread(server.kill, None)
    await asyncio.sleep(6)
    assert worker.process.poll() is None, worker.log
    await asyncio.to_thread(server.restart, None)
    await worker_group.publish(200)
    await worker_group.settled(60)
    assert await worker.stop() == 0, worker.log
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=False)


async def test_a_stop_without_a_broker_is_clean(server: RealKafka, worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=6)
    worker = worker_group.start(delivery=AT_LEAST_ONCE, log={"format": "json"})
    await worker.ready()
    await asyncio.to_thread(server.kill, None)
    await worker.says("no broker answers since")
    await asyncio.sleep(3)
    assert await worker.stop() == 0, worker.log
    assert "Traceback" not in worker.log and "Unclosed" not in worker.log
    check_client_lines(worker.log_lines(), every_s=CLIENT_LINES_EVERY_S)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_a_drain_that_commits_nothing_fails(server: RealKafka, worker_group: WorkerGroup, guarantee: str) -> None:
    await worker_group.create(partitions=6)
    delivery = {"processing_guarantee": guarantee, "commit_timeout_ms": 1000, "drain_timeout_ms": 4000}
    worker = worker_group.start(mode="slow", delivery=delivery)
    await worker.ready()
    await worker_group.publish(3000)
    await kill_server_and_stop(server, worker)
    assert await worker.ended() == 1, worker.log
    assert re.search(r"stopped: drain_timeout: [1-9]\d* events were not committed within 4 s", worker.log), worker.log
    assert "Traceback" not in worker.log and "Unclosed" not in worker.log


async def test_a_commit_that_fails_in_a_drain_is_tried_again(server: RealKafka, worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=6)
    worker = worker_group.start(mode="slow", delivery={"commit_timeout_ms": 1000, "drain_timeout_ms": 60_000})
    await worker.ready()
    await worker_group.publish(3000)
    await kill_server_and_stop(server, worker)
    await worker.says("commit failed")
    await asyncio.to_thread(server.restart, None)
    assert await worker.ended(60) == 0, worker.log
    found = re.search(r"stopping: draining (\d+) events", worker.log)
    assert found is not None and int(found[1]) > 0, worker.log
    predictions = await worker_group.outputs("predictions")
    assert len(predictions) == sum(offset or 0 for offset in (await worker_group.committed()).values()) >= int(found[1])
    assert "Traceback" not in worker.log and "Unclosed" not in worker.log


async def test_records_deleted_before_they_were_read_stop_the_worker_with_the_range(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=6)
    await worker_group.publish(600)
    await worker_group.settled_by(worker_group.start(delivery=AT_LEAST_ONCE))
    await worker_group.publish(600)
    ends = await worker_group.ends()
    async with admin(worker_group.bootstrap) as client:
        await client.delete_records(
            {TopicPartition(worker_group.topic("features"), 0): RecordsToDelete(before_offset=ends[0] - 5)}
        )
    worker = worker_group.start(delivery=AT_LEAST_ONCE)
    assert await worker.ended() == 1
    assert "stopped: offset_out_of_range" in worker.log and "were deleted before they were read" in worker.log
