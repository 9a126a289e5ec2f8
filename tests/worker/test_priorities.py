"""A real worker with two live topics: a backlog of class low does not delay events of class high."""

from __future__ import annotations

import orjson
import pytest

from tests.brokers.resolve import Broker
from tests.eventually import eventually
from tests.worker.harness import WorkerGroup

BATCH = 64
NUM_LOW, NUM_HIGH = 40 * BATCH, 30


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    return embedded_broker


def events(name: str, count: int) -> list[bytes]:
    return [
        orjson.dumps({"id": f"{name}-{number}", "timestamp": number, "features": [number, 0.0, 0.0, 0.0]})
        for number in range(count)
    ]


async def test_events_of_class_high_overtake_a_backlog_of_class_low(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=1, inputs=("alarms", "backfill"))
    await worker_group.send([events("low", NUM_LOW)], topic="backfill")
    worker = worker_group.start(
        mode="slow",
        input={"topics": ["alarms", "backfill"]},
        priorities={"high_topics": ["alarms"], "low_topics": ["backfill"]},
        limits={"max_in_flight_events": 8 * BATCH},
    )

    async def predicted() -> int:
        return (await worker_group.ends("predictions"))[0]

    await eventually(predicted, "a prediction", until=bool, every_s=0.05, context=lambda: worker.log)
    await worker_group.send([events("high", NUM_HIGH)], topic="alarms")
    await eventually(
        lambda: worker_group.committed("alarms"),
        "the commit of the alarms",
        until=lambda offsets: offsets == {0: NUM_HIGH},
        every_s=0.05,
        context=lambda: worker.log,
    )
    (model,) = (await worker.status())["models"]
    assert model["priorities"]["high"] == {"events": NUM_HIGH, "waiting_batches": 0}
    await worker_group.settled_by(worker)
    ids = [orjson.loads(record.value)["id"] for record in await worker_group.outputs("predictions")]
    low = [one for one in ids if one.startswith("low-")]
    assert low == [f"low-{number}" for number in range(NUM_LOW)], "the order of the partition is kept"
    assert [one for one in ids if one.startswith("high-")] == [f"high-{number}" for number in range(NUM_HIGH)]
    after = ids[ids.index(f"high-{NUM_HIGH - 1}") :]
    assert len(after) > 5 * BATCH, "they were committed long before the backlog"
