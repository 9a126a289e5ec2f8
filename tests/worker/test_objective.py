"""A real worker with an objective on latency: its outcomes are those of any worker, and its status has the objective."""

from __future__ import annotations

import aiohttp
import pytest

from tests.brokers.resolve import Broker
from tests.worker.harness import WorkerGroup


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: the objective changes when commits happen, not what they contain."""
    return embedded_broker


async def test_a_worker_reports_its_objective_and_predicts_every_event_once(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    worker = worker_group.start(objective={"p99_ms": 4_000, "prefer": "efficiency"})
    await worker.ready()
    for _ in range(2):
        await worker_group.publish(200)
        await worker_group.settled()
    objective = (await worker.status())["objective"]
    assert objective["p99_ms"] == 4_000
    assert "measured_p99_ms" in objective
    (model,) = objective["models"]
    assert 1 <= model["max_batch_size"] <= 64, "the limit of the settings is the upper one"
    async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as response:
        assert "\nforebay_objective_met " in await response.text()
    await worker_group.publish(200)
    assert await worker.stop() == 0, "a drain does not wait for the cadence: " + worker.log
    second = worker_group.start(objective={"p99_ms": 4_000})
    await second.ready()
    await worker_group.settled_by(second)
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
