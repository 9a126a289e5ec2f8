"""Each row of records with many rows has exactly one outcome, although workers are killed within records."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.brokers.resolve import Broker, RealKafka
from tests.conftest import Names
from tests.exactness.arrow_rows import BATCH_SIZE, ArrowRows, RowsAuthor, check_rows
from tests.exactness.chaos import outage_of
from tests.exactness.proof import Plan, Proof
from tests.worker.harness import WorkerGroup

pytestmark = [
    pytest.mark.exactness,
    pytest.mark.filterwarnings(
        "ignore:Unclosed AIOKafka", "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture
def broker(kafka: Broker) -> Broker:
    """Kills need the transactions of Apache Kafka."""
    return kafka


async def test_each_row_has_one_outcome_although_workers_are_killed(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=2)
    author = RowsAuthor(random.Random(21), 2)
    events = [author.record(rows) for rows in (500, 1, 3 * BATCH_SIZE, 200, 1000, 63, 64, 65, 300, 129, 700, 2)]
    parts = [[event for event in events if event.partition == place] for place in (0, 1)]
    # With the same ids, a worker takes the place of the one that was killed at once, and ends its open transaction.
    settings = {
        "mode": "raise",
        "batch": {"max_batch_size": BATCH_SIZE},
        "kafka": {"group_instance_id": "rows"},
        "delivery": {"instance_id": "rows"},
    }
    # The first is killed with outputs in an open transaction, the second before it knows whether its commit succeeded.
    for place in ("after_deliveries", "after_end_txn_sent"):
        killed = worker_group.start(
            failpoints={place: {"do": "kill"}},
            **settings,  # type: ignore[arg-type]
        )
        await killed.ready()
        if place == "after_deliveries":
            await worker_group.send(
                [[event.value for event in part] for part in parts],
                [[event.key for event in part] for part in parts],
                headers=[[event.headers for event in part] for part in parts],
            )
        await killed.ended()
    last = worker_group.start(**settings)  # type: ignore[arg-type]
    await last.ready()
    await worker_group.settled_by(last)
    records = {name: await worker_group.outputs(name) for name in ("features", *worker_group.output_topics)}
    assert check_rows(records) > 2500


@pytest.mark.timeout(900)
async def test_a_storm_over_records_with_many_rows(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(private_kafka, {})
    plan = Plan.of_environment("rows of Arrow records", seconds=60, min_aborted=5, rate=10_000)
    proof = Proof(plan, server.bootstrap, names.prefix, tmp_path, workload=ArrowRows())
    await proof.run([(0.5, outage_of(server, seconds=3, clean=False))])
