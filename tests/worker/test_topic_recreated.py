"""A worker with positions in an input topic skips no records after the topic is deleted and created again."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import aiohttp
import orjson
import pytest

from tests.brokers.clients import admin, create_topic
from tests.brokers.resolve import Broker
from tests.eventually import eventually
from tests.worker.harness import WorkerGroup, WorkerProcess


@pytest.fixture
def broker(kafka: Broker) -> Broker:
    """Return a real Kafka, because only its topics have ids."""
    return kafka


async def recreate(worker_group: WorkerGroup, *, gone_s: float = 0.0) -> None:
    """Delete the input topic and create it again with the same name after `gone_s`."""
    async with admin(worker_group.bootstrap) as client:
        await client.delete_topics([worker_group.topic("features")])
        topic = worker_group.topic("features")
        await eventually(client.list_topics, f"{topic} deleted", until=lambda topics: topic not in topics)
    await asyncio.sleep(gone_s)
    await create_topic(worker_group.bootstrap, worker_group.topic("features"), worker_group.partitions)
    worker_group.published = [[] for _ in range(worker_group.partitions)]


async def post(worker: WorkerProcess, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(worker.url + path) as response:
        assert response.status == 200


async def skips_nothing(worker_group: WorkerGroup, worker: WorkerProcess) -> None:
    """Check that the worker stops and names what it would have skipped, or lost the old topic first and reads the new one."""
    topic = worker_group.topic("features")

    async def num_predicted() -> int:
        return len(await worker_group.outputs("predictions"))

    await eventually(
        num_predicted,
        "40 predictions, or the worker's end",
        until=lambda count: count >= 40 or worker.process.poll() is not None,
        timeout_s=60,
        context=lambda: worker.log,
    )
    if worker.process.poll() is None:
        assert "partitions assigned: none" in worker.log
        assert await worker.stop() == 0, worker.log
    else:
        assert worker.process.returncode == 1, worker.log
        assert f"stopped: topic_recreated: {topic} was deleted and created again" in worker.log
        assert len(await worker_group.outputs("predictions")) == 10, "only those of the old topic"
        another = worker_group.start()
        await worker_group.settled()
        assert await another.stop() == 0, another.log
    predicted = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")][10:]
    assert [said["source"]["offset"] for said in predicted] == list(range(30))


async def test_recreated_while_paused(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=1)
    worker = worker_group.start()
    await worker_group.publish(10)
    await worker.ready()
    await worker_group.settled()
    await post(worker, "/pause")
    await recreate(worker_group)
    await worker_group.publish(30)
    with contextlib.suppress(aiohttp.ClientError):  # it may have stopped already
        await post(worker, "/resume")
    await skips_nothing(worker_group, worker)


async def test_recreated_while_the_worker_hangs(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=1)
    worker = worker_group.start(kafka={"session_timeout_ms": 45_000})
    await worker_group.publish(10)
    await worker.ready()
    await worker_group.settled()
    worker.process.send_signal(signal.SIGSTOP)
    await recreate(worker_group)
    await worker_group.publish(30)
    worker.resume()
    await skips_nothing(worker_group, worker)


async def test_recreated_while_commits_are_under_way(worker_group: WorkerGroup) -> None:
    """Positions of the old topic are not committed for the new one; otherwise the next worker would not read it from 0."""
    await worker_group.create(partitions=1)
    worker = worker_group.start(mode="slow", limits={"max_in_flight_events": 20_000})
    for _ in range(2):
        await worker_group.publish(4_000)
    await worker.ready()
    await eventually(lambda: worker_group.outputs("predictions"), "predictions", context=lambda: worker.log)
    await recreate(worker_group, gone_s=0.5)
    await worker_group.publish(30)
    await eventually(
        worker_group.committed,
        "30 events committed, or the worker's end",
        until=lambda offsets: offsets == {0: 30} or worker.process.poll() is not None,
        timeout_s=60,
        context=lambda: worker.log,
    )
    if worker.process.poll() is None:
        assert "partitions assigned: none" in worker.log
        assert await worker.stop() == 0, worker.log
    else:
        assert f"stopped: topic_recreated: {worker_group.topic('features')} was deleted and created again" in worker.log
        assert await worker_group.committed() == {0: None}
        another = worker_group.start()
        await worker_group.settled()
        assert await another.stop() == 0, another.log
    predicted = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")][-30:]
    assert [said["source"]["offset"] for said in predicted] == list(range(30))
