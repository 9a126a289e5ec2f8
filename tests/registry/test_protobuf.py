"""Protobuf of confluent-kafka's serializer with a real registry: what the registry answers is what we decode with."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient as ForeignClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.decode.formats.protobuf import ProtobufFormat
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.framing import read_framing, read_message_indexes
from tests.decode.formats.protobuf_texts import OLD_ORDER, ORDER, class_of
from tests.registry.apicurio import Apicurio

pytestmark = pytest.mark.slow


def serialize(url: str, topic: str, message: Any) -> bytes:
    serializer = ProtobufSerializer(type(message), ForeignClient({"url": url}), {"use.deprecated.format": False})
    return bytes(serializer(message, SerializationContext(topic, MessageField.VALUE)))


def messages() -> list[tuple[Any, str, object]]:
    """Return messages, with the name of a field and its value in the document."""
    order = class_of(ORDER)(id="ä", amount=1.5, status=2)
    order.created_at.seconds = 1
    order.scores["x"] = 0.5
    return [
        (order, "scores", {"x": 0.5}),
        (type(class_of(ORDER)().iban)(number="CH"), "number", "CH"),
        (class_of(OLD_ORDER)(id=1, packed=[1.0, 2.0]), "packed", [1.0, 2.0]),
    ]


@pytest.mark.parametrize("number", range(3))
async def test_messages_are_decoded_with_the_registered_schema(schema_registry: Apicurio, number: int) -> None:
    message, name, expected = messages()[number]
    value = await asyncio.to_thread(serialize, schema_registry.url, f"topic-{uuid.uuid4().hex[:8]}", message)
    framing = read_framing(value, ())
    assert framing is not None
    indexes, start = read_message_indexes(value, framing.start)
    async with open_registry(SchemaRegistrySection(urls=(schema_registry.url,))) as client:
        schema = await client.get(framing.ref)
    protobuf_format = ProtobufFormat(schema, indexes)
    assert protobuf_format.message_type == message.DESCRIPTOR.full_name
    assert protobuf_format.document(value[start:])[name] == expected
