"""A worker reads what confluent-kafka's Avro serializer writes, while the writer's schema changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from confluent_kafka.schema_registry import (
    SchemaRegistryClient,
    header_schema_id_serializer,
    prefix_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from forebay.stream.core.outputs import Headers
from tests.brokers.resolve import Broker
from tests.registry.stub import StubRegistry, stub_registry
from tests.worker.echo import NUM_FEATURES, feature_hash
from tests.worker.harness import WorkerGroup, kinds

EVENTS_PER_STEP = 200
NUMBERS = {"type": "array", "items": "int"}


def event_schema(*fields: Mapping[str, Any]) -> str:
    head = [
        {"name": "id", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ]
    return json.dumps({"type": "record", "name": "Event", "namespace": "shop", "fields": [*head, *fields]})


NOTE = {"name": "note", "type": ["null", "string"], "default": None}
EXTRA = {"name": "extra", "type": "string"}
VERSIONS: Sequence[str] = (
    event_schema(EXTRA, {"name": "features", "type": NUMBERS}),
    event_schema(EXTRA, NOTE, {"name": "features", "type": NUMBERS}),  # a field is added with a default
    event_schema(NOTE, {"name": "features", "type": NUMBERS}),  # a field is removed
    event_schema(NOTE, {"name": "features", "type": {"type": "array", "items": "double"}}),  # int becomes double
)


@pytest.fixture
async def registry() -> AsyncIterator[StubRegistry]:
    async with stub_registry() as stub:
        yield stub


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The format of values is nothing that brokers look at."""
    return embedded_broker


class Producer:
    """A foreign producer. published: the features of each event by its id."""

    def __init__(self, url: str, topic: str) -> None:
        self._client = SchemaRegistryClient({"url": url})
        self._topic = topic
        self.published: dict[str, tuple[float, ...]] = {}

    def serialise(
        self, schema: str, count: int, partitions: int, *, in_header: bool = False
    ) -> tuple[list[list[bytes]], list[list[Headers]]]:
        """Return events of a version of the schema and their headers, by partition. Registers it.

        in_header: whether the header names the schema by its GUID, not the value by its id.
        """
        rng = np.random.default_rng(len(self.published))
        options = {"schema.id.serializer": header_schema_id_serializer if in_header else prefix_schema_id_serializer}
        serialise = AvroSerializer(self._client, schema, conf=options)
        values: list[list[bytes]] = [[] for _ in range(partitions)]
        headers: list[list[Headers]] = [[] for _ in range(partitions)]
        is_double = '"double"' in schema
        for number in range(count):
            features = rng.normal(size=NUM_FEATURES) if is_double else rng.integers(-1000, 1000, size=NUM_FEATURES)
            event = {
                "id": f"event-{len(self.published)}",
                "timestamp": 1_790_000_000_000 + number,
                "extra": "x" * (number % 100),
                "note": None if number % 3 else "é",
                "features": features.tolist(),
            }
            self.published[event["id"]] = tuple(event["features"])
            own_headers: list[tuple[str, bytes]] = []
            context = SerializationContext(self._topic, MessageField.VALUE, headers=own_headers)
            values[number % partitions].append(serialise(event, context))
            headers[number % partitions].append(own_headers)
        return values, headers


async def test_nothing_is_lost_or_wrong_while_the_writers_schema_changes(
    worker_group: WorkerGroup, registry: StubRegistry
) -> None:
    await worker_group.create(partitions=2)
    producer = Producer(registry.url, worker_group.topic("features"))
    worker = worker_group.start(schema_registry={"urls": [registry.url]})
    await worker.ready()
    for schema in (*VERSIONS, VERSIONS[0]):  # a producer may go back
        for in_header in (False, True):
            values, headers = await asyncio.to_thread(
                producer.serialise, schema, EVENTS_PER_STEP, 2, in_header=in_header
            )
            await worker_group.send(values, headers=headers)
    await worker_group.send([[b"\0\0\0\0\1broken"], []])
    await worker_group.settled_by(worker)
    seen = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert sorted(one["id"] for one in seen) == sorted(producer.published)
    for one in seen:
        features = np.array(producer.published[one["id"]], dtype=np.float32)
        assert one["prediction"] == [feature_hash(features)]
    assert kinds(await worker_group.outputs("dead-letters")) == {"invalid_payload": 1}
    assert len(registry.subjects[f"{worker_group.topic('features')}-value"]) == len(VERSIONS)
