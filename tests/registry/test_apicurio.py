"""The client of schema registries against a real one: Apicurio."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.preflight import Status, check_schema_registry
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.errors import SchemaIncompatible, SchemaNotFound
from forebay.stream.schema_registry.registering import register_schema
from forebay.stream.schema_registry.schema import SchemaRef
from tests.registry.apicurio import Apicurio

pytestmark = pytest.mark.slow


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
    with pytest.raises(SchemaNotFound, match="status 404"):
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
