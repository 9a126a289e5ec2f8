"""A real worker that reads Protobuf as confluent-kafka's serializer writes it, with a registry of schemas."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from forebay.stream.schema_registry.framing import write_message_indexes
from tests.brokers.resolve import Broker
from tests.decode.formats.protobuf_texts import class_of
from tests.registry.stub import StubRegistry, stub_registry
from tests.worker.echo import NUM_FEATURES, feature_hash
from tests.worker.harness import WorkerGroup, kinds

SCHEMA = """
syntax = "proto3";
package orders;
import "google/protobuf/timestamp.proto";
message Event {
  string id = 1;
  google.protobuf.Timestamp timestamp = 2;
  repeated float features = 3;
  map<string, string> attributes = 4;
  message Inner {
    optional string id = 1;
    int64 timestamp = 2;
    repeated double features = 3;
  }
}
message Unused {}
"""
JULY_S = 1_372_636_800
ROUNDS = 30


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: formats are decoded behind the consumer."""
    return embedded_broker


def serialize(url: str, topic: str, messages: list[Any]) -> list[bytes]:
    """Return the values of a topic as a foreign producer writes them."""
    serializer = ProtobufSerializer(
        type(messages[0]), SchemaRegistryClient({"url": url}), {"use.deprecated.format": False}
    )
    context = SerializationContext(topic, MessageField.VALUE)
    return [serializer(message, context) for message in messages]


def write(number: int, event: Any, inner: Any, values: list[float]) -> tuple[Any, Any]:
    """Return the same event as a message and as one of a nested type."""
    at = JULY_S + number
    message = event(id=f"{number}", timestamp=datetime.fromtimestamp(at, UTC), features=values, attributes={"ä": "é"})
    return message, inner(id=f"{number}-inner", timestamp=1000 * at, features=values)


async def test_messages_of_a_foreign_producer_are_predicted(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=1)
    event, inner = class_of(SCHEMA), class_of(SCHEMA, (0, 0))
    random = np.random.default_rng(0)
    async with stub_registry() as registry:
        expected: dict[str, float] = {}
        messages: list[Any] = []
        for number in range(ROUNDS):
            row = random.normal(size=NUM_FEATURES).astype(np.float32)
            messages.append(write(number, event, inner, row.tolist()))
            expected |= dict.fromkeys((f"{number}", f"{number}-inner"), feature_hash(row))
        topic = worker_group.topic("features")
        outer_values = await asyncio.to_thread(serialize, registry.url, topic, [outer for outer, _ in messages])
        inner_values = await asyncio.to_thread(serialize, registry.url, topic, [nested for _, nested in messages])
        values = [value for pair in zip(outer_values, inner_values, strict=True) for value in pair]
        headers: list[list[tuple[str, bytes]]] = [[] for _ in values]
        by_guid(registry, event, values, headers, expected=expected)
        bad = [outer_values[0][:6] + b"\x0a\x7f", outer_values[0][:5] + write_message_indexes((7,)), b"\0\0\0\0"]
        worker = worker_group.start(schema_registry={"urls": [registry.url]})
        await worker.ready()
        await worker_group.send([values + bad], headers=[[*headers, *([] for _ in bad)]])
        await worker_group.settled_by(worker)
    predictions = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert {document["id"]: document["prediction"][0] for document in predictions} == expected
    assert len(predictions) == len(expected)
    times = {document["id"]: document["source"]["timestamp"] for document in predictions}
    assert times["3"] == times["3-inner"] == 1000 * (JULY_S + 3)
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {"invalid_payload": 1, "unsupported_schema": 1, "not_json": 1}


def by_guid(
    registry: StubRegistry,
    event: Any,
    values: list[bytes],
    headers: list[list[tuple[str, bytes]]],
    *,
    expected: dict[str, float],
) -> None:
    """Add an event whose schema is a text that the header names by its GUID, with the message indexes behind it."""
    known = registry.add("by-guid", SCHEMA, "PROTOBUF")
    row = np.arange(NUM_FEATURES, dtype=np.float32)
    message = event(id="guid", timestamp=datetime.fromtimestamp(JULY_S, UTC), features=row.tolist())
    values.append(message.SerializeToString())
    headers.append([("__value_schema_id", b"\x01" + known.guid.bytes + write_message_indexes((0,)))])
    expected["guid"] = feature_hash(row)
