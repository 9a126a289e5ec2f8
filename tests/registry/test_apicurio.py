"""The client of schema registries against a real one: Apicurio."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import numpy as np
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient as ConfluentClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.preflight import Status, check_schema_registry
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.errors import RegistryUnavailable, SchemaIncompatible, SchemaNotFound
from forebay.stream.schema_registry.registering import register_schema
from forebay.stream.schema_registry.schema import SchemaRef
from tests.brokers.resolve import Broker
from tests.decode.formats.protobuf_texts import class_of
from tests.registry.apicurio import Apicurio
from tests.worker.echo import NUM_FEATURES, feature_hash
from tests.worker.harness import WorkerGroup

pytestmark = pytest.mark.registry


def avro(*fields: str, default: bool = True) -> str:
    members = [{"name": name, "type": "double", **({"default": 0.0} if default else {})} for name in fields]
    return json.dumps({"type": "record", "name": "Event", "fields": members})


@pytest.fixture
async def client(schema_registry: Apicurio) -> AsyncIterator[SchemaRegistryClient]:
    async with open_registry(SchemaRegistrySection(urls=(schema_registry.url,))) as client:
        yield client


@pytest.fixture
def subject() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}-value"


async def test_schemas_are_registered_and_read(client: SchemaRegistryClient, subject: str) -> None:
    first = await register_schema(client, subject, "AVRO", avro("a"))
    assert first.id is not None and not first.existed
    assert await register_schema(client, subject, "AVRO", avro("a")) == first.__class__(subject, "AVRO", first.id, True)
    second = await register_schema(client, subject, "AVRO", avro("a", "b"))
    assert await client.versions(subject) == [1, 2] and subject in await client.subjects()
    latest = await client.latest(subject)
    assert latest.ref == SchemaRef(id=second.id) and json.loads(latest.text) == json.loads(avro("a", "b"))
    (schema, again) = await asyncio.gather(*(client.get(SchemaRef(id=first.id)) for _ in range(2)))
    assert schema == again and schema.type == "AVRO" and json.loads(schema.text) == json.loads(avro("a"))


@pytest.mark.parametrize(
    ("schema_type", "text"),
    [
        ("JSON", '{"$schema": "http://json-schema.org/draft-07/schema#"}'),
        ("PROTOBUF", 'syntax = "proto3"; message A { float a = 1; }'),
    ],
)
async def test_other_types(client: SchemaRegistryClient, subject: str, schema_type: str, text: str) -> None:
    # It finds the type by the content, and JSON without $schema is not a schema to it.
    number = await client.register(subject, schema_type, text)  # type: ignore[arg-type]
    assert (await client.get(SchemaRef(id=number))).type == schema_type


async def test_what_it_does_not_have(client: SchemaRegistryClient, subject: str) -> None:
    for missing in (client.latest(subject), client.versions(subject), client.get(SchemaRef(id=2_000_000_000))):
        with pytest.raises(SchemaNotFound):
            await missing
    # This version cannot look schemas up by GUID: it answers as for any path that it does not know.
    with pytest.raises(RegistryUnavailable, match="status 404"):
        await client.get(SchemaRef(guid=uuid.uuid4()))
    assert await client.check_compatible(subject, "AVRO", avro("a")) == []


async def test_incompatible_schemas_are_refused(
    schema_registry: Apicurio, client: SchemaRegistryClient, subject: str
) -> None:
    await client.register(subject, "AVRO", avro("a"))
    await client._http.request("PUT", f"config/{subject}", body={"compatibility": "BACKWARD"})
    refused = await register_schema(client, subject, "AVRO", avro("a", "b", default=False))
    assert refused.id is None and refused.conflicts
    with pytest.raises(SchemaIncompatible):
        await client.register(subject, "AVRO", avro("a", "b", default=False))
    section = SchemaRegistrySection(urls=(schema_registry.url,), subjects=(subject,))
    check = await check_schema_registry(section)
    assert check is not None and check.status is Status.OK and f"{subject} version 1 (AVRO)" in check.detail


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: schemas are looked up behind the consumer."""
    return embedded_broker


PROTO = """
syntax = "proto3";
message Event { string id = 1; int64 timestamp = 2; repeated double features = 3; }
"""
AVRO = json.dumps(
    {
        "type": "record",
        "name": "Event",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "timestamp", "type": "long"},
            {"name": "features", "type": {"type": "array", "items": "double"}},
        ],
    }
)
JSON_SCHEMA = json.dumps(
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Event",
        "type": "object",
        "properties": {"id": {"type": "string"}, "features": {"type": "array", "items": {"type": "number"}}},
        "required": ["id", "features"],
    }
)


def serialize_in_all_types(url: str, topic: str, rows: list[list[float]]) -> list[bytes]:
    """Return each row as the serialisers of confluent-kafka write it, which register their schemas."""
    client = ConfluentClient({"url": url})
    message = class_of(PROTO)
    contexts = {name: SerializationContext(f"{topic}-{name}", MessageField.VALUE) for name in ("avro", "json", "proto")}
    avro_serializer = AvroSerializer(client, AVRO)
    json_serializer = JSONSerializer(JSON_SCHEMA, client)
    proto_serializer = ProtobufSerializer(message, client, {"use.deprecated.format": False})
    values: list[bytes] = []
    for number, row in enumerate(rows):
        event = {"timestamp": 1_372_636_800_000, "features": row}
        values += [
            avro_serializer(event | {"id": f"{number}-avro"}, contexts["avro"]),
            json_serializer(event | {"id": f"{number}-json"}, contexts["json"]),
            proto_serializer(message(**event, id=f"{number}-proto"), contexts["proto"]),
        ]
    return values


async def test_a_worker_predicts_what_foreign_serialisers_write(
    schema_registry: Apicurio, worker_group: WorkerGroup
) -> None:
    await worker_group.create(partitions=1)
    rows_BF = np.random.default_rng(0).normal(size=(20, NUM_FEATURES)).astype(np.float32)
    values = await asyncio.to_thread(
        serialize_in_all_types, schema_registry.url, worker_group.topic("features"), rows_BF.tolist()
    )
    await worker_group.send([values])
    worker = worker_group.start(schema_registry={"urls": [schema_registry.url]})
    await worker_group.settled_by(worker)
    predictions = [json.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert [(one["id"], one["prediction"]) for one in predictions] == [
        (f"{number}-{name}", [feature_hash(row)])
        for number, row in enumerate(rows_BF)
        for name in ("avro", "json", "proto")
    ]
    assert await worker_group.outputs("dead-letters") == []
