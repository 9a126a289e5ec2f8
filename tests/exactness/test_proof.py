"""Exactly once despite all kinds of faults of workers and brokers, at 2,000 events a second, on a real Kafka.

FOREBAY_EXACTNESS_SEED and FOREBAY_EXACTNESS_SECONDS choose the run. Each run adds a line to FOREBAY_EXACTNESS_REPORT.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from aiokafka.client import CoordinationType

from tests.brokers.apache import ApacheKafka
from tests.brokers.resolve import RealKafka
from tests.conftest import Names
from tests.exactness.chaos import outage_of, outage_of_coordinator
from tests.exactness.mixture_checker import Mixture
from tests.exactness.proof import Plan, Proof

pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed AIOKafka", "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
"""The client leaves connections to killed brokers to the garbage collector."""

QUICK_SEED = 20261124
MIN_ABORTED_QUICK = 2
MIN_ABORTED = 5
"""The least number in a run of a minute."""
MIN_ABORTED_SLOW = 2
"""The same with a slow model, behind which a partition's commits wait: there are fewer transactions that could be hit."""


@pytest.mark.exactness
@pytest.mark.timeout(480)
async def test_a_moderate_storm(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(private_kafka, {})
    plan = Plan("a moderate storm", QUICK_SEED, 25, MIN_ABORTED_QUICK, gap_s=(1.0, 2.5))
    await Proof(plan, server.bootstrap, names.prefix, tmp_path).run([(0.8, outage_of(server, seconds=1, clean=False))])


@pytest.mark.exactness
@pytest.mark.timeout(480)
async def test_a_moderate_storm_over_three_models(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(private_kafka, {})
    plan = Plan("a moderate storm, three models", QUICK_SEED, 20, MIN_ABORTED_QUICK, rate=1000, gap_s=(1.0, 2.5))
    proof = Proof(plan, server.bootstrap, names.prefix, tmp_path, workload=Mixture())
    await proof.run([(0.8, outage_of(server, seconds=1, clean=False))])


@pytest.mark.exactness
@pytest.mark.timeout(900)
@pytest.mark.parametrize("clean", [False, True], ids=["broker killed", "broker restarted"])
async def test_three_models_on_one_broker(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path, clean: bool
) -> None:
    server = await asyncio.to_thread(private_kafka, {})
    name = f"three models, broker {'restarted' if clean else 'killed'}"
    plan = Plan.of_environment(name, seconds=60, min_aborted=MIN_ABORTED_SLOW, rate=1500)
    proof = Proof(plan, server.bootstrap, names.prefix, tmp_path, workload=Mixture())
    await proof.run([(0.5, outage_of(server, seconds=3, clean=clean))])


@pytest.mark.exactness
@pytest.mark.timeout(900)
@pytest.mark.parametrize("clean", [False, True], ids=["broker killed", "broker restarted"])
async def test_one_broker(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path, clean: bool
) -> None:
    server = await asyncio.to_thread(private_kafka, {})
    name = f"one broker, {'restarted' if clean else 'killed'}"
    plan = Plan.of_environment(name, seconds=60, min_aborted=MIN_ABORTED)
    await Proof(plan, server.bootstrap, names.prefix, tmp_path).run([(0.5, outage_of(server, seconds=3, clean=clean))])


@pytest.mark.exactness
@pytest.mark.timeout(900)
async def test_three_brokers_whose_coordinators_are_killed(
    kafka_cluster: Callable[[int, Mapping[str, str]], ApacheKafka], names: Names, tmp_path: Path
) -> None:
    cluster = await asyncio.to_thread(kafka_cluster, 3, {})
    plan = Plan.of_environment("three brokers", seconds=60, min_aborted=MIN_ABORTED, replication=3)
    proof = Proof(plan, cluster.bootstrap, names.prefix, tmp_path)
    of_group = outage_of_coordinator(cluster, CoordinationType.GROUP, lambda: names.prefix, seconds=5)
    of_transactions = outage_of_coordinator(
        cluster, CoordinationType.TRANSACTION, lambda: proof.crew.some_transactional_id, seconds=5
    )
    await proof.run([(1 / 3, of_group), (2 / 3, of_transactions)])
