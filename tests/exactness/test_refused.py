"""What the cluster will not take, however often it is asked: the worker stops with position and reason, and loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.brokers.clients import admin, create_topic
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.exactness.checker import until_stable
from tests.worker.harness import Stage, total

QUICK = {"commit_timeout_ms": 2000, "transaction_timeout_ms": 5000}


@pytest_asyncio.fixture
async def stage(kafka: Broker, names: Names, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(kafka.bootstrap, names.prefix, tmp_path)
    try:
        await stage.create()
        yield stage
    finally:
        stage.kill_all()


async def configure(stage: Stage, topic: str, settings: Mapping[str, str]) -> None:
    async with admin(stage.bootstrap) as client:
        resource = ConfigResource(ConfigResourceType.TOPIC, stage.topic(topic), configs=dict(settings))
        await client.alter_configs([resource])


async def check(stage: Stage) -> None:
    await until_stable(stage)
    stage.check_predictions(await stage.outputs("predictions"), exactly_once=True)
    count = sum(map(len, stage.published))
    assert total(await stage.outputs("outcome-deltas"), outcome="predicted") == count


async def test_records_over_a_limit_that_was_lowered_while_the_worker_ran(stage: Stage) -> None:
    """It has judged sizes by the limit of its start. Three refusals of the same outputs end it; the next one goes on."""
    worker = stage.start(delivery=QUICK)
    await worker.ready()
    await stage.publish(100)
    await stage.settled()
    await configure(stage, "predictions", {"max.message.bytes": "100"})
    await stage.publish(100)
    assert await worker.ended() == 1
    assert "Traceback" not in worker.log, worker.log
    assert worker.log.count("commit failed") == 2
    stopped = next(line for line in worker.log.splitlines() if line.startswith("stopped: "))
    assert "the cluster refused the same outputs 3 times" in stopped, stopped
    assert f"{stage.topic('features')}-" in stopped and "before offset" in stopped and "MessageSizeTooLarge" in stopped
    await configure(stage, "predictions", {"max.message.bytes": "1048588"})
    await stage.settled_by(stage.start())
    await check(stage)


@pytest.mark.slow
async def test_an_output_topic_that_is_deleted_and_made_anew(stage: Stage) -> None:
    worker = stage.start(delivery=QUICK)
    await worker.ready()
    async with admin(stage.bootstrap) as client:
        await client.delete_topics([stage.topic("outcome-deltas")])
    await stage.publish(100)
    assert await worker.ended(60) == 1
    assert "Traceback" not in worker.log, worker.log
    stopped = next(line for line in worker.log.splitlines() if line.startswith("stopped: "))
    assert stage.topic("outcome-deltas") in stopped, stopped
    await create_topic(stage.bootstrap, stage.topic("outcome-deltas"), stage.partitions)
    await stage.settled_by(stage.start())
    await check(stage)


async def test_an_input_topic_that_is_deleted_and_made_anew(stage: Stage) -> None:
    """The group's offsets go with the topic: the new one is read from its beginning, by whoever is there."""
    worker = stage.start(kafka={"metadata_max_age_ms": 500})
    await worker.ready()
    await stage.publish(100)
    await stage.settled()
    async with admin(stage.bootstrap) as client:
        await client.delete_topics([stage.topic("features")])
    await worker.says("partitions assigned: none")
    await create_topic(stage.bootstrap, stage.topic("features"), stage.partitions)
    stage.published = [[] for _ in stage.published]
    read = len(await stage.outputs("predictions"))
    await stage.publish(60)
    await stage.settled_by(worker)
    assert "Traceback" not in worker.log
    assert read == 100 and len(await stage.outputs("predictions")) == 160
    assert total(await stage.outputs("outcome-deltas"), outcome="predicted") == 160


async def test_an_input_topic_that_has_grown(stage: Stage) -> None:
    """Where outputs go depends on the number of partitions, so that the worker has to look at the topics again."""
    worker = stage.start(kafka={"metadata_max_age_ms": 500})
    await worker.ready()
    await stage.publish(100)
    async with admin(stage.bootstrap) as client:
        await client.create_partitions({stage.topic("features"): NewPartitions(2 * stage.partitions)})
    assert await worker.ended() == 1
    assert "stopped: partitions_added" in worker.log and "Traceback" not in worker.log, worker.log
    stage.partitions *= 2
    stage.published += [[] for _ in stage.published]
    await stage.publish(100, keys=8)
    await stage.settled_by(stage.start())
    stage.partitions //= 2
    ids = [orjson.loads(record.value)["id"] for record in await stage.outputs("predictions")]
    assert sorted(ids) == sorted(event_id for part in stage.published for event_id, _, _ in part)
