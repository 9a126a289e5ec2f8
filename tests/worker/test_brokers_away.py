"""Brokers that are away when a worker starts, and that go away while it runs: waited for, and logged by the worker itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from forebay.stream.config.sections import KafkaSection
from forebay.stream.kafka.access import coordinator
from forebay.stream.kafka.reach import reach
from tests.brokers.apache import ApacheKafka
from tests.brokers.clients import create_topic
from tests.conftest import Names
from tests.worker.harness import OUTPUTS, Stage


@pytest.mark.slow
async def test_brokers_away_at_the_start_and_later(
    kafka_cluster: Callable[[int, Mapping[str, str]], ApacheKafka], names: Names, tmp_path: Path
) -> None:
    cluster = await asyncio.to_thread(kafka_cluster, 3, {})
    stage = Stage(cluster.bootstrap, names.prefix, tmp_path)
    for name in ("features", *OUTPUTS):
        await create_topic(stage.bootstrap, stage.topic(name), stage.partitions, replication=3)
    await stage.publish(100)
    await asyncio.to_thread(cluster.stop)
    try:
        one = stage.start(kafka={"connect_timeout_ms": 120_000})
        await one.says("trying again for 120 s (kafka.connect_timeout_ms)")
        await asyncio.to_thread(cluster.restart)
        await one.ready()
        await stage.settled()

        async with reach(KafkaSection(bootstrap_servers=cluster.bootstrap), timeout_s=10) as broker:
            _host, port = await coordinator(broker.connection, stage.prefix)
        gone = [address.rpartition(":")[2] for address in cluster.bootstrap.split(",")].index(str(port))
        await asyncio.to_thread(cluster.kill, gone)
        two = stage.start()
        await two.ready()
        assert "was not checked" not in two.log, two.log
        await stage.publish(100)
        await stage.settled()
        await one.says(f"broker {gone + 1} (127.0.0.1:{port}) has left the cluster; 2 are there")
        await asyncio.to_thread(cluster.restart, gone)
        await one.says(f"broker {gone + 1} (127.0.0.1:{port}) is back, after")
        await asyncio.to_thread(cluster.kill)
        await one.says("no broker answers since")
        await asyncio.sleep(5)
        await asyncio.to_thread(cluster.restart)
        await one.says("the cluster answers again, after")
        await stage.settled()
        assert await two.stop() == 0 and await one.stop() == 0
        stage.check_predictions(await stage.outputs("predictions"), exactly_once=True)
        for worker in (one, two):
            lines = [line for line in worker.log.splitlines() if "aiokafka" in line]
            print(len(lines), len(worker.log.splitlines()))
            assert len(lines) <= 30, "\n".join(lines)
    finally:
        stage.kill_all()


async def test_without_connect_timeout_a_worker_stops_with_the_reason(tmp_path: Path) -> None:
    stage = Stage("127.0.0.1:1", "t", tmp_path)
    worker = stage.start()
    assert await worker.ended() == 1
    assert "stopped: unreachable: cannot reach Kafka at 127.0.0.1:1: nothing listens there" in worker.log
