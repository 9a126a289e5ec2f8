"""Framing as confluent-kafka's serialisers write it: ids in front of values, and GUIDs in headers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient as ConfluentClient
from confluent_kafka.schema_registry import header_schema_id_serializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.framing import read_framing, read_message_indexes
from tests.decode.formats.protobuf_texts import class_of
from tests.registry.stub import stub_registry

JSON_SCHEMA = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "title": "Event", "type": "object"})
PROTO = """
syntax = "proto3";
message First { message Inner { string id = 1; } }
message Second { string id = 1; }
"""


def serialize_json(url: str, more: dict[str, Any]) -> tuple[bytes, list[tuple[str, bytes]]]:
    headers: list[tuple[str, bytes]] = []
    context = SerializationContext("t", MessageField.VALUE, headers)
    return JSONSerializer(JSON_SCHEMA, ConfluentClient({"url": url}), conf=more)({"id": "a"}, context), headers


def serialize_protobuf(
    url: str, indexes: tuple[int, ...], more: dict[str, Any]
) -> tuple[bytes, list[tuple[str, bytes]]]:
    headers: list[tuple[str, bytes]] = []
    context = SerializationContext("t", MessageField.VALUE, headers)
    kind = class_of(PROTO, indexes)
    conf = {"use.deprecated.format": False, **more}
    return ProtobufSerializer(kind, ConfluentClient({"url": url}), conf)(kind(id="a"), context), headers


@pytest.mark.parametrize("more", [{}, {"schema.id.serializer": header_schema_id_serializer}], ids=["value", "header"])
async def test_json(more: dict[str, Any]) -> None:
    async with stub_registry() as stub, open_registry(SchemaRegistrySection(urls=(stub.url,))) as client:
        value, headers = await asyncio.to_thread(serialize_json, stub.url, more)
        framing = read_framing(value, headers)
        assert framing is not None and (framing.ref.guid is not None) == bool(more)
        assert json.loads(value[framing.start :]) == {"id": "a"}
        schema = await client.get(framing.ref)
        assert schema.type == "JSON" and json.loads(schema.text) == json.loads(JSON_SCHEMA)


@pytest.mark.parametrize("more", [{}, {"schema.id.serializer": header_schema_id_serializer}], ids=["value", "header"])
@pytest.mark.parametrize("indexes", [(1,), (0, 0)])
async def test_message_indexes_of_protobuf(indexes: tuple[int, ...], more: dict[str, Any]) -> None:
    async with stub_registry() as stub, open_registry(SchemaRegistrySection(urls=(stub.url,))) as client:
        value, headers = await asyncio.to_thread(serialize_protobuf, stub.url, indexes, more)
        framing = read_framing(value, headers)
        assert framing is not None
        if more:
            assert framing.indexes == indexes and value == b"\x0a\x01a"
        else:
            assert framing.indexes is None and read_message_indexes(value, framing.start) == (indexes, len(value) - 3)
        assert (await client.get(framing.ref)).type == "PROTOBUF"
