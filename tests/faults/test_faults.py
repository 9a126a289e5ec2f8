"""Faults of everything that a worker depends on, on a real Apache Kafka. `make test-faults` runs all of them."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from confluent_kafka import ElectionType
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from tests.brokers.apache import ApacheKafka
from tests.brokers.clients import consumer
from tests.brokers.ports import free_ports
from tests.brokers.proxy import Proxy, proxied_listeners
from tests.brokers.resolve import Broker, RealKafka
from tests.conftest import Names
from tests.faults.scene import FaultScene
from tests.worker.harness import WorkerGroup

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings(
        "ignore:Unclosed AIOKafka", "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
    ),
]

MINUTE_S = 60.0
STORM_S = 120.0
HALF_AN_HOUR_MS = 30 * 60 * 1000
"""Brokers refuse records that are more than an hour ahead of their own clock."""


@pytest.fixture
def cluster(kafka_cluster: Callable[[int, Mapping[str, str]], ApacheKafka]) -> Iterator[ApacheKafka]:
    yield kafka_cluster(3, {})


@pytest_asyncio.fixture
async def three(cluster: ApacheKafka, names: Names, tmp_path: Path) -> FaultScene:
    return FaultScene(WorkerGroup(cluster.bootstrap, names.prefix, tmp_path), replication=3)


@pytest.fixture
def one(kafka: Broker, names: Names, tmp_path: Path) -> FaultScene:
    return FaultScene(WorkerGroup(kafka.bootstrap, names.prefix, tmp_path))


@pytest.mark.faults
async def test_one_of_three_brokers_is_killed_and_comes_back(cluster: ApacheKafka, three: FaultScene) -> None:
    async def fault() -> None:
        await asyncio.to_thread(cluster.kill, 0)
        await asyncio.sleep(8)
        await asyncio.to_thread(cluster.restart, 0)

    await three.survives("one of three brokers killed, back after 8 s", fault)


@pytest.mark.faults
async def test_all_three_brokers_are_down_for_a_minute(cluster: ApacheKafka, three: FaultScene) -> None:
    async def fault() -> None:
        await asyncio.to_thread(cluster.kill)
        await asyncio.sleep(MINUTE_S)
        await asyncio.to_thread(cluster.restart)

    await three.survives("all three brokers away for 60 s", fault)


@pytest.mark.faults
async def test_partition_leaders_move(cluster: ApacheKafka, three: FaultScene) -> None:
    def elect() -> None:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        topics = admin.list_topics(timeout=10).topics
        places = [Place(name, number) for name, topic in topics.items() for number in topic.partitions]
        admin.elect_leaders(ElectionType.PREFERRED, places).result(20)

    async def fault() -> None:
        await asyncio.to_thread(cluster.stop, 1)  # it hands over what it leads
        await asyncio.to_thread(cluster.restart, 1)
        await asyncio.sleep(3)
        await asyncio.to_thread(elect)  # and takes it back

    await three.survives("partition leaders moved, and back", fault)


@pytest.mark.faults
async def test_a_brokers_disk_is_full(cluster: ApacheKafka, three: FaultScene) -> None:
    """Every write to the broker's files fails, so it takes its only log directory offline and shuts down."""

    async def fault() -> None:
        pid = cluster.pid(2)
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, most))
        await asyncio.sleep(12)
        await asyncio.to_thread(cluster.restart, 2)

    await three.survives("a broker's disk full for 12 s", fault)


@pytest.mark.faults
async def test_a_rebalance_storm(one: FaultScene) -> None:
    async def fault() -> None:
        ends_s = time.monotonic() + STORM_S
        while time.monotonic() < ends_s:
            guest = one.hire()
            await guest.ready()
            await asyncio.sleep(2)
            await one.dismiss(guest)
            await asyncio.sleep(1)

    await one.survives("a worker joining and leaving every few seconds for two minutes", fault)


@pytest.mark.faults
async def test_the_time_of_day_steps(one: FaultScene, monkeypatch: pytest.MonkeyPatch) -> None:
    start = one.group.start
    monkeypatch.setattr(
        one.group, "start", lambda **more: start(**more, clock={"every_s": 2.0, "by_ms": HALF_AN_HOUR_MS})
    )
    await one.survives("the workers' time of day steps by half an hour, and back", lambda: asyncio.sleep(8), size=1)


@pytest.mark.faults
async def test_a_slow_reader_of_predictions(one: FaultScene) -> None:
    async def fault() -> None:
        async with consumer(one.group.bootstrap) as reader:
            reader.assign([TopicPartition(one.group.topic("predictions"), number) for number in range(4)])
            for _ in range(60):
                await reader.getmany(timeout_ms=100, max_records=5)
                await asyncio.sleep(0.3)

    await one.survives("a reader that falls behind", fault)


@pytest.mark.faults
async def test_the_network_is_cut(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path
) -> None:
    direct, proxied = free_ports(2)
    server = await asyncio.to_thread(private_kafka, proxied_listeners(direct, proxied))
    scene = FaultScene(WorkerGroup(server.bootstrap, names.prefix, tmp_path))
    async with Proxy(proxied, direct).listening() as proxy:
        scene.settings["kafka"] = {"bootstrap_servers": proxy.bootstrap}

        async def fault() -> None:
            for _ in range(3):
                proxy.cut()
                await asyncio.sleep(7)
                proxy.restore()
                await asyncio.sleep(3)

        await scene.survives("the network between workers and broker cut, three times for 7 s", fault)
