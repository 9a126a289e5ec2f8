"""Events of Apicurio's Java serializers, with its registry and a real Kafka: which of their modes a worker reads."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.schemas import headers as names
from tests.brokers.jars import Unavailable
from tests.brokers.resolve import Broker
from tests.registry.apicurio import Apicurio
from tests.registry.java_serdes import ApicurioSerdes
from tests.worker.echo import NUM_FEATURES, feature_hash
from tests.worker.harness import WorkerGroup, total

pytestmark = pytest.mark.registry

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
"""The properties in docs/schema-registry.md. The last two are for Protobuf."""
OTHER_MODES = {
    "8-byte": CONFLUENT
    | {
        "apicurio.registry.id-handler": "io.apicurio.registry.serde.Legacy8ByteIdHandler",
        "apicurio.registry.use-id": "globalId",
    },
    "global-header": CONFLUENT | {"apicurio.registry.headers.enabled": "true", "apicurio.registry.use-id": "globalId"},
    "content-header": CONFLUENT | {"apicurio.registry.headers.enabled": "true"},
    "type-ref": CONFLUENT
    | {"apicurio.registry.serde.send-type-ref": "true", "apicurio.registry.serde.send-indexes": "false"},
}
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


async def test_other_modes_are_rejected_with_the_remedy(
    schema_registry: Apicurio, serdes: ApicurioSerdes, worker_group: WorkerGroup, tmp_path: Path
) -> None:
    await worker_group.create(partitions=1)
    (tmp_path / "event.json").write_text(json.dumps(SCHEMA))
    topic = worker_group.topic("features")
    runs = [run(schema_registry, topic, mode, [[1.0, 2.0, 3.0, 4.0]]) for mode in OTHER_MODES.values()]
    assert await asyncio.to_thread(serdes.publish, worker_group.bootstrap, runs, tmp_path) == 3 * len(OTHER_MODES)
    worker = worker_group.start(schema_registry={"urls": [schema_registry.url]})
    await worker_group.settled_by(worker)
    letters = await worker_group.outputs("dead-letters")
    headers = [{name: content.decode() for name, content in one.headers if "error" in name} for one in letters]
    assert [(int(one[names.ERROR_OFFSET]), one[names.ERROR_KIND]) for one in headers] == [
        *((offset, "invalid_payload") for offset in (0, 1, 2)),
        *((offset, "unknown_schema") for offset in (3, 5, 6, 8)),
        (11, "invalid_payload"),
    ]
    properties = ("id-handler", "id-handler", "id-handler", *4 * ("headers.enabled=false",), "serde.send-indexes=true")
    for one, setting in zip(headers, properties, strict=True):
        assert f"apicurio.registry.{setting}" in one[names.ERROR_MESSAGE]
    # JSON with the id in a header is also JSON, and in the last mode only Protobuf differs.
    predictions = [json.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert [(one["source"]["offset"], one["id"]) for one in predictions] == [
        (4, "000-json"),
        (7, "000-json"),
        (9, "000-avro"),
        (10, "000-json"),
    ]
