"""A worker waits for brokers that are unreachable at its start or later, and logs that itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from forebay.stream.config.sections import KafkaSection
from forebay.stream.kafka.cluster.bootstrap import bootstrap_connection
from forebay.stream.kafka.protocol.authorized_operations import find_coordinator
from forebay.stream.telemetry.log_setup import CLIENT_LINES_EVERY_S
from tests.brokers.apache import ApacheKafka
from tests.brokers.clients import create_topic
from tests.conftest import Names
from tests.worker.harness import OUTPUTS, WorkerGroup
from tests.worker.structured_log import check_client_lines


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(480)  # four starts of three brokers, on a possibly busy machine
async def test_brokers_unreachable_at_the_start_and_later(
    kafka_cluster: Callable[[int, Mapping[str, str]], ApacheKafka], names: Names, tmp_path: Path
) -> None:
    cluster = await asyncio.to_thread(kafka_cluster, 3, {})
    worker_group = WorkerGroup(cluster.bootstrap, names.prefix, tmp_path)
    for name in ("features", *OUTPUTS):
        await create_topic(worker_group.bootstrap, worker_group.topic(name), worker_group.partitions, replication=3)
    await worker_group.publish(100)
    await asyncio.to_thread(cluster.stop)
    try:
        one = worker_group.start(kafka={"connect_timeout_ms": 120_000}, log={"format": "json"})
        await one.says("trying again for 120 s (kafka.connect_timeout_ms)")
        await asyncio.to_thread(cluster.restart)
        await one.ready()
        await worker_group.settled()

        async with bootstrap_connection(KafkaSection(bootstrap_servers=cluster.bootstrap), timeout_s=60) as broker:
            _host, port = await find_coordinator(broker.connection, worker_group.prefix)
        gone = [address.rpartition(":")[2] for address in cluster.bootstrap.split(",")].index(str(port))
        await asyncio.to_thread(cluster.kill, gone)
        two = worker_group.start(log={"format": "json"})
        await two.ready()
        assert "was not checked" not in two.log, two.log
        await worker_group.publish(100)
        await worker_group.settled()
        await one.says(f"broker {gone + 1} (127.0.0.1:{port}) has left the cluster; 2 remain")
        await asyncio.to_thread(cluster.restart, gone)
        await one.says(f"broker {gone + 1} (127.0.0.1:{port}) is back, after")
        await asyncio.to_thread(cluster.kill)
        await one.says("no broker answers since")
        await asyncio.sleep(5)
        await asyncio.to_thread(cluster.restart)
        await one.says("the cluster answers again, after")
        await worker_group.settled()
        assert await two.stop() == 0 and await one.stop() == 0
        worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
        for worker in (one, two):
            check_client_lines(worker.log_lines(), every_s=CLIENT_LINES_EVERY_S)
    finally:
        worker_group.kill_all()


async def test_without_connect_timeout_a_worker_stops_with_the_reason(tmp_path: Path) -> None:
    worker_group = WorkerGroup("127.0.0.1:1", "t", tmp_path)
    worker = worker_group.start()
    assert await worker.ended() == 1
    assert "stopped: unreachable: cannot reach Kafka at 127.0.0.1:1: nothing listens there" in worker.log
