"""Outputs that the cluster permanently refuses: the worker stops with position and reason, and loses nothing."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.brokers.clients import admin, create_topic
from tests.exactness.checker import until_stable
from tests.worker.harness import WorkerGroup, total
from tests.worker.structured_log import starting

QUICK = {"commit_timeout_ms": 2000, "transaction_timeout_ms": 5000}


async def configure(worker_group: WorkerGroup, topic: str, settings: Mapping[str, str]) -> None:
    async with admin(worker_group.bootstrap) as client:
        resource = ConfigResource(ConfigResourceType.TOPIC, worker_group.topic(topic), configs=dict(settings))
        await client.alter_configs([resource])


async def check(worker_group: WorkerGroup) -> None:
    await until_stable(worker_group)
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
    count = sum(map(len, worker_group.published))
    assert total(await worker_group.outputs("outcome-deltas"), outcome="predicted") == count


async def test_records_over_a_limit_that_was_lowered_while_the_worker_ran(worker_group: WorkerGroup) -> None:
    """The worker keeps to the limit read at its start and ends after three refusals of the same outputs."""
    await worker_group.create()
    worker = worker_group.start(delivery=QUICK, log={"format": "json"})
    await worker.ready()
    await worker_group.publish(100)
    await worker_group.settled()
    await configure(worker_group, "predictions", {"max.message.bytes": "100"})
    await worker_group.publish(100)
    assert await worker.ended() == 1
    assert "Traceback" not in worker.log, worker.log
    refused = [line for line in starting(worker.log_lines(), "commit failed") if "MessageSizeTooLarge" in line.message]
    assert len(refused) == 2, "the third refusal of the same outputs is the reason for the stop"
    stopped = next(line for line in worker.log.splitlines() if line.startswith("stopped: "))
    assert "the cluster refused the same outputs 3 times" in stopped, stopped
    assert (
        f"{worker_group.topic('features')}-" in stopped
        and "before offset" in stopped
        and "MessageSizeTooLarge" in stopped
    )
    await configure(worker_group, "predictions", {"max.message.bytes": "1048588"})
    await worker_group.settled_by(worker_group.start())
    await check(worker_group)


@pytest.mark.slow
async def test_an_output_topic_that_is_deleted_and_created_again(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    worker = worker_group.start(delivery=QUICK)
    await worker.ready()
    async with admin(worker_group.bootstrap) as client:
        await client.delete_topics([worker_group.topic("outcome-deltas")])
    await worker_group.publish(100)
    assert await worker.ended(60) == 1
    assert "Traceback" not in worker.log, worker.log
    stopped = next(line for line in worker.log.splitlines() if line.startswith("stopped: "))
    assert worker_group.topic("outcome-deltas") in stopped, stopped
    await create_topic(worker_group.bootstrap, worker_group.topic("outcome-deltas"), worker_group.partitions)
    await worker_group.settled_by(worker_group.start())
    await check(worker_group)


async def test_an_input_topic_that_is_deleted_and_created_again(worker_group: WorkerGroup) -> None:
    """The group's offsets are deleted with the topic: the current workers read the new one from its beginning."""
    await worker_group.create()
    worker = worker_group.start(kafka={"metadata_max_age_ms": 500})
    await worker.ready()
    await worker_group.publish(100)
    await worker_group.settled()
    async with admin(worker_group.bootstrap) as client:
        await client.delete_topics([worker_group.topic("features")])
    await worker.says("partitions assigned: none")
    await create_topic(worker_group.bootstrap, worker_group.topic("features"), worker_group.partitions)
    worker_group.published = [[] for _ in worker_group.published]
    read = len(await worker_group.outputs("predictions"))
    await worker_group.publish(60)
    await worker_group.settled_by(worker)
    assert "Traceback" not in worker.log
    assert read == 100 and len(await worker_group.outputs("predictions")) == 160
    assert total(await worker_group.outputs("outcome-deltas"), outcome="predicted") == 160


async def test_an_input_topic_that_has_grown(worker_group: WorkerGroup) -> None:
    """The worker ends, because the partitions of outputs depend on the number of partitions of the input topic."""
    await worker_group.create()
    worker = worker_group.start(kafka={"metadata_max_age_ms": 500})
    await worker.ready()
    await worker_group.publish(100)
    async with admin(worker_group.bootstrap) as client:
        await client.create_partitions({worker_group.topic("features"): NewPartitions(2 * worker_group.partitions)})
    assert await worker.ended() == 1
    assert "stopped: partitions_added" in worker.log and "Traceback" not in worker.log, worker.log
    worker_group.partitions *= 2
    worker_group.published += [[] for _ in worker_group.published]
    await worker_group.publish(100, keys=8)
    await worker_group.settled_by(worker_group.start())
    worker_group.partitions //= 2
    ids = [orjson.loads(record.value)["id"] for record in await worker_group.outputs("predictions")]
    assert sorted(ids) == sorted(event_id for part in worker_group.published for event_id, _, _ in part)
