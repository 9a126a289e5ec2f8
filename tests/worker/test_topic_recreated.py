"""Of an input topic that is deleted and created again no record is skipped by a worker that held positions in the old one."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest_asyncio

from tests.brokers.clients import admin, create_topic
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.worker.harness import Stage, WorkerProcess


@pytest_asyncio.fixture
async def stage(kafka: Broker, names: Names, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(kafka.bootstrap, names.prefix, tmp_path, partitions=1)
    await stage.create()
    try:
        yield stage
    finally:
        stage.kill_all()


async def recreate(stage: Stage, *, gone_s: float = 0.0) -> None:
    """Delete the input topic and create it again, of the same name, after `gone_s`."""
    async with admin(stage.bootstrap) as client:
        await client.delete_topics([stage.topic("features")])
        while stage.topic("features") in await client.list_topics():
            await asyncio.sleep(0.05)
    await asyncio.sleep(gone_s)
    await create_topic(stage.bootstrap, stage.topic("features"), stage.partitions)
    stage.published = [[] for _ in range(stage.partitions)]


async def post(worker: WorkerProcess, path: str) -> None:
    found = re.search(r"admin page at (\S+)", worker.log)
    assert found is not None, worker.log
    async with aiohttp.ClientSession() as session, session.post(found[1] + path) as response:
        assert response.status == 200


async def skips_nothing(stage: Stage, worker: WorkerProcess) -> None:
    """It stops and names what it would have skipped; or the deleted topic was taken from it first, and it begins the new."""
    topic = stage.topic("features")
    async with asyncio.timeout(60):
        while worker.process.poll() is None and len(await stage.outputs("predictions")) < 40:
            await asyncio.sleep(0.1)
    if worker.process.poll() is None:
        assert "partitions assigned: none" in worker.log
        assert await worker.stop() == 0, worker.log
    else:
        assert worker.process.returncode == 1, worker.log
        assert f"stopped: topic_recreated: {topic} was deleted and created again" in worker.log
        assert len(await stage.outputs("predictions")) == 10, "only those of the old topic"
        another = stage.start()
        await stage.settled()
        assert await another.stop() == 0, another.log
    predicted = [orjson.loads(record.value) for record in await stage.outputs("predictions")][10:]
    assert [said["source"]["offset"] for said in predicted] == list(range(30))


async def test_recreated_while_paused(stage: Stage) -> None:
    worker = stage.start()
    await stage.publish(10)
    await worker.ready()
    await stage.settled()
    await post(worker, "/pause")
    await recreate(stage)
    await stage.publish(30)
    with contextlib.suppress(aiohttp.ClientError):  # it may have stopped already
        await post(worker, "/resume")
    await skips_nothing(stage, worker)


async def test_recreated_while_the_worker_hangs(stage: Stage) -> None:
    worker = stage.start(kafka={"session_timeout_ms": 45_000})
    await stage.publish(10)
    await worker.ready()
    await stage.settled()
    worker.process.send_signal(signal.SIGSTOP)
    await recreate(stage)
    await stage.publish(30)
    worker.resume()
    await skips_nothing(stage, worker)


async def test_recreated_while_commits_are_under_way(stage: Stage) -> None:
    """What was read of the old topic is not committed for the new one, which the next worker would then not read from 0."""
    worker = stage.start(mode="slow", limits={"max_in_flight_events": 20_000})
    for _ in range(2):
        await stage.publish(4_000)
    await worker.ready()
    while not await stage.outputs("predictions"):
        await asyncio.sleep(0.1)
    await recreate(stage, gone_s=0.5)
    await stage.publish(30)
    async with asyncio.timeout(60):
        while worker.process.poll() is None and await stage.committed() != {0: 30}:
            await asyncio.sleep(0.1)
    if worker.process.poll() is None:
        assert "partitions assigned: none" in worker.log
        assert await worker.stop() == 0, worker.log
    else:
        assert f"stopped: topic_recreated: {stage.topic('features')} was deleted and created again" in worker.log
        assert await stage.committed() == {0: None}
        another = stage.start()
        await stage.settled()
        assert await another.stop() == 0, another.log
    predicted = [orjson.loads(record.value) for record in await stage.outputs("predictions")][-30:]
    assert [said["source"]["offset"] for said in predicted] == list(range(30))
