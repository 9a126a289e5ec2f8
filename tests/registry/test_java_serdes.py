"""Events of Apicurio's Java serializers, with its registry and a real Kafka: a worker predicts them."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.brokers.jars import Unavailable
from tests.brokers.resolve import Broker
from tests.registry.apicurio import Apicurio
from tests.registry.java_serdes import ApicurioSerdes
from tests.worker.echo import NUM_FEATURES, feature_hash
from tests.worker.harness import WorkerGroup, total

pytestmark = pytest.mark.slow

FORMATS = ("avro", "json", "protobuf")
NUM_EVENTS = 40
TIMESTAMP = 1_372_636_800_000
CONFLUENT = {
    "apicurio.registry.id-handler": "io.apicurio.registry.serde.Default4ByteIdHandler",
    "apicurio.registry.use-id": "contentId",
    "apicurio.registry.headers.enabled": "false",
    "apicurio.registry.serde.send-type-ref": "false",
    "apicurio.registry.serde.send-indexes": "true",
}
"""The mode that docs/schema-registry.md recommends. The last two are for Protobuf."""
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"id": {"type": "string"}, "features": {"type": "array", "items": {"type": "number"}}},
    "required": ["id", "features"],
}


@pytest.fixture(scope="module")
def serdes() -> ApicurioSerdes:
    try:
        return ApicurioSerdes(os.environ)
    except Unavailable as error:
        pytest.skip(f"no Java serializers: {error}")


@pytest.fixture
def broker(kafka: Broker) -> Broker:
    return kafka


def run(registry: Apicurio, topic: str, mode: dict[str, str], rows: list[list[float]]) -> dict[str, Any]:
    settings = mode | {
        "apicurio.registry.url": registry.url.replace("/ccompat/v7", "/registry/v3"),
        "apicurio.registry.auto-register": "true",
        "apicurio.registry.artifact.schema.location": "event.json",
    }
    events = [{"id": f"{number:03d}", "timestamp": TIMESTAMP, "features": row} for number, row in enumerate(rows)]
    return {"topic": topic, "settings": settings, "events": events}


async def test_events_in_confluents_framing_are_predicted(
    schema_registry: Apicurio, serdes: ApicurioSerdes, worker_group: WorkerGroup, tmp_path: Path
) -> None:
    await worker_group.create(partitions=1)
    rows_BF = np.random.default_rng(0).normal(size=(NUM_EVENTS, NUM_FEATURES)).astype(np.float32)
    (tmp_path / "event.json").write_text(json.dumps(SCHEMA))
    one = run(schema_registry, worker_group.topic("features"), CONFLUENT, rows_BF.tolist())
    assert await asyncio.to_thread(serdes.publish, worker_group.bootstrap, [one], tmp_path) == 3 * NUM_EVENTS
    worker = worker_group.start(schema_registry={"urls": [schema_registry.url]})
    await worker_group.settled_by(worker)
    assert await worker_group.outputs("dead-letters") == []
    predictions = [json.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert [(one["id"], one["prediction"]) for one in predictions] == [
        (f"{number:03d}-{name}", [feature_hash(row)]) for number, row in enumerate(rows_BF) for name in FORMATS
    ]
    assert total(await worker_group.outputs("outcome-deltas"), outcome="predicted") == 3 * NUM_EVENTS
